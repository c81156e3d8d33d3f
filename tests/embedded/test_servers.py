"""The servers the tests themselves stand on."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from redis import Redis

from tests.clusters import ALL_ON_CLUSTER, client_of, masters_of
from tests.servers import KINDS, Kind, Server, find_binary


def client(url: str) -> contextlib.closing[Redis]:
    return contextlib.closing(Redis.from_url(url, decode_responses=True))


def test_both_kinds_of_server_answer(server_url: str, prefix: str) -> None:
    with client_of(server_url) as redis:
        assert redis.set(f"{prefix}:a", "1")
    with masters_of(server_url) as masters:
        for master in masters:
            assert master.config_get("save", "appendonly") == {"save": "", "appendonly": "no"}


@pytest.mark.skipif(ALL_ON_CLUSTER, reason="a cluster stands for both")
def test_the_servers_of_a_session_are_different(valkey_url: str, redis_url: str) -> None:
    assert valkey_url != redis_url


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("unix_socket", [False, True])
def test_a_killed_server_comes_back_at_its_address_with_its_data(kind: Kind, unix_socket: bool, tmp_path: Path) -> None:
    if find_binary(kind) is None:
        pytest.skip(f"no {kind} server program here")
    server = Server(kind, folder=tmp_path, unix_socket=unix_socket, appendonly="yes", appendfsync="always").start()
    with client(server.url) as redis:
        redis.set("a", "1")
    url, pid = server.url, server.pid
    server.kill9()
    server.restart()
    assert server.url == url
    assert server.pid != pid
    with client(server.url) as redis:
        assert redis.get("a") == "1"
    server.stop()
    assert tmp_path.exists()


def test_a_server_takes_options_and_removes_its_own_folder() -> None:
    with Server(maxmemory="8mb") as server, client(server.url) as redis:
        assert redis.config_get("maxmemory") == {"maxmemory": str(8 << 20)}
        assert server.folder.exists()
    assert not server.folder.exists()


def test_a_server_that_refuses_its_options_shows_why() -> None:
    server = Server(maxmemory_policy="nonsense")
    with pytest.raises(RuntimeError, match="maxmemory-policy"):
        server.start()
    server.stop()
