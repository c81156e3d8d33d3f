"""Where servers are: what the forms of a URL mean, and what Sentinels and clusters tell about it. No I/O."""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from redis.crc import key_slot

from rqsqs.errors import UsageError

SLOTS = 16_384
DEFAULT_PORTS = {"cluster": 6379, "sentinel": 26_379}


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
        """The URL of one server."""
        query = f"?{self.query}" if self.query else ""
        return f"{self.scheme}://{self.login}{address}/{self.db}{query}"


def place_of(url: str) -> Place | None:
    """Read redis+cluster://HOST:PORT,HOST:PORT and redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB (also rediss+...);
    None for the URL of one server.

    Raises:
        UsageError.
    """
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    if not kind:
        return None
    login, at, hosts = parts.netloc.rpartition("@")
    path = [part for part in parts.path.split("/") if part]
    shown = re.sub(r":[^:@/]*@", ":***@", url)
    if kind == "cluster":
        service, numbers = "", path
        if path not in ([], ["0"]):
            raise UsageError(f"cannot connect to {shown!r}: a cluster has database 0 only")
    else:
        service, numbers = (path[0], path[1:]) if path else ("", [])
        if not service:
            raise UsageError(
                f"cannot connect to {shown!r}: behind the hosts stands the name of the master, as in /mymaster"
            )
    if len(numbers) > 1 or not all(n.isdigit() for n in numbers):
        raise UsageError(f"cannot connect to {shown!r}: the number of a database comes last, as in /0")
    seeds = tuple(_address(host, DEFAULT_PORTS[kind], shown) for host in hosts.split(",") if host)
    if not seeds:
        raise UsageError(f"cannot connect to {shown!r}: name one host at least")
    return Place(kind, scheme, login + at, seeds, service, int(numbers[0]) if numbers else 0, parts.query)


def _address(text: str, default: int, shown: str) -> Address:
    match = re.fullmatch(r"(\[[^\]]+\]|[^:\[\]]+)(?::(\d{1,5}))?", text)
    if match is None or int(match[2] or default) > 65_535:
        raise UsageError(f"cannot connect to {shown!r}: {text!r} is not HOST or HOST:PORT")
    return Address(match[1].strip("[]"), int(match[2] or default))


@functools.lru_cache(maxsize=20_000)
def slot_of(key: str) -> int:
    """The hash slot of a key."""
    return int(key_slot(key.encode()))


class SlotMap:
    """Which server has which slot of a cluster."""

    def __init__(self) -> None:
        self.owners: list[Address | None] = [None] * SLOTS

    def learn(self, reply: Sequence[Any], asked: Address) -> None:
        """Take over the answer to CLUSTER SLOTS of the server `asked`."""
        owners: list[Address | None] = [None] * SLOTS
        for first, last, master, *_replicas in reply:
            host = master[0].decode() if master[0] else ""
            address = Address(host if host not in ("", "?") else asked.host, int(master[1]))
            for slot in range(first, last + 1):
                owners[slot] = address
        self.owners = owners

    @property
    def is_complete(self) -> bool:
        """Is there an owner for every slot?"""
        return None not in self.owners

    def addresses(self) -> list[Address]:
        """All masters."""
        return list(dict.fromkeys(a for a in self.owners if a is not None))
