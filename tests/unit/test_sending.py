"""A sender's thread may be interrupted wherever the interpreter looks for exceptions that others raise in it."""

from __future__ import annotations

import dis
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

import pytest

from rqsqs._core import gathering
from rqsqs._core.sent import Outgoing, SentMessage
from rqsqs._io.sync import sending
from rqsqs.errors import ConnectionFailed
from rqsqs.worker import HandlerTimeout
from tests.raising import forget_raised

NEVER = {"RESUME", "PUSH_EXC_INFO"}  # instructions before which the interpreter does not look
FILES = {gathering.__file__, sending.__file__}


@pytest.fixture(autouse=True)
def _threads_can_be_traced() -> None:
    forget_raised()


class Interrupted(BaseException):
    """Raised by a signal handler."""


class Interruption:
    """Raises an error in the thread that traces with it, in the code of senders.

    Args:
        at: at which point where the interpreter may do so; 1 = the first one.

    Attributes:
        begins: points count only after it is set.
        was_sent: it was raised.
    """

    def __init__(self, error: type[BaseException], at: int) -> None:
        self.error, self.left = error, at
        self.begins = threading.Event()
        self.was_sent = False
        self._before: dict[FrameType, str] = {}  # the last instruction

    def trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        if frame.f_code.co_filename not in FILES:
            return None
        frame.f_trace_opcodes = True
        if event == "call":
            self._before[frame] = "RESUME"
        elif event == "opcode":
            before = self._before[frame]
            self._before[frame] = now = dis.opname[frame.f_code.co_code[frame.f_lasti]]
            if now not in NEVER and before.startswith(("RESUME", "CALL", "JUMP_BACKWARD")) and self.begins.is_set():
                self.left -= 1
                if self.left == 0:
                    self.was_sent = True
                    raise self.error
        return self.trace


class Run:
    """Threads that send to a server that answers when it is told to.

    Args:
        interruption: of one of them, that leads the others or follows the leader.
        breaks: the call of the leader is interrupted anyway.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, interruption: Interruption, leads: bool, breaks: bool) -> None:
        monkeypatch.setattr(sending, "sending", lambda q, limits, batch: batch)
        self.interruption = interruption
        self.answers = threading.Event()
        self.results: dict[str, Any] = {}
        self._breaks = breaks
        self.sender = sending.Sending(self, None, None, 0.0005, 100)  # type: ignore[arg-type]
        self.sender._gathering.took(3, 0.001)
        self._threads: list[threading.Thread] = []
        self._is_called = threading.Event()
        self._start("first")
        assert self._is_called.wait(60)
        names = ("victim", "a", "b", "flush", "c") if leads else ("a", "victim", "b", "flush", "c")
        for count, name in enumerate(names, 1):
            self._start(name)
            deadline = time.monotonic() + 15
            while len(self.sender._gathering.waiting) < count - ("victim" in self.results):
                assert time.monotonic() < deadline, "it does not wait"
                time.sleep(0.0002)
        self.answers.set()
        for thread in self._threads:
            thread.join(60)
            assert not thread.is_alive(), "it has no answer"

    def run(self, batch: Sequence[gathering.Ticket]) -> list[SentMessage]:
        """As a Transport."""
        self._is_called.set()
        assert self.answers.wait(60)
        if self._breaks and threading.current_thread().name == "victim":
            self.interruption.begins.set()
            raise Interrupted
        return [SentMessage(str(number), "") for number, _ in enumerate(batch)]

    def _start(self, name: str) -> None:
        thread = threading.Thread(target=self._send, args=(name,), name=name, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _send(self, name: str) -> None:
        if name == "victim":
            sys.settrace(self.interruption.trace)
        try:
            if name == "flush":
                self.results[name] = self.sender.flush()
            else:
                self.results[name] = self.sender.send(Outgoing(b"x", 1), None)
        except BaseException as e:
            self.results[name] = e
        finally:
            sys.settrace(None)


def every_point(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException], *, leads: bool, breaks: bool = False
) -> Iterator[dict[str, Any]]:
    """What becomes of each caller if one of them is interrupted at the first point, at the second one ..."""
    at = 0
    while True:
        at += 1
        interruption = Interruption(error, at)
        if not breaks:
            interruption.begins.set()
        run = Run(monkeypatch, interruption, leads, breaks)
        if not interruption.was_sent:
            assert at > 10
            return
        sender = run.sender
        assert not sender._inside
        assert sender._leader is None
        assert not sender._gathering.waiting
        assert sender._gathering._flushes == 0
        yield run.results


@pytest.mark.parametrize("leads", [True, False])
@pytest.mark.parametrize("error", [Interrupted, HandlerTimeout])
def test_an_exception_at_any_point_is_that_of_its_thread_only(
    monkeypatch: pytest.MonkeyPatch, error: type[BaseException], leads: bool
) -> None:
    for results in every_point(monkeypatch, error, leads=leads):
        assert isinstance(results.pop("victim"), error)
        assert {type(result) for result in results.values()} <= {SentMessage, ConnectionFailed, type(None)}


def test_who_is_interrupted_twice_leaves_each_caller_with_an_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    for results in every_point(monkeypatch, Interrupted, leads=True, breaks=True):
        assert isinstance(results.pop("victim"), Interrupted)
        assert isinstance(results.pop("first"), SentMessage)
        assert {type(result) for result in results.values()} <= {SentMessage, ConnectionFailed, type(None)}
