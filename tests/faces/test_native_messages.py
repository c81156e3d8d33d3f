"""Messages through the native face: send, receive, delete, visibility, batches, iteration, on both servers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

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


@pytest.fixture
def queue(connection: rqsqs.Connection) -> rqsqs.Queue:
    return connection.create_queue("orders")


@pytest.fixture
def fifo(connection: rqsqs.Connection) -> rqsqs.Queue:
    return connection.create_queue("orders.fifo")


def bodies(messages: list[rqsqs.Message]) -> list[Any]:
    return [m.body for m in messages]


def numbers(queue: rqsqs.Queue) -> tuple[int, int, int]:
    counts = queue.counts()
    return counts.visible, counts.in_flight, counts.delayed


@pytest.mark.parametrize(
    "body",
    [
        "",
        "text",
        "ü\U0001f600",
        "x" * 100_000,
        b"",
        b"\x00\xff",
        0,
        -5,
        1.5,
        True,
        None,
        [],
        [1, [2]],
        {},
        {"a": [None]},
    ],
    ids=lambda body: f"{body!a:.12}",
)
def test_a_body_comes_out_as_it_went_in(queue: rqsqs.Queue, body: Any) -> None:
    queue.send(body)
    (message,) = queue.receive()
    assert message.body == body
    assert type(message.body) is type(body)


def test_keys_of_objects_may_be_numbers_and_bytes(queue: rqsqs.Queue) -> None:
    body = {1: "a", b"x": "b", "t": datetime(2030, 1, 1, tzinfo=UTC).timestamp()}
    queue.send(body)
    assert queue.receive()[0].body == body


def test_a_message_tells_everything_about_itself(fifo: rqsqs.Queue, clock: VirtualClock) -> None:
    sent = fifo.send("x", group="customer", deduplication_id="1", attributes={"s": "t", "i": 1, "f": 1.5, "b": b"\x00"})
    clock.advance(10)
    (message,) = fifo.receive()
    assert message.queue is fifo
    assert message.message_id == sent.message_id
    assert message.sequence_number == sent.sequence_number
    assert sent.sequence_number is not None
    assert len(sent.sequence_number) == 20
    assert (message.group, message.deduplication_id) == ("customer", "1")
    assert message.attributes == {"s": "t", "i": 1, "f": 1.5, "b": b"\x00"}
    assert message.receive_count == 1
    assert message.dead_letter_source is None
    assert message.visible_at is None
    assert message.first_received_at is not None
    assert timedelta(seconds=9) < message.first_received_at - message.sent_at < timedelta(seconds=15)
    assert message.sent_at.tzinfo is UTC
    assert repr(message) == f"<rqsqs.Message {sent.message_id} of 'orders.fifo'>"
    assert not sent.is_duplicate


def test_a_standard_message_has_no_sequence_number(queue: rqsqs.Queue) -> None:
    assert queue.send("x").sequence_number is None
    (message,) = queue.receive()
    assert (message.sequence_number, message.group, message.deduplication_id) == (None, None, None)
    assert message.attributes == {}


def test_a_message_is_hidden_until_its_visibility_timeout_is_over(queue: rqsqs.Queue, clock: VirtualClock) -> None:
    queue.send("x")
    first = queue.receive(visibility_timeout=timedelta(seconds=10))
    assert queue.receive() == []
    assert numbers(queue) == (0, 1, 0)
    clock.advance(10)
    (again,) = queue.receive()
    assert again.message_id == first[0].message_id
    assert again.receipt_handle != first[0].receipt_handle
    assert again.receive_count == 2
    assert again.first_received_at == first[0].first_received_at


def test_deleting_what_is_gone_succeeds(queue: rqsqs.Queue) -> None:
    queue.send("x")
    (message,) = queue.receive()
    message.delete()
    message.delete()
    queue.delete(message.receipt_handle)
    assert numbers(queue) == (0, 0, 0)


def test_a_message_can_be_deleted_as_it_is_received(queue: rqsqs.Queue, fifo: rqsqs.Queue) -> None:
    queue.send("x")
    fifo.send("y", group="a", deduplication_id="1")
    for q, body in ((queue, "x"), (fifo, "y")):
        assert bodies(q.receive(delete=True)) == [body]
        assert numbers(q) == (0, 0, 0)


def test_a_stale_handle_of_a_fifo_queue_is_expired(fifo: rqsqs.Queue, clock: VirtualClock) -> None:
    fifo.send("x", group="a", deduplication_id="1")
    (message,) = fifo.receive(visibility_timeout=5)
    clock.advance(5)
    fifo.receive()
    with pytest.raises(rqsqs.ReceiptHandleExpired, match="visibility timeout is over"):
        message.delete()
    with pytest.raises(rqsqs.ReceiptHandleExpired):
        message.change_visibility(5)


def test_a_handle_of_another_queue_is_refused(connection: rqsqs.Connection, queue: rqsqs.Queue) -> None:
    queue.send("x")
    (message,) = queue.receive()
    with pytest.raises(rqsqs.ReceiptHandleIsInvalid):
        connection.create_queue("other").delete(message.receipt_handle)


def test_a_message_that_was_looked_at_cannot_be_deleted(queue: rqsqs.Queue) -> None:
    queue.send("x")
    (message,) = queue.peek()
    assert message.receipt_handle == ""
    for settle in (message.delete, message.release, lambda: message.change_visibility(5)):
        with pytest.raises(rqsqs.UsageError, match="was only looked at: receive it"):
            settle()


def test_visibility_can_be_changed(queue: rqsqs.Queue, clock: VirtualClock) -> None:
    queue.send("x")
    (message,) = queue.receive(visibility_timeout=5)
    message.change_visibility(timedelta(minutes=1))
    clock.advance(59)
    assert queue.receive() == []
    clock.advance(1)
    (message,) = queue.receive()
    message.release(delay=5)
    assert queue.receive() == []
    clock.advance(5)
    (message,) = queue.receive()
    message.release()
    (message,) = queue.receive()
    message.delete()
    with pytest.raises(rqsqs.MessageNotAvailable, match="does not exist any more"):
        message.change_visibility(5)


def test_a_message_as_context_manager_is_deleted_or_given_back(queue: rqsqs.Queue) -> None:
    queue.send("x")
    with pytest.raises(RuntimeError, match="ours"), queue.receive()[0]:
        raise RuntimeError("ours")
    with queue.receive()[0] as message:
        assert message.receive_count == 2
    assert numbers(queue) == (0, 0, 0)


def test_a_thousand_messages_travel_in_one_batch(queue: rqsqs.Queue, fifo: rqsqs.Queue) -> None:
    for q in (queue, fifo):
        entries = [
            rqsqs.Entry(i, group=f"g{i % 7}", deduplication_id=str(i)) if q.is_fifo else rqsqs.Entry(i)
            for i in range(1000)
        ]
        sent = q.send_batch(entries)
        assert len({s.message_id for s in sent}) == 1000
        received: list[rqsqs.Message] = []
        while batch := q.receive(1000, visibility_timeout=100):
            received += batch
        assert sorted(bodies(received)) == list(range(1000))
        q.change_visibility_batch([(m, 200) for m in received])
        assert numbers(q) == (0, 1000, 0)
        q.delete_batch(received)
        assert numbers(q) == (0, 0, 0)


def test_a_batch_mixes_bodies_and_entries_and_takes_any_iterable(queue: rqsqs.Queue) -> None:
    queue.send_batch(b for b in ["a", rqsqs.Entry("b", attributes={"n": 1}), {"c": 1}])
    messages = queue.receive(10)
    assert bodies(messages) == ["a", "b", {"c": 1}]
    assert messages[1].attributes == {"n": 1}
    queue.delete_batch(iter(messages))
    assert numbers(queue) == (0, 0, 0)


def test_entries_of_a_batch_have_options_of_their_own(queue: rqsqs.Queue, clock: VirtualClock) -> None:
    at = datetime.fromtimestamp(clock.now(), UTC) + timedelta(seconds=30)
    queue.send_batch(
        [rqsqs.Entry("now"), rqsqs.Entry("soon", delay=10), rqsqs.Entry("later", at=at), rqsqs.Entry("g", group="a")]
    )
    assert sorted(bodies(queue.receive(10, visibility_timeout=100))) == ["g", "now"]
    clock.advance(10)
    assert bodies(queue.receive(10, visibility_timeout=100)) == ["soon"]
    clock.advance(20)
    assert bodies(queue.receive(10)) == ["later"]


def test_what_is_too_large_fails_alone(connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("small", maximum_message_size=100)
    with pytest.raises(rqsqs.MessageTooLarge, match="at most 100 bytes, the queue's MaximumMessageSize, got 101"):
        queue.send("x" * 101)
    with pytest.raises(rqsqs.BatchFailed, match="1 of 3 entries failed; the first is number 1") as failed:
        queue.send_batch(["a", "x" * 101, "b"])
    first, failure, last = failed.value.results
    assert isinstance(failure, rqsqs.FailedEntry)
    assert isinstance(failure.error, rqsqs.MessageTooLarge)
    assert failure.index == 1
    assert isinstance(first, rqsqs.SentMessage)
    assert isinstance(last, rqsqs.SentMessage)
    assert bodies(queue.receive(10)) == ["a", "b"]


def test_good_entries_of_a_batch_are_done_beside_bad_ones(queue: rqsqs.Queue) -> None:
    queue.send_batch(["a", "b"])
    first, second = queue.receive(2)
    with pytest.raises(rqsqs.BatchFailed) as failed:
        queue.delete_batch([first, "nonsense"])
    assert failed.value.results[0] is None
    with pytest.raises(rqsqs.BatchFailed) as failed:
        queue.change_visibility_batch([(first, 5), ("nonsense", 5), (second, 0)])
    kinds = [type(r.error).__name__ if isinstance(r, rqsqs.FailedEntry) else r for r in failed.value.results]
    assert kinds == ["MessageNotAvailable", "ReceiptHandleIsInvalid", None]
    assert bodies(queue.receive(2)) == ["b"]


def test_iterating_receives_message_after_message(queue: rqsqs.Queue) -> None:
    queue.send_batch(range(5))
    seen = []
    for message in queue.messages(wait=0, prefetch=2):
        with message:
            seen.append(message.body)
    assert seen == list(range(5))
    assert numbers(queue) == (0, 0, 0)


def test_what_an_iteration_did_not_hand_out_is_given_back(queue: rqsqs.Queue) -> None:
    queue.send_batch(range(5))
    messages = queue.messages(wait=0, prefetch=4, visibility_timeout=100)
    next(messages).delete()
    messages.close()  # type: ignore[attr-defined]
    assert numbers(queue) == (4, 0, 0)


def test_a_loop_over_the_queue_waits_for_more(server_url: str, prefix: str) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        queue = connection.create_queue("orders")
        timer = threading.Timer(0.3, lambda: queue.send_batch(["a", "b"]))
        timer.start()
        seen = []
        for message in queue:
            message.delete()
            seen.append(message.body)
            if len(seen) == 2:
                break
        timer.join()
        assert seen == ["a", "b"]


def test_a_receive_waits_for_the_first_message(server_url: str, prefix: str) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        queue = connection.create_queue("orders")
        started = time.monotonic()
        assert queue.receive(wait=0.3) == []
        assert 0.25 < time.monotonic() - started < 30
        timer = threading.Timer(0.3, lambda: queue.send("x"))
        timer.start()
        started = time.monotonic()
        assert bodies(queue.receive(wait=60)) == ["x"]
        assert 0.25 < time.monotonic() - started < 30
        timer.join()


def test_a_queue_may_wait_by_itself(server_url: str, prefix: str) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        queue = connection.create_queue("orders", wait=1)
        started = time.monotonic()
        assert queue.receive() == []
        assert time.monotonic() - started > 0.9
        patient = connection.create_queue("patient", wait=60)
        started = time.monotonic()
        assert patient.receive(wait=0) == []
        assert time.monotonic() - started < 30


def test_a_delayed_message_wakes_a_waiting_receive_in_time(server_url: str, prefix: str) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        queue = connection.create_queue("orders")
        queue.send("x", delay=0.4)
        started = time.monotonic()
        assert bodies(queue.receive(wait=60)) == ["x"]
        assert 0.3 < time.monotonic() - started < 30


@pytest.mark.parametrize(
    "delay", [0.25, 90, timedelta(days=400), timedelta(microseconds=1500)], ids=["short", "s", "long", "us"]
)
def test_a_delay_may_be_any_time(queue: rqsqs.Queue, clock: VirtualClock, delay: float | timedelta) -> None:
    seconds = delay.total_seconds() if isinstance(delay, timedelta) else delay
    queue.send("x", delay=delay)
    if seconds > 1:
        assert queue.receive() == []
    clock.advance(seconds)
    time.sleep(0.003)
    assert bodies(queue.receive()) == ["x"]


@pytest.mark.parametrize("form", ["epoch", "utc", "zone"])
def test_an_absolute_time_may_be_given_in_three_forms(queue: rqsqs.Queue, clock: VirtualClock, form: str) -> None:
    at = clock.now() + 3600
    zone = UTC if form == "utc" else timezone(timedelta(hours=-8))
    queue.send("x", at=at if form == "epoch" else datetime.fromtimestamp(at, zone))
    (seen,) = queue.peek(state="delayed")
    assert seen.visible_at is not None
    assert abs(seen.visible_at.timestamp() - at) < 0.01
    clock.advance(3599)
    assert queue.receive() == []
    clock.advance(1)
    assert bodies(queue.receive()) == ["x"]


def test_a_time_in_the_past_means_now(queue: rqsqs.Queue) -> None:
    queue.send("x", at=1)
    assert bodies(queue.receive()) == ["x"]


def test_the_delay_of_the_queue_counts_where_a_message_has_none(connection: rqsqs.Connection, clock: Any) -> None:
    queue = connection.create_queue("slow", delay=10)
    queue.send("slow")
    queue.send("fast", delay=0)
    assert bodies(queue.receive(10)) == ["fast"]
    clock.advance(10)
    assert bodies(queue.receive(10)) == ["slow"]


def test_duplicates_on_a_standard_queue_are_recognised(queue: rqsqs.Queue, clock: VirtualClock) -> None:
    first = queue.send("a", deduplication_id="1", deduplication_window=60)
    again = queue.send("b", deduplication_id="1", deduplication_window=60)
    assert (again.is_duplicate, again.message_id) == (True, first.message_id)
    queue.receive(delete=True)
    assert queue.send("c", deduplication_id="1", deduplication_window=60).is_duplicate
    clock.advance(60)
    assert not queue.send("d", deduplication_id="1", deduplication_window=60).is_duplicate
    assert bodies(queue.receive(10)) == ["d"]


def test_duplicates_within_one_batch_are_recognised(queue: rqsqs.Queue, fifo: rqsqs.Queue) -> None:
    for q in (queue, fifo):
        sent = q.send_batch([rqsqs.Entry(i, group="g", deduplication_id=str(i % 2)) for i in range(4)])
        assert [s.is_duplicate for s in sent] == [False, False, True, True]
        assert [s.message_id for s in sent[2:]] == [s.message_id for s in sent[:2]]
        assert q.counts().visible == 2


def test_without_deduplication_id_everything_is_stored_unless_the_limits_are_those_of_sqs(
    fifo: rqsqs.Queue, server_url: str, prefix: str
) -> None:
    assert not fifo.send("x", group="a").is_duplicate
    assert not fifo.send("x", group="a").is_duplicate
    with (
        rqsqs.connect(server_url, prefix=prefix, limits="aws") as strict,
        pytest.raises(rqsqs.DeduplicationIdRequired, match="pass a deduplication id"),
    ):
        strict.queue("orders.fifo").send("x", group="a")


def test_the_content_may_stand_for_the_deduplication_id(connection: rqsqs.Connection) -> None:
    by_content = connection.create_queue("content.fifo", content_based_deduplication=True)
    for body in ("x", b"y", {"z": 1}):
        assert not by_content.send(body, group="a").is_duplicate
        assert by_content.send(body, group="other").is_duplicate


def test_ids_may_be_told_apart_by_group(connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("grouped.fifo", deduplication_scope="messageGroup")
    assert not queue.send("x", group="a", deduplication_id="1").is_duplicate
    assert not queue.send("x", group="b", deduplication_id="1").is_duplicate
    assert queue.send("x", group="a", deduplication_id="1").is_duplicate


def test_the_window_of_the_queue_counts(connection: rqsqs.Connection, clock: VirtualClock) -> None:
    queue = connection.create_queue("short", deduplication_window=60)
    queue.send("x", deduplication_id="1")
    clock.advance(59)
    assert queue.send("x", deduplication_id="1").is_duplicate
    clock.advance(1)
    assert not queue.send("x", deduplication_id="1").is_duplicate


def test_a_group_of_a_fifo_queue_keeps_its_order_and_waits_for_its_head(fifo: rqsqs.Queue) -> None:
    fifo.send_batch([rqsqs.Entry(f"{g}{i}", group=g, deduplication_id=f"{g}{i}") for i in range(3) for g in "ab"])
    first = fifo.receive(1)[0]
    other = fifo.receive(10)
    assert {m.group for m in other}.isdisjoint({first.group})
    first.delete()
    follower = fifo.receive(1)[0]
    assert (follower.group, follower.body[1]) == (first.group, "1")


def test_a_repeated_receive_attempt_gives_the_same_messages(fifo: rqsqs.Queue) -> None:
    fifo.send("x", group="a", deduplication_id="1")
    first = fifo.receive(attempt_id="try-1")
    again = fifo.receive(attempt_id="try-1")
    assert bodies(again) == ["x"]
    assert again[0].message_id == first[0].message_id
    again[0].delete()
    assert numbers(fifo) == (0, 0, 0)


def test_groups_of_a_standard_queue_take_turns(queue: rqsqs.Queue) -> None:
    queue.send_batch([rqsqs.Entry(f"busy {i}", group="busy") for i in range(100)])
    queue.send("quiet", group="quiet")
    found = bodies(queue.receive(20))
    assert "quiet" in found


def test_messages_end_with_their_retention(connection: rqsqs.Connection, clock: VirtualClock) -> None:
    for name in ("short", "short.fifo"):
        queue = connection.create_queue(name, retention=60)
        queue.send("x", group="a", deduplication_id="1")
        clock.advance(61)
        assert queue.receive(10) == []
        assert numbers(queue) == (0, 0, 0)


def test_a_queue_that_does_not_exist_is_named(connection: rqsqs.Connection) -> None:
    queue = connection.queue("nothing")
    calls: list[Any] = [
        lambda: queue.send("x"),
        queue.receive,
        lambda: queue.receive(wait=1),
        queue.counts,
        queue.groups,
        queue.peek,
        queue.info,
        queue.purge,
        queue.pause,
        queue.tags,
        queue.dead_letter_sources,
        queue.move_tasks,
        lambda: queue.configure(delay=1),
        lambda: queue.tag({"a": "b"}),
        lambda: connection.delete_queue(queue),
    ]
    for call in calls:
        with pytest.raises(rqsqs.QueueDoesNotExist, match="the queue 'nothing' does not exist"):
            call()
