"""Which of several servers has a key, as Sentinels and clusters tell it. No I/O."""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Generator, Sequence
from typing import Any
from urllib.parse import parse_qsl, urlencode

import redis.exceptions as rx
from redis.crc import key_slot

from rqsqs._io import error_mapping, protocol
from rqsqs._io.urls import Address, Place
from rqsqs.errors import RqsqsError, UsageError

SLOTS = 16_384
SILENT_S = 30.0  # a server that did not answer is asked last for this time


@functools.lru_cache(maxsize=20_000)
def slot_of(key: str) -> int:
    return int(key_slot(key.encode()))


def by_slot(keys: Sequence[str]) -> list[tuple[str, ...]]:
    """Keys that one command can name: those of one slot."""
    found: dict[int, tuple[str, ...]] = {}
    for key in keys:
        found[slot_of(key)] = (*found.get(slot_of(key), ()), key)
    return list(found.values())


class Directory:
    """Which of several servers has a key, as far as it is known, and how to learn more.

    Attributes:
        question: the command that is sent to find out.
        error: why a key has no owner.
    """

    question: tuple[str, ...]

    def __init__(self, place: Place) -> None:
        self.place = place
        self.error: Exception = rx.ConnectionError(f"none of {place} answers")
        self._asked_at: dict[Address, float] = {}
        self._reasons: list[str] = []  # why the servers asked now did not answer

    def access(self, address: Address, settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The URL of a server, and the settings for its connections."""
        return self.place.url(address), settings

    def owner(self, key: str) -> Address | None:
        """The server that has a key."""
        raise NotImplementedError

    def masters(self) -> list[Address]:
        """All servers that have keys."""
        raise NotImplementedError

    def slots(self, address: Address) -> tuple[tuple[int, int], ...]:
        """The hash slots of a master of a cluster: first and last of each range."""
        return ()

    def addresses(self) -> list[Address]:
        """All servers that may be asked for anything."""
        return list(dict.fromkeys((*self.masters(), *self.place.seeds)))

    def refresh(self, until: float | None = None) -> Generator[Address, Any, None]:
        """Ask one server after another until one answers: yields whom to ask, is sent the reply or the exception.

        Each server has its turn, and one that was silent comes last.

        Args:
            until: no further server is asked then, by time.monotonic().
        """
        self.error, self._reasons = rx.ConnectionError(f"none of {self.place} answers"), []
        self._asked_at = {address: self._asked_at.get(address, 0.0) for address in self._candidates()}
        for number, address in enumerate(sorted(self._asked_at, key=self._asked_at.__getitem__)):
            if number and until is not None and time.monotonic() >= until:
                return
            reply = yield address
            if isinstance(reply, Exception):
                self._fail(address, reply)
            elif self.learn(address, reply):
                return

    def learn(self, asked: Address, reply: Any) -> bool:
        """Take over an answer. False if it is of no use."""
        self._asked_at[asked] = time.monotonic()
        return self._read(asked, reply)

    def _candidates(self) -> Sequence[Address]:
        return self.addresses()

    def _read(self, asked: Address, reply: Any) -> bool:
        raise NotImplementedError

    def _fail(self, asked: Address, error: Exception) -> None:
        self._asked_at[asked] = time.monotonic() + SILENT_S
        known = error if isinstance(error, RqsqsError) else error_mapping.server(error, sent=False, where=str(asked))
        if isinstance(error, rx.ResponseError) and known is None:
            known = UsageError(f"{asked} is no {self.place.kind} ({error}): the URL of a single server begins redis://")
        if isinstance(error, rx.ResponseError | rx.AuthenticationError | RqsqsError):
            self.error = known or error
        elif isinstance(self.error, rx.ConnectionError | protocol.NoAnswer):
            is_silent = isinstance(error, rx.TimeoutError)
            text = "no answer in time" if is_silent else error_mapping.reason_of(error)
            kind = protocol.NoAnswer if is_silent else rx.ConnectionError
            self._reasons.append(f"{asked}: {text}")
            self.error = kind(f"none of {self.place} answers; {'; '.join(self._reasons)}")

    def moved(self, key: str, error: rx.MovedError, asked: str) -> None:
        """A server, `asked`, said which one has the slot of a key."""


class ClusterDirectory(Directory):
    """Of a cluster: each hash slot has a master."""

    question = ("CLUSTER", "SLOTS")

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self._owners: list[Address | None] = [None] * SLOTS
        self._masters: list[Address] = []

    def owner(self, key: str) -> Address | None:
        return self._owners[slot_of(key)]

    def masters(self) -> list[Address]:
        return self._masters

    def slots(self, address: Address) -> tuple[tuple[int, int], ...]:
        runs = itertools.groupby(range(SLOTS), key=lambda slot: self._owners[slot] == address)
        ranges = [tuple(slots) for is_its, slots in runs if is_its]
        return tuple((slots[0], slots[-1]) for slots in ranges)

    def _read(self, asked: Address, reply: Any) -> bool:
        owners: list[Address | None] = [None] * SLOTS
        for first, last, master, *_replicas in reply:
            owners[first : last + 1] = [_named(master[0] or b"", int(master[1]), asked.host)] * (last + 1 - first)
        if None in owners:
            self.error = rx.ClusterDownError(f"{asked} knows no master of this hash slot")
        if reply:
            self._owners = owners
            self._masters = [address for address in dict.fromkeys(owners) if address is not None]
        return bool(reply)

    def moved(self, key: str, error: rx.MovedError, asked: str) -> None:
        """Other slots may have moved too; that is found out one by one, or by asking."""
        self._owners[slot_of(key)] = owner = _named(error.host.encode(), error.port, asked)
        self._masters = list(dict.fromkeys((*self._masters, owner)))


def _named(host: bytes, port: int, asked: str) -> Address:
    """A server whose host is not told has the one of the server that was asked."""
    name = host.decode()
    return Address(asked if name in ("", "?") else name, port)


class SentinelDirectory(Directory):
    """Of Sentinels that watch over a master. They have a login of their own, or none: sentinel_username and
    sentinel_password among the options."""

    def __init__(self, place: Place) -> None:
        super().__init__(place)
        self.question = ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", place.service)
        self._master: Address | None = None

    def access(self, address: Address, settings: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The URL of the master or a Sentinel, and the settings for its connections."""
        given = (*settings.items(), *parse_qsl(self.place.query))
        theirs = {name.removeprefix("sentinel_"): value for name, value in given if name.startswith("sentinel_")}
        others = {f"sentinel_{name}" for name in theirs}
        place = self.place
        if address in place.seeds:
            others |= {"username", "password", "credential_provider", "db"}
            place = place._replace(login="", db=0)
        else:
            theirs = {}
        settings = {**{name: value for name, value in settings.items() if name not in others}, **theirs}
        query = urlencode([(name, value) for name, value in parse_qsl(place.query) if name not in others])
        return place._replace(query=query).url(address), settings

    def owner(self, key: str) -> Address | None:
        return self._master

    def masters(self) -> list[Address]:
        return [] if self._master is None else [self._master]

    def _candidates(self) -> Sequence[Address]:
        return self.place.seeds

    def _read(self, asked: Address, reply: Any) -> bool:
        if not reply:
            name, advice = self.place.service, "the URL must name one that it monitors"
            self.error = UsageError(f"the Sentinel {asked} knows no master {name!r}: {advice}")
            return False
        self._master = Address(reply[0].decode(), int(reply[1]))
        return True


def directory_of(place: Place) -> Directory:
    return (ClusterDirectory if place.kind == "cluster" else SentinelDirectory)(place)
