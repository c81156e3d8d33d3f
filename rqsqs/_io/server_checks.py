"""What a server is asked at the first connection, and what its answers mean: can it run the scripts, and what do its
settings cost? The questions go with each other in one round trip; what a server refuses to tell is not held against it.

Warnings go to the logger `rqsqs.server`, each once per process and server.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import redis.exceptions as rx

from rqsqs._core.operation import Operation
from rqsqs._core.records import FORMAT
from rqsqs._io import error_mapping, protocol
from rqsqs._io.defaults import TITLE
from rqsqs.errors import FormatNewer, ServerTooOld

log = logging.getLogger("rqsqs.server")

OLDEST = {"redis": (7, 0), "valkey": (7, 2)}
QUESTIONS = protocol.command("INFO") + protocol.command("CONFIG", "GET", "appendfsync", "save", "proc-title-template")
MOST_LOOKED = 1000
SENDS = frozenset({"send_message", "send_message_fifo"})

_said: dict[tuple[str, str], object] = {}  # what, about which server: by its run id


class Told(NamedTuple):
    """What a server said of itself.

    Attributes:
        where: the server, for messages.
        run_id: which process that is.
        is_master: it takes writes.
        replicas: attached to it.
    """

    where: str
    run_id: str
    is_master: bool
    replicas: int


def format_question(key: str) -> bytes:
    """Enter the format that we write, unless somebody entered one."""
    return protocol.command(*format_words(key))


def format_words(key: str) -> tuple[str, ...]:
    """The same, not packed."""
    return "SET", key, str(FORMAT), "NX", "GET"


class Looked:
    """The keys of formats that a server was asked for; the last thousand of them."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Another server may be there."""
        self._keys: dict[str, None] = {}

    def missing(self, keys: Iterable[str]) -> list[str]:
        """Those that it was not asked for."""
        return sorted(key for key in keys if key not in self._keys)

    def add(self, keys: Iterable[str]) -> None:
        """It was asked for these."""
        known = self._keys | dict.fromkeys(keys)
        self._keys = dict.fromkeys(list(known)[-MOST_LOOKED:])


def judge_formats(where: str, keys: Sequence[str], replies: Sequence[Any]) -> None:
    """Judge the answers to format_question(): nothing, if it was entered, or what is there. A server that refuses to
    tell, as it is full, a replica or not the one of a cluster that has the key, is not asked again: records have a
    format, too.

    Raises:
        FormatNewer: a newer version was here.
    """
    for key, found in zip(keys, replies, strict=True):
        if isinstance(found, bytes) and found.isdigit() and int(found) > FORMAT:
            raise FormatNewer(
                f"what is stored below {key.partition(':{')[0]!r} at {where} has format {int(found)}, this version of "
                f"rqsqs reads formats up to {FORMAT}: run a newer one (see docs/upgrading.md)"
            )


def judge(where: str, info: Any, config: Any) -> Told:
    """Judge a server by its answers to QUESTIONS, each a reply or an exception.

    Warns of what can cost messages, unless it is an embedded server: that in memory was chosen knowingly.

    Raises:
        ServerTooOld: it cannot run the scripts.
        ServerError: it answered with an error that we know.
    """
    if isinstance(info, Exception):
        known = None
        if not isinstance(info, rx.NoPermissionError):
            known = error_mapping.server(info, sent=False, where=where)
        if known is not None:
            raise known from info
        return Told(where, where, True, 0)
    _check_version(where, info)
    is_master = _field(info, "role") != "slave"
    replicas = int(_field(info, "connected_slaves") or 0) if is_master else 0
    told = Told(where, _field(info, "run_id") or where, is_master, replicas)
    settings = _settings(config)
    if is_master and settings.get("proc-title-template") != TITLE:
        _warn_of_eviction(told, _field(info, "maxmemory_policy"))
        _warn_of_persistence(told, _field(info, "aof_enabled"), settings)
    return told


def _field(info: bytes, name: str) -> str:
    """Of INFO; "" if there is none of this name."""
    return info.partition(f"\n{name}:".encode())[2].partition(b"\r")[0].decode()


def _check_version(where: str, info: bytes) -> None:
    name = "valkey" if _field(info, "valkey_version") else "redis"
    version = _field(info, f"{name}_version")
    numbers = tuple(int(n) for n in version.split(".")[:2] if n.isdigit())
    if numbers and numbers < OLDEST[name]:
        raise ServerTooOld(
            f"{where} is {name} {version}; rqsqs needs Redis 7.0 or Valkey 7.2 or newer: update it, set RQSQS_URL to "
            "another server, or have your own with RQSQS_URL=embedded://~"
        )


def _settings(config: Any) -> dict[str, str]:
    """Names and values; none if it does not tell."""
    if isinstance(config, list):
        config = dict(zip(config[::2], config[1::2], strict=True))
    if not isinstance(config, dict):
        return {}
    return {name.decode(): value.decode() for name, value in config.items()}


def _warn_of_eviction(told: Told, policy: str) -> None:
    if policy not in ("", "noeviction"):
        _warn(
            told,
            f"maxmemory-policy is {policy}: when its memory is full it throws away what queues are made of; set "
            "maxmemory-policy to noeviction",
        )


def _warn_of_persistence(told: Told, aof: str, settings: dict[str, str]) -> None:
    if aof == "0" and settings.get("save") == "":
        _warn(told, "it keeps queues in memory only: they are gone when it ends; set appendonly to yes")
    elif aof == "1" and settings.get("appendfsync") == "no":
        _warn(
            told,
            "appendfsync is no: the death of its machine can cost many seconds of messages; set appendfsync to "
            "everysec or always",
        )


def is_unsafe(operation: Operation) -> bool:
    """Does it send messages without a word about replicas?"""
    return operation.durability is None and operation.script in SENDS


def warn_of_replicas(told: Told) -> None:
    """A send did not wait for the replicas that there are."""
    _warn(
        told,
        f"it has {told.replicas} replica{'s' if told.replicas > 1 else ''} and sends do not wait for "
        f"{'them' if told.replicas > 1 else 'it'}: a failover can cost messages that were acknowledged; connect with "
        "durability=rqsqs.Durability(replicas=1)",
    )


def _warn(told: Told, what: str) -> None:
    mine = object()
    if _said.setdefault((told.run_id, what), mine) is mine:  # one thread says it
        log.warning("%s: %s", told.where, what)
