"""What the tests of durability need."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

from tests.clusters import until
from tests.servers import Server


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, Server]]:
    """A primary that writes an append-only file, and its replica."""
    folder: Path = tmp_path_factory.mktemp("primary")
    options: dict[str, Any] = {"repl_diskless_sync_delay": 0}
    with (
        Server("valkey", folder=folder, appendonly="yes", appendfsync="everysec", **options) as primary,
        Server("valkey", replicaof=f"127.0.0.1 {primary.port}", **options) as replica,
    ):
        with redis.Redis.from_url(replica.url) as client:
            until(lambda: client.info("replication")["master_link_status"] == "up", "the replica is in step")
        yield primary, replica
