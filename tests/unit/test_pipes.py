"""Threads that share connections: what befalls one of them leaves no other asleep, and no request half sent."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import socket
import threading
import time
from collections.abc import Iterator
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import pytest
import redis.exceptions as rx

from rqsqs._core import operations
from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Operation, Wait
from rqsqs._io import protocol, tuning
from rqsqs._io.aio import hubs
from rqsqs._io.sync import waiting
from rqsqs._io.sync.caller import Caller
from rqsqs._io.sync.hub_waits import HubWaits
from rqsqs._io.sync.hubs import Hub
from rqsqs._io.sync.pipes import Pipe
from rqsqs._io.sync.pools import PooledConnection
from rqsqs._io.sync.servers import Node
from rqsqs._io.sync.waiting import Waiter, Waiters, Waiting
from rqsqs._io.tracking import Listener
from rqsqs.limits import NATIVE
from rqsqs.worker import HandlerTimeout

P = Keyspace("p").queue("q").home


class Socket:
    """A socket whose next send can fail."""

    def __init__(self, real: socket.socket) -> None:
        self._real = real
        self.error: BaseException | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def sendall(self, data: bytes) -> None:
        if self.error is not None:
            self._real.sendall(data[:5])
            error, self.error = self.error, None
            raise error
        self._real.sendall(data)


class Ends:
    """A hub, and the server's end of its connection."""

    def __init__(self) -> None:
        ours, self.server = socket.socketpair()
        self.server.settimeout(10)
        self.socket = Socket(ours)
        parser = SimpleNamespace(parse_error=rx.ResponseError)
        connection = SimpleNamespace(_sock=self.socket, _parser=parser, disconnect=ours.close)
        self.hub = Hub(connection, threading.Lock(), lambda lists: None, lambda listener, reply: None)

    def listener(self) -> tuple[Listener, threading.Event]:
        done = threading.Event()
        return Listener(b"", done.set, None, ()), done


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    yield made
    made.hub.fail(rx.ConnectionError("the test is over"))
    assert made.hub.ended.wait(60)
    made.server.close()


def heard(server: socket.socket) -> bytes:
    """All that arrives until the other end hangs up."""
    data = b""
    while more := server.recv(65_536):
        data += more
    return data


@pytest.mark.parametrize("error", [TimeoutError("the server does not read"), KeyboardInterrupt()], ids=repr)
def test_nothing_follows_a_request_that_was_sent_in_part(ends: Ends, error: BaseException) -> None:
    first, first_done = ends.listener()
    other, other_done = ends.listener()
    ends.hub.listen(first, ["a:wakeups"])
    ends.server.recv(65_536)
    ends.socket.error = error
    with contextlib.suppress(KeyboardInterrupt):
        ends.hub.listen(other, ["b:wakeups"])
    with contextlib.suppress(rx.ConnectionError):
        ends.hub.listen(ends.listener()[0], ["c:wakeups"])
    assert heard(ends.server) == protocol.command("CLIENT", "CACHING", "YES")[:5]
    assert first_done.wait(60)
    assert other_done.wait(60)
    assert isinstance(first.outcome, rx.ConnectionError)


