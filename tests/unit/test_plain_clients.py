"""hiredis asks Python for the text of a number, and the process dies if a signal handler raises meanwhile."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any

import pytest

import rqsqs
from rqsqs._io import protocol
from rqsqs._io.sync import clients
from rqsqs.cli.demo.counters import Report

PACKAGE = Path(rqsqs.__file__).parent
MAKERS = {"Redis", "StrictRedis", "RedisCluster", "from_url", "from_pool"}


def clients_made(source: str) -> list[int]:
    """The lines of a program where a client of redis-py is made, other than on a pool of ours."""
    if not any(maker in source for maker in MAKERS):  # most: to parse them takes time
        return []
    return [
        node.lineno
        for node in ast.walk(ast.parse(source))
        if isinstance(node, ast.Call)
        and getattr(node.func, "attr", getattr(node.func, "id", "")) in MAKERS
        and [keyword.arg for keyword in node.keywords] != ["connection_pool"]
    ]


def test_clients_are_made_in_one_place() -> None:
    assert clients_made("import redis\nredis.Redis.from_url(u)\nRedisCluster(h)\nredis.Redis(connection_pool=p)") == [
        2,
        3,
    ]
    found = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if clients_made(path.read_text())}
    found.remove("cli/demo/cache_job/consumer.py")  # an application; its handlers run in threads, which get no signals
    assert found == {"_io/connect.py", "_io/sync/clients.py"}


def test_they_pack_text_only(valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    packed: list[Any] = []
    pack = protocol.pack_command

    def spy(words: Any) -> bytes:
        packed.extend(words)
        return pack(words)

    monkeypatch.setattr(protocol, "pack_command", spy)
    with clients.client_of(valkey_url) as client:
        report = Report(valkey_url, f"{prefix}:x")
        client.set(f"{prefix}:x:k", "v", ex=60)
        report.add({"n": 2}, [0.5])
        assert report.cache() == {"k": ("v", 60)}
        assert (report.counts(), report.latencies_ms()) == ({"n": 2}, [0.5])
        for key in list(client.scan_iter(match=f"{prefix}:*")):
            client.delete(key)
        report.server.close()
    assert packed
    assert {type(word) for word in packed} <= {str, bytes}
