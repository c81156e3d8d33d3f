"""From a URL to redis-py connections."""

from __future__ import annotations

import re
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from redis.connection import ConnectionPool

from rqsqs._io import defaults, wire
from rqsqs._io.addresses import place_of
from rqsqs._io.addresses import shown as shown
from rqsqs.errors import UsageError

if TYPE_CHECKING:
    from rqsqs import embedded

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


# redis-py looks its own version up for each connection, and tells it with two more round trips, which old servers and
# most ACLs refuse.
NAMING = {"driver_info", "lib_name", "lib_version"}
UNNAMED = dict.fromkeys(["driver_info"] if find_spec("redis.driver_info") else ["lib_name", "lib_version"])


def resolve(url: str | None) -> str:
    """The URL to use: the one given, else RQSQS_URL, else localhost.

    Raises:
        UsageError: the scheme is none of ours.
    """
    if url is None:
        url = defaults.url()
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
        **({} if NAMING & {*options, *dict(parse_qsl(url.partition("?")[2]))} else UNNAMED),
        **options,
        "decode_responses": False,
    }
    if "max_connections" in options or "max_connections" in dict(parse_qsl(url.partition("?")[2])):
        raise UsageError("max_connections is not an option: a process has at most 8 to a server, without Durability")
    scheme = url.partition("://")[0]
    if scheme in ("embedded", "unix"):
        settings.pop("socket_keepalive")
    if scheme != "embedded":
        return settings, None
    from rqsqs import embedded

    try:
        server = embedded.acquire(url)
    except ValueError as e:
        raise UsageError(str(e)) from e
    return {**settings, **server.redis_kwargs()}, server


def open_pool(url: str, settings: dict[str, Any], pool: type[Any], unix_connection: type[Any]) -> Any:
    """A redis-py pool of either colour, only used to make connections."""
    if issubclass(pool, ConnectionPool):  # asyncio has no packer in C
        settings = {**settings, "command_packer": wire.Packer()}
    try:
        if url.startswith("embedded:"):
            made = pool(connection_class=unix_connection, **settings)
        else:
            made = pool.from_url(url, **settings)
        made.make_connection()  # not connected yet: tells whether the options exist
    except (ValueError, TypeError) as e:
        raise UsageError(f"cannot connect to {shown(url)!r}: {e}") from e
    return made
