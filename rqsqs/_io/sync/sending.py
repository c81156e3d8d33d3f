"""Messages of many threads, sent in few calls.

There is one call at a time. One of the threads that wait, the *leader*, makes it for all that are there, then the next
one leads those who came meanwhile. So there is no thread to start or stop, and nothing that a fork or the end of the
program could lose. Signal handlers run in the main thread and may interrupt its call: it leads for itself alone.
"""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Sequence
from typing import Any, ClassVar

from rqsqs._core.gathering import Gathering, Ticket, closed, interrupted, same_error, sending
from rqsqs._core.keys import QueueRef
from rqsqs._core.sent import Outgoing, SentMessage
from rqsqs._io import protocol
from rqsqs._io.sync.runner import Transport
from rqsqs.limits import Limits
from rqsqs.models import Durability

FLUSHED, GONE = object(), object()  # outcomes of those who have no message, and of those who were interrupted


class Caller(Ticket):
    """A thread that waits for its message to be sent.

    Attributes:
        thread: which one.
        outcome: the SentMessage, or an error; None = not yet.
        batch: of a leader: those for whom it makes a call.
        behind: of a leader: how many others wait already as its call begins.
        following: whom it wakes when it is awake itself: if all woke at once, they would only get in each other's way.
        lingers: it leads, and waits for more.
        signal: a lock that is released to wake it; one that makes a call at once needs none.
    """

    __slots__ = ("batch", "behind", "following", "lingers", "outcome", "signal", "thread")

    def __init__(self, message: Outgoing | None, durability: Durability | None, thread: int) -> None:
        self.message = message
        self.durability = durability
        self.thread = thread
        self.outcome: Any = None
        self.batch: list[Caller] = []
        self.behind = 0
        self.following: Caller | None = None
        self.lingers = False
        self.signal: Any = None

    def wake(self) -> None:
        """Let it look again; it may do so without a reason."""
        if self.signal.locked():
            try:  # noqa: SIM105 - suppress() takes longer
                self.signal.release()
            except RuntimeError:  # somebody else did so in the same moment
                pass


