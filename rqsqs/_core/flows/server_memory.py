"""Flows of the memory of the server: sampled once a minute with the queues, for alarms."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from itertools import count

from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import AtOnce, Flow
from rqsqs._core.operations import server_memory as operations
from rqsqs._core.operations.server_memory import Memory, Node
from rqsqs.errors import RqsqsError
from rqsqs.metric_models import HistoryPoint, MetricStatistics

log = logging.getLogger("rqsqs.metrics")


def memory(space: Keyspace) -> Flow[Memory | None]:
    """The memory of the server, in a cluster of all masters; None = there is no limit that is known."""
    first: Node = yield operations.read_memory(space.memory)
    nodes = {first.run_id: first}
    if first.is_cluster:
        found: Sequence[Node | RqsqsError] = yield AtOnce([operations.read_memory(key) for key in space.everywhere()])
        nodes |= {each.run_id: each for each in found if isinstance(each, Node)}
    if not all(each.limit for each in nodes.values()):
        return None
    fullest = max(100 * each.used / each.limit for each in nodes.values())
    used, limit = sum(each.used for each in nodes.values()), sum(each.limit for each in nodes.values())
    return Memory(used, limit, fullest)


def sample_memory(space: Keyspace) -> Flow[None]:
    """Append it to its history. Accounts of a gateway have none: the server is not theirs."""
    if not space.is_whole:
        return
    try:
        found: Memory | None = yield from memory(space)
        if found is not None:
            yield operations.append_memory(space, found)
    except RqsqsError as error:  # a user of Redis that may not ask, a master that is down
        log.info("the memory of the server was not sampled: %s", error)


def memory_history(space: Keyspace, since_ms: int, until_ms: int) -> Flow[list[HistoryPoint]]:
    """Points of one minute each, the oldest first."""
    found: list[HistoryPoint] = []
    for skip in count(0, operations.PAGE):
        rows, is_more = yield operations.read_history(space, skip)
        found += [_point(row) for row in rows if since_ms <= row.at_ms < until_ms]
        if not is_more or (rows and rows[-1].at_ms < since_ms):
            break
    found.reverse()
    return found


def _point(row: Memory) -> HistoryPoint:
    numbers = {"memory_used_bytes": row.used, "memory_limit_bytes": row.limit, "memory_used_percent": row.percent}
    metrics = {name: MetricStatistics(value, value, value, value, 1) for name, value in numbers.items()}
    return HistoryPoint(row.at_ms, 60, 60.0, metrics)
