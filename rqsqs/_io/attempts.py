"""What follows when an attempt of a call has failed: the same for both runners."""

from __future__ import annotations

from typing import Any, Protocol

import redis.exceptions as rx

from rqsqs._core import scripts
from rqsqs._core.operation import Operation
from rqsqs._io import error_mapping, protocol
from rqsqs._io.counters import Counters
from rqsqs._io.protocol import CallSlot

FAILED = (rx.ResponseError, *protocol.BROKEN)


class Target(Protocol):
    """A link: one server, or several."""

    where: str
    counters: Counters

    @property
    def router(self) -> Any:
        """Knows which server has a key."""


class Attempts:
    """The attempts of one call, from the first that failed on.

    Attributes:
        slot: that of the attempt whose answer was lost; None as long as none was: then nothing was done.
        is_refused: the last attempt was refused by a server: another one has the key, or this one later.
        error: why the last one failed.
    """

    __slots__ = ("_link", "_operation", "_pauses", "error", "is_refused", "slot")

    def __init__(self, link: Target, operation: Operation, slot: CallSlot | None = None) -> None:
        self.slot = slot
        self.is_refused = False
        self.error: Any = None
        self._link = link
        self._operation = operation
        self._pauses = protocol.pauses(link.router)

    def packed(self, slot: CallSlot) -> bytes:
        """The next attempt, on a connection with this call slot."""
        is_cluster = self._link.router.is_cluster
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
        link, self.error = self._link, error
        is_dynamic, where = link.router.is_dynamic, where or link.where
        self.is_refused = isinstance(error, rx.ResponseError)
        if isinstance(error, rx.ResponseError):
            pause = next(self._pauses, None) if is_dynamic and protocol.is_elsewhere(error) else None
            if pause is None:
                script, is_open = scripts.get(self._operation.script), self.slot is not None
                raise error_mapping.refused(error, script, self._operation.keys, where, is_open) from error
            return pause
        is_sent = slot is not None
        pause = next(self._pauses, None) if protocol.is_worth_another(error, is_sent, is_dynamic) else None
        self.slot = self.slot or slot
        if pause is None:
            size = sum(map(len, self._operation.args))
            known = error_mapping.server(error, sent=self.slot is not None, where=where, size=size)
            raise known or error from None  # which says all that redis-py does
        if is_sent:
            link.counters.count("repeated_calls")
        return pause
