"""What a server says of itself: what it is, how full, what copies it has, and which calls were slow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from rqsqs._core import scripts
from rqsqs._core.keys import Keyspace

from .server import Server

SLOW_CALLS = 50  # of a server
SLOWLOG = "slow calls"
_WITH_SUBCOMMANDS = ("ACL", "CLIENT", "CLUSTER", "CONFIG", "FUNCTION", "LATENCY", "MEMORY", "SCRIPT", "SLOWLOG")
_SCRIPT_CALLS = ("EVALSHA", "EVALSHA_RO", "EVAL", "EVAL_RO")


@dataclass(frozen=True, slots=True)
class Replica:
    """A copy of a server.

    Attributes:
        address: HOST:PORT.
        state: as the server names it; `online` = it follows.
        behind: bytes that it has not confirmed; None = not known.
    """

    address: str
    state: str
    behind: int | None


@dataclass(frozen=True, slots=True)
class Facts:
    """A server. What it does not tell is None.

    Attributes:
        software: such as Valkey 9.1.0.
        is_replica: it takes no writes.
        up_s: seconds since it started.
        used, peak, limit, machine: bytes: memory now, the most it ever used, maxmemory (0 = not set), all memory of
            the machine.
        fragmentation: memory that the system gave, by memory that is used.
        connections, most_connections: now, and maxclients.
        blocked: connections that wait for something.
        calls_per_s: as the server counts them.
        is_append_only: whether it writes an append-only file.
        replicas: its copies.
    """

    software: str | None = None
    is_replica: bool = False
    up_s: int | None = None
    used: int | None = None
    peak: int | None = None
    limit: int | None = None
    machine: int | None = None
    fragmentation: float | None = None
    connections: int | None = None
    most_connections: int | None = None
    blocked: int | None = None
    calls_per_s: int | None = None
    is_append_only: bool | None = None
    replicas: tuple[Replica, ...] = ()

    @property
    def most(self) -> int | None:
        """Bytes that it may use at most, as far as that is known."""
        return self.limit or self.machine or None


@dataclass(frozen=True, slots=True)
class SlowCall:
    """A call that took longer than slowlog-log-slower-than. What it was about is left out: there could be bodies.

    Attributes:
        id: of the server.
        at_ms: when, epoch ms by the server's clock.
        took_ms: how long it took.
        command: its name.
        script: of rqsqs, if it was one.
        queue: whose keys it names first, if it is one of this prefix.
    """

    id: int
    at_ms: int
    took_ms: float
    command: str
    script: str = ""
    queue: str = ""


def facts_of(info: Mapping[str, Any]) -> Facts:
    """A server by its INFO."""
    kind = "valkey" if "valkey_version" in info else "redis"
    version = info.get(f"{kind}_version")
    append_only = _number(info, "aof_enabled")
    ratio = info.get("mem_fragmentation_ratio")
    return Facts(
        None if version is None else f"{kind.title()} {version}",
        info.get("role") == "slave",
        _number(info, "uptime_in_seconds"),
        _number(info, "used_memory"),
        _number(info, "used_memory_peak"),
        _number(info, "maxmemory"),
        _number(info, "total_system_memory"),
        ratio if isinstance(ratio, int | float) else None,
        _number(info, "connected_clients"),
        _number(info, "maxclients"),
        _number(info, "blocked_clients"),
        _number(info, "instantaneous_ops_per_sec"),
        None if append_only is None else bool(append_only),
        _replicas(info),
    )


def slow_calls(server: Server, space: Keyspace) -> list[SlowCall] | None:
    """The last slow calls of a server, the newest first; None = it refuses to tell.

    Args:
        server: is asked.
        space: whose queues are named.
    """
    found = server.told(SLOWLOG, lambda: server.client.slowlog_get(SLOW_CALLS))
    if found is None:
        return None
    names = {scripts.get(name).sha: name for name in scripts.names()}
    return [_slow_call(entry, names, space) for entry in found]


def _slow_call(entry: Mapping[str, Any], names: Mapping[bytes, str], space: Keyspace) -> SlowCall:
    command = entry["command"]
    words = (command if isinstance(command, bytes) else str(command).encode()).split(b" ", 4)
    name = words[0].decode(errors="replace").upper()[:40]
    script = queue = ""
    if name in _SCRIPT_CALLS and len(words) > 3:
        script = names.get(words[1].lower(), "")
        queue = space.queue_of(words[3].decode(errors="replace")) or ""
    elif name in _WITH_SUBCOMMANDS and len(words) > 1 and words[1].isalpha():
        name = f"{name} {words[1].decode().upper()[:20]}"
    return SlowCall(
        int(entry["id"]), int(entry["start_time"]) * 1000, int(entry["duration"]) / 1000, name, script, queue
    )


def _replicas(info: Mapping[str, Any]) -> tuple[Replica, ...]:
    found = []
    reached = _number(info, "master_repl_offset")
    for key, entry in info.items():
        if key.startswith("slave") and key[5:].isdigit() and isinstance(entry, dict):
            offset = _number(entry, "offset")
            behind = None if reached is None or offset is None else max(reached - offset, 0)
            address = f"{entry.get('ip', '?')}:{entry.get('port', '?')}"
            found.append(Replica(address, str(entry.get("state", "")), behind))
    return tuple(found)


def _number(info: Mapping[str, Any], name: str) -> int | None:
    try:
        return int(info[name])
    except (KeyError, ValueError, TypeError):
        return None
