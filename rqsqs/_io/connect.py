"""From a URL to redis-py connections."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import redis

from rqsqs import embedded
from rqsqs._io import failures
from rqsqs._io.addresses import place_of
from rqsqs._io.addresses import shown as shown
from rqsqs.errors import ServerTooOld, UsageError

DEFAULT_URL = "redis://localhost:6379/0"
SCHEMES = (
    "redis",
    "rediss",
    "unix",
    "embedded",
    "redis+cluster",
    "rediss+cluster",
    "redis+sentinel",
    "rediss+sentinel",
)
OLDEST = {"redis": (7, 0), "valkey": (7, 2)}


def resolve(url: str | None) -> str:
    """The URL to use: the one given, else RQSQS_URL, else localhost.

    Raises:
        UsageError: the scheme is none of ours.
    """
    if url is None:
        url = os.environ.get("RQSQS_URL") or DEFAULT_URL
    if not isinstance(url, str) or url.partition("://")[0] not in SCHEMES:
        named = shown(url) if isinstance(url, str) else url
        raise UsageError(f"cannot connect to {named!r}: a URL begins with {', '.join(s + '://' for s in SCHEMES)}")
    if place_of(url) is not None:
        return url
    parts = urlsplit(url)
    if parts.scheme in ("redis", "rediss") and not re.fullmatch(r"/?\d*", parts.path):
        raise UsageError(f"cannot connect to {shown(url)!r}: behind the host stands the number of a database, as in /0")
    return url


def settings_of(url: str, options: dict[str, Any]) -> tuple[dict[str, Any], embedded.EmbeddedServer | None]:
    """Keyword arguments for redis-py's connections; the embedded server that has to be released after use, if any."""
    is_one = place_of(url) is None  # of several another one may take over: less patience
    settings: dict[str, Any] = {
        "socket_timeout": 10.0 if is_one else 5.0,
        "socket_connect_timeout": 5.0 if is_one else 3.0,
        "socket_keepalive": True,
        "protocol": 2,
        **options,
        "decode_responses": False,
    }
    if "max_connections" in options or "max_connections" in dict(parse_qsl(url.partition("?")[2])):
        raise UsageError("max_connections is not an option: each thread that calls has one connection, no more")
    scheme = url.partition("://")[0]
    if scheme in ("embedded", "unix"):
        settings.pop("socket_keepalive")
    if scheme != "embedded":
        return settings, None
    try:
        server = embedded.acquire(url)
    except ValueError as e:
        raise UsageError(str(e)) from e
    return {**settings, **server.redis_kwargs()}, server


def open_pool(url: str, settings: dict[str, Any], pool: type[Any], unix_connection: type[Any]) -> Any:
    """A redis-py pool of either colour, only used to make connections."""
    try:
        if url.startswith("embedded:"):
            made = pool(connection_class=unix_connection, **settings)
        else:
            made = pool.from_url(url, **settings)
        made.make_connection()  # not connected yet: tells whether the options exist
    except (ValueError, TypeError) as e:
        raise UsageError(f"cannot connect to {shown(url)!r}: {e}") from e
    return made


def check_version(reply: bytes | redis.exceptions.ResponseError, where: str) -> None:
    """Judge a server by its answer to INFO server. An ACL that forbids INFO is respected.

    Raises:
        ServerTooOld: it cannot run the scripts.
        ServerError: it answered with an error that we know.
    """
    if isinstance(reply, redis.exceptions.ResponseError):
        known = None
        if not isinstance(reply, redis.exceptions.NoPermissionError):
            known = failures.server(reply, sent=False, where=where)
        if known is not None:
            raise known from reply
        return
    found = dict(line.split(":", 1) for line in reply.decode().splitlines() if ":" in line)
    name = "valkey" if "valkey_version" in found else "redis"
    version = found.get(f"{name}_version", "")
    numbers = tuple(int(n) for n in version.split(".")[:2] if n.isdigit())
    if numbers and numbers < OLDEST[name]:
        raise ServerTooOld(f"{where} is {name} {version}; rqsqs needs Redis 7.0 or Valkey 7.2 or newer")
