"""Checks of a server: one function each, which yields findings with a sentence and advice."""

from __future__ import annotations

import contextlib
import statistics
import time
from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import redis
from redis.connection import ConnectionPool, UnixDomainSocketConnection

from rqsqs._core import scripts as our_scripts
from rqsqs._io import connect, error_mapping, server_checks
from rqsqs._io.server_checks import Finding
from rqsqs.inspection import words

PINGS = 20
# Error replies that tell of trouble. Those of our scripts are ordinary answers, NOSCRIPT is how scripts are loaded, and
# ERR is also what client libraries get when they ask what a server can do.
TROUBLE = {
    "OOM": "the server refused to store more: raise maxmemory or consume messages",
    "MISCONF": "the server refused writes because it could not save to disk: see its log",
    "READONLY": "somebody wrote to a replica: connect to the primary",
    "NOPERM": "a user lacked rights: see the ACL of your users",
    "WRONGPASS": "somebody used a wrong password",
    "NOAUTH": "somebody connected without a password",
    "BUSY": "a script blocked the server: look for scripts of other programs",
    "WRONGTYPE": "a key held something else than expected: do other programs write under the same prefix?",
}


@contextlib.contextmanager
def opened(url: str, options: Mapping[str, Any] | None = None) -> Iterator[redis.Redis]:
    """A plain client of one server.

    Args:
        url: of the server.
        options: for redis-py's connections.

    Raises:
        RqsqsError: it does not answer.
    """
    settings, held = connect.settings_of(url, dict(options or {}))
    pool = connect.open_pool(url, settings, ConnectionPool, UnixDomainSocketConnection)
    try:
        client = redis.Redis(connection_pool=pool)
        try:
            client.ping()
        except redis.exceptions.NoPermissionError:
            pass  # it is there, and `rights` will tell
        except redis.RedisError as error:
            raise error_mapping.server(error, sent=False, where=connect.shown(url)) or error from None
        yield client
    finally:
        pool.disconnect()
        if held:
            held.release()


@dataclass(slots=True)
class Refusals:
    """What a server refused to tell. Who looks again and again keeps this, and does not ask again: a server counts what
    it refuses, and `errors` would tell of us.

    Attributes:
        reasons: what was refused -> its words.
        number: how often it refused something.
    """

    reasons: dict[str, str] = field(default_factory=dict)
    number: int = 0

    def add(self, what: str, error: Exception) -> None:
        """Remember it, if it is about rights and not about the moment."""
        if isinstance(error, redis.exceptions.NoPermissionError):
            self.reasons[what] = str(error)
            self.number += 1


class Server:
    """The server: a plain client and what INFO says, asked for once.

    Args:
        client: of redis-py.
        prefix: of all keys.
        is_cluster: it is known to be a master of one.
        refusals: what it refused to tell before.
    """

    def __init__(
        self, client: redis.Redis, prefix: str, *, is_cluster: bool = False, refusals: Refusals | None = None
    ) -> None:
        self.client = client
        self.prefix = prefix
        self.is_cluster = is_cluster
        self.refusals = refusals or Refusals()
        self.refused_before = self.refusals.number

    @cached_property
    def probe(self) -> str:
        """A key that this server has, of a cluster too."""
        for number in range(1000):
            key = f"{self.prefix}:{{doctor{number or ''}}}:probe"
            try:
                self.client.exists(key)
            except redis.exceptions.MovedError:
                continue
            except redis.ResponseError:
                break
            return key
        return f"{self.prefix}:{{doctor}}:probe"

    @cached_property
    def info(self) -> dict[str, Any]:
        sections = "server clients memory persistence stats replication errorstats commandstats cluster"
        found: dict[str, Any] = self.client.info(*sections.split())
        return found

    def told(self, what: str, ask: Callable[[], Any]) -> Any:
        """What the server tells; None if it refuses."""
        if what in self.refusals.reasons:
            return None
        try:
            return ask()
        except redis.ResponseError as error:
            self.refusals.add(what, error)
            return None

    def config(self, name: str) -> str | None:
        """One setting; None if the server refuses to tell."""
        found = self.told("config", lambda: self.client.config_get(name))
        return None if found is None else str(found.get(name, ""))