class Sending:
    """Sends messages of any number of threads to a queue.

    Args:
        transport: runs the calls.
        linger: see Gathering.
        most: messages in one call.
    """

    _all: ClassVar[weakref.WeakSet[Sending]] = weakref.WeakSet()

    def __init__(self, transport: Transport, q: QueueRef, limits: Limits, linger: float, most: int) -> None:
        self._run, self._queue, self._limits = transport.run, q, limits
        self._linger, self._most = linger, most
        self._is_closed = False
        self._start()
        self._all.add(self)

    def _start(self) -> None:
        self._gathering = Gathering(self._linger, self._most)
        self._lock = threading.Lock()  # of the gathering, and of who leads
        self._leader: Caller | None = None  # there is one as long as somebody waits
        self._inside: set[int] = set()  # threads that wait or lead
        self._main = threading.main_thread().ident

    @classmethod
    def after_fork(cls) -> None:
        """In a child: those who wait are the parent's."""
        for one in list(cls._all):
            one._start()

    def send(self, message: Outgoing, durability: Durability | None) -> SentMessage:
        """Send a message together with those of others; returns when it is stored."""
        if self._is_closed:
            raise closed()
        sent: SentMessage = self._wait_for(Caller(message, durability, threading.get_ident()))
        return sent

    def flush(self) -> None:
        """Wait until all that came before is sent, or has failed."""
        self._wait_for(Caller(None, None, threading.get_ident()))

    def close(self) -> None:
        """Take no more, and wait for what was taken."""
        self._is_closed = True
        self.flush()

    def _wait_for(self, me: Caller) -> Any:
        inside = self._inside
        if me.thread in inside:  # a signal handler, or the end of an object, in the middle of a send
            me.batch = [me]
            self._finish(me, self._outcomes(me.batch))
        else:
            try:
                inside.add(me.thread)
                self._join(me)
                while me.outcome is None:
                    if self._leader is me:
                        self._lead(me)
                    else:
                        me.signal.acquire()
                if me.following is not None:
                    me.following.wake()
            except BaseException:
                try:
                    self._leave(me)
                finally:
                    self._leave(me)  # again: an impatient user interrupts twice
                raise
            finally:
                inside.discard(me.thread)
        outcome = me.outcome
        if isinstance(outcome, Exception):
            try:
                raise outcome
            finally:
                del outcome, me  # which its traceback leads to
        return outcome

    def _join(self, me: Caller) -> None:
        gathering = self._gathering
        with self._lock:
            if self._is_closed and me.message is not None:
                raise closed()
            leader = self._leader
            if leader is None:
                self._leader = me
                if gathering.is_quiet or me.thread == self._main:
                    me.batch = [me]
                    return
            me.signal = signal = threading.Lock()
            signal.acquire()
            gathering.add(me)
            if leader is not None and leader.lingers and gathering.is_complete:
                leader.lingers = False
                leader.wake()

    def _lead(self, me: Caller) -> None:
        """Make one call, and let the next one lead."""
        gathering = self._gathering
        if not me.batch:
            self._gather(me)
        began = time.monotonic()
        count, outcomes = len(me.batch), self._outcomes(me.batch)
        with self._lock:
            if outcomes:
                gathering.took(count, time.monotonic() - began)
                if me.behind:
                    gathering.fail_behind(me.batch, outcomes, me.behind)
            self._finish(me, outcomes)
            self._pass_on()

    def _gather(self, me: Caller) -> None:
        gathering = self._gathering
        with self._lock:
            if me.thread == self._main:
                gathering.discard(me)
                me.batch = [me]
                me.behind = len(gathering.waiting)
                return
            seconds = gathering.linger
            me.lingers = seconds > 0
        if seconds:
            me.signal.acquire(timeout=seconds)
        with self._lock:
            me.lingers = False
            gathering.take(me.batch)
            me.behind = len(gathering.waiting)

    def _outcomes(self, batch: Sequence[Caller]) -> list[Any]:
        """What became of each, in order; those without a message have none."""
        with_message = [caller for caller in batch if caller.message is not None]
        if not with_message:
            return []
        try:
            outcome = self._run(sending(self._queue, self._limits, with_message))
        except protocol.ERRORS as e:
            return [e] * len(with_message)
        return outcome if type(outcome) is list else [outcome]

    def _finish(self, me: Caller, outcomes: Sequence[Any]) -> None:
        """Say what became of each of a batch. Each wakes the next one; the main thread, which may be interrupted, is
        the last."""
        if len(me.batch) == 1 and me.batch[0] is me:
            me.outcome = FLUSHED if me.message is None else outcomes[0]
            me.batch = []
            return
        following = iter(outcomes)
        first = last = main = None
        for caller in me.batch:
            outcome = FLUSHED if caller.message is None else next(following)
            if caller.outcome is not None:  # it has gone
                continue
            caller.outcome = same_error(outcome) if isinstance(outcome, Exception) else outcome
            if caller.thread == self._main:
                main = caller
            elif caller is not me:
                if last is None:
                    first = caller
                else:
                    last.following = caller
                last = caller
        if main is not None and main is not me:
            if last is None:
                first = main
            else:
                last.following = main
        if first is not None:
            first.wake()
        me.batch = []

    def _pass_on(self) -> None:
        """Choose the next leader: the first who waits, but the main thread only if nobody else does."""
        waiting = self._gathering.waiting
        if not waiting:
            self._leader = None
            return
        self._leader = leader = next((c for c in waiting if c.thread != self._main), waiting[0])
        leader.wake()

    def _leave(self, me: Caller) -> None:
        """It was interrupted. A message that was not sent yet is not sent any more."""
        with self._lock:
            self._gathering.discard(me)
            me.outcome = me.outcome or GONE
            for caller in me.batch:
                if caller is not me:
                    self._gathering.discard(caller)
                    caller.outcome = caller.outcome or interrupted(is_sent=True)
                    caller.wake()
            if self._leader is me:
                self._pass_on()
            elif self._leader is not None and self._leader.signal is not None:
                self._leader.wake()  # it may have been interrupted just before
        if me.following is not None:
            me.following.wake()  # as before


os.register_at_fork(after_in_child=Sending.after_fork)
