"""The clock for tests: time passes without sleeping."""

from __future__ import annotations

import gc
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

import rqsqs
from rqsqs.testing import VirtualClock


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def connection(server_url: str, prefix: str, clock: VirtualClock) -> Iterator[rqsqs.Connection]:
    with rqsqs.connect(server_url, prefix=prefix, clock=clock) as connection:
        yield connection


def in_thread(work: Callable[[], object]) -> tuple[threading.Thread, list[object]]:
    results: list[object] = []
    thread = threading.Thread(target=lambda: results.append(work()), daemon=True)
    thread.start()
    return thread, results


def test_it_shows_real_time_until_it_is_advanced_and_then_never_goes_back(clock: VirtualClock) -> None:
    assert abs(clock.now() - time.time()) < 1
    before = clock.now_us()
    clock.advance(seconds=900)
    clock.advance(timedelta(minutes=1))
    clock.advance(0)
    assert 960 <= (clock.now_us() - before) / 1e6 < 970
    assert "VirtualClock" in repr(clock)


@pytest.mark.parametrize("bad", [-1, timedelta(seconds=-1), "1", None, float("nan"), float("inf"), True])
def test_only_durations_advance_it(clock: VirtualClock, bad: object) -> None:
    before = clock.now_us()
    with pytest.raises(rqsqs.InvalidParameterValue, match="seconds must be"):
        clock.advance(bad)  # type: ignore[arg-type]
    assert clock.now_us() - before < 1_000_000


def test_many_threads_may_advance_it(clock: VirtualClock) -> None:
    start = clock.now_us()
    threads = [threading.Thread(target=lambda: [clock.advance(1) for _ in range(100)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert 800 <= (clock.now_us() - start) / 1e6 < 810


def test_it_does_not_keep_what_watches_it_alive(clock: VirtualClock) -> None:
    class Watcher:
        woken = 0

        def wake_waiters(self) -> None:
            Watcher.woken += 1

    watcher = Watcher()
    clock.watch(watcher)
    clock.advance(1)
    del watcher
    gc.collect()
    clock.advance(1)
    assert Watcher.woken == 1


def test_a_closed_connection_does_not_disturb_it(server_url: str, prefix: str, clock: VirtualClock) -> None:
    connection = rqsqs.connect(server_url, prefix=prefix, clock=clock)
    connection.create_queue("orders")
    connection.close()
    clock.advance(1)


def test_a_delay_passes(connection: rqsqs.Connection, clock: VirtualClock) -> None:
    queue = connection.create_queue("orders")
    queue.send("later", delay=900)
    clock.advance(899)
    assert queue.receive() == []
    clock.advance(1)
    assert [m.body for m in queue.receive()] == ["later"]


def test_an_absolute_time_comes(connection: rqsqs.Connection, clock: VirtualClock) -> None:
    queue = connection.create_queue("orders")
    queue.send("next year", at=datetime.fromtimestamp(clock.now(), UTC) + timedelta(days=365))
    clock.advance(timedelta(days=366))
    assert [m.body for m in queue.receive()] == ["next year"]


def test_a_visibility_timeout_passes(connection: rqsqs.Connection, clock: VirtualClock) -> None:
    queue = connection.create_queue("orders")
    queue.send("again")
    (first,) = queue.receive(visibility_timeout=30)
    assert queue.receive() == []
    clock.advance(30)
    (second,) = queue.receive()
    assert (second.message_id, second.receive_count) == (first.message_id, 2)


def test_retention_passes(connection: rqsqs.Connection, clock: VirtualClock) -> None:
    queue = connection.create_queue("orders", retention=60)
    queue.send("old")
    clock.advance(61)
    assert queue.receive() == []
    assert queue.counts().visible == 0


@pytest.mark.parametrize("name", ["orders", "orders.fifo"])
def test_a_deduplication_window_passes(connection: rqsqs.Connection, clock: VirtualClock, name: str) -> None:
    queue = connection.create_queue(name)
    group = "g" if queue.is_fifo else None
    assert not queue.send("once", group=group, deduplication_id="1").is_duplicate
    clock.advance(299)
    assert queue.send("once", group=group, deduplication_id="1").is_duplicate
    clock.advance(1)
    assert not queue.send("once", group=group, deduplication_id="1").is_duplicate


@pytest.mark.parametrize("name", ["orders", "orders.fifo"])
@pytest.mark.parametrize("head_start", [0.0, 0.3])
def test_a_blocked_receive_returns_when_a_delay_is_over(
    connection: rqsqs.Connection, clock: VirtualClock, name: str, head_start: float
) -> None:
    queue = connection.create_queue(name)
    queue.send("later", delay=900, group="g" if queue.is_fifo else None)
    thread, results = in_thread(lambda: queue.receive(wait=1000))
    time.sleep(head_start)
    started = time.monotonic()
    clock.advance(900)
    thread.join(40)
    assert [m.body for m in results[0]] == ["later"]  # type: ignore[attr-defined]
    assert time.monotonic() - started < 30


def test_every_blocked_receive_ends_when_its_time_is_over(connection: rqsqs.Connection, clock: VirtualClock) -> None:
    queue = connection.create_queue("orders")
    waiting = [in_thread(lambda: queue.receive(wait=100)) for _ in range(4)]
    time.sleep(0.1)
    clock.advance(100)
    for thread, results in waiting:
        thread.join(40)
        assert results == [[]]


def test_every_blocked_receive_gets_one_of_the_messages_that_become_due(
    connection: rqsqs.Connection, clock: VirtualClock
) -> None:
    queue = connection.create_queue("orders")
    queue.send_batch([rqsqs.Entry(i, delay=60) for i in range(4)])
    waiting = [in_thread(lambda: queue.receive(wait=100)) for _ in range(4)]
    time.sleep(0.1)
    clock.advance(60)
    bodies = []
    for thread, results in waiting:
        thread.join(40)
        bodies += [m.body for m in results[0]]  # type: ignore[attr-defined]
    assert sorted(bodies) == [0, 1, 2, 3]


def test_a_message_that_is_sent_wakes_a_receive_under_the_clock(connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    thread, results = in_thread(lambda: queue.receive(wait=100))
    time.sleep(0.2)
    queue.send("now")
    thread.join(40)
    assert [m.body for m in results[0]] == ["now"]  # type: ignore[attr-defined]


def test_connections_with_one_clock_see_the_same_time(server_url: str, prefix: str, clock: VirtualClock) -> None:
    with (
        rqsqs.connect(server_url, prefix=prefix, clock=clock) as one,
        rqsqs.connect(server_url, prefix=prefix, clock=clock) as other,
    ):
        one.create_queue("orders").send("later", delay=50)
        thread, results = in_thread(lambda: other.queue("orders").receive(wait=100))
        time.sleep(0.1)
        clock.advance(60)
        thread.join(40)
        assert [m.body for m in results[0]] == ["later"]  # type: ignore[attr-defined]
