"""Large requests take several calls: results stay in order, and what fails in the middle loses nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from rqsqs._core import envelope, flows
from rqsqs._core.operation import Operation
from rqsqs._core.portions import BYTES, portions
from rqsqs._core.sent import SentMessage
from rqsqs.errors import ConnectionFailed, MessageTooLarge, QueueDoesNotExist
from rqsqs.limits import NATIVE
from rqsqs.models import FailedEntry
from tests.lua.conftest import Engine

MIB = 1024 * 1024


def drive(engine: Engine, flow: Any, before: Callable[[int, Operation], None]) -> tuple[Any, list[Operation]]:
    """Run a flow; `before` sees each operation and may raise what happens to it. Returns the result and them all."""
    made: list[Operation] = []
    try:
        step = next(flow)
        while True:
            if not isinstance(step, Operation):
                step = flow.send(False)
                continue
            made.append(step)
            try:
                before(len(made), step)
                result = engine.execute(step)
            except BaseException as e:
                step = flow.throw(e)
            else:
                step = flow.send(result)
    except StopIteration as end:
        return end.value, made


def lost(n: int) -> Callable[[int, Operation], None]:
    def before(number: int, step: Operation) -> None:
        if number == n:
            raise ConnectionFailed("cut", request_sent=True)

    return before


def watch(number: int, step: Operation) -> None:
    """Nothing happens."""


def numbers(q: Any, n: int) -> list[Any]:
    return [envelope.outgoing(i, group=f"g{i % 7}") for i in range(n)]


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ([], 3, []),
        ([1], 3, [1]),
        ([1] * 7, 3, [3, 3, 1]),
        ([BYTES + 1, 1, 1], 3, [1, 2]),
        ([1, BYTES, 1], 3, [1, 1, 1]),
        ([BYTES // 2, BYTES // 2, 1], 3, [2, 1]),
        ([BYTES * 2, BYTES * 2], 3, [1, 1]),
    ],
)
def test_a_portion_has_so_many_items_and_bytes_at_most(sizes: list[int], count: int, expected: list[int]) -> None:
    found = portions(sizes, count, lambda size: size)
    assert [len(part) for part in found] == expected
    assert [size for part in found for size in part] == sizes


def test_a_large_batch_arrives_in_order_and_so_do_its_results(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    sent, made = drive(engine, flows.send_messages(q, numbers(q, 1000), NATIVE), watch)
    assert len(made) == (10 if q.is_fifo else 4)
    assert all(type(one) is SentMessage for one in sent)
    found = {d.message_id: d.body for d in engine.run(flows.browse(q, "visible", "", 1000))[0]}
    assert [found[one.message_id] for one in sent] == list(range(1000))
    received = engine.receive(q, 1000)
    assert {d.body for d in received} == set(range(1000))
    for group in range(7):
        of_group = [d.body for d in received if d.body % 7 == group]
        assert of_group == sorted(of_group)
    assert engine.delete(q, *received) == [None] * 1000
    assert engine.counts(q) == (0, 0, 0)


def test_a_batch_that_sqs_would_take_is_one_step(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    batch = [envelope.outgoing(b"x" * 100_000, group=str(i), dedup_id=str(i), delay_ms=i) for i in range(10)]
    _, made = drive(engine, flows.send_messages(q, batch, NATIVE), watch)
    assert len(made) == 1


def test_when_a_step_fails_nothing_behind_it_is_sent(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    results, made = drive(engine, flows.send_messages(q, numbers(q, 1000), NATIVE), lost(2))
    assert len(made) == 2
    first = 100 if q.is_fifo else 250
    assert [type(r) for r in results] == [SentMessage] * first + [FailedEntry] * (1000 - first)
    assert [r.index for r in results[first:]] == list(range(first, 1000))
    assert all(r.error.request_sent for r in results[first:])
    assert engine.counts(q)[0] == first


def test_when_the_first_step_fails_the_batch_fails(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    with pytest.raises(ConnectionFailed):
        drive(engine, flows.send_messages(q, numbers(q, 1000), NATIVE), lost(1))
    assert engine.counts(q)[0] == 0
    with pytest.raises(QueueDoesNotExist):
        engine.run(flows.send_messages(engine.transport.queue("no" + name), numbers(q, 1000), NATIVE))


def test_messages_that_are_too_large_fail_at_their_places(engine: Engine, name: str) -> None:
    q = engine.queue(name, MaximumMessageSize="1024")
    batch = [envelope.outgoing("x" * (2000 if i % 150 == 3 else 1), group=str(i)) for i in range(600)]
    results = engine.run(flows.send_messages(q, batch, NATIVE))
    failed = {i: r for i, r in enumerate(results) if type(r) is FailedEntry}
    assert list(failed) == [3, 153, 303, 453]
    assert all(r.index == i and type(r.error) is MessageTooLarge for i, r in failed.items())
    assert engine.counts(q)[0] == 596


def test_a_receive_goes_on_while_messages_come(engine: Engine, name: str) -> None:
    q = engine.queue(name, MaximumMessageSize=str(4 * MIB))
    for i in range(5):
        engine.send(q, bytes([i]) * (3 * MIB), group=str(i))
    received, made = drive(engine, flows.receive_messages(q, NATIVE, 5), watch)
    assert [d.body[0] for d in received] == list(range(5))
    assert len(made) > 2
    engine.delete(q, *received)
    engine.send(q, *range(5), group="g")
    received, made = drive(engine, flows.receive_messages(q, NATIVE, 10), watch)
    assert (len(received), len(made)) == (5, 1)


@pytest.mark.parametrize("delete", [False, True], ids=["kept", "deleted"])
def test_what_was_received_is_not_lost_when_a_later_call_fails(engine: Engine, name: str, delete: bool) -> None:
    q = engine.queue(name, MaximumMessageSize=str(4 * MIB))
    for i in range(6):
        engine.send(q, bytes([i]) * (3 * MIB), group=str(i))
    received, _ = drive(engine, flows.receive_messages(q, NATIVE, 6, delete=delete), lost(2))
    assert received
    visible, in_flight, _ = engine.counts(q)
    assert visible == 6 - len(received)
    assert in_flight == (0 if delete else len(received))


def test_what_was_received_goes_back_when_the_caller_is_interrupted(engine: Engine, name: str) -> None:
    q = engine.queue(name, MaximumMessageSize=str(4 * MIB))
    for i in range(6):
        engine.send(q, bytes([i]) * (3 * MIB), group=str(i))

    def before(number: int, step: Operation) -> None:
        if number == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(engine, flows.receive_messages(q, NATIVE, 6), before)
    engine.clock.advance_ms(1)
    assert engine.counts(q) == (6, 0, 0)
    assert sorted((d.body[0], d.receive_count) for d in engine.receive(q, 6)) == [(i, 1) for i in range(6)]


def test_thousands_of_messages_are_changed_and_deleted_in_the_order_of_their_handles(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    engine.run(flows.send_messages(q, numbers(q, 700), NATIVE))
    handles = [d.receipt_handle for d in engine.receive(q, 1000)]
    assert len(handles) == 700
    changes = [(handle, 5000) for handle in handles]
    changes[333] = ("nonsense", 5000)
    results, _ = drive(engine, flows.change_visibility(q, changes, NATIVE), watch)
    assert [i for i, r in enumerate(results) if r is not None] == [333]
    handles[555] = "nonsense"
    results, made = drive(engine, flows.delete_messages(q, handles, NATIVE), watch)
    assert [i for i, r in enumerate(results) if r is not None] == [555]
    assert len(made) == (7 if q.is_fifo else 1)
    assert engine.counts(q) == (0, 1, 0)
