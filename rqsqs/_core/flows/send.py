"""Flows that send messages."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Any

from rqsqs._core import envelope, ids, operations, portions
from rqsqs._core.flows.partitions import complete_resharding, finish_resharding
from rqsqs._core.flows.topology import refresh
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Flow, Operation, Sleep
from rqsqs._core.operations import Moved
from rqsqs._core.results import not_reached
from rqsqs._core.sent import Outgoing, SentMessage
from rqsqs.errors import (
    DeduplicationIdRequired,
    InvalidParameterValue,
    MessageTooLarge,
    PartitionMoved,
    QueueDoesNotExist,
    ServerError,
)
from rqsqs.limits import Limits
from rqsqs.models import Durability, FailedEntry

TURNS = 10  # attempts to send to partitions that are being changed
PATIENT_TURNS = 2  # attempts after which an interrupted resharding is completed
ASK_AFTER = 256  # messages that no longer belonged to their old place, after which a sender asks whether any does
ASK_UP_TO = 10_000  # message groups that one such question looks through at most
PAUSE_MS = 50  # between attempts


class SendOne(Operation):
    """Send a body and nothing else to a standard queue. The result is a SentMessage.

    Raises:
        InvalidParameterValue: it cannot be packed.
        MessageTooLarge, QueueDoesNotExist.
    """

    __slots__ = ("_limits", "_name", "_partition", "_queue", "_record", "_size")

    script = "send_message"
    repeat_mark: int | None = operations.REPEAT_MARK
    keeps_answer = False
    undo = durability = None

    def __init__(self, q: QueueRef, limits: Limits, body: Any, packed: tuple[bytes, int] | None = None) -> None:
        record, size = packed or envelope.plain(body)
        self._queue, self._limits, self._record, self._size = q, limits, record, size
        self._partition = p = q.home if len(q.own) == 1 else q.next_own()
        self._name = name = ids.tails() + "000"
        self.keys = p.found_keys.get(operations.SEND) or p.keys(operations.SEND)
        clock = p.space.clock
        how = "" if clock is None else f"{p.space.now_us()}/2/"
        if not q.checked % operations.CHECK_EVERY:
            how = f"{how or '/2/'}c"
        self.args = (str(size), how, name, record)

    def parse(self, reply: Any) -> Any:
        """The SentMessage, or a flow where there is more to do."""
        q = self._queue
        q.checked += 1
        p = self._partition
        if type(reply) is bytes and (len(reply) == 16 or reply[16:] == q.topology):
            return SentMessage(reply[:16].decode() + self._name, p.node)
        (sent,) = operations.parse_sent(reply, [self._name], p.node)
        return self._finish(sent, operations.sent_topology(reply))

    def _finish(self, sent: SentMessage | Moved, topology: bytes) -> Flow[SentMessage]:
        q = self._queue
        if isinstance(sent, Moved):
            return (yield from self._again())
        if self._partition is q.home and topology != q.topology:
            yield from _look_again(q)
        return sent

    def _outgoing(self) -> Outgoing:
        return Outgoing(self._record, self._size)

    def _again(self) -> Flow[SentMessage]:
        yield from refresh(self._queue)
        message = self._outgoing()
        (answer,) = yield from send_messages(self._queue, (message,), self._limits)
        if isinstance(answer, FailedEntry):
            raise answer.error
        return answer

    def recover(self, error: BaseException) -> Any:
        """The partition may be no more, without the queue being so."""
        if isinstance(error, MessageTooLarge) and error.detail:
            raise _too_large(self._size, int(error.detail)) from None
        if isinstance(error, QueueDoesNotExist) and self._partition is not self._queue.home:
            return self._again()
        raise error


class SendWithOptions(SendOne):
    """Send a message that has options, or goes to a FIFO queue; of a queue of one partition."""

    __slots__ = ("_message", "_read", "repeat_mark", "script")

    def __init__(self, q: QueueRef, limits: Limits, message: Outgoing) -> None:
        self._queue, self._limits, self._message, self._size = q, limits, message, message.size
        self._partition = q.home
        check = q.checked % operations.CHECK_EVERY == 0
        sending = operations.send_messages(q.home, (message,), limits, check=check)
        self.script, self.keys, self.args = sending.script, sending.keys, sending.args
        self.repeat_mark, self._read = sending.repeat_mark, sending.parse

    def parse(self, reply: Any) -> Any:
        """As SendOne."""
        q = self._queue
        q.checked += 1
        assert self._read is not None
        (sent,) = self._read(reply)
        topology = q.topology if q.is_fifo else operations.sent_topology(reply) or q.topology
        return sent if type(sent) is SentMessage and topology == q.topology else self._finish(sent, topology)

    def _outgoing(self) -> Outgoing:
        return self._message


def send_messages(
    q: QueueRef, batch: Sequence[Outgoing], limits: Limits, durability: Durability | None = None
) -> Flow[list[SentMessage | FailedEntry]]:
    """Send messages in order; one that is larger than the queue allows fails alone, with MessageTooLarge. Of a queue
    of several partitions each gets its messages in one call; if one cannot be asked, the others' are sent. Very many
    messages, or large ones, take several calls (portions): if one of them fails, what comes behind it is not sent.

    Raises:
        QueueDoesNotExist, DeduplicationIdRequired: nothing was sent.
        DurabilityNotReached: they are stored, as far as nothing failed, but not as safely as required.
    """
    results = yield from _send(q, batch, limits, durability)
    weak = not_reached(durability, results, "the messages are stored", "had them")
    if weak is not None:
        raise weak
    return results


def send_for_each(
    q: QueueRef, batch: Sequence[Outgoing], limits: Limits, durability: Durability | None = None
) -> Flow[list[SentMessage | Exception]]:
    """Send messages of several callers as send_messages(), with a result for each: a message that cannot be sent fails
    alone, and so does one that is not as safe as required.

    Raises:
        QueueDoesNotExist, QueueDamaged, ServerError: all fail with this.
    """
    try:
        results = yield from _send(q, batch, limits, durability)
    except DeduplicationIdRequired as e:  # nothing was sent
        rest = [m for m in batch if m.dedup_id is not None]
        others = iter((yield from send_for_each(q, rest, limits, durability)) if rest else ())
        return [e if m.dedup_id is None else next(others) for m in batch]
    return [
        r.error if isinstance(r, FailedEntry) else not_reached(durability, [r], "the message is stored", "had it") or r
        for r in results
    ]


def _send(
    q: QueueRef, batch: Sequence[Outgoing], limits: Limits, durability: Durability | None
) -> Flow[list[SentMessage | FailedEntry]]:
    answers: list[Any]
    results: list[Any] = [None] * len(batch)
    left: Sequence[int] = range(len(batch))
    tokens: dict[int, str] = {}  # message -> the migration token that its old partition gave
    if len(q.own) == 1:
        answers = yield from _send_to(q, q.home, batch, limits, "", durability)
        if not any([type(answer) is Moved for answer in answers]):
            return answers
        left = _take_in(results, tokens, left, answers)
        yield from _look_again(q)
    trouble: ServerError | None = None
    for turn in range(TURNS):
        with_ids = [i for i in left if batch[i].dedup_id is not None] if not q.is_fifo else []
        if with_ids:  # what may go anywhere goes along
            anywhere, _ = _place(q, batch[with_ids[0]], q.home, tokens.get(with_ids[0], ""))
        else:
            anywhere = q.next_own()
        places: dict[tuple[Partition, str], list[int]] = {}
        for i in left:
            places.setdefault(_place(q, batch[i], anywhere, tokens.get(i, "")), []).append(i)
        left = []

        def have_ids(item: tuple[Any, list[int]]) -> bool:
            return all([batch[i].dedup_id is not None for i in item[1]])

        for (p, token), indices in sorted(places.items(), key=have_ids):  # what may be refused as a whole goes first
            try:
                answers = yield from _send_to(q, p, [batch[i] for i in indices], limits, token, durability)
            except QueueDoesNotExist:
                if p is q.home:
                    raise
                answers = [Moved("")] * len(indices)
            except ServerError as e:
                answers, trouble = [FailedEntry(i, e) for i in indices], e
            left += _take_in(results, tokens, indices, answers)
        if not left:
            break
        if any(not tokens[i].startswith(f"{len(q.own)}:") for i in left):  # there are others than we know
            yield from _look_again(q)
            if turn >= PATIENT_TURNS:
                with contextlib.suppress(InvalidParameterValue, ServerError):
                    yield from complete_resharding(q)
            if turn:
                yield Sleep(PAUSE_MS)
        left.sort()
    if left:
        raise PartitionMoved(f"the partitions of {q.name!r} are being changed, and that takes too long")
    if trouble is not None and all(isinstance(r, FailedEntry) and isinstance(r.error, ServerError) for r in results):
        raise trouble
    q.moves += len(tokens)
    if q.moves >= ASK_AFTER:  # many messages take the long way: is it still needed?
        q.moves = 0
        with contextlib.suppress(ServerError, QueueDoesNotExist):
            yield from finish_resharding(q, ASK_UP_TO)
    return results


def _look_again(q: QueueRef) -> Flow[None]:
    """Ask for the partitions. What was sent is stored, also if nobody answers: the next call says what is wrong."""
    with contextlib.suppress(ServerError):
        yield from refresh(q)


def _take_in(results: list[Any], tokens: dict[int, str], indices: Sequence[int], answers: Sequence[Any]) -> list[int]:
    """Put what became of messages into the results; returns those that have to go elsewhere."""
    left = []
    for i, answer in zip(indices, answers, strict=True):
        if type(answer) is Moved:
            tokens[i] = answer.token
            left.append(i)
        else:
            results[i] = FailedEntry(i, answer.error) if type(answer) is FailedEntry else answer
    return left


def _place(q: QueueRef, message: Outgoing, anywhere: Partition, token: str) -> tuple[Partition, str]:
    """Where a message belongs: FIFO by its group, standard by its deduplication id; without one anywhere. While it may
    have something in its old place that is asked first, and gives a migration token for the new one."""
    if q.is_fifo:
        text = message.group or ""
    elif message.dedup_id is not None:
        text = operations.dedup_tail(message.dedup_id)
    else:
        return anywhere, ""
    return q.owner(text, 0 if token else q.before), token


def _send_to(
    q: QueueRef,
    p: Partition,
    batch: Sequence[Outgoing],
    limits: Limits,
    token: str,
    durability: Durability | None,
) -> Flow[list[Any]]:
    if len(batch) > portions.ORDERED or sum([len(m.record) for m in batch]) > portions.BYTES:
        parts = portions.portions(batch, _at_once(p, batch), lambda m: len(m.record))
        if len(parts) > 1:
            return (yield from _send_parts(q, p, parts, limits, token, durability))
    news: list[bytes] = []
    try:
        check = q.checked % operations.CHECK_EVERY == 0
        sent: Any = yield operations.send_messages(p, batch, limits, news, token, durability, check=check)
        q.checked += 1
        if durability is not None:
            sent, reached = sent
            for one in sent:
                if type(one) is SentMessage:
                    one.durability = reached
        if news and p is q.home and news[0] != q.topology:
            yield from _look_again(q)
        answers: list[Any] = sent
        return answers
    except MessageTooLarge as e:  # nothing was sent
        if e.detail:
            limit = int(e.detail)
            errors = [_too_large(m.size, limit) if m.size > limit else None for m in batch]
        else:  # for the server, whatever the queue says: that is the largest one, at least
            most = max([len(m.record) for m in batch])
            errors = [e if len(m.record) == most else None for m in batch]
    rest = [m for m, error in zip(batch, errors, strict=True) if error is None]
    left = iter((yield from _send_to(q, p, rest, limits, token, durability)) if rest else ())
    return _numbered([next(left) if error is None else FailedEntry(0, error) for error in errors])


def _send_parts(
    q: QueueRef,
    p: Partition,
    parts: Sequence[Sequence[Outgoing]],
    limits: Limits,
    token: str,
    durability: Durability | None,
) -> Flow[list[Any]]:
    answers: list[Any] = []
    trouble: ServerError | DeduplicationIdRequired | None = None
    for part in parts:
        if trouble is None:
            try:
                answers += yield from _send_to(q, p, part, limits, token, durability)
                continue
            except (ServerError, DeduplicationIdRequired) as e:
                if not answers:
                    raise
                trouble = e
        answers += [FailedEntry(0, trouble)] * len(part)
    return _numbered(answers)


def _numbered(answers: list[Any]) -> list[Any]:
    return [FailedEntry(i, a.error) if type(a) is FailedEntry else a for i, a in enumerate(answers)]


def _at_once(p: Partition, batch: Sequence[Outgoing]) -> int:
    if p.is_fifo:
        return portions.ORDERED
    return portions.PLAIN if all([m.is_plain for m in batch]) else portions.SPECIAL


def _too_large(size: int, limit: int) -> MessageTooLarge:
    return MessageTooLarge(
        f"a message must have at most {limit} bytes, the queue's MaximumMessageSize, got {size}",
        sqs_message=f"One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes.",
        detail=str(limit),
    )
