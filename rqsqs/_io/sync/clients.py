"""Clients of redis-py for what is no queue. All that we use are made here, or from connect.open_pool().

What they pack goes through protocol.Packer: if hiredis gets a number, and a signal handler raises meanwhile, the
process dies.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import redis
from redis.connection import ConnectionPool

from rqsqs._io import connect, error_mapping, protocol
from rqsqs._io.counters import Counters
from rqsqs._io.sync.routing import Router
from rqsqs._io.urls import place_of

Client = redis.Redis | redis.RedisCluster


class _Pool(ConnectionPool):
    """What a cluster's client makes for each of its servers."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "command_packer": protocol.Packer()})


def client_of(url: str) -> Client:
    """A client of the server or cluster that rqsqs means by a URL."""
    place, master = place_of(url), master_urls(url)[0]
    if place is not None and place.kind == "cluster":
        return redis.RedisCluster.from_url(master, connection_pool_class=_Pool)
    return redis.Redis.from_url(master, command_packer=protocol.Packer())


def at_socket(path: str) -> redis.Redis:
    return redis.Redis.from_url(f"unix://{quote(path)}", command_packer=protocol.Packer())


def master_urls(url: str) -> list[str]:
    """The URL of each server that has keys.

    Raises:
        RqsqsError: no server says which.
    """
    if place_of(url) is None:
        return [url]
    router = Router(url, connect.settings_of(url, {})[0], Counters())
    try:
        router.refresh()
        error, found = router.directory.error, router.directory.masters()
    finally:
        router.close()
    if found:
        return [router.directory.access(address, {})[0] for address in found]
    raise error_mapping.server(error, sent=False, where=connect.shown(url)) or error