def version(server: Server) -> Iterator[Finding]:
    yield server_checks.version(server.info)
    if int(server.info.get("cluster_enabled", 0)):
        if not server.is_cluster:
            advice = "its URL is redis+cluster://HOST:PORT,HOST:PORT"
            yield Finding("version", "fail", "the server is part of a cluster, and the URL does not say so", advice)
        state: Any = server.client.cluster("info")
        if state["cluster_state"] != "ok":
            text = f"the cluster is down: {state['cluster_slots_ok']} of 16384 hash slots are served"
            yield Finding("version", "fail", text, "redis-cli --cluster check HOST:PORT tells more")


def eviction(server: Server) -> Iterator[Finding]:
    """May the server throw keys away?"""
    yield server_checks.eviction(server.info)


def memory(server: Server) -> Iterator[Finding]:
    """How full is it?"""
    info = server.info
    used, limit = int(info["used_memory"]), int(info["maxmemory"])
    if not limit:
        whole = int(info.get("total_system_memory", 0))
        text = f"{size(used)} of memory used, maxmemory is not set"
        level = "warn" if whole and used > 0.6 * whole else "ok"
        advice = "set maxmemory below the machine's memory: a send is refused then, before the system kills the server"
        yield Finding("memory", level, text + (f" (the machine has {size(whole)})" if whole else ""), advice)
        return
    share = used / limit
    level = "fail" if share > 0.95 else "warn" if share > 0.75 else "ok"
    advice = "" if level == "ok" else "consume messages or raise maxmemory: sends are refused when it is full"
    yield Finding("memory", level, f"{size(used)} of {size(limit)} memory used ({share:.0%})", advice)


def size(number: float) -> str:
    """Bytes for people: `512 KiB`, `1.5 GiB`."""
    for unit in ("bytes", "KiB", "MiB"):
        if number < 1024:
            return f"{number:.0f} {unit}"
        number /= 1024
    return f"{number:.1f} GiB"


def persistence(server: Server) -> Iterator[Finding]:
    """What would a crash of the server cost?"""
    info = server.info
    if info.get("aof_last_write_status", "ok") != "ok":
        yield Finding("persistence", "fail", "the last write to the append-only file failed", "free disk; see its log")
    if info.get("rdb_last_bgsave_status", "ok") != "ok":
        advice = "free disk or memory and see the server's log; until a save succeeds it may refuse writes (MISCONF)"
        yield Finding("persistence", "fail", "the last snapshot failed", advice)
    settings = {name: server.config(name) for name in ("appendfsync", "save")}
    yield server_checks.persistence(info, settings)


def replication(server: Server) -> Iterator[Finding]:
    """Is it the primary, and is there a copy?"""
    info = server.info
    if info.get("role") == "slave":
        advice = f"connect to the primary, {info.get('master_host')}:{info.get('master_port')}"
        yield Finding("replication", "fail", "this is a replica, which takes no writes", advice)
        return
    number = int(info.get("connected_slaves", 0))
    if not number:
        yield Finding("replication", "ok", "no replica: there is one copy of the queues, on this server")
        return
    copies = words.counted(number, "replica")
    behind = [
        int(info["master_repl_offset"]) - int(entry["offset"])
        for key, entry in info.items()
        if key.startswith("slave") and isinstance(entry, dict)
    ]
    if behind and max(behind) > 1 << 20:
        text = f"{copies}, one of them {size(max(behind))} behind"
        yield Finding("replication", "warn", text, "see its network and disk")
    waits = sum(_calls(info, name) for name in ("wait", "waitaof"))
    if waits:
        text = f"{copies}, for which sends have waited {words.counted(waits, 'time')} since the server started"
        yield Finding("replication", "ok", text)
    else:
        yield server_checks.unawaited(number)


def _calls(info: dict[str, Any], command: str) -> int:
    return int(info.get(f"cmdstat_{command}", {}).get("calls", 0))


def connections(server: Server) -> Iterator[Finding]:
    """Is there room for more?"""
    info = server.info
    number, limit = int(info["connected_clients"]), int(info.get("maxclients", 0) or 0)
    advice = "raise maxclients, or let threads and tasks share a connection (rqsqs.aio needs one per process)"
    text = f"{words.counted(number, 'connection')}{f' of {limit:,}' if limit else ''}"
    level = "ok" if not limit or number < 0.8 * limit else "fail" if number >= limit - 1 else "warn"
    yield Finding("connections", level, text, "" if level == "ok" else advice)
    rejected = int(info.get("rejected_connections", 0))
    if rejected:
        text = f"{words.counted(rejected, 'connection')} rejected since the server started: maxclients was reached"
        yield Finding("connections", "warn", text, advice)


