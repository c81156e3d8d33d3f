"""Checks of a server by what it says of itself: can it run the scripts, and can its settings cost messages?

The first connection asks in one round trip, and warns on the logger `rqsqs.server`, once per process and server;
`rqsqs doctor` shows the same findings, and more. A server that refuses to answer is not blamed for that.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import redis.exceptions as rx

from rqsqs._core.envelope import FORMAT
from rqsqs._io import error_mapping, protocol
from rqsqs._io.defaults import TITLE
from rqsqs.errors import FormatNewer, ServerTooOld

log = logging.getLogger("rqsqs.server")

OLDEST = {"redis": (7, 0), "valkey": (7, 2)}
QUESTIONS = (protocol.command("INFO"), protocol.command("CONFIG", "GET", "appendfsync", "save", "proc-title-template"))

_said: dict[tuple[str, str], object] = {}  # what, about which server: by its run id


@dataclass(frozen=True)
class Finding:
    """What a check found. Level: ok, warn, fail, or skip when the server refuses to tell."""

    check: str
    level: str
    text: str
    advice: str = ""

    @property
    def sentence(self) -> str:
        return f"{self.text}; {self.advice}"


class ServerInfo(NamedTuple):
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


def format_words(key: str) -> tuple[str, ...]:
    """The command that enters the format that we write, unless one is there, and tells what was there."""
    return "SET", key, str(FORMAT), "NX", "GET"


def check_formats(where: str, keys: Sequence[str], replies: Sequence[Any]) -> None:
    """Check the replies to format_words(). A server that refuses to tell is not asked again: it may be full, a replica,
    or not have the key. Envelopes have a format too.

    Raises:
        FormatNewer: a newer version wrote what is stored.
    """
    for key, found in zip(keys, replies, strict=True):
        if isinstance(found, bytes) and found.isdigit() and int(found) > FORMAT:
            raise FormatNewer(
                f"what is stored below {key.partition(':{')[0]!r} at {where} has format {int(found)}, this version of "
                f"rqsqs reads formats up to {FORMAT}: run a newer one (see docs/upgrading.md)"
            )


def check(where: str, info: Any, config: Any) -> ServerInfo:
    """Check a server by its answers to QUESTIONS, each a reply or an exception.

    Warns of what can cost messages, unless it is an embedded server: memory was chosen knowingly there.

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
        return ServerInfo(where, where, True, 0)
    fields = dict(line.split(":", 1) for line in info.decode(errors="replace").splitlines() if ":" in line)
    found = version(fields)
    if found.level == "fail":
        raise ServerTooOld(f"{where}: {found.sentence}")
    is_master = fields.get("role") != "slave"
    replicas = int(fields.get("connected_slaves", 0)) if is_master else 0
    server = ServerInfo(where, fields.get("run_id", where), is_master, replicas)
    settings = _settings(config)
    if is_master and settings.get("proc-title-template") != TITLE:
        warn(server, eviction(fields))
        if settings and (settings.get("save") == "" or fields.get("aof_enabled") == "1"):  # not of snapshots, a default
            warn(server, persistence(fields, settings))
    return server


def _settings(config: Any) -> dict[str, str]:
    """Names and values; none if it does not tell."""
    if isinstance(config, list):
        config = dict(zip(config[::2], config[1::2], strict=True))
    if not isinstance(config, dict):
        return {}
    return {name.decode(): value.decode() for name, value in config.items()}


def version(info: Mapping[str, Any]) -> Finding:
    """Kind and version. A server that does not tell its version may be new enough."""
    kind = "valkey" if "valkey_version" in info else "redis"
    number = str(info.get(f"{kind}_version", "?"))
    found = tuple(int(part) for part in number.split(".")[:2] if part.isdigit())
    text = f"the server is {kind.title()} {number}"
    if not found or found >= OLDEST[kind]:
        return Finding("version", "ok", text)
    advice = "update it, set RQSQS_URL to another server, or have your own with RQSQS_URL=embedded://~"
    advice = f"rqsqs needs Redis 7.0 or Valkey 7.2 or newer: {advice}"
    return Finding("version", "fail", f"{text}, too old", advice)


def eviction(info: Mapping[str, Any]) -> Finding:
    """May the server throw keys away?"""
    policy = info.get("maxmemory_policy", "noeviction")
    if policy == "noeviction":
        return Finding("eviction", "ok", "maxmemory-policy is noeviction: no message is thrown away")
    advice = "set maxmemory-policy to noeviction, in its configuration file as well, and keep caches on another server"
    return Finding("eviction", "fail", f"maxmemory-policy is {policy}: full memory would cost messages", advice)


def persistence(info: Mapping[str, Any], settings: Mapping[str, str | None]) -> Finding:
    """What would a crash of the server cost?

    Args:
        settings: appendfsync and save, as far as it tells them.
    """
    if int(info.get("aof_enabled", 0)):
        fsync = settings.get("appendfsync")
        text = f"append-only file with appendfsync {fsync or '(not told)'}"
        if fsync == "always":
            return Finding("persistence", "ok", f"{text}: a crash costs nothing that was sent")
        if fsync == "everysec":
            advice = "appendfsync always loses nothing, and is slower"
            return Finding("persistence", "ok", f"{text}: a crash may cost the last second", advice)
        level, advice = "warn" if fsync == "no" else "ok", "set appendfsync to everysec or always"
        return Finding("persistence", level, f"{text}: a crash may cost seconds", advice)
    saves = settings.get("save")
    if saves is None:
        text = "no append-only file; whether there are snapshots is not told"
    elif saves:
        text = f"snapshots only: a crash costs everything since the last one (save {saves})"
    else:
        text = "in memory only: the queues are gone when the server ends"
    return Finding("persistence", "warn", text, "set appendonly to yes; appendfsync always loses nothing")


def unawaited(replicas: int) -> Finding:
    """There are replicas, and sends do not wait for them."""
    copies, them = ("1 replica", "it") if replicas == 1 else (f"{replicas} replicas", "them")
    text = f"{copies}, and sends do not wait for {them}: a failover can cost messages that were acknowledged"
    return Finding("replication", "warn", text, "connect with durability=rqsqs.Durability(replicas=1)")


def warn(server: ServerInfo, finding: Finding) -> None:
    """Say it once per process and server."""
    mine = object()
    if finding.level != "ok" and _said.setdefault((server.run_id, finding.text), mine) is mine:  # one thread says it
        log.warning("%s: %s", server.where, finding.sentence)
