"""Clients of redis-py for what is no queue. All that we use are made here, or from connect.open_pool().

What they pack goes through protocol.Packer: if hiredis gets a number, and a signal handler raises meanwhile, the
process dies.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
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


class Master(NamedTuple):
    """A server that has keys.

    Attributes:
        url: of this server.
        slots: of a cluster, the hash slots that it has: first and last of each range.
    """

    url: str
    slots: tuple[tuple[int, int], ...] = ()


def masters(url: str, options: Mapping[str, Any] | None = None) -> list[Master]:
    """Each server that has keys.

    Args:
        url: as rqsqs means it.
        options: for redis-py's connections.

    Raises:
        RqsqsError: no server says which.
    """
    if place_of(url) is None:
        return [Master(url)]
    router = Router(url, connect.settings_of(url, dict(options or {}))[0], Counters())
    try:
        router.refresh()
        directory = router.directory
        error, found = directory.error, directory.masters()
    finally:
        router.close()
    if found:
        return [Master(directory.access(address, {})[0], directory.slots(address)) for address in found]
    raise error_mapping.server(error, sent=False, where=connect.shown(url)) or error


def master_urls(url: str) -> list[str]:
    """The URL of each server that has keys.

    Raises:
        RqsqsError: no server says which.
    """
    return [master.url for master in masters(url)]
