"""URLs of servers: how they are written, what they mean, and how they are shown, which is without passwords.

Imports nothing heavy.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple
from urllib.parse import urlsplit

from rqsqs._text import printable
from rqsqs.errors import UsageError

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
DEFAULT_PORTS = {"cluster": 6379, "sentinel": 26_379}
_SECRET = re.compile(r"([?&][^=&]*(?:pass|pwd|secret|token|key|credential)[^=&]*=)[^&]*", re.IGNORECASE)
_NO_SECRET = re.compile(r"[?&]ssl_keyfile=[^&]*")
_FIRST = re.compile(r"[a-z+]+://[^/?#]*", re.DOTALL)
_HOST = r"(?:\[[0-9A-Fa-f:.]+(?:%[\w.]+)?\]|[^\s:/?#@,\[\]]*)(?::\d{1,5})?"
_HOSTS = {
    True: (re.compile(_HOST), "HOST or HOST:PORT"),
    False: (re.compile(rf"{_HOST}(?:,{_HOST})*"), "HOST:PORT,HOST:PORT"),
}
_FORM = re.compile(r"(rediss?)\+(cluster|sentinel)://((?:[^/?#]*@)?)([^/?#@]*)(/[^?#]*)?(?:\?(.*))?")
QUOTING = "write it percent-encoded, as urllib.parse.quote(password, safe='') returns it"


def shown(url: str) -> str:
    """A URL for messages: without login, and without secrets among its options. In a wrong URL any part may be the
    password, so everything up to the last @ is hidden."""
    head, at, tail = url.rpartition("@")
    if at:
        scheme, slashes, _ = head.partition("://")
        is_option = _SECRET.search(head) is not None  # its value goes on behind the @
        head = f"{scheme}://***" if slashes and scheme.isascii() and scheme.replace("+", "").isalnum() else "***"
        tail = re.sub(r"[^&]*", "***", tail, count=1) if is_option else tail
        url = head + at + tail
    elif re.match(r"\w[\w+]*://[^/?#]*:(?!\d{1,5}(?:[/?,]|$))[^/?#\]]", url):  # :PASSWORD, and the host was forgotten
        url = re.sub(r"(://[^:/?#]*:).*", r"\1***", url, count=1, flags=re.DOTALL)
    return printable(_SECRET.sub(lambda match: match[0] if _NO_SECRET.match(match[0]) else match[1] + "***", url))


def has_secret(url: str) -> bool:
    """Does it hold a password?"""
    login = url.rpartition("@")[0].partition("://")[2]
    return ":" in login or any(not _NO_SECRET.match(found[0]) for found in _SECRET.finditer(url))


def refusal(url: str) -> str:
    """How an error about a URL begins: with the environment variable, if the URL comes from there."""
    name = " of the environment variable RQSQS_URL" if url == os.environ.get("RQSQS_URL") else ""
    return f"cannot connect to {shown(url)!r}{name}: "


def checked(url: object) -> str:
    """The URL, if it can be one.

    Raises:
        UsageError: it cannot; the error says how it has to be written, and no password.
    """
    if not isinstance(url, str):
        raise UsageError(f"url must be a str such as redis://localhost:6379/0, got a value of {type(url).__name__}")
    refused = refusal(url)
    scheme, _, rest = url.partition("://")
    if scheme not in SCHEMES or not _:
        raise UsageError(f"{refused}a URL begins with {', '.join(s + '://' for s in SCHEMES)}")
    if scheme == "embedded":
        return url
    if re.search(r"[\x00-\x1f\x7f]", url):
        raise UsageError(f"{refused}it must have no control characters; if one is part of the password, {QUOTING}")
    if "#" in rest:
        raise UsageError(f"{refused}it must have no #; if that is part of the password, {QUOTING}")
    end = _FIRST.match(url)
    assert end is not None
    if "@" in url[end.end() :]:
        what = f"it must have no {url[end.end()]} before the @"
        raise UsageError(f"{refused}{what}; if it is part of the password, {QUOTING} (an @ in an option is %40)")
    try:
        urlsplit(url)
        is_odd = False
    except ValueError:
        is_odd = True
    if is_odd:  # without a cause, which quotes it
        what = "its host must be a name or an address, with brackets around an IPv6 address only"
        raise UsageError(f"{refused}{what}; if they are part of the password, {QUOTING}")
    if scheme != "unix":
        form, words = _HOSTS["+" not in scheme]
        hosts = url[len(scheme) + 3 : end.end()].rpartition("@")[2]
        if form.fullmatch(hosts) is None or any(int(port) > 65_535 for port in re.findall(r":(\d{1,5})(?:,|$)", hosts)):
            raise UsageError(f"{refused}{scheme}:// and a login must be followed by {words}, with a PORT up to 65535")
    return url


class Address(NamedTuple):
    """Of a server."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


class Place(NamedTuple):
    """What a URL of several servers says.

    Attributes:
        kind: "cluster" or "sentinel".
        scheme: redis or rediss.
        login: `user:password@`, or "".
        seeds: where to ask.
        service: sentinel: the name of the master.
        db: number of the database.
        query: the options behind the question mark.
    """

    kind: str
    scheme: str
    login: str
    seeds: tuple[Address, ...]
    service: str
    db: int
    query: str

    def url(self, address: Address) -> str:
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{self.login}{address}/{self.db}{query}"

    def __str__(self) -> str:
        return ", ".join(map(str, self.seeds))


def place_of(url: str) -> Place | None:
    """Read redis+cluster://HOST:PORT,HOST:PORT and redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB (also rediss+...);
    None for the URL of one server.

    Raises:
        UsageError.
    """
    if "+" not in url.partition("://")[0]:
        return None
    refused = refusal(url)
    match = _FORM.fullmatch(url)
    if match is None:
        raise UsageError(
            f"{refused}it must be redis+cluster://HOST:PORT,HOST:PORT or redis+sentinel://HOST:PORT/SERVICE/DB"
        )
    scheme, kind, login, hosts, path, query = match.groups(default="")
    names = [name for name in path.split("/") if name]
    service = ""
    if kind == "cluster":
        if names not in ([], ["0"]) or re.search(r"(^|&)db=", query):
            raise UsageError(f"{refused}the database of a cluster must be 0")
    else:
        if not names:
            raise UsageError(f"{refused}the hosts must be followed by the name of the master, as in /mymaster")
        service = names.pop(0)
    if len(names) > 1 or not all(name.isdigit() for name in names):
        raise UsageError(f"{refused}the path must end with the number of a database, as in /0")
    seeds = tuple(_address(host, DEFAULT_PORTS[kind], refused) for host in hosts.split(",") if host)
    if not seeds:
        raise UsageError(f"{refused}it must name at least one host")
    return Place(kind, scheme, login, seeds, service, int(names[0]) if names else 0, query)


def _address(text: str, default: int, refused: str) -> Address:
    match = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]+)(?::(\d{1,5}))?", text)
    if match is None or int(match[2] or default) > 65_535:
        raise UsageError(f"{refused}each server must be HOST or HOST:PORT, got {text!r}")
    return Address(match[1].strip("[]"), int(match[2] or default))
