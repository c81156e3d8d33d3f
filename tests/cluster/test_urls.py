"""URLs that name the wrong servers: one clear error, soon."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Iterator

import pytest

import rqsqs
from rqsqs import aio
from tests.clusters import Cluster, home_of
from tests.servers import Server, free_port


def refused(url: str, error: type[Exception], text: str) -> None:
    """By both colours."""
    pattern = re.compile(text)
    started = time.monotonic()
    with rqsqs.connect(url) as connection, pytest.raises(error) as failed:
        connection.queue("orders").receive()
    assert pattern.search(str(failed.value)), failed.value

    async def scenario() -> None:
        async with aio.connect(url) as connection:
            with pytest.raises(error) as failed:
                await connection.queue("orders").receive()
            assert pattern.search(str(failed.value)), failed.value

    asyncio.run(asyncio.wait_for(scenario(), 100))
    assert time.monotonic() - started < 25


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as one:
        yield one


def test_a_node_of_a_cluster_is_no_single_server(steady: Cluster) -> None:
    owner = steady.owner(home_of("orders"))
    master = next(s for s in steady.masters if s is not owner)
    replica = next(s for s in steady.servers if steady.replicates(s, owner))
    for other in (master, replica):
        refused(other.url, rqsqs.UsageError, r"is part of a cluster: its URL is redis\+cluster://HOST:PORT")


def test_a_single_server_is_no_cluster(server: Server) -> None:
    url = f"redis+cluster://:secret@127.0.0.1:{server.port}"
    refused(url, rqsqs.AuthenticationFailed, "refuses the login")
    url = f"redis+cluster://127.0.0.1:{server.port}"
    refused(url, rqsqs.UsageError, r"is no cluster .*: the URL of a single server begins redis://")


def test_a_single_server_is_no_sentinel(server: Server) -> None:
    refused(f"redis+sentinel://127.0.0.1:{server.port}/mymaster", rqsqs.UsageError, "is no sentinel")


@pytest.mark.parametrize("form", ["redis+cluster://:secret@{}", "redis+sentinel://:secret@{}/mymaster"])
def test_nobody_is_there(form: str) -> None:
    seeds = f"127.0.0.1:{free_port()},127.0.0.1:{free_port()}"
    refused(form.format(seeds), rqsqs.ConnectionFailed, r"^(?!.*secret).*none of 127.* answers.*nothing was sent")


def test_seeds_that_are_dead_are_skipped(steady: Cluster, prefix: str) -> None:
    seeds = f"127.0.0.1:{free_port()},localhost:{steady.servers[1].port}"
    with rqsqs.connect(f"redis+cluster://{seeds}", prefix=prefix) as connection:
        assert not connection.exists("orders")


def test_options_hold_for_all_nodes(steady: Cluster, prefix: str) -> None:
    url = f"{steady.url}?client_name={prefix}"
    with rqsqs.connect(url, prefix=prefix) as connection:
        for server in steady.masters:
            connection.create_queue(steady.name_on(server))
            with steady.client(server) as client:
                assert prefix in {c["name"] for c in client.client_list()}
    with pytest.raises(rqsqs.UsageError, match="nonsense"):
        rqsqs.connect(f"{steady.url}?nonsense=1")


def test_doctor_examines_every_master(steady: Cluster, prefix: str) -> None:
    pytest.importorskip("click")
    from click.testing import CliRunner

    from rqsqs.cli.program import program

    result = CliRunner().invoke(program, ["--url", steady.url, "--prefix", prefix, "doctor"])
    assert result.exit_code == 0, result.output
    assert result.output.count("may load and run scripts") == 3
    assert result.output.count("1 replica") == 3
    assert "0 queues under the prefix" in result.output
    result = CliRunner().invoke(program, ["--url", steady.servers[0].url, "--prefix", prefix, "doctor"])
    assert result.exit_code == 1
    assert "part of a cluster" in result.output
