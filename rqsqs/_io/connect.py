"""From a URL to redis-py connections."""

from __future__ import annotations

import os
import re
import ssl
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlsplit

from redis.connection import URL_QUERY_ARGUMENT_PARSERS, ConnectionPool
from redis.exceptions import RedisError

from rqsqs._io import connect_timeout, defaults, protocol, tuning
from rqsqs._io.urls import SCHEMES as SCHEMES
from rqsqs._io.urls import checked, place_of, refusal
from rqsqs._io.urls import shown as shown
from rqsqs._text import printable
from rqsqs.errors import UsageError

if TYPE_CHECKING:
    from rqsqs import embedded

# redis-py looks its own version up for each connection, and tells it with two more round trips, which old servers and
# most ACLs refuse.
NAMING = {"driver_info", "lib_name", "lib_version"}
TEXTS = {"username", "password", "client_name", "path", "protocol", *NAMING - {"driver_info"}}  # as URLs may have them
LONGEST_S = 1_000_000_000
UNNAMED = dict.fromkeys(["driver_info"] if find_spec("redis.driver_info") else ["lib_name", "lib_version"])
OCSP = re.compile(r"ssl_\w*ocsp\w*")


def resolve(url: str | None) -> str:
    """The URL to use: the one given, else RQSQS_URL, else what is in the file RQSQS_URL_FILE, else localhost.

    Raises:
        UsageError: it is not written as a URL has to be.
    """
    if url is None:
        url = defaults.url()
    url = checked(url)
    if place_of(url) is not None:
        return url
    parts = urlsplit(url)
    if parts.scheme in ("redis", "rediss") and not re.fullmatch(r"/?\d*", parts.path):
        raise UsageError(f"{refusal(url)}the host must be followed by the number of a database, as in /0")
    return url


def settings_of(url: str, options: dict[str, Any]) -> tuple[dict[str, Any], embedded.EmbeddedServer | None]:
    """Keyword arguments for redis-py's connections; the embedded server that has to be released after use, if any."""
    place = place_of(url)
    is_one = place is None  # with several servers another one may take over: shorter timeouts
    settings: dict[str, Any] = {
        "socket_timeout": 10.0 if is_one else 5.0,
        "socket_connect_timeout": tuning.OPENING_S
        if place is None
        else min(3.0, max(0.8, tuning.OPENING_S / len(place.seeds))),
        "socket_keepalive": True,
        "protocol": 2,
        **({} if NAMING & {*options, *dict(parse_qsl(url.partition("?")[2]))} else UNNAMED),
        **options,
        "decode_responses": False,
    }
    if "max_connections" in options or "max_connections" in dict(parse_qsl(url.partition("?")[2])):
        raise UsageError("max_connections must be left out: a process has at most 8 to a server, without Durability")
    if place is not None:  # Sentinels are not asked for a database
        try:
            _check_database(dict(parse_qsl(place.query)).get("db", options.get("db", 0)))
        except ValueError as e:
            raise UsageError(f"{refusal(url)}{e}") from None
    scheme = url.partition("://")[0]
    if scheme in ("embedded", "unix"):
        settings.pop("socket_keepalive")
    if scheme != "embedded":
        return settings, None
    from rqsqs import embedded

    try:
        server = embedded.acquire(url)
    except ValueError as e:
        named = "the environment variable RQSQS_URL: " if url == os.environ.get("RQSQS_URL") else ""
        raise UsageError(f"{named}{printable(str(e))}") from None
    return {**settings, **server.redis_kwargs()}, server


def opening_s(settings: dict[str, Any]) -> float | None:
    """Seconds that a server which has not answered yet has for everything: connection, TLS, login and first answer."""
    given = [settings.get(name) for name in ("socket_connect_timeout", "socket_timeout")]
    return min((float(seconds) for seconds in given if seconds is not None), default=None)


def open_pool(url: str, settings: dict[str, Any], pool: type[Any], unix_connection: type[Any]) -> Any:
    """A redis-py pool of either variant, only used to make connections."""
    if issubclass(pool, ConnectionPool):  # asyncio has no packer in C
        settings = {**settings, "command_packer": protocol.Packer()}
    try:
        if url.startswith("embedded:"):
            made = pool(connection_class=unix_connection, **settings)
        else:
            for name in (*settings, *dict(parse_qsl(url.partition("?")[2]))):
                if OCSP.fullmatch(name):
                    raise ValueError(f"{name} is not an option: certificates are checked without OCSP")
            for name, _ in parse_qsl(url.partition("?")[2]):
                if name not in URL_QUERY_ARGUMENT_PARSERS and name not in TEXTS and not name.startswith("ssl_"):
                    raise ValueError(f"{name} is not an option that a URL can have")
            made = pool.from_url(url, **settings)
        made.connection_class = connect_timeout.limited(
            made.connection_class, is_async=not issubclass(pool, ConnectionPool)
        )
        _check(made.connection_kwargs)
        made.make_connection()  # not connected yet: tells whether the options exist
    except (ValueError, TypeError, RedisError) as e:  # RedisError: of ssl_cert_reqs
        text = str(e)
    else:
        return made
    unknown = re.search(r"unexpected keyword argument '(\w+)'", text)
    text = f"{unknown[1]} is not an option of connections" if unknown else text
    raise UsageError(f"{refusal(url)}{text}")  # without a cause: that may quote what is wrong


def _check_database(number: object) -> None:
    if not re.fullmatch(r"\d{1,9}", str(number)):
        raise ValueError(f"db must be the number of a database, 0 or more, got {number!s:.80}")


def _check(options: dict[str, Any]) -> None:
    """Refuse values at which redis-py would fail later, and not say why."""
    for name in ("socket_timeout", "socket_connect_timeout"):
        seconds = options.get(name)
        if seconds is not None and not (isinstance(seconds, (int, float)) and 0 < seconds <= LONGEST_S):
            raise ValueError(f"{name} must be more than 0 and up to {LONGEST_S:,} seconds, got {seconds!r:.80}")
    _check_database(options.get("db", 0))
    size = options.get("socket_read_size")
    if size is not None and not (isinstance(size, int) and 0 < size < 2**31):
        raise ValueError(f"socket_read_size must be 1 to {2**31 - 1:,} bytes, got {size!r:.80}")
    version = options.get("ssl_min_version")
    if version is not None:
        ssl.TLSVersion(version)
    for name, value in options.items():
        if (name in ("path", "host") or name.startswith("ssl_")) and isinstance(value, str) and "\0" in value:
            raise ValueError(f"{name} must have no NUL characters")
    host = options.get("host")
    if isinstance(host, str):
        try:
            host.encode("idna")  # as sockets do, which say it in the middle of a call
        except UnicodeError:
            raise ValueError(f"{host!r:.80} cannot be the name of a host") from None
    protocol = options.get("protocol", 2)
    if str(protocol) not in ("2", "3"):
        raise ValueError(f"protocol must be 2 or 3, got {protocol!r:.80}")
    client = options.get("client_name")
    if client is not None and not (isinstance(client, str) and re.fullmatch("[!-~]*", client)):
        raise ValueError(f"client_name must be a str of visible ASCII characters without blanks, got {client!r:.80}")
