"""What is shown of one queue, beside its metrics."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import timedelta

import rqsqs
from rqsqs._core import flows
from rqsqs.cli import paging
from rqsqs.cli.damaged_messages import Damaged, collected
from rqsqs.inspection.causes import Kind, Kinds
from rqsqs.inspection.queues import dead_letter_queue
from rqsqs.metric_models import HistoryPoint
from rqsqs.models import Consumer, Counts

GROUPS = 200  # are counted
LETTERS = 1000  # dead letters whose cause is looked at
HISTORY, POINTS = timedelta(hours=3), 60
SLOW_S = 10.0  # between two looks at groups, dead letters and the history


@dataclass(frozen=True)
class Detail:
    """Of one queue.

    Attributes:
        info: its settings.
        dead_letter_queue: where its dead letters go.
        dead_letters: how many are there; None = it has no such queue.
        sources: the queues whose dead letters come here.
        consumers: those that work first.
        groups: message groups with messages, the largest first, among those that were counted.
        has_more_groups: there are some that were not counted.
        causes: what the dead letters died of, those that come from it or are in it.
        looked_at: among so many dead letters.
        history: of the last three hours, if somebody sampled it.
    """

    info: rqsqs.QueueInfo
    dead_letter_queue: str | None = None
    dead_letters: int | None = None
    sources: list[str] = field(default_factory=list)
    consumers: list[Consumer] = field(default_factory=list)
    groups: list[tuple[str, Counts]] = field(default_factory=list)
    has_more_groups: bool = False
    causes: list[Kind] = field(default_factory=list)
    looked_at: int = 0
    history: list[HistoryPoint] = field(default_factory=list)


class DetailReader:
    """Reads them; groups and causes, which take many calls, only now and then."""

    def __init__(self, connection: rqsqs.Connection) -> None:
        self._connection = connection
        self._last: tuple[str, float, Detail] | None = None

    def read(self, name: str) -> Detail:
        queue = self._connection.queue(name)
        info = queue.info()
        target = dead_letter_queue(info)
        consumers = sorted(queue.consumers(), key=lambda c: (not c.is_alive, -c.in_flight, c.consumer_id))
        sources = queue.dead_letter_sources()
        dead_letters = None
        if target is not None:
            try:
                dead_letters = paging.total(self._connection.queue(target).counts())
            except rqsqs.QueueDoesNotExist:
                target = None
        now = time.monotonic()
        last = self._last
        if last is not None and last[0] == name and now - last[1] < SLOW_S:
            since, old = last[1], last[2]
            slow = old.groups, old.has_more_groups, old.causes, old.looked_at, old.history
        else:
            since = now
            slow = (
                *self._groups(queue),
                *self._causes(queue, target, sources),
                queue.history(HISTORY, period=HISTORY / POINTS),
            )
        detail = Detail(info, target, dead_letters, sources, consumers, *slow)
        self._last = name, since, detail
        return detail

    def _groups(self, queue: rqsqs.Queue) -> tuple[list[tuple[str, Counts]], bool]:
        names = queue._run(flows.groups(queue._ref, GROUPS + 1))
        counted = [(name, queue.counts(name)) for name in names[:GROUPS]]
        counted.sort(key=lambda group: -paging.total(group[1]))
        return counted, len(names) > GROUPS

    def _causes(self, queue: rqsqs.Queue, target: str | None, sources: list[str]) -> tuple[list[Kind], int]:
        """Of what lies in a dead-letter queue, or of what went from here to one."""
        where = queue if sources else self._connection.queue(target) if target else None
        if where is None:
            return [], 0
        kinds, seen = Kinds(), 0
        with collected() as damaged:
            for _, page in paging.pages(where, paging.STATES):
                found: list[rqsqs.Message | Damaged] = [*page, *damaged]
                for message in found:
                    source = message.source if isinstance(message, Damaged) else message.dead_letter_source
                    if sources or source == queue.name:
                        kinds.add(message)
                    seen += 1
                damaged.clear()
                if seen >= LETTERS:
                    break
        return kinds.most_frequent_first(), seen
