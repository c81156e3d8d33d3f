"""Tasks that share a connection: what befalls one of them is none of the others' business."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
import redis.exceptions as rx

from rqsqs._core import operations
from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Operation, Wait
from rqsqs._io.aio import pipes
from rqsqs._io.aio.pipes import Pipe
from rqsqs._io.aio.servers import Node
from rqsqs._io.aio.waiting import Waiting
from rqsqs._io.counters import Counters
from rqsqs._io.protocol import CallSlot
from rqsqs.limits import NATIVE

RECEIVE = operations.receive_messages(Keyspace("p").queue("q").home, NATIVE, 1, None, "", "")
PATIENCE = 60.0


class Connection:
    """What a pipe needs of one: the answers are up to the test."""

    def __init__(self) -> None:
        self.answers: asyncio.Queue[Any] = asyncio.Queue()
        self.is_cut = False
        self._writer = self._reader = self.transport = self
        self._parser = SimpleNamespace(parse_error=rx.ResponseError)

    def get_write_buffer_size(self) -> int:
        return 0

    def write(self, data: bytes) -> None:
        assert not self.is_cut

    async def read(self, count: int) -> bytes:
        return b"+%s\r\n" % str(await self.answers.get()).encode()

    async def disconnect(self, nowait: bool = False) -> None:
        self.is_cut = True


def run(scenario: Callable[[Connection, Pipe, list[Any]], Awaitable[None]]) -> None:
    async def whole() -> None:
        connection, orphans = Connection(), []
        pipe = Pipe(connection, Counters(), lambda operation, reply: orphans.append(reply), PATIENCE)
        await scenario(connection, pipe, orphans)
        await pipe.close()

    asyncio.run(whole())


def test_a_call_that_is_cancelled_leaves_the_connection_to_the_others() -> None:
    async def scenario(connection: Connection, pipe: Pipe, orphans: list[Any]) -> None:
        first, second, third = [pipe.ask(b"x", RECEIVE) for _ in range(3)]
        pipe.not_wanted(first, RECEIVE, CallSlot())
        connection.answers.put_nowait("of the first one")
        connection.answers.put_nowait("of the second one")
        assert await second == b"of the second one"
        pipe.not_wanted(second, RECEIVE, CallSlot())  # it came when nobody was there any more to take it
        connection.answers.put_nowait("of the third one")
        assert await third == b"of the third one"
        assert orphans == [b"of the first one", b"of the second one"]  # to be given back
        assert not connection.is_cut

    run(scenario)


def test_a_server_that_goes_on_answering_has_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The answers to others stand in front."""
    clock = [1000.0]
    monkeypatch.setattr(pipes.time, "monotonic", lambda: clock[0])

    async def scenario(connection: Connection, pipe: Pipe, _: list[Any]) -> None:
        for number, task in enumerate([pipe.ask(b"x") for _ in range(5)]):
            clock[0] += PATIENCE * 0.9
            pipe._check()
            connection.answers.put_nowait(number)
            assert await task == str(number).encode()
        assert pipe.failure is None

    run(scenario)


def test_a_silent_server_is_given_up_and_who_came_late_asks_again(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [1000.0]
    monkeypatch.setattr(pipes.time, "monotonic", lambda: clock[0])

    async def scenario(connection: Connection, pipe: Pipe, _: list[Any]) -> None:
        first = pipe.ask(b"x")
        await asyncio.sleep(0)  # the reader begins
        clock[0] += PATIENCE * 0.1
        second = pipe.ask(b"x")
        clock[0] += PATIENCE * 0.8
        late = pipe.ask(b"x")
        clock[0] += PATIENCE * 0.2
        pipe._check()
        for task in (first, second):
            with pytest.raises(rx.TimeoutError):
                await task
        with pytest.raises(rx.ConnectionError):
            await late
        with pytest.raises(rx.ConnectionError):
            await pipe.ask(b"x")
        await asyncio.wait([pipe.reader])
        assert connection.is_cut

    run(scenario)


@pytest.mark.parametrize(
    ("refusal", "is_elsewhere"), [(rx.MovedError("1 b:2"), True), (rx.NoPermissionError("NOPERM"), False)], ids=str
)
def test_a_connection_on_which_nobody_may_listen_is_closed(
    monkeypatch: pytest.MonkeyPatch, refusal: Exception, is_elsewhere: bool
) -> None:
    async def scenario() -> None:
        closed: list[bool] = []

        async def refuse(**_: Any) -> Any:
            raise refusal

        async def done(*_: Any, **__: Any) -> None:
            pass

        async def disconnect(nowait: bool) -> None:
            closed.append(nowait)

        connection = SimpleNamespace(
            connect=done, send_packed_command=done, read_response=refuse, disconnect=disconnect
        )
        node = Node("redis://127.0.0.1:1/0", {}, Counters(), lambda *_: None)
        node.is_checked = True
        monkeypatch.setattr(node.pool, "connection_class", lambda **_: connection)
        if is_elsewhere:
            with pytest.raises(rx.ConnectionError):
                await node.open_hub(lambda _: pytest.fail("it cannot listen"))
        else:
            assert await node.open_hub(lambda _: pytest.fail("it cannot listen")) is None
        assert closed == [True]
        assert node.is_hub_refused is not is_elsewhere

    asyncio.run(scenario())


def test_a_due_time_that_has_passed_before_the_wait_began_wakes_at_once() -> None:
    async def scenario() -> None:
        woken = asyncio.Event()

        async def execute(operation: Operation) -> int:
            woken.set()
            return 0

        caller: Any = SimpleNamespace(background=asyncio.create_task, execute=execute)
        wait = Wait(("p:wakeups",), 60_000, 0, Operation("watch", ("p:timer",), ()))
        with Waiting(caller)._due_times(wait, time.monotonic() - 1):
            async with asyncio.timeout(60):
                await woken.wait()

    asyncio.run(scenario())