def clock(server: Server) -> Iterator[Finding]:
    """Do both clocks show the same?"""
    before = time.time()
    seconds, micros = server.client.time()
    after = time.time()
    off = seconds + micros / 1e6 - (before + after) / 2
    doubt = (after - before) / 2
    direction = "ahead of" if off > 0 else "behind"
    text = f"the server's clock is {words.age(abs(off))} {direction} this machine's"
    if abs(off) <= doubt + 0.001:
        text = "the server's clock agrees with this machine's"
    if abs(off) - doubt > 1:
        advice = "queues go by the server's clock; `at` times and shown ages are off by that much: run NTP on both"
        yield Finding("clock", "warn", text, advice)
    else:
        yield Finding("clock", "ok", text)


def round_trip(server: Server) -> Iterator[Finding]:
    """How long does a call take at least?"""
    took = []
    for _ in range(PINGS):
        start = time.perf_counter()
        server.client.exists(server.probe)
        took.append((time.perf_counter() - start) * 1000)
    middle = statistics.median(took)
    text = f"a round trip takes {middle:.2g} ms (the longest of {PINGS}: {max(took):.2g} ms)"
    advice = "bring programs nearer to the server, and use batches"
    yield Finding("round trip", "warn" if middle > 5 else "ok", text, advice if middle > 5 else "")


def rights(server: Server) -> Iterator[Finding]:
    """May this user do what queues need?"""
    client, probe = server.client, server.probe
    name = server.told("whoami", client.acl_whoami)
    user = "this user" if name is None else f"the user {name!r}"
    advice = f"give it ~{server.prefix}:* +@read +@write -@dangerous +time +evalsha +script|load"
    if server.is_cluster:
        advice += " +cluster|slots"
    try:
        script = "redis.call('TIME') return redis.call('SET', KEYS[1], '1', 'PX', '1000')"
        sha = client.script_load(f"#!lua flags=allow-oom\n{script}")  # full memory is no question of rights
        client.evalsha(sha, 1, probe)
        client.blpop([f"{probe}:wakeups"], 0.001)
    except redis.ResponseError as error:
        yield Finding("rights", "fail", f"{user} may not do what queues need: {error}", advice)
    else:
        keys = f"{server.prefix}:*"
        yield Finding("rights", "ok", f"{user} may load and run scripts, and write keys of {keys}")


def scripts(server: Server) -> Iterator[Finding]:
    """Are our scripts loaded?"""
    names = our_scripts.names()
    loaded = sum(map(bool, server.client.script_exists(*(our_scripts.get(name).sha.decode() for name in names))))
    text = f"{loaded} of {len(names)} scripts of this version are loaded"
    yield Finding(
        "scripts", "ok", f"{text}; the others are loaded when they are needed" if loaded < len(names) else text
    )


def errors(server: Server) -> Iterator[Finding]:
    """What did the server refuse since it started?"""
    counts = {
        key.removeprefix("errorstat_"): int(entry["count"])
        for key, entry in server.info.items()
        if key.startswith("errorstat_") and isinstance(entry, dict)
    }
    counts["NOPERM"] = counts.get("NOPERM", 0) - server.refused_before
    found = False
    for code, advice in TROUBLE.items():
        if counts.get(code, 0) > 0:
            found = True
            text = f"{words.counted(counts[code], 'request')} refused with {code} since the server started"
            yield Finding("errors", "warn", text, advice)
    if not found:
        yield Finding("errors", "ok", "no request was refused in a way that means trouble")


_CHECKS = version, eviction, memory, persistence, replication, connections, clock, round_trip, rights, scripts, errors
CHECKS: dict[str, Callable[[Server], Iterator[Finding]]] = {c.__name__.replace("_", " "): c for c in _CHECKS}


def check_server(server: Server, without: Container[str] = ()) -> Iterator[Finding]:
    """All checks of a server; a check that it refuses to answer is skipped.

    Args:
        server: is looked at.
        without: names of checks that are left out.
    """
    for name, check in CHECKS.items():
        if name in without:
            continue
        refusal = server.refusals.reasons.get(name)
        if refusal is None:
            try:
                yield from check(server)
                continue
            except KeyError as error:
                refusal = f"it does not tell {error}"
            except redis.ResponseError as error:
                refusal = str(error)
                server.refusals.add(name, error)
        text = f"{name} cannot be seen: {refusal}"
        yield Finding(name, "skip", text, "a managed server shows it in its console; else ask for the rights")
