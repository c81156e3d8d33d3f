"""Clients of redis-py for what is no queue. All that we use are made here, or from connect.open_pool().

What they pack goes through wire.Packer: if hiredis gets a number, and a signal handler raises meanwhile, the process
dies.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import redis
from redis.connection import ConnectionPool

from rqsqs._io import wire
from rqsqs._io.addresses import place_of
from rqsqs._io.nodes import master_urls

Client = redis.Redis | redis.RedisCluster


class _Pool(ConnectionPool):
    """What a cluster's client makes for each of its servers."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **{**options, "command_packer": wire.Packer()})


def client_of(url: str) -> Client:
    """A client of the server or cluster that rqsqs means by a URL."""
    place, master = place_of(url), master_urls(url)[0]
    if place is not None and place.kind == "cluster":
        return redis.RedisCluster.from_url(master, connection_pool_class=_Pool)
    return redis.Redis.from_url(master, command_packer=wire.Packer())


def at_socket(path: str) -> redis.Redis:
    """A client of the server with this socket."""
    return redis.Redis.from_url(f"unix://{quote(path)}", command_packer=wire.Packer())
