"""Flows of the history: reading it, and taking samples."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import NamedTuple, TypeVar

from rqsqs._core import metric_history as histories
from rqsqs._core.flows.metrics import all_metrics, metrics
from rqsqs._core.flows.sampled_events import tell_damaged, tell_sampled
from rqsqs._core.flows.server_memory import sample_memory
from rqsqs._core.keys import Keyspace, QueueRef
from rqsqs._core.metric_history import HOUR_MS, KEPT_HOURS, Chosen, Row
from rqsqs._core.operation import AtOnce, Flow, Sleep
from rqsqs._core.operations import metric_history as operations
from rqsqs._core.operations.metric_history import Stored
from rqsqs._core.operations.queues import list_queues
from rqsqs._core.portions import portions
from rqsqs.errors import QueueDamaged, QueueDoesNotExist, RequestError, RqsqsError
from rqsqs.metric_models import HistoryPoint, QueueMetrics

T = TypeVar("T")
AT_ONCE = 100  # queues that are sampled in one round trip
QUEUES, HOURS = 50, 1_000  # that are held in memory at once, as they are stored
MINUTES = 500  # of a queue that are looked at without a break
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
    pages: list[Stored] = []
    for hour in range(first, until_ms // HOUR_MS + 1, operations.MOST_HOURS):
        pages.append((yield operations.read(q.home, hour, operations.MOST_HOURS)))
    rows = _in_order(newest, pages, now if _has_present(newest, until_ms) else None)
    return histories.points(rows, newest.last, since_ms, until_ms, period_s)


@dataclass(frozen=True, slots=True, eq=False)
class Wanted:
    """What is wanted of the history of a queue."""

    q: QueueRef
    since_ms: int
    until_ms: int
    chosen: Chosen

    @property
    def hours(self) -> range:
        return range(self.since_ms // HOUR_MS, self.until_ms // HOUR_MS + 1)


def measured(
    wanted: Sequence[Wanted], use: Callable[[Wanted, list[HistoryPoint]], Flow[T]]
) -> Flow[list[T | RequestError]]:
    """What was measured in queues, or the error of each. Up to 50 queues are read in one round trip, or up to 48 hours
    of several.

    Args:
        use: makes what is kept of the points of a queue, the oldest first: of one minute each, without gaps.
    """
    found: list[T | RequestError] = []
    some: list[Wanted] = []
    for each in wanted:
        if len(some) == QUEUES or (some and sum([len(one.hours) for one in [*some, each]]) > HOURS):
            found += yield from _measured(some, use)
            some = []
        some.append(each)
    if some:
        found += yield from _measured(some, use)
    return found


def _measured(
    wanted: Sequence[Wanted], use: Callable[[Wanted, list[HistoryPoint]], Flow[T]]
) -> Flow[list[T | RequestError]]:
    share = max(operations.MOST_HOURS // len(wanted), 2)  # hours of each queue in the first round trip
    errors: dict[Wanted, RqsqsError] = {}
    pages: dict[Wanted, list[Stored]] = {each: [] for each in wanted}

    def read(parts: Sequence[tuple[Wanted, range]]) -> Flow[None]:
        found = yield AtOnce([operations.read(each.q.home, hours[0], len(hours), each.chosen) for each, hours in parts])
        for (each, _), page in zip(parts, found, strict=True):
            if isinstance(page, RqsqsError):
                errors[each] = page
            else:
                pages[each].append(page)

    yield from read([(each, each.hours[:share]) for each in wanted])
    with_present = [each for each in wanted if each not in errors and _has_present(pages[each][0], each.until_ms)]
    numbers = yield from all_metrics([each.q for each in with_present])
    now = {each: one for each, one in zip(with_present, numbers, strict=True) if isinstance(one, QueueMetrics)}
    errors |= {each: one for each, one in zip(with_present, numbers, strict=True) if isinstance(one, RqsqsError)}
    rest = [
        (each, each.hours[n : n + operations.MOST_HOURS])
        for each in wanted
        if each not in errors
        for n in range(share, len(each.hours), operations.MOST_HOURS)
    ]
    longest = max([len(hours) for _, hours in rest], default=1)
    for parts in portions(rest, operations.MOST_HOURS // longest):
        yield from read(parts)
    found: list[T | RequestError] = []
    for each in wanted:
        error = errors.get(each)
        if isinstance(error, RequestError):
            found.append(error)
            continue
        if error is not None:
            raise error
        first, *later = pages[each]
        rows = _in_order(first, later, now.get(each))
        minutes = histories.measured(rows, first.last, each.since_ms, each.until_ms, each.chosen)
        points: list[HistoryPoint] = []
        while some := list(islice(minutes, MINUTES)):
            points += some
            yield Sleep(0)  # an event loop has other things to do
        points.sort(key=lambda point: point.at_ms)
        found.append((yield from use(each, points)))
    return found


def _has_present(stored: Stored, until_ms: int) -> bool:
    """Is the time since the last sample wanted?"""
    return stored.last is None or until_ms > stored.last.at_ms


def _in_order(first: Stored, later: Iterable[Stored], now: QueueMetrics | None) -> list[Row]:
    """The rows of several reads, up to what the first of them knows, and one of the present, whose metrics were read
    after the first read: they count from there."""
    rows = {row.minute: row for page in later for row in page.rows}  # one that was packed meanwhile comes twice
    rows.update((row.minute, row) for row in first.rows)
    last = first.last
    if last is not None:
        rows = {minute: row for minute, row in rows.items() if row.at_ms <= last.at_ms}
    in_order = [rows[minute] for minute in sorted(rows)]
    if now is not None:
        in_order.append(histories.present(now, last, is_first=not first.rows))
    return in_order


def sample(space: Keyspace) -> Flow[Sampled]:
    """Append the metrics of all queues, and the memory of the server, to their histories, those left out that have one
    of this minute."""
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
            yield from sample_memory(space)
            return Sampled(taken, left_out, [e for e in errors if not isinstance(e, QueueDoesNotExist)])
        after = names[-1]
