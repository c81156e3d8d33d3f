"""Flows of the history: reading it, and taking samples."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from rqsqs._core import metric_history as histories
from rqsqs._core.flows.metrics import all_metrics, metrics
from rqsqs._core.flows.sampled_events import tell_damaged, tell_sampled
from rqsqs._core.keys import Keyspace, QueueRef
from rqsqs._core.metric_history import HOUR_MS, KEPT_HOURS, Row
from rqsqs._core.operation import AtOnce, Flow
from rqsqs._core.operations import metric_history as operations
from rqsqs._core.operations.queues import list_queues
from rqsqs.errors import QueueDamaged, QueueDoesNotExist, RqsqsError
from rqsqs.metric_models import HistoryPoint, QueueMetrics

AT_ONCE = 100  # queues that are sampled in one round trip
Span = Callable[[int], tuple[int, int]]  # makes since_ms and until_ms of the present


class Sampled(NamedTuple):
    """What a sampler did.

    Attributes:
        taken: how many queues were sampled.
        left_out: how many have a sample of this minute, or were created in it.
        errors: of queues that could not be.
    """

    taken: int
    left_out: int
    errors: list[RqsqsError]


def history(q: QueueRef, span: Span, period_s: int) -> Flow[list[HistoryPoint]]:
    """Points of a queue's history; those of the present are made of its metrics."""
    newest = yield operations.read(q.home, 0, 0)  # before the metrics: they are later
    now = yield from metrics(q)
    since_ms, until_ms = span(now.at_ms)
    first = max(since_ms // HOUR_MS, now.at_ms // HOUR_MS - KEPT_HOURS)
    rows: dict[int, Row] = {}
    for hour in range(first, until_ms // HOUR_MS + 1, operations.MOST_HOURS):
        page = yield operations.read(q.home, hour, operations.MOST_HOURS)
        rows.update((row.minute, row) for row in page.rows)  # one that was packed meanwhile comes twice
    rows.update((row.minute, row) for row in newest.rows)
    last = newest.last
    if last is not None:
        rows = {minute: row for minute, row in rows.items() if row.at_ms <= last.at_ms}
    in_order = [rows[minute] for minute in sorted(rows)]
    if last is None or until_ms > last.at_ms:
        in_order.append(histories.present(now, last, is_first=not newest.rows))
    return histories.points(in_order, last, since_ms, until_ms, period_s)


def sample(space: Keyspace) -> Flow[Sampled]:
    """Append the metrics of all queues to their histories, those left out that have one of this minute."""
    taken, left_out, errors, after = 0, 0, [], ""
    while True:
        names = yield list_queues(space, "", after, AT_ONCE)
        queues = [space.queue(name) for name in names]
        read = yield from all_metrics(queues)
        found = [(q, numbers) for q, numbers in zip(queues, read, strict=True) if isinstance(numbers, QueueMetrics)]
        told = yield AtOnce([operations.append(q.home, numbers) for q, numbers in found])
        errors += [error for error in (*read, *told) if isinstance(error, RqsqsError)]
        for q, error in zip(queues, read, strict=True):
            if isinstance(error, QueueDamaged):
                yield from tell_damaged(q, error)
        for (q, numbers), appended in zip(found, told, strict=True):
            if not isinstance(appended, RqsqsError):
                taken += appended.is_taken
                left_out += not appended.is_taken
                if appended.to_pack:
                    yield operations.pack(q.home, appended.to_pack)
                if appended.is_taken:
                    counted = {histories.NAMES.get(column, column): n for column, n in appended.counted.items()}
                    yield from tell_sampled(q, numbers, counted)
        if len(names) < AT_ONCE:
            return Sampled(taken, left_out, [e for e in errors if not isinstance(e, QueueDoesNotExist)])
        after = names[-1]
