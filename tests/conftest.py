"""Servers for all tests. Each xdist worker has its own; tests keep apart by prefix, nobody flushes.

With RQSQS_TEST_CLUSTER=1 (make test-cluster) every test that asks for the URL of a server gets that of a cluster of
three masters and three replicas; tests of what only one server has (persistence, settings of its own, sockets) start
theirs as always. With RQSQS_TEST_FAULTS=1 (make test-faults) fleets of processes are killed, cut off and frozen: both
take their time, and processors that are not busy otherwise.

Most tests run on a Valkey and on a Redis. Long ones whose subject is no server but the order of things (crash points,
states, histories) are marked either_server: each runs on one of the two, drawn by its name, so that both see half of
them. With RQSQS_TEST_EVERY_SERVER=1 all run on both.
"""

from __future__ import annotations

import contextlib
import os
import random
import secrets
import signal
from collections.abc import Callable, Iterator
from typing import Literal

import pytest
import redis

from rqsqs._io.sync import clients
from tests.clusters import ALL_ON_CLUSTER, Cluster
from tests.servers import KINDS, Kind, Server, find_binary

try:
    from hypothesis import HealthCheck, settings
except ImportError:  # make test-aiobotocore
    pass
else:  # how long an example takes says how busy the machine is
    settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("patient")

PATIENT_MS = 15_000  # a cluster on a busy machine; nobody is to be replaced
os.environ.setdefault("RQSQS_HISTORY", "0")  # else workers and gateways make calls of their own at any time
WITH_FAULTS = bool(os.environ.get("RQSQS_TEST_FAULTS"))
ON_EVERY_SERVER = bool(os.environ.get("RQSQS_TEST_EVERY_SERVER") or os.environ.get("RQSQS_SOAK_SECONDS"))
OF_FAULTS = {"test_books.py", "test_chaos.py", "test_gateways.py", "test_sentinels.py", "test_worker_kills.py"}


def pytest_sessionstart() -> None:
    """What shells start in the background ignores Ctrl-C, and so would everything that tests start."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what needs a cluster or is about faults, unless it was asked for, and one of two servers for tests
    that are marked so."""
    found = [kind for kind in KINDS if find_binary(kind)] or KINDS
    for_nothing = []
    for item in items:
        kind = item.callspec.params.get("server_url") if hasattr(item, "callspec") else None
        is_on_cluster = kind == "cluster" or item.path.parent.name == "cluster"
        if (
            (kind in KINDS if ALL_ON_CLUSTER else is_on_cluster)
            or (not WITH_FAULTS and item.path.parent.name == "faults" and item.path.name in OF_FAULTS)
            or (
                kind in KINDS
                and not ON_EVERY_SERVER
                and item.get_closest_marker("either_server")
                and kind != random.Random(item.nodeid.replace(kind, "")).choice(found)
            )
        ):
            for_nothing.append(item)
    config.hook.pytest_deselected(items=for_nothing)
    unwanted = set(for_nothing)
    items[:] = [item for item in items if item not in unwanted]


@pytest.fixture(scope="session")
def shared_servers() -> Iterator[dict[str, Server | Cluster]]:
    """Those that run, by kind."""
    servers: dict[str, Server | Cluster] = {}
    yield servers
    for server in servers.values():
        server.stop()


@pytest.fixture(scope="session")
def server_of_kind(
    shared_servers: dict[str, Server | Cluster],
) -> Callable[[Kind | Literal["cluster"]], Server | Cluster]:
    """One running server per kind, started by the first test that wants it."""

    def get(kind: Kind | Literal["cluster"]) -> Server | Cluster:
        if ALL_ON_CLUSTER:
            kind = "cluster"
        if kind not in shared_servers:
            if kind != "cluster" and find_binary(kind) is None:
                pytest.skip(f"no {kind} server program here")
            server = Cluster(node_timeout=PATIENT_MS) if kind == "cluster" else Server(kind)
            shared_servers[kind] = server.start()
        return shared_servers[kind]

    return get


@pytest.fixture(scope="module", params=KINDS)
def server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """A Valkey, then a Redis, that the tests of one module have for themselves."""
    kind: Kind = request.param
    if find_binary(kind) is None:
        pytest.skip(f"no {kind} server program here")
    with Server(kind) as one:
        yield one


@pytest.fixture(scope="session")
def valkey_url(server_of_kind: Callable[[str], Server | Cluster]) -> str:
    """The URL of a Valkey; with RQSQS_TEST_CLUSTER of a cluster, as those below."""
    return server_of_kind("valkey").url


@pytest.fixture(scope="session")
def redis_url(server_of_kind: Callable[[str], Server | Cluster]) -> str:
    """The URL of a Redis; skips where there is none."""
    return server_of_kind("redis").url


@pytest.fixture(scope="session", params=["cluster"] if ALL_ON_CLUSTER else KINDS)
def server_url(request: pytest.FixtureRequest, server_of_kind: Callable[[str], Server | Cluster]) -> str:
    """The URL of a Valkey, then of a Redis; with RQSQS_TEST_CLUSTER that of the cluster."""
    return server_of_kind(request.param).url


@pytest.fixture(scope="session")
def masters_of_shared(shared_servers: dict[str, Server | Cluster]) -> Iterator[Callable[[], list[redis.Redis]]]:
    """Plain clients of all masters of the servers that run so far: nobody is replaced there."""
    known: dict[str, list[redis.Redis]] = {}

    def get() -> list[redis.Redis]:
        for kind, server in shared_servers.items():
            if kind not in known:
                known[kind] = [redis.Redis.from_url(url) for url in clients.master_urls(server.url)]
        return [master for masters in known.values() for master in masters]

    yield get
    for master in get():
        master.close()


@pytest.fixture
def prefix(masters_of_shared: Callable[[], list[redis.Redis]]) -> Iterator[str]:
    """A prefix for keys and queue names that no other test has. Its keys are removed: tests that look at all keys of a
    server would take ever longer."""
    name = f"t{secrets.token_hex(6)}"
    yield name
    for master in masters_of_shared():
        keys = list(master.scan_iter(f"{name}:*", count=1000))
        for some in [[key] for key in keys] if ALL_ON_CLUSTER else [keys] if keys else []:  # keys of many slots
            with contextlib.suppress(redis.exceptions.MovedError, redis.exceptions.AskError):
                master.unlink(*some)
