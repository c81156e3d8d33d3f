"""From a URL to redis-py connections."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import urlsplit

import redis
from redis.connection import ConnectionPool, UnixDomainSocketConnection

from rqsqs import embedded
from rqsqs._io import failures
from rqsqs.errors import ServerTooOld, UsageError

DEFAULT_URL = "redis://localhost:6379/0"
SCHEMES = ("redis", "rediss", "unix", "embedded")
OLDEST = {"redis": (7, 0), "valkey": (7, 2)}


def resolve(url: str | None) -> str:
    """The URL to use: the one given, else RQSQS_URL, else localhost.

    Raises:
        UsageError: the scheme is none of ours.
    """
    if url is None:
        url = os.environ.get("RQSQS_URL") or DEFAULT_URL
    if not isinstance(url, str) or url.partition("://")[0] not in SCHEMES:
        raise UsageError(f"cannot connect to {url!r}: a URL begins with {', '.join(s + '://' for s in SCHEMES)}")
    parts = urlsplit(url)
    if parts.scheme in ("redis", "rediss") and not re.fullmatch(r"/?\d*", parts.path):
        raise UsageError(f"cannot connect to {shown(url)!r}: behind the host stands the number of a database, as in /0")
    return url


def shown(url: str) -> str:
    """The URL for messages: without the password."""
    parts = urlsplit(url)
    if parts.password:
        return url.replace(f":{parts.password}@", ":***@", 1)
    return url


def open_pool(url: str, options: dict[str, Any]) -> tuple[ConnectionPool, embedded.EmbeddedServer | None]:
    """A pool that makes connections; the embedded server that has to be released after use, if there is one."""
    settings: dict[str, Any] = {
        "socket_timeout": 10.0,
        "socket_connect_timeout": 5.0,
        "socket_keepalive": True,
        "protocol": 2,
        **options,
        "decode_responses": False,
    }
    if urlsplit(url).scheme == "embedded":
        try:
            server = embedded.acquire(url)
        except ValueError as e:
            raise UsageError(str(e)) from e
        settings.pop("socket_keepalive")
        pool = ConnectionPool(connection_class=UnixDomainSocketConnection, **server.redis_kwargs(), **settings)
        return pool, server
    if urlsplit(url).scheme == "unix":
        settings.pop("socket_keepalive")
    try:
        pool = ConnectionPool.from_url(url, **settings)
        pool.make_connection()  # not connected yet: tells whether the options exist
    except (ValueError, TypeError) as e:
        raise UsageError(f"cannot connect to {shown(url)!r}: {e}") from e
    return pool, None


def check_version(connection: Any, where: str) -> None:
    """Raises ServerTooOld if the server cannot run the scripts. An ACL that forbids INFO is respected."""
    try:
        connection.send_command("INFO", "server")
        reply = connection.read_response(disable_decoding=True)
    except redis.exceptions.NoPermissionError:
        return
    except redis.exceptions.ResponseError as e:
        known = failures.server(e, sent=False, where=where)
        if known is not None:
            raise known from e
        return
    found = dict(line.split(":", 1) for line in reply.decode().splitlines() if ":" in line)
    name = "valkey" if "valkey_version" in found else "redis"
    version = found.get(f"{name}_version", "")
    numbers = tuple(int(n) for n in version.split(".")[:2] if n.isdigit())
    if numbers and numbers < OLDEST[name]:
        raise ServerTooOld(f"{where} is {name} {version}; rqsqs needs Redis 7.0 or Valkey 7.2 or newer")
