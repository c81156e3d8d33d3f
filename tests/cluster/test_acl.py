"""The rules that `rqsqs acl` prints, on a cluster: users exist on every node."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("click")

import rqsqs
from rqsqs import aio
from rqsqs.cli.acl_rules import rules
from tests.clusters import Cluster


def url_of(cluster: Cluster, role: str, prefix: str) -> str:
    first, *rest = rules(role, prefix)
    for server in cluster.servers:
        with cluster.client(server) as client:
            client.execute_command("ACL", "SETUSER", prefix, first, *rest, ">secret")
    return cluster.url.replace("://", f"://{prefix}:secret@")


def test_roles_do_their_work(steady: Cluster, prefix: str) -> None:
    with rqsqs.connect(url_of(steady, "admin", prefix), prefix=prefix) as admin:
        queues = [admin.create_queue(f"q{n}", partitions=2) for n in range(4)]
        with rqsqs.connect(url_of(steady, "producer", prefix), prefix=prefix) as producer:
            for queue in queues:
                producer.queue(queue.name).send("x")
    with rqsqs.connect(url_of(steady, "consumer", prefix), prefix=prefix) as consumer:
        for n in range(4):
            (message,) = consumer.queue(f"q{n}").receive(wait=30)
            message.delete()
        with pytest.raises(rqsqs.AuthenticationFailed, match="may not do this"):
            consumer.delete_queue("q0")

    async def wait() -> None:
        async with aio.connect(url_of(steady, "gateway", prefix), prefix=prefix) as gateway:
            waiting = [asyncio.create_task(gateway.queue(f"q{n}").receive(wait=60)) for n in range(4)]
            await asyncio.sleep(0.1)
            for n in range(4):
                await gateway.queue(f"q{n}").send("y")
            assert [message.body for task in waiting for message in await task] == ["y"] * 4

    asyncio.run(asyncio.wait_for(wait(), 100))
