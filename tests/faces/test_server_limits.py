"""Limits of the server, one clear error each; what comes afterwards works."""

from __future__ import annotations

import asyncio

import pytest
import redis

import rqsqs
from rqsqs import aio
from tests.servers import KINDS, Kind, Server


@pytest.mark.parametrize("kind", KINDS)
def test_a_message_that_is_larger_than_the_server_takes(kind: Kind) -> None:
    with Server(kind, proto_max_bulk_len="1mb") as server, rqsqs.connect(server.url) as connection:
        for name in ("q", "q.fifo"):
            queue = connection.create_queue(name, maximum_message_size=8 << 20)
            more = {"group": "g", "deduplication_id": "i"} if queue.is_fifo else {}
            for _ in range(2):
                with pytest.raises(rqsqs.MessageTooLarge, match="proto-max-bulk-len"):
                    queue.send("x" * (2 << 20), **more)
                queue.send("small", **more)
            assert queue.counts().visible == (1 if more else 2)

        async def run() -> None:
            async with aio.connect(server.url) as other:
                with pytest.raises(rqsqs.MessageTooLarge, match="proto-max-bulk-len"):
                    await other.queue("q").send("x" * (2 << 20))
                await other.queue("q").send("small")

        asyncio.run(run())


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_messages_of_a_batch_that_are_larger_than_the_server_takes_fail_alone(name: str) -> None:
    sizes = [1, 3 << 18, (3 << 18) + 1, 2, 3 << 18, 5]
    with Server("valkey", proto_max_bulk_len="1mb") as server, rqsqs.connect(server.url) as connection:
        queue = connection.create_queue(name, maximum_message_size=8 << 20)
        bodies = ["x" * (size * (2 if size > 9 else 1)) for size in sizes]
        with pytest.raises(rqsqs.BatchFailed) as caught:
            queue.send_batch([rqsqs.Entry(body, **({"group": "g"} if queue.is_fifo else {})) for body in bodies])
        failed = [r.index for r in caught.value.results if isinstance(r, rqsqs.FailedEntry)]
        assert failed == [1, 2, 4]
        assert [len(m.body) for m in queue.receive(10)] == [1, 2, 5]
        with pytest.raises(rqsqs.BatchFailed) as caught:
            queue.send_batch([rqsqs.Entry(body, group="g") for body in bodies[1:3]])
        assert [type(r.error) for r in caught.value.results] == [rqsqs.MessageTooLarge] * 2


def test_a_request_that_is_larger_than_the_server_reads() -> None:
    with Server("valkey", client_query_buffer_limit="1mb") as server, rqsqs.connect(server.url) as connection:
        queue = connection.create_queue("q", maximum_message_size=8 << 20)
        with pytest.raises(rqsqs.ConnectionFailed, match="client-query-buffer-limit"):
            queue.send("x" * (2 << 20))
        queue.send("small")
        assert queue.counts().visible == 1


def test_too_many_clients() -> None:
    with Server("valkey", maxclients=1) as server, redis.Redis.from_url(server.url) as client:
        client.ping()
        told = (
            "maxclients|reset by peer|Broken pipe"  # it hangs up at once: what it said may be lost with the connection
        )
        with rqsqs.connect(server.url) as connection, pytest.raises(rqsqs.ConnectionFailed, match=told):
            connection.create_queue("q")
