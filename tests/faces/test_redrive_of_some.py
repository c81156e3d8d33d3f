"""A redrive of the dead letters of one cause, or from one queue."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

import rqsqs
from rqsqs._core import flows
from rqsqs._core.operations import Outcome, moves
from tests.worker.serving import until


def die_of(queue: rqsqs.Queue, count: int, kind: str, text: str) -> None:
    """Send messages, each in a group of its own, and let a worker give them up."""
    for number in range(count):
        more = {"group": f"{kind}{number}", "deduplication_id": f"{kind}{number}"} if queue.is_fifo else {}
        queue.send(number, **more)  # type: ignore[arg-type]
    found = queue.receive(count)
    assert len(found) == count
    cause = rqsqs.Failure(kind, text, "", "host-1-a", 1_750_000_000_000, 1, 1)
    outcomes = [Outcome(message._delivery, "dead-letter", cause, (kind, "Exception")) for message in found]
    queue._run(flows.release(queue._ref, outcomes))


def ended(queue: rqsqs.Queue, task_id: str) -> rqsqs.MoveTask:
    def task() -> rqsqs.MoveTask | None:
        found = next(task for task in queue.move_tasks() if task.task_id == task_id)
        return None if found.status in ("RUNNING", "CANCELLING") else found

    result: rqsqs.MoveTask = until(task)
    return result


@pytest.fixture
def connection(valkey_url: str, prefix: str) -> Iterator[rqsqs.Connection]:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        yield connection


@pytest.fixture(params=["", ".fifo"])
def queues(connection: rqsqs.Connection, request: pytest.FixtureRequest) -> list[rqsqs.Queue]:
    """A dead-letter queue and two whose dead letters it takes."""
    dead = connection.create_queue(f"dead{request.param}")
    names = (f"orders{request.param}", f"bills{request.param}")
    return [dead, *(connection.create_queue(n, dead_letter_queue=dead, max_receive_count=1) for n in names)]


def test_those_of_a_cause_and_a_queue_go_back(queues: list[rqsqs.Queue]) -> None:
    dead, orders, bills = queues
    for queue in (orders, bills):
        die_of(queue, 3, "TimeoutError", "no answer of 10.0.0.7 after 30 s")
        die_of(queue, 4, "KeyError", "price")
    task = ended(dead, dead.redrive(cause="TimeoutError: no answer of … after … s", dead_letter_source=orders))
    assert (task.status, task.moved, task.dead_letter_source) == ("COMPLETED", 3, orders.name)
    assert task.cause == "TimeoutError: no answer of … after … s"
    assert (orders.counts().visible, bills.counts().visible, dead.counts().visible) == (3, 0, 11)
    task = ended(dead, dead.redrive(cause="TimeoutError: no answer of 10.0.0.9 after 5 s"))
    assert (task.moved, bills.counts().visible) == (3, 3)
    assert ended(dead, dead.redrive(cause="TimeoutError")).moved == 0
    task = ended(dead, dead.redrive(cause="KeyError: price", max_messages=5))
    assert (task.moved, task.to_move) == (5, 5)
    assert ended(dead, dead.redrive(dead_letter_source="bills" + ".fifo" * dead.is_fifo)).moved + 5 <= 8
    assert {message.dead_letter_source for message in dead.peek(10)} <= {orders.name}


def test_those_without_a_cause_or_a_source_go_elsewhere(connection: rqsqs.Connection) -> None:
    dead, other = connection.create_queue("dead"), connection.create_queue("other")
    orders = connection.create_queue("orders", dead_letter_queue=dead, max_receive_count=1)
    die_of(orders, 2, "KeyError", "price")
    dead.send("sent here")
    task = ended(dead, dead.redrive(cause="", dead_letter_source=""))
    assert (task.status, task.failure_reason) == ("FAILED", "CouldNotDetermineMessageSource")
    task = ended(dead, dead.redrive("other", cause="", dead_letter_source=""))
    assert (task.moved, [message.body for message in other.peek(10)]) == (1, ["sent here"])
    assert (task.cause, task.dead_letter_source) == ("", "")
    assert dead.counts().visible == 2


def test_they_are_found_among_many_and_moved_once(connection: rqsqs.Connection) -> None:
    dead = connection.create_queue("dead")
    orders = connection.create_queue("orders", dead_letter_queue=dead, max_receive_count=1)
    for _ in range(3):
        die_of(orders, 400, "KeyError", "price")
        die_of(orders, 300, "ValueError", "odd")
    task = ended(dead, dead.redrive(cause="ValueError: odd"))
    assert (task.status, task.moved) == ("COMPLETED", 900)
    assert {message.cause.type for message in dead.peek(1000) if message.cause} == {"KeyError"}
    assert len({message.message_id for message in orders.peek(1000)}) == 900


def test_it_is_cancelled(connection: rqsqs.Connection) -> None:
    dead = connection.create_queue("dead")
    orders = connection.create_queue("orders", dead_letter_queue=dead, max_receive_count=1)
    die_of(orders, 20, "KeyError", "price")
    task_id = dead.redrive(cause="KeyError: price", max_per_second=1)
    until(lambda: dead.move_tasks()[0].moved)
    dead.cancel_redrive(task_id)
    task = ended(dead, task_id)
    assert task.status == "CANCELLED"
    assert orders.counts().visible == task.moved < 20


def test_another_process_goes_on_with_the_same_messages(
    connection: rqsqs.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = connection.create_queue("dead")
    orders = connection.create_queue("orders", dead_letter_queue=dead, max_receive_count=1)
    die_of(orders, 3, "ValueError", "odd")
    die_of(orders, 3, "KeyError", "price")
    with monkeypatch.context() as context:
        context.setattr(moves, "SILENCE_MS", -1)  # the one that began it is dead at once
        dead._run(moves.start(dead._ref, "a-task", "", None, 6, "KeyError: price", None))
    assert ended(dead, "a-task").moved == 3
    assert {message.cause.type for message in dead.peek(10) if message.cause} == {"ValueError"}


def test_what_dies_again_meanwhile_does_not_keep_it_going(connection: rqsqs.Connection) -> None:
    dead = connection.create_queue("dead")
    orders = connection.create_queue("orders", dead_letter_queue=dead, max_receive_count=1)
    die_of(orders, 5, "KeyError", "price")
    is_over = threading.Event()

    def die() -> None:
        cause = rqsqs.Failure("KeyError", "price", "", "host-1-a", None, 1, 1)
        while not is_over.is_set():
            outcomes = [Outcome(m._delivery, "dead-letter", cause, ("KeyError",)) for m in orders.receive(10, wait=0)]
            if outcomes:
                orders._run(flows.release(orders._ref, outcomes))

    thread = threading.Thread(target=die)
    thread.start()
    try:
        assert ended(dead, dead.redrive(cause="KeyError: price")).moved <= 5
    finally:
        is_over.set()
        thread.join(60)
