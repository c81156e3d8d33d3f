"""The server: what the checks of `rqsqs doctor` find, memory, copies, slow calls, and who works for all."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any

from rqsqs._core.alarm_records import AlarmHealth
from rqsqs._core.flows.server_memory import memory_history
from rqsqs._core.operations.alarms import read_health
from rqsqs._io.server_checks import Finding
from rqsqs.console.examination import Examiner, SeenQueues, SeenServers
from rqsqs.console.pages.queues import SEEN_FRESH_S
from rqsqs.console.pages.shown import Shown
from rqsqs.console.visits import Visit
from rqsqs.doctor import alarms
from rqsqs.doctor.facts import Facts
from rqsqs.doctor.queues import judge
from rqsqs.doctor.server import size
from rqsqs.errors import RqsqsError
from rqsqs.metric_models import HistoryPoint

LEVELS = ("fail", "warn", "skip", "ok")
ALL = "*"  # whose the servers are: of all accounts, and no change of somebody's makes them be examined again
EXAMINED_S = 60.0
HEALTH_S = 5.0
FIRST_WAIT_S = 1.0  # so that a page without scripts has what is found quickly
DRAWN_S = 6 * 3600
RANGES = 6  # of hash slots, in a cell
SLOW_CALLS = 25
MIB = 1 << 20


async def show(visit: Visit) -> Shown:
    """All of it. What belongs to the server itself is shown to the account of the gateway's operator alone."""
    space, account = visit.connection.transport.space, visit.caller.account
    settings = visit.console.settings
    examiner: Examiner = visit.console.remembered(
        "examiner", lambda: Examiner(settings.gateway, is_read_only=settings.is_read_only)
    )
    servers: SeenServers | None = None
    queues: SeenQueues | None = None
    points: list[HistoryPoint] = []
    if space.is_whole:
        servers = await _examined(visit, "servers", lambda: asyncio.to_thread(examiner.servers))
    queues = await _examined(visit, ("queues", account), lambda: asyncio.to_thread(examiner.queues, account))
    found: list[tuple[str, Finding]] = []
    if servers is not None:
        found += [(seen.where, finding) for seen in servers.servers for finding in seen.findings]
        found += [("", finding) for finding in servers.findings]
    if queues is not None:
        found += [("", finding) for finding in await _of_queues(visit, queues)]
    health: AlarmHealth | None = None
    try:
        health = await visit.read("alarm health", lambda: _health(visit), HEALTH_S)
        found += [("", finding) for finding in alarms.judge(health)]
        if space.is_whole:
            points = await visit.read("memory history", lambda: _history(visit), EXAMINED_S)
    except (RqsqsError, OSError) as error:
        found.append(("", Finding("alarms", "fail", f"alarms and history cannot be looked at: {error}")))
    findings = _grouped(found, len(servers.servers) if servers else 0)
    seen = servers.servers if servers else ()
    slow = [(server.where, call) for server in seen for call in server.slow or ()]
    slow.sort(key=lambda pair: -pair[1].at_ms)
    slow = slow[:SLOW_CALLS]
    names = {call.queue for _, call in slow if call.queue}
    await visit.learn(*names)
    return Shown(
        "server.html",
        {
            "section": "Server",
            "title": "Server",
            "is_owner": space.is_whole,
            "sees_queues": visit.rights.may_see_all,
            "examined_at_ms": servers.at * 1000 if servers else None,
            "are_queues_examined": queues is not None,
            "open_findings": [row for row in findings if row["level"] != "ok"],
            "fine": [row for row in findings if row["level"] == "ok"],
            "counts": {level: sum(row["level"] == level for row in findings) for level in LEVELS},
            "servers": [_row(each.where, each.facts, each.slots) for each in seen],
            "is_cluster": any(each.slots for each in seen),
            "replicas": [(each.where, one) for each in seen if each.facts for one in each.facts.replicas],
            "held": queues.held if queues else {},
            "chart": _chart(points),
            "slow": slow,
            "slow_refused": [each.where for each in seen if each.facts and each.slow is None],
            "links": {name: visit.link_to(name) for name in names},
            "may_name": visit.rights.may_see_all or visit.may("sqs:ListQueues", ""),
            "health": health,
            "sampler": _sampler(visit, servers, points),
            "size": size,
        },
    )


