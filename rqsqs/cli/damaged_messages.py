"""Damaged messages: what can be told of them, and how a command takes them from the log."""

from __future__ import annotations

import base64
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Self

import rqsqs
from rqsqs._base_message import moment
from rqsqs._core.delivery import Delivery
from rqsqs.cli import output
from rqsqs.cli.report import Record, Result
from rqsqs.inspection import words
from rqsqs.inspection.bodies import cause_record


@dataclass
class Damaged(Result):
    """A damaged message."""

    message_id: str
    what: str  # is wrong with it
    data: bytes
    cause: rqsqs.Failure | None
    sent_at: datetime
    receive_count: int
    source: str | None  # the queue it came from, if it is a dead letter

    @classmethod
    def of(cls, damage: rqsqs.MessageDamaged, delivery: Delivery) -> Self:
        """What can be told of one."""
        what, sent = (damage.detail or "").rpartition("\t")[2], moment(delivery.sent_at_ms)
        about = damage.message_id, what, damage.record, damage.cause, sent
        return cls(*about, delivery.receive_count, delivery.dead_letter_source)

    def records(self) -> tuple[Record]:
        record = {
            "message_id": self.message_id,
            "damaged": self.what,
            "record_base64": base64.b64encode(self.data).decode(),
            "sent_at": self.sent_at,
            "receive_count": self.receive_count,
            **({} if self.source is None else {"dead_letter_source": self.source}),
            **({} if self.cause is None else {"cause": cause_record(self.cause)}),
        }
        return (record,)

    def show(self) -> None:
        times = words.counted(self.receive_count, "receive")
        source = f", from {self.source}" if self.source else ""
        output.line(f"{self.message_id}, sent {words.since(self.sent_at)} ago, {times}{source}", bold=True)
        output.hanging("  ", f"damaged: its record {self.what}")


@contextmanager
def collected() -> Iterator[list[Damaged]]:
    """What is passed over meanwhile: in this list, not on stderr."""
    found: list[Damaged] = []

    def is_told(record: logging.LogRecord) -> bool:
        damage, d = getattr(record, "damage", None), getattr(record, "delivery", None)
        if not isinstance(damage, rqsqs.MessageDamaged) or d is None:
            return True
        found.append(Damaged.of(damage, d))
        return False

    log = logging.getLogger("rqsqs.damage")
    log.addFilter(is_told)
    try:
        yield found
    finally:
        log.removeFilter(is_told)
