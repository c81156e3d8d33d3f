"""Flow of the histories of alarms: of one alarm, or of all, put in order."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count

from rqsqs._core.flows.alarm_states import Everything, read_some
from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import AtOnce, Flow
from rqsqs._core.operations import alarms as operations
from rqsqs._core.operations.alarms import AT_ONCE, LATEST_MS
from rqsqs._core.portions import portions
from rqsqs.alarm_models import AlarmEvent
from rqsqs.errors import RqsqsError

KEPT_MS = 14 * 86_400_000
_LISTED = 1000  # names in one call
_SLACK_MS = 60_000  # entries of one alarm may be as much out of order, as several processes write them


def history(
    space: Keyspace,
    name: str | None,
    since_ms: int | None,
    before_ms: int,
    most: int,
    *,
    until_ms: int = LATEST_MS,
    oldest_first: bool = False,
    wanted: Callable[[AlarmEvent], bool] = lambda event: True,
) -> Flow[list[AlarmEvent]]:
    """Entries of the history of an alarm, or of all, the newest first.

    Args:
        since_ms: None = so long before now as `before_ms` says.
        most: how many at most, the first ones in this order.
        until_ms: only those before that.
        oldest_first: the other order.
        wanted: only those that it is true of.
    """
    known: Everything = yield from read_some(space, [])
    begin_ms = max(known.now_ms - before_ms if since_ms is None else since_ms, known.now_ms - KEPT_MS)

    def is_one(event: AlarmEvent) -> bool:
        return begin_ms <= event.at_ms < until_ms and wanted(event)

    last_ms = {name: LATEST_MS} if name is not None else (yield from _names(space, begin_ms))
    found: list[AlarmEvent] = []  # the newest first
    for some in portions(list(last_ms), AT_ONCE):
        if not oldest_first and len(found) == most and last_ms[some[0]] + _SLACK_MS < found[-1].at_ms:
            break  # all that follow are older
        found += yield from _entries(space, some, begin_ms, None if oldest_first else most, is_one)
        found.sort(key=lambda event: (-event.at_ms, event.alarm))
        found = found[-most:] if oldest_first else found[:most]
    return found[::-1] if oldest_first else found


def _names(space: Keyspace, since_ms: int) -> Flow[dict[str, int]]:
    """Alarms that have entries since then -> when the last one was made; those with the newest ones first."""
    found: dict[str, int] = {}
    for skip in count(0, _LISTED):
        some: dict[str, int] = yield operations.list_histories(space, since_ms - 1, skip, _LISTED)
        found = some | found
        if len(some) < _LISTED:
            return dict(sorted(found.items(), key=lambda item: -item[1]))
    raise AssertionError


def _entries(
    space: Keyspace, names: Sequence[str], since_ms: int, most: int | None, is_one: Callable[[AlarmEvent], bool]
) -> Flow[list[AlarmEvent]]:
    """Those of a few alarms since then: of each the newest first, and at most so many."""
    found: list[AlarmEvent] = []
    number: Counter[str] = Counter()
    going_on, skip = names, 0
    while going_on:
        pages = yield AtOnce([operations.read_history(space, name, skip) for name in going_on])
        left = []
        for name, page in zip(going_on, pages, strict=True):
            if isinstance(page, RqsqsError):
                raise page
            events, is_more = page
            mine = [event for event in events if is_one(event)]
            found += mine
            number[name] += len(mine)
            is_over = (most is not None and number[name] >= most) or (events and events[-1].at_ms < since_ms)
            if is_more and not is_over:
                left.append(name)
        going_on, skip = left, skip + operations.MOST_ENTRIES
    return found