def test_an_interruption_before_the_request_is_sent_is_one_of_the_connection(
    ends: Ends, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise answers are taken for those to what was not sent."""
    first, done = ends.listener()
    ends.hub.listen(first, ["a:wakeups"])
    track = ends.hub.tracker._track

    def interrupted(key: bytes) -> bytes:
        track(key)
        raise KeyboardInterrupt

    monkeypatch.setattr(ends.hub.tracker, "_track", interrupted)
    with pytest.raises(KeyboardInterrupt):
        ends.hub.listen(ends.listener()[0], ["b:wakeups"])
    assert done.wait(60)
    assert isinstance(first.outcome, rx.ConnectionError)


def test_whatever_ends_the_reading_is_told_to_those_who_wait(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> None:
    def confused(reply: Any) -> bytes:
        raise ValueError(reply)

    monkeypatch.setattr(ends.hub.tracker, "feed", confused)
    listener, done = ends.listener()
    ends.hub.listen(listener, ["a:wakeups"])
    ends.server.sendall(b"+OK\r\n")
    assert done.wait(60)
    assert isinstance(listener.outcome, ValueError)


def test_a_server_has_its_time_from_when_it_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tuning, "GRACE_S", 0.4)
    ends = Ends()
    time.sleep(0.6)  # nothing comes, and nothing was asked
    listener, done = ends.listener()
    asked = time.monotonic()
    ends.hub.listen(listener, ["a:wakeups"])
    assert done.wait(60)
    assert time.monotonic() - asked >= 0.4
    assert isinstance(listener.outcome, rx.TimeoutError)
    ends.server.close()


def test_a_pipe_that_failed_lets_everybody_go_at_last() -> None:
    """Also if the one who was about to say so was interrupted once more."""

    class Interrupted:
        def release(self) -> None:
            raise KeyboardInterrupt

    pipe = Pipe(SimpleNamespace(_sock=None, disconnect=lambda: None), protocol.CallSlots(), lambda *_: None)
    waits: Any = threading.Lock()
    waits.acquire()
    pipe._turns.extend([Interrupted(), waits])  # type: ignore[list-item]
    with pytest.raises(KeyboardInterrupt):
        pipe.fail(KeyboardInterrupt())
    pipe.fail(rx.ConnectionError("the connection was closed"))
    assert waits.acquire(blocking=False)


@pytest.mark.parametrize(("timeout", "error"), [(0.0, rx.TimeoutError), (1000.0, rx.ConnectionError)])
def test_a_server_that_was_silent_for_long_is_not_asked_again(timeout: float, error: type[Exception]) -> None:
    """Those behind the first one have waited too: all but who came late."""
    go_on = threading.Event()
    told: SimpleQueue[Exception] = SimpleQueue()

    def read_response(**_: Any) -> None:
        assert go_on.wait(60)
        raise rx.TimeoutError("no answer in time")

    connection = SimpleNamespace(
        _sock=None,
        socket_timeout=timeout,
        send_packed_command=lambda *_, **__: None,
        read_response=read_response,
        disconnect=lambda: None,
    )
    pipe = Pipe(connection, protocol.CallSlots(), lambda *_: None)

    def ask() -> None:
        try:
            pipe.ask(b"")
        except rx.RedisError as e:
            told.put(e)

    threads = [threading.Thread(target=ask, daemon=True) for _ in range(3)]
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + 60
    while len(pipe._turns) < 3 and time.monotonic() < deadline:
        time.sleep(0.001)
    go_on.set()
    kinds = [type(told.get(timeout=60)) for _ in threads]
    assert kinds.count(rx.TimeoutError) == (3 if error is rx.TimeoutError else 1)
    assert kinds.count(error) >= 2


@pytest.fixture
def caller() -> Caller:
    return Caller("redis://127.0.0.1:1/0", {})  # nobody is there, and nobody is asked


def test_a_follower_that_is_interrupted_on_its_turn_passes_it_on(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    leads, go_on, led = threading.Event(), threading.Event(), threading.Event()

    def lead(*_: Any) -> None:
        if threading.current_thread().name == "first":
            leads.set()
            assert go_on.wait(60)
        else:
            led.set()

    class Turn:
        """As when a signal comes between the lock and what follows."""

        def __init__(self) -> None:
            self._lock = threading.Lock()
            self.release = self._lock.release

        def acquire(self, timeout: float = -1) -> bool:
            got = self._lock.acquire(timeout=timeout)
            if timeout >= 0 and threading.current_thread().name == "interrupted":
                raise KeyboardInterrupt
            return got

    waits = Waiting(caller)
    monkeypatch.setattr(waits, "_lead", lead)
    wait = Wait(("p:wakeups",), 60_000)
    waiters = waits.waiters(wait.lists)
    real = threading.Lock

    def follow(name: str) -> threading.Thread:
        def run() -> None:
            with contextlib.suppress(KeyboardInterrupt):
                waits.wait(wait, None, Waiter(None))

        count = len(waiters.followers)
        thread = threading.Thread(target=run, name=name, daemon=True)
        thread.start()
        if name != "first":
            deadline = time.monotonic() + 60
            while len(waiters.followers) == count and time.monotonic() < deadline:
                time.sleep(0.001)
        return thread

    others = {"current_thread": threading.current_thread, "get_ident": threading.get_ident}
    follow("first")
    assert leads.wait(60)
    monkeypatch.setattr(waiting, "threading", SimpleNamespace(Lock=Turn, **others))
    follow("interrupted")
    monkeypatch.setattr(waiting, "threading", SimpleNamespace(Lock=real, **others))
    follow("second")
    go_on.set()
    assert led.wait(60)


def test_a_token_that_comes_when_the_time_is_over_is_received_once(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its receive is on its way: to repeat it, and to give back what it gets, would hand the message out twice."""

    class LateHub:
        def listen(self, listener: Listener, lists: Any) -> None:
            self.listener = listener

        def leave(self, listener: Listener) -> None:
            if not listener.is_receiving:  # at the last moment
                listener.is_receiving = True
                threading.Timer(0.05, listener.finish, (b"the message",)).start()

        def probe(self) -> None:
            pass

    monkeypatch.setattr(caller, "execute", lambda *_: pytest.fail("repeated"))
    receive = operations.receive_messages(P, NATIVE, 1, None, "", "")
    receive.parse = None
    receive.keeps_answer = False
    hub: Any = LateHub()
    wait = Wait((P.wakeups,), 1, then=lambda: receive)
    got = HubWaits(caller).wait([(hub, wait.lists)], wait, receive, time.monotonic(), None, Waiters())
    assert got == b"the message"


def test_the_large_answer_that_is_forgotten_is_that_of_the_call(
    caller: Caller, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever gets its connection next may begin a call before that."""
    reply = [b"x" * (protocol.LARGE_ANSWER + 1)]
    connection = SimpleNamespace(ask=lambda _: reply, disconnect=lambda: None)
    calls = caller.router.node("").calls
    line = PooledConnection(connection, calls)

    def give(line: PooledConnection) -> None:
        line.slot.number += 1

    monkeypatch.setattr(calls, "take", lambda **_: line)
    monkeypatch.setattr(calls, "give", give)
    forgotten: list[Operation] = []
    monkeypatch.setattr(caller, "forget", forgotten.append)
    receive = operations.receive_messages(P, NATIVE, 1, None, "", "", delete=True)
    receive.parse = None
    assert receive.keeps_answer
    assert caller.execute(receive) == reply
    key = f"{P.base}call:{line.slot.name}"
    assert forgotten == [operations.forget_answer(key, line.slot.number - 1)]


def test_a_network_that_gives_up_does_not_stop_the_event_loop() -> None:
    """The keepalive of a connection ends in a TimeoutError too, and then in no other."""

    async def scenario() -> None:
        reader = asyncio.StreamReader()

        async def disconnect(nowait: bool) -> None:
            pass

        connection: Any = SimpleNamespace(
            _reader=reader,
            _writer=SimpleNamespace(write=lambda data: None),
            _parser=SimpleNamespace(parse_error=rx.ResponseError),
            disconnect=disconnect,
        )
        hub = hubs.Hub(connection, lambda lists: None, lambda listener, reply: None)
        told = asyncio.Event()
        listener = Listener(b"", told.set, None, ())
        hub.listen(listener, ["a:wakeups"])
        reader.set_exception(TimeoutError(errno.ETIMEDOUT, "Connection timed out"))
        await told.wait()
        assert isinstance(listener.outcome, TimeoutError)
        await hub.close()

    asyncio.run(scenario())


def test_an_interrupted_opening_is_the_end_of_a_connection_for_the_others() -> None:
    """They try again, and do not get an exception that was meant for another thread."""
    node = Node.__new__(Node)
    node._openings, node._pipe = {}, None
    asked = threading.Semaphore(0)

    class Guard:
        def __init__(self) -> None:
            self.lock = threading.Lock()

        def __enter__(self) -> None:
            self.lock.acquire()

        def __exit__(self, *exc_info: object) -> None:
            self.lock.release()
            asked.release()

    node._guard = Guard()  # type: ignore[assignment]
    errors: dict[str, BaseException] = {}

    def make() -> None:
        for _ in range(2):  # the other one has asked as well
            assert asked.acquire(timeout=60)
        raise HandlerTimeout

    def work() -> None:
        try:
            node._opened("pipe", make)
        except BaseException as e:
            errors[threading.current_thread().name] = e

    threads = [threading.Thread(target=work, name=name, daemon=True) for name in ("first", "second")]
    threads[0].start()
    while not node._openings:
        time.sleep(0.001)
    threads[1].start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    assert isinstance(errors["first"], HandlerTimeout)
    assert isinstance(errors["second"], rx.ConnectionError)
