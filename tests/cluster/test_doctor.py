"""`rqsqs doctor` at several servers: what costs messages is said of each master."""

from __future__ import annotations

import json
from typing import Any

import pytest

import rqsqs
from tests.clusters import Cluster, Sentinels

pytest.importorskip("click")

BAD = {"maxmemory_policy": "allkeys-random"}


def worst(url: str, prefix: str) -> dict[str, dict[str, str]]:
    """By server ("" if there is one), then by check: the level of what can cost messages."""
    from click.testing import CliRunner

    from rqsqs.cli.program import program

    result = CliRunner().invoke(program, ["--url", url, "--prefix", prefix, "doctor", "--json"])
    assert result.exit_code == 1, result.output
    found: dict[str, dict[str, str]] = {}
    for line in result.stdout.splitlines():
        record: dict[str, Any] = json.loads(line)
        if record["check"] in ("eviction", "persistence", "replication"):
            where, _, _ = record["text"].partition(": ")
            found.setdefault(where if where.startswith("redis://") else "", {})[record["check"]] = record["level"]
    return found


@pytest.mark.parametrize("persistence", [{}, {"appendonly": "yes", "appendfsync": "no"}], ids=["memory", "no fsync"])
def test_of_every_master_of_a_cluster(prefix: str, persistence: dict[str, str]) -> None:
    with Cluster(**BAD, **persistence) as cluster:
        found = worst(cluster.url, prefix)
        ill = {"eviction": "fail", "persistence": "warn", "replication": "warn"}
        assert found == {server.url: ill for server in cluster.servers[:3]}
        safe = rqsqs.Durability(replicas=1, timeout=20)
        with rqsqs.connect(cluster.url, prefix=prefix, durability=safe) as connection:
            connection.create_queue(cluster.name_on(cluster.servers[0])).send("x")
        found = worst(cluster.url, prefix)
        assert {where for where, levels in found.items() if levels["replication"] == "ok"} == {cluster.servers[0].url}


def test_of_the_master_behind_sentinels(prefix: str) -> None:
    with Sentinels(**BAD) as sentinels:
        assert worst(sentinels.url, prefix) == {"": {"eviction": "fail", "persistence": "warn", "replication": "warn"}}