async def _of_queues(visit: Visit, seen: SeenQueues) -> Sequence[Finding]:
    """What was found about the queues that the user may see the numbers of."""
    if seen.error is not None:
        return [seen.error]
    if visit.rights.may_see_all:
        return list(judge(seen.queues, is_cut=seen.is_cut))

    async def load() -> list[Finding]:
        await visit.learn(*[each.name for each in seen.queues])
        allowed = [each for each in seen.queues if visit.may("sqs:GetQueueAttributes", each.name)]
        return list(judge(allowed, is_cut=seen.is_cut, whose="that you may see"))

    return await visit.read(("findings", visit.rights.key), load, SEEN_FRESH_S)


async def _examined(visit: Visit, name: Any, load: Any) -> Any:
    wait_s = {} if visit.is_live else {"wait_s": FIRST_WAIT_S}
    return await visit.console.hub.soon(ALL, name, load, EXAMINED_S, **wait_s)


async def _health(visit: Visit) -> AlarmHealth:
    transport = visit.connection.transport
    found: AlarmHealth = await transport.run(read_health(transport.space))
    return found


async def _history(visit: Visit) -> list[HistoryPoint]:
    now_ms = int(time.time() * 1000)
    since_ms = now_ms - DRAWN_S * 1000
    transport = visit.connection.transport
    found: list[HistoryPoint] = await transport.run(memory_history(transport.space, since_ms, now_ms + 60_000))
    return found


def _grouped(found: Iterable[tuple[str, Finding]], servers: int) -> list[dict[str, Any]]:
    """Findings, the worst first; the same of several servers once."""
    groups: dict[Finding, list[str]] = {}
    for where, finding in found:
        groups.setdefault(finding, []).append(where)
    rows = [
        {
            "level": finding.level,
            "check": finding.check,
            "text": finding.text,
            "advice": finding.advice if finding.level != "ok" else "",
            "where": "" if servers < 2 else f"all {servers} servers" if len(places) == servers else ", ".join(places),
        }
        for finding, places in groups.items()
    ]
    return sorted(rows, key=lambda row: LEVELS.index(row["level"]))


def _row(where: str, facts: Facts | None, slots: Sequence[tuple[int, int]]) -> dict[str, Any]:
    return {
        "where": where,
        "facts": facts,
        "slots": sum(last - first + 1 for first, last in slots),
        "ranges": [f"{first:,}" if first == last else f"{first:,} to {last:,}" for first, last in slots[:RANGES]],
        "more_ranges": max(len(slots) - RANGES, 0),
    }


def _chart(points: Sequence[HistoryPoint]) -> dict[str, Any] | None:
    if len(points) < 2:
        return None
    times = [point.at_ms // 1000 for point in points]
    used = [round(point.metrics["memory_used_bytes"].last / MIB, 1) for point in points]
    return {"lines": ["MiB used"], "data": [times, used]}


def _sampler(visit: Visit, servers: SeenServers | None, points: Sequence[HistoryPoint]) -> str | None:
    """Who samples the history of queues; "" = nobody does, None = it is not known.

    Between two samples nobody may hold the lease for a moment: then it is who held it the time before, or somebody.
    """
    holders = [each.holder for each in servers.servers if each.holder is not None] if servers else []
    if not holders:
        return None
    before: list[str] = visit.console.remembered("sampler", list)
    if holders[0]:
        before[:] = holders
    is_recent = bool(points) and time.time() - points[-1].at_ms / 1000 < 180
    return holders[0] or ((before[0] if before else "a process") if is_recent else "")
