"""Sending many messages: what `rqsqs send --file` and `rqsqs import` share."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import rqsqs
from rqsqs.cli import output
from rqsqs.cli.progress import Meter
from rqsqs.cli.report import NOTHING, OK, REFUSED, Result
from rqsqs.cli.settings import Settings
from rqsqs.inspection import words

BATCH = 200  # messages that travel together,
BATCH_SIZE = 4 << 20  # unless their lines are longer than this

Numbered = tuple[int, int, rqsqs.Entry]  # the line's number, its length, the message


@dataclass
class Outcome:
    """How many were stored, recognised as duplicates, refused."""

    stored: int = 0
    duplicates: int = 0
    failed: int = 0

    @property
    def code(self) -> int:
        return REFUSED if self.failed else OK if self.stored or self.duplicates else NOTHING

    def sentence(self, verb: str, queue: str) -> str:
        text = f"{verb} {words.counted(self.stored, 'message')} to {queue}"
        text += f", {self.duplicates:,} more were duplicates" if self.duplicates else ""
        return text + (f", {self.failed:,} failed" if self.failed else "")


def send_all(
    settings: Settings, queue: rqsqs.Queue, messages: Iterable[Numbered], total: int | None, verb: str = "sent"
) -> Generator[Result, None, Outcome]:
    """Send messages in batches, in order, and show how far it is; what was refused is named by its line. For programs
    each message is a result, for people the outcome alone.

    Raises:
        RqsqsError, click.UsageError: it cannot go on; how many were sent until then is said first.
    """
    outcome = Outcome()
    try:
        with Meter("sending", total, quiet=settings.as_json) as meter:
            for batch in _batches(messages):
                sent = _send(queue, batch, outcome, meter)
                if settings.as_json:
                    yield from (Result(**sent_record(message)) for message in sent)
                meter.advance(len(batch))
    except BaseException:
        if outcome.stored or outcome.duplicates:
            output.note(f"{outcome.sentence(verb, queue.name)} before this:")
        raise
    return outcome


def _batches(messages: Iterable[Numbered]) -> Iterator[list[Numbered]]:
    batch: list[Numbered] = []
    size = 0
    for message in messages:
        batch.append(message)
        size += message[1]
        if len(batch) == BATCH or size >= BATCH_SIZE:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _send(queue: rqsqs.Queue, batch: list[Numbered], outcome: Outcome, meter: Meter) -> list[rqsqs.SentMessage]:
    try:
        results: list[Any] = list(queue.send_batch([entry for _, _, entry in batch]))
    except rqsqs.BatchFailed as error:
        results = error.results
    except rqsqs.RequestError as error:
        if len(batch) > 1 and not isinstance(error, rqsqs.QueueDoesNotExist):
            numbers = sorted(number for number, _, _ in batch)
            with meter.aside():
                output.note(f"one of the lines {numbers[0]} to {numbers[-1]} was refused, none of them was sent")
        raise
    sent = []
    for (number, _, _), result in zip(batch, results, strict=True):
        if isinstance(result, rqsqs.FailedEntry):
            outcome.failed += 1
            with meter.aside():
                output.note(f"line {number}: {result.error}")
            continue
        outcome.duplicates += result.is_duplicate
        outcome.stored += not result.is_duplicate
        sent.append(result)
    return sent


def sent_record(sent: rqsqs.SentMessage) -> dict[str, Any]:
    record: dict[str, Any] = {"message_id": sent.message_id, "is_duplicate": sent.is_duplicate}
    return record | ({"sequence_number": sent.sequence_number} if sent.sequence_number else {})
