"""Servers for all tests. Each xdist worker has its own; tests keep apart by prefix, nobody flushes."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator

import pytest

from tests.servers import KINDS, Kind, Server, find_binary


@pytest.fixture(scope="session")
def server_of_kind() -> Iterator[Callable[[Kind], Server]]:
    """One running server per kind, started by the first test that wants it."""
    servers: dict[Kind, Server] = {}

    def get(kind: Kind) -> Server:
        if kind not in servers:
            if find_binary(kind) is None:
                pytest.skip(f"no {kind} server program here")
            servers[kind] = Server(kind).start()
        return servers[kind]

    yield get
    for server in servers.values():
        server.stop()


@pytest.fixture(scope="session")
def valkey_url(server_of_kind: Callable[[Kind], Server]) -> str:
    """The URL of a Valkey."""
    return server_of_kind("valkey").url


@pytest.fixture(scope="session")
def redis_url(server_of_kind: Callable[[Kind], Server]) -> str:
    """The URL of a Redis; skips where there is none."""
    return server_of_kind("redis").url


@pytest.fixture(scope="session", params=KINDS)
def server_url(request: pytest.FixtureRequest, server_of_kind: Callable[[Kind], Server]) -> str:
    """The URL of a Valkey, then of a Redis: the test runs on both."""
    return server_of_kind(request.param).url


@pytest.fixture
def prefix() -> str:
    """A prefix for keys and queue names that no other test has."""
    return f"t{secrets.token_hex(6)}"
