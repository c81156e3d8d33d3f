"""Messages that wait to be sent together, and how long it is worth to wait for more."""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Sequence
from typing import Any

from rqsqs._core import flows, portions
from rqsqs._core.keys import QueueRef
from rqsqs._core.operation import Flow, Operation
from rqsqs._core.sent import Outgoing, SentMessage
from rqsqs.errors import ConnectionFailed, ServerLoading, UsageError
from rqsqs.limits import Limits
from rqsqs.models import Durability

CALLS = 4  # as long as so many calls take a message waits for others at most


class Ticket:
    """A caller that waits for its message to be sent.

    Attributes:
        message: None = it waits for all that came before (flush).
        durability: how safe the message has to be.
    """

    __slots__ = ("durability", "message")

    def __init__(self, message: Outgoing | None, durability: Durability | None) -> None:
        self.message = message
        self.durability = durability


class Gathering:
    """The tickets that wait, in order.

    Whoever sends next waits for company only if several callers sent at the same time lately: until as many are there
    as then, at most as long as a few calls take, and never longer than `linger`. (PostgreSQL does so with its commits:
    commit_siblings, commit_delay.) So a caller that is alone never waits.

    Args:
        linger: seconds.
        most: messages in one call.
    """

    def __init__(self, linger: float, most: int) -> None:
        self.waiting: deque[Any] = deque()
        self._linger = linger
        self._most = most
        self._company = 1  # callers that were there at the same time
        self._call_s = 0.0  # how long a call takes, about
        self._flushes = 0  # how many of those waiting do not want to wait

    def add(self, ticket: Ticket) -> None:
        self.waiting.append(ticket)
        self._flushes += ticket.message is None

    def discard(self, ticket: Ticket) -> bool:
        """Take a ticket out whose caller has gone. False: it is not there any more."""
        is_there = ticket in self.waiting
        if is_there:
            self.waiting.remove(ticket)
        self._flushes = sum([t.message is None for t in self.waiting])  # as add() or take() may have been interrupted
        return is_there

    def clear(self) -> list[Any]:
        """Take all out."""
        tickets = list(self.waiting)
        self.waiting.clear()
        self._flushes = 0
        return tickets

    @property
    def is_quiet(self) -> bool:
        """Is nobody else expected?"""
        return self._company == 1

    @property
    def is_complete(self) -> bool:
        """Is there no reason to wait for more?"""
        return len(self.waiting) >= min(self._company, self._most) or self._flushes > 0

    @property
    def linger(self) -> float:
        """Seconds to wait for more."""
        return 0.0 if self.is_complete else min(self._linger, CALLS * self._call_s)

    def take(self, batch: list[Any]) -> None:
        """Put those into an empty batch that are sent next, in one call: messages that have to be equally safe, of at
        most 4 MiB together. If it is interrupted one may be in both, and none is lost."""
        waiting = self.waiting
        size, safe = 0, None
        while waiting and len(batch) < self._most:
            ticket = waiting[0]
            if ticket.message is None:
                self._flushes -= 1
            else:
                if size and (ticket.durability != safe or size + len(ticket.message.record) > portions.BYTES):
                    break
                size += len(ticket.message.record)
                safe = ticket.durability
            batch.append(ticket)
            waiting.popleft()

    def fail_behind(self, batch: list[Any], outcomes: list[Any], behind: int) -> None:
        """If the call with a batch has failed because no server answers, take along those who waited all that time. If
        each batch tried in turn, the last callers would hear of a dead server after very many timeouts. As take().

        Args:
            outcomes: of the batch, one for each message; get those of the others.
            behind: how many waited when the call began.
        """
        error = outcomes[0] if outcomes else None
        if not isinstance(error, ConnectionFailed | ServerLoading) or any([other is not error for other in outcomes]):
            return
        text = f"the message was not sent, as a request before it failed: {error}"
        for _ in range(min(behind, len(self.waiting))):
            ticket = self.waiting[0]
            if ticket.message is None:
                self._flushes -= 1
            else:
                outcomes.append(type(error)(text))
            batch.append(ticket)
            self.waiting.popleft()

    def took(self, count: int, seconds: float) -> None:
        """A call with so many messages has ended."""
        self._company = count + len(self.waiting)
        self._call_s += (seconds - self._call_s) / 4


def sending(q: QueueRef, limits: Limits, batch: Sequence[Any]) -> Operation | Flow[list[SentMessage | Exception]]:
    """What sends the messages of a batch. The result is a list of what became of each, or the SentMessage of the only
    one."""
    first = batch[0]
    message = first.message
    if len(batch) == 1 and first.durability is None:
        if not q.is_fifo and message.is_plain:
            return flows.SendOne(q, limits, None, (message.record, message.size))
        if len(q.own) == 1:
            return flows.SendWithOptions(q, limits, message)
    return flows.send_for_each(q, [ticket.message for ticket in batch], limits, first.durability)


def same_error(error: Exception) -> Exception:
    """An error for another caller: each has a traceback of its own."""
    try:
        twin = copy.copy(error)
    except Exception:
        return error
    twin.__cause__ = error.__cause__
    return twin


def closed() -> UsageError:
    """What who sends after close() is told."""
    return UsageError("this sender is closed; make another one with queue.sender()")


def interrupted(*, is_sent: bool) -> ConnectionFailed:
    """What those are told whose messages somebody else was about to send when it was interrupted."""
    became = "it is not known whether the message is stored" if is_sent else "the message was not sent"
    return ConnectionFailed(f"what sent for several callers was interrupted; {became}", request_sent=is_sent)
