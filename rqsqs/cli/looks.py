"""Tables of looks at queues."""

from __future__ import annotations

from rqsqs.cli.report import Column, Record, Table
from rqsqs.inspection.looks import empty_in
from rqsqs.inspection.words import age, rate


class LooksTable(Table):
    """Looks at queues: for programs with all numbers."""

    def records(self) -> list[Record]:
        return [look.record() for look in self.rows]


GAUGES = (
    Column("QUEUE", lambda look: look.queue),
    Column("VISIBLE", lambda look: f"{look.now.visible:,}", "right"),
    Column("IN FLIGHT", lambda look: f"{look.now.in_flight:,}", "right"),
    Column("DELAYED", lambda look: f"{look.now.delayed:,}", "right"),
    Column("OLDEST", lambda look: age(look.now.oldest_age_s), "right"),
)
RATES = (
    Column("IN/s", lambda look: rate(look.in_per_s), "right"),
    Column("OUT/s", lambda look: rate(look.out_per_s), "right"),
    Column("FAIL/s", lambda look: rate(look.failures_per_s), "right"),
    Column("CONSUMERS", lambda look: f"{look.consumers:,}", "right"),
    Column("EMPTY IN", empty_in, "right"),
)
