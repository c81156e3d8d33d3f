"""Builders and parsers of the history of queues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from rqsqs._core import metric_history as history
from rqsqs._core import packed_history
from rqsqs._core.keys import Partition
from rqsqs._core.metric_history import Chosen, Last, Row
from rqsqs._core.operation import Operation
from rqsqs.metric_models import QueueMetrics

MOST_HOURS = 48  # of one call


class Appended(NamedTuple):
    """What became of a sample.

    Attributes:
        is_taken: else there is one of this minute.
        counted: since the sample before, column -> number.
        to_pack: rows, as they are stored, of an hour that is over.
    """

    is_taken: bool
    counted: dict[str, int]
    to_pack: list[bytes]


class Stored(NamedTuple):
    """What a call read of a history; each row at least once."""

    last: Last | None
    rows: list[Row]


def append(home: Partition, metrics: QueueMetrics) -> Operation:
    """Sample the metrics; the result is Appended."""
    totals, gauges = history.totals_of(metrics), history.gauges_of(metrics)
    numbers = [str(item) for columns in (totals, gauges) for pair in columns.items() for item in pair]
    return Operation(
        "append_history",
        home.keys("meta history history_last history_hours"),
        (home.space.now_us(), str(metrics.at_ms), str(metrics.created_at_ms), str(len(totals)), *numbers),
        _appended,
    )


def _appended(reply: list[Any]) -> Appended:
    if reply[0] != 1:
        return Appended(False, {}, [])
    counted = reply[1]
    pairs = zip(counted[::2], counted[1::2], strict=True)
    return Appended(True, {column.decode(): number for column, number in pairs}, reply[2:])


def pack(home: Partition, rows: Sequence[bytes]) -> Operation:
    """Pack the rows of an hour; the result is whether they were still there."""
    hour = history.hour_of(rows[0])
    in_order = sorted(history.read_rows(rows), key=lambda row: row.at_ms)  # the clock may have been put back
    packed = packed_history.pack(in_order)
    return Operation(
        "pack_history",
        home.keys("history history_hours"),
        (
            str(hour),
            packed,
            str(hour - history.KEPT_HOURS),
            rows[0],
            str(len(rows)),
        ),
        lambda reply: reply == 1,
    )


def read(home: Partition, first: int, hours: int, chosen: Chosen | None = None) -> Operation:
    """The result is Stored: the packed hours from the `first` on, the last one before them, and the rows of the present
    one.

    Args:
        chosen: these columns are needed, and others may be left out; None = all.
    """

    def parse(reply: list[Any]) -> Stored:
        last, rows, packed, before = reply
        found = [row for data in (before, *packed) for row in packed_history.unpack(data, chosen)]
        return Stored(history.read_last(last), found + history.read_rows(rows, chosen))

    keys = home.keys("meta history history_last history_hours")
    return Operation("read_history", keys, (str(first), str(hours)), parse)
