"""What follows when an attempt has failed, of a call or of opening a connection: the same for both variants."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Protocol

import redis.exceptions as rx

from rqsqs._core import scripts
from rqsqs._core.operation import Operation
from rqsqs._io import error_mapping, protocol, tuning
from rqsqs._io.counters import Counters
from rqsqs._io.protocol import CallSlot
from rqsqs.errors import ConnectionFailed, ServerLoading

FAILED = (rx.ResponseError, *protocol.BROKEN)


UNANSWERED = object()  # stands for the result of a call that is to be made by itself


def parsed(operation: Operation, reply: Any) -> Any:
    """The result of one of several calls at once, from its reply."""
    if isinstance(reply, Exception):
        return UNANSWERED
    return reply if operation.parse is None else operation.parse(reply)


def failure(result: Any) -> ConnectionFailed | ServerLoading | None:
    """The error of a call if further ones to the same server would have it as well."""
    return result if isinstance(result, ConnectionFailed | ServerLoading) else None


class AnyCaller(Protocol):
    """Makes calls to one server, or several; of either variant."""

    where: str
    counters: Counters

    @property
    def router(self) -> Any:
        """Knows which server has a key."""


class Attempts:
    """The attempts of one call, from the first that failed on.

    Attributes:
        slot: that of the attempt whose answer was lost; None if no answer was lost: then nothing was done.
        is_refused: a server refused the last attempt: another server has the key, or this one can answer later.
        error: why the last one failed.
    """

    __slots__ = ("_caller", "_operation", "_pauses", "error", "is_refused", "slot")

    def __init__(self, caller: AnyCaller, operation: Operation, slot: CallSlot | None = None) -> None:
        self.slot = slot
        self.is_refused = False
        self.error: Any = None
        self._caller = caller
        self._operation = operation
        self._pauses = _pauses(caller.router.is_dynamic)

    def packed(self, slot: CallSlot) -> bytes:
        """The next attempt, on a connection with this call slot."""
        is_cluster = self._caller.router.is_cluster
        if self.slot is None:
            return protocol.pack(self._operation, is_cluster, slot)
        return protocol.repetition(self._operation, is_cluster, self.slot)

    def after(self, error: Exception, where: str | None, slot: CallSlot | None) -> float:
        """Seconds to wait until the next attempt.

        Args:
            where: the server that was asked, if it was known.
            slot: that of the attempt; None if nothing was sent.

        Raises:
            RqsqsError: there is no other attempt.
        """
        caller, self.error = self._caller, error
        is_dynamic, where = caller.router.is_dynamic, where or caller.where
        self.is_refused = isinstance(error, rx.ResponseError)
        if isinstance(error, rx.ResponseError):
            pause = next(self._pauses, None) if is_dynamic and protocol.is_elsewhere(error) else None
            if pause is None:
                script, is_open = scripts.get(self._operation.script), self.slot is not None
                raise error_mapping.refused(error, script, self._operation.keys, where, is_open) from error
            return pause
        is_sent = slot is not None
        pause = next(self._pauses, None) if _is_worth_another(error, is_sent, is_dynamic) else None
        is_open, self.slot = self.slot is not None, self.slot or slot
        if pause is None:
            size = sum(map(len, self._operation.args))
            known = error_mapping.server(error, sent=self.slot is not None, where=where, size=size)
            if is_open and known is not None and not isinstance(known, ConnectionFailed):
                known = error_mapping.after_lost_answer(known)  # loading after a crash, another password ...
            raise known or error from None  # which says all that redis-py does
        if is_sent:
            caller.counters.count("repeated_calls")
        return pause


class Opening:
    """The attempts to get an answer from a server that has not answered yet, within one limit for all of them.

    Attributes:
        until: when to give up, by time.monotonic(); None = there is no limit.
    """

    def __init__(self, caller: AnyCaller) -> None:
        limit = caller.router.opening_s
        self.until = None if limit is None else time.monotonic() + limit
        self._caller = caller
        self._pauses = iter(tuning.RETRY_AFTER_S)

    def after(self, error: Exception, where: str | None) -> float | None:
        """Seconds to wait until the next attempt; None if there is none and the first call says what is wrong, as it
        waits for another server.

        Args:
            where: the server that was asked, if it was known.

        Raises:
            RqsqsError: there is no other attempt.
        """
        if self._caller.router.is_dynamic:
            return None
        pause = next(self._pauses, None)
        is_over = pause is None or (self.until is not None and time.monotonic() + pause >= self.until)
        if is_over or isinstance(error, rx.ResponseError) or not _is_worth_another(error, False, False):
            raise error_mapping.opening(error, where or self._caller.where) from None
        return pause


def _pauses(is_dynamic: bool) -> Iterator[float]:
    """Seconds to wait before one attempt after the other."""
    if not is_dynamic:
        yield from tuning.RETRY_AFTER_S
        return
    end = time.monotonic() + tuning.FAILOVER_S
    pause = 0.0
    while time.monotonic() < end:
        yield pause
        pause = min(max(2 * pause, 0.02), 0.25)


def _is_worth_another(error: Exception, is_sent: bool, is_dynamic: bool) -> bool:
    """May an operation be tried again whose connection failed?"""
    if isinstance(error, rx.AuthenticationError | rx.AuthorizationError | protocol.TooLate):
        return False
    if isinstance(error, rx.BusyLoadingError | protocol.NoAnswer):  # nothing was done
        return is_dynamic
    return not (isinstance(error, rx.TimeoutError) and is_sent and not is_dynamic)
