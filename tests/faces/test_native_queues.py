"""Queues through the native face: life, settings, tags, looking at what waits, dead letters, on both servers."""

from __future__ import annotations

import pickle
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import rqsqs
from rqsqs.testing import VirtualClock
from tests.clusters import client_of


@pytest.fixture
def clock() -> VirtualClock:
    return VirtualClock()


@pytest.fixture
def connection(server_url: str, prefix: str, clock: VirtualClock) -> Iterator[rqsqs.Connection]:
    with rqsqs.connect(server_url, prefix=prefix, clock=clock) as connection:
        yield connection


@pytest.fixture(params=["orders", "orders.fifo"])
def queue(connection: rqsqs.Connection, request: pytest.FixtureRequest) -> rqsqs.Queue:
    """A standard queue, then a FIFO queue."""
    return connection.create_queue(request.param)


def fill(queue: rqsqs.Queue, count: int, groups: str = "a", **options: Any) -> list[rqsqs.SentMessage]:
    """Send bodies 0, 1, 2 ... to both kinds of queues; standard ones without groups."""
    return queue.send_batch(
        [
            rqsqs.Entry(i, group=groups[i % len(groups)], deduplication_id=str(i), **options)
            if queue.is_fifo
            else rqsqs.Entry(i, **options)
            for i in range(count)
        ]
    )


def numbers(queue: rqsqs.Queue, group: str | None = None) -> tuple[int, int, int]:
    counts = queue.counts(group)
    return counts.visible, counts.in_flight, counts.delayed


# Life


def test_a_queue_lives_and_ends_and_leaves_nothing(connection: rqsqs.Connection, server_url: str, prefix: str) -> None:
    for name in ("orders", "orders.fifo"):
        assert not connection.exists(name)
        queue = connection.create_queue(name)
        assert (queue.name, queue.is_fifo) == (name, name.endswith(".fifo"))
        assert connection.exists(name)
        fill(queue, 5, "abc")
        queue.receive(2)
        connection.delete_queue(queue if queue.is_fifo else name)
        assert not connection.exists(name)
        with pytest.raises(rqsqs.QueueDoesNotExist):
            connection.delete_queue(name)
    assert list(connection.queues()) == []
    with client_of(server_url) as server:
        left = {key for key in server.scan_iter(match=f"{prefix}:*") if server.pttl(key) < 0}
    assert left == {f"{prefix}:{{queues}}:format".encode()}  # of the prefix, not of a queue


def test_a_deleted_queue_can_be_created_anew_and_is_empty(queue: rqsqs.Queue, connection: rqsqs.Connection) -> None:
    fill(queue, 3)
    connection.delete_queue(queue)
    again = connection.create_queue(queue.name)
    assert numbers(again) == (0, 0, 0)
    assert not any(s.is_duplicate for s in fill(again, 3))


def test_creating_again_is_fine_with_the_same_settings_only(connection: rqsqs.Connection) -> None:
    connection.create_queue("orders", delay=5)
    connection.create_queue("orders", delay=timedelta(seconds=5))
    connection.create_queue("orders")
    with pytest.raises(rqsqs.QueueNameExists) as caught:
        connection.create_queue("orders", delay=6)
    assert str(caught.value) == (
        "the queue 'orders' exists with another value of DelaySeconds (it has 5, not 6); "
        "queue('orders').configure(delay=6) changes that"
    )


def test_all_values_that_differ_are_told_with_what_changes_them(connection: rqsqs.Connection) -> None:
    dead = connection.create_queue("dead")
    orders = connection.create_queue("orders", delay=5, wait=3, partitions=2)
    with pytest.raises(rqsqs.QueueNameExists) as caught:
        connection.create_queue("orders", delay=6, wait=3, dead_letter_queue=dead, max_receive_count=7, partitions=1)
    error = pickle.loads(pickle.dumps(caught.value))
    policy = '{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:dead","maxReceiveCount":7}'
    assert (error.queue, error.differences) == (
        "orders",
        {"DelaySeconds": ("5", "6"), "RedrivePolicy": (None, policy), "Partitions": ("2", "1")},
    )
    assert "RedrivePolicy (it has none, not {" in str(error)
    call = "queue('orders').configure(delay=6, dead_letter_queue='dead', max_receive_count=7)"
    assert str(error).endswith(f"; {call} changes that")
    eval(call, {"queue": connection.queue})
    connection.create_queue("orders", delay=6, wait=3, dead_letter_queue=dead, max_receive_count=7)
    with pytest.raises(rqsqs.QueueNameExists, match=r"\(it has 2, not 1\); use it as it is, or delete it first"):
        connection.create_queue("orders", partitions=1)
    assert orders.info().attributes["Partitions"] == "2"


def test_queues_are_listed_in_order_beyond_one_page(connection: rqsqs.Connection) -> None:
    names = [f"q{i:04d}" for i in range(1005)]
    for name in reversed(names):
        connection.create_queue(name)
    connection.create_queue("other")
    assert [q.name for q in connection.queues()] == sorted([*names, "other"])
    assert [q.name for q in connection.queues("q000")] == names[:10]
    assert list(connection.queues("x")) == []


def test_prefixes_keep_queues_apart(connection: rqsqs.Connection, server_url: str, prefix: str) -> None:
    connection.create_queue("orders").send("x")
    with rqsqs.connect(server_url, prefix=prefix + "2") as other:
        assert list(other.queues()) == []
        assert not other.exists("orders")


# Settings and tags


def test_every_setting_is_stored(connection: rqsqs.Connection) -> None:
    connection.create_queue("dead.fifo")
    queue = connection.create_queue(
        "orders.fifo",
        visibility_timeout=timedelta(minutes=2),
        delay=3,
        retention=timedelta(days=20),
        wait=5,
        maximum_message_size=2_000_000,
        dead_letter_queue="dead.fifo",
        max_receive_count=7,
        content_based_deduplication=True,
        deduplication_scope="messageGroup",
        deduplication_window=60,
        tags={"team": "blue"},
    )
    info = queue.info()
    assert info.name == "orders.fifo"
    assert not info.is_paused
    assert abs(info.created_at_ms / 1000 - time.time()) < 60
    wanted = {
        "VisibilityTimeout": "120",
        "DelaySeconds": "3",
        "MessageRetentionPeriod": "1728000",
        "ReceiveMessageWaitTimeSeconds": "5",
        "MaximumMessageSize": "2000000",
        "ContentBasedDeduplication": "true",
        "DeduplicationScope": "messageGroup",
        "DeduplicationWindow": "60",
    }
    assert wanted.items() <= info.attributes.items()
    assert '"maxReceiveCount":7' in info.attributes["RedrivePolicy"]
    assert queue.tags() == {"team": "blue"}


def test_settings_are_changed_all_or_none(connection: rqsqs.Connection, clock: VirtualClock) -> None:
    queue = connection.create_queue("orders")
    before = queue.info()
    clock.advance(10)
    queue.configure(visibility_timeout=5, delay=1)
    after = queue.info()
    assert (after.attributes["VisibilityTimeout"], after.attributes["DelaySeconds"]) == ("5", "1")
    assert after.created_at_ms == before.created_at_ms
    assert after.modified_at_ms >= before.modified_at_ms + 10_000
    with pytest.raises(rqsqs.InvalidParameterValue):
        queue.configure(visibility_timeout=9, delay=-1)
    with pytest.raises(rqsqs.ResourceNotFound, match="the dead-letter queue 'nothing' does not exist"):
        queue.configure(visibility_timeout=9, dead_letter_queue="nothing")
    assert queue.info().attributes["VisibilityTimeout"] == "5"


def test_a_change_holds_for_other_clients_at_once(
    connection: rqsqs.Connection, server_url: str, prefix: str, clock: VirtualClock
) -> None:
    queue = connection.create_queue("orders")
    with rqsqs.connect(server_url, prefix=prefix, clock=clock) as other:
        other.queue("orders").configure(delay=60)
    queue.send("x")
    assert numbers(queue) == (0, 0, 1)


def test_tags_are_set_and_removed(queue: rqsqs.Queue) -> None:
    assert queue.tags() == {}
    queue.tag({"a": "1", "ü": "\U0001f600"})
    queue.tag({"a": "2", "c": ""})
    queue.untag("ü", "nothing")
    assert queue.tags() == {"a": "2", "c": ""}


# Counts and groups


def test_counts_are_exact_in_every_state(queue: rqsqs.Queue, clock: VirtualClock) -> None:
    assert queue.counts() == rqsqs.Counts()
    fill(queue, 6, "abc")
    received = queue.receive(2, visibility_timeout=10)
    if not queue.is_fifo:
        queue.send("later", delay=60)
    assert numbers(queue) == (4, 2, 0 if queue.is_fifo else 1)
    oldest = queue.counts().oldest_sent_at_ms
    assert oldest is not None
    assert abs(oldest / 1000 - clock.now()) < 60
    received[0].delete()
    clock.advance(10)
    assert numbers(queue) == (5, 0, 0 if queue.is_fifo else 1)
    queue.purge()
    assert queue.counts() == rqsqs.Counts()


def test_counts_and_names_of_groups(connection: rqsqs.Connection) -> None:
    for name in ("orders", "orders.fifo"):
        queue = connection.create_queue(name)
        entries = [("a", 3), ("b", 2), ("ü", 1)]
        for group, count in entries:
            queue.send_batch([rqsqs.Entry(i, group=group, deduplication_id=f"{group}{i}") for i in range(count)])
        assert queue.groups() == ["a", "b", "ü"]
        assert [numbers(queue, g) for g, _ in entries] == [(3, 0, 0), (2, 0, 0), (1, 0, 0)]
        assert numbers(queue, "nothing") == (0, 0, 0)
        (message, *_) = queue.receive(1)
        assert message.group is not None
        assert numbers(queue, message.group)[1] == 1


def test_groups_that_are_empty_are_not_listed(connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders.fifo")
    fill(queue, 4, "ab")
    for message in queue.receive(10):
        message.delete()
    while messages := queue.receive(10):
        queue.delete_batch(messages)
    assert queue.groups() == []


# Looking


def test_looking_changes_nothing(queue: rqsqs.Queue) -> None:
    fill(queue, 3)
    for _ in range(3):
        seen = queue.peek(10)
        assert [m.body for m in seen] == [0, 1, 2]
        assert {m.receive_count for m in seen} == {0}
        assert seen[0].first_received_at is None
    assert numbers(queue) == (3, 0, 0)
    assert [m.body for m in queue.peek()] == [0]
    assert [m.receive_count for m in queue.receive(10)] == [1, 1, 1]


def test_messages_in_flight_and_delayed_are_seen_with_their_time(queue: rqsqs.Queue, clock: VirtualClock) -> None:
    fill(queue, 1)
    (received,) = queue.receive(visibility_timeout=100)
    assert queue.peek() == []
    (seen,) = queue.peek(state="in_flight")
    assert (seen.message_id, seen.receive_count) == (received.message_id, 1)
    assert seen.visible_at is not None
    assert 90 < seen.visible_at.timestamp() - clock.now() <= 100.001
    if not queue.is_fifo:
        queue.send("later", delay=60)
        (later,) = queue.peek(state="delayed")
        assert later.visible_at is not None
        assert 50 < later.visible_at.timestamp() - clock.now() <= 60.001


@pytest.mark.parametrize("state", ["visible", "in_flight", "delayed"])
def test_browsing_goes_page_by_page_through_every_message(queue: rqsqs.Queue, state: Any) -> None:
    fill(queue, 25, "abc", **({"delay": 60} if state == "delayed" else {}))
    if state == "in_flight":
        while queue.receive(10, visibility_timeout=100):
            pass
    if state == "delayed" and queue.is_fifo and numbers(queue)[2] == 0:
        pytest.skip("messages of a FIFO queue have no delay of their own")
    seen, cursor, pages = [], "", 0
    while True:
        page, cursor = queue.browse(state, cursor, max_messages=4)
        seen += [m.body for m in page]
        pages += 1
        if not cursor:
            break
    total = dict(zip(("visible", "in_flight", "delayed"), numbers(queue), strict=True))[state]
    assert total > 0
    assert len(seen) == len(set(seen)) == total
    assert pages >= 25 // 4 or total < 25


def test_the_newest_come_first_if_asked_for(queue: rqsqs.Queue) -> None:
    for n in range(5):
        queue.send(n, **({"group": "g"} if queue.is_fifo else {}))
    assert [m.body for m in queue.peek(2, newest_first=True)] == [4, 3]
    page, cursor = queue.browse(max_messages=2, newest_first=True)
    rest, cursor = queue.browse(cursor=cursor, max_messages=10, newest_first=True)
    assert [m.body for m in page + rest] == [4, 3, 2, 1, 0]


def test_browsing_shows_all_groups_of_a_fair_queue(connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    queue.send_batch([rqsqs.Entry(i, group="abc"[i % 3]) if i % 4 else i for i in range(24)])
    seen, cursor = [], ""
    while True:
        page, cursor = queue.browse(cursor=cursor, max_messages=5)
        seen += [m.body for m in page]
        if not cursor:
            break
    assert sorted(seen) == list(range(24))


# Cancelling and rescheduling


def test_a_waiting_message_is_cancelled(queue: rqsqs.Queue) -> None:
    sent = fill(queue, 4, "ab")
    assert queue.cancel(sent[1])
    assert not queue.cancel(sent[1])
    assert queue.cancel(sent[2].message_id, group="a" if queue.is_fifo else None)
    assert queue.cancel(queue.peek()[0])
    assert numbers(queue) == (1, 0, 0)
    assert [m.body for m in queue.receive(10)] == [3]


def test_a_delayed_message_is_cancelled(connection: rqsqs.Connection, clock: VirtualClock) -> None:
    queue = connection.create_queue("orders")
    sent = queue.send("x", delay=60)
    assert queue.cancel(sent)
    clock.advance(60)
    assert queue.receive() == []
    assert numbers(queue) == (0, 0, 0)


def test_a_message_in_flight_is_its_receivers(queue: rqsqs.Queue) -> None:
    (sent,) = fill(queue, 1)
    queue.receive()
    with pytest.raises(rqsqs.MessageNotAvailable, match="in flight in"):
        queue.cancel(sent)
    with pytest.raises(rqsqs.MessageNotAvailable):
        queue.reschedule(sent, delay=5)


def test_cancelling_by_deduplication_id_lets_it_be_sent_again(queue: rqsqs.Queue) -> None:
    queue.send("x", group="a", deduplication_id="1")
    assert queue.cancel(deduplication_id="1")
    assert not queue.cancel(deduplication_id="1")
    assert not queue.cancel(deduplication_id="other")
    assert not queue.send("y", group="a", deduplication_id="1").is_duplicate
    assert [m.body for m in queue.receive(10)] == ["y"]


def test_cancelling_what_is_of_another_queue_is_refused(connection: rqsqs.Connection) -> None:
    sent = connection.create_queue("other").send("x")
    with pytest.raises(
        rqsqs.InvalidParameterValue, match="message must be one of the queue 'orders', or its message_id, got"
    ):
        connection.create_queue("orders").cancel(sent)


def test_a_waiting_message_gets_another_time(queue: rqsqs.Queue, clock: VirtualClock) -> None:
    (sent,) = fill(queue, 1)
    assert queue.reschedule(sent, delay=timedelta(minutes=5))
    assert queue.receive() == []
    clock.advance(299)
    assert queue.receive() == []
    clock.advance(1)
    assert len(queue.receive()) == 1


def test_a_delayed_message_is_brought_forward(connection: rqsqs.Connection, clock: VirtualClock) -> None:
    queue = connection.create_queue("orders")
    sent = queue.send("x", delay=3600)
    assert queue.reschedule(sent, at=datetime.fromtimestamp(clock.now() - 1, UTC))
    assert [m.body for m in queue.receive()] == ["x"]
    sent = queue.send("y", delay=3600)
    assert queue.reschedule(sent.message_id, delay=0)
    assert [m.body for m in queue.receive()] == ["y"]


# Pausing and purging


def test_a_paused_queue_hands_nothing_out(queue: rqsqs.Queue) -> None:
    fill(queue, 2)
    queue.pause()
    queue.pause()
    assert queue.info().is_paused
    assert queue.receive(10) == []
    assert queue.receive(10, wait=0.2) == []
    assert numbers(queue) == (2, 0, 0)
    queue.resume()
    queue.resume()
    assert not queue.info().is_paused
    assert len(queue.receive(10)) == 2


def test_resuming_wakes_who_waits(server_url: str, prefix: str) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        queue = connection.create_queue("orders")
        queue.pause()
        queue.send("x")
        timer = threading.Timer(0.3, queue.resume)
        timer.start()
        started = time.monotonic()
        assert [m.body for m in queue.receive(wait=60)] == ["x"]
        assert time.monotonic() - started < 30
        timer.join()


def test_one_group_is_paused_alone(connection: rqsqs.Connection) -> None:
    for name in ("orders", "orders.fifo"):
        queue = connection.create_queue(name)
        queue.send_batch([rqsqs.Entry(g, group=g, deduplication_id=g) for g in "abc"])
        queue.pause("b")
        assert sorted(m.body for m in queue.receive(10)) == ["a", "c"]
        assert queue.receive(10) == []
        assert numbers(queue, "b") == (1, 0, 0)
        queue.resume("b")
        assert [m.body for m in queue.receive(10)] == ["b"]


def test_what_is_in_flight_survives_a_pause(queue: rqsqs.Queue) -> None:
    fill(queue, 1)
    (message,) = queue.receive()
    queue.pause()
    message.delete()
    assert numbers(queue) == (0, 0, 0)


def test_purging_removes_messages_of_every_state(queue: rqsqs.Queue) -> None:
    fill(queue, 5, "ab")
    (message, *_) = queue.receive(2)
    queue.send("later", delay=60, group="a", deduplication_id="later")
    queue.purge()
    queue.purge()
    assert numbers(queue) == (0, 0, 0)
    assert queue.groups() == []
    message.delete()
    assert not any(s.is_duplicate for s in fill(queue, 5, "ab"))


# Dead letters


def dead_and_source(connection: rqsqs.Connection, suffix: str, receives: int = 1) -> tuple[rqsqs.Queue, rqsqs.Queue]:
    dead = connection.create_queue(f"dead{suffix}")
    return dead, connection.create_queue(f"orders{suffix}", dead_letter_queue=dead, max_receive_count=receives)


def settle(queue: rqsqs.Queue, task_id: str) -> rqsqs.MoveTask:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        task = next(t for t in queue.move_tasks() if t.task_id == task_id)
        if task.status not in ("RUNNING", "CANCELLING"):
            return task
        time.sleep(0.01)
    raise AssertionError("the move task does not end")


@pytest.mark.parametrize("suffix", ["", ".fifo"])
def test_what_is_received_too_often_becomes_a_dead_letter_and_goes_back(
    connection: rqsqs.Connection, clock: VirtualClock, suffix: str
) -> None:
    dead, queue = dead_and_source(connection, suffix, receives=2)
    sent = fill(queue, 3, "abc")
    for _ in range(2):
        assert len(queue.receive(10, visibility_timeout=5)) == 3
        clock.advance(5)
    assert queue.receive(10) == []
    assert (numbers(queue), numbers(dead)) == ((0, 0, 0), (3, 0, 0))
    assert dead.dead_letter_sources() == [queue.name]
    letters = dead.receive(10, visibility_timeout=5)
    assert sorted(m.message_id for m in letters) == sorted(s.message_id for s in sent)
    assert {m.dead_letter_source for m in letters} == {queue.name}
    assert {m.receive_count for m in letters} == {3}
    clock.advance(5)
    task = settle(dead, dead.redrive())
    assert (task.status, task.moved, task.destination) == ("COMPLETED", 3, None)
    assert (numbers(queue), numbers(dead)) == ((3, 0, 0), (0, 0, 0))
    assert sorted(m.body for m in queue.receive(10)) == [0, 1, 2]


@pytest.mark.parametrize("suffix", ["", ".fifo"])
def test_dead_letters_are_moved_elsewhere(connection: rqsqs.Connection, clock: VirtualClock, suffix: str) -> None:
    dead, queue = dead_and_source(connection, suffix)
    other = connection.create_queue(f"other{suffix}")
    fill(queue, 30, "abcdefghij")
    while numbers(queue) != (0, 0, 0):
        queue.receive(100, visibility_timeout=1)
        clock.advance(1)
    task = settle(dead, dead.redrive(other, max_per_second=500))
    assert (task.status, task.moved, task.destination, task.max_per_second) == ("COMPLETED", 30, other.name, 500)
    assert (numbers(dead), numbers(other)) == ((0, 0, 0), (30, 0, 0))
    assert sorted(m.body for m in other.peek(100)) == list(range(30))


def test_a_redrive_can_be_cancelled(connection: rqsqs.Connection, clock: VirtualClock) -> None:
    dead, queue = dead_and_source(connection, "")
    fill(queue, 50)
    queue.receive(50, visibility_timeout=1)
    clock.advance(1)
    queue.receive(50)
    task_id = dead.redrive(max_per_second=1)
    with pytest.raises(rqsqs.MoveTaskRefused, match="a move task of 'dead' is running"):
        dead.redrive()
    assert dead.cancel_redrive(task_id) < 50
    assert settle(dead, task_id).status == "CANCELLED"
    assert numbers(dead)[0] + numbers(queue)[0] == 50
    with pytest.raises(rqsqs.MoveTaskRefused, match="is not running"):
        dead.cancel_redrive(task_id)
    with pytest.raises(rqsqs.ResourceNotFound, match="there is no move task 'other' of 'dead'"):
        dead.cancel_redrive("other")


def test_redrives_that_cannot_be(connection: rqsqs.Connection) -> None:
    _, queue = dead_and_source(connection, "")
    with pytest.raises(rqsqs.MoveTaskRefused, match="'orders' is not the dead-letter queue of any queue"):
        queue.redrive()
    with pytest.raises(rqsqs.ResourceNotFound, match="'nothing' to move from does not exist"):
        connection.queue("nothing").redrive()
    with pytest.raises(rqsqs.ResourceNotFound, match="'nothing' to move to does not exist"):
        connection.queue("dead").redrive("nothing")


def test_the_dead_letter_queue_is_taken_away_again(connection: rqsqs.Connection, clock: VirtualClock) -> None:
    dead, queue = dead_and_source(connection, "")
    queue.configure(dead_letter_queue="")
    assert "RedrivePolicy" not in queue.info().attributes
    assert dead.dead_letter_sources() == []
    queue.send("x")
    for _ in range(5):
        assert len(queue.receive(visibility_timeout=1)) == 1
        clock.advance(1)
    assert numbers(dead) == (0, 0, 0)


def test_a_dead_letter_queue_must_exist(connection: rqsqs.Connection) -> None:
    with pytest.raises(rqsqs.ResourceNotFound, match="the dead-letter queue 'dead' does not exist"):
        connection.create_queue("orders", dead_letter_queue="dead")
    assert not connection.exists("orders")


def test_dead_letters_are_counted_browsed_and_purged_as_one_queue(
    connection: rqsqs.Connection, clock: VirtualClock
) -> None:
    dead = connection.create_queue("dead")
    for name in ("one", "two"):
        queue = connection.create_queue(name, dead_letter_queue=dead, max_receive_count=1)
        fill(queue, 5)
        queue.receive(5, visibility_timeout=1)
        clock.advance(1)
        queue.receive(5)
    dead.send("by hand")
    assert dead.counts().visible == 11
    seen, cursor = [], ""
    while True:
        page, cursor = dead.browse(cursor=cursor, max_messages=3)
        seen += page
        if not cursor:
            break
    assert sorted(str(m.dead_letter_source) for m in seen) == ["None"] + ["one"] * 5 + ["two"] * 5
    assert dead.dead_letter_sources() == ["one", "two"]
    assert len(dead.receive(11)) == 11
    dead.purge()
    assert dead.counts() == rqsqs.Counts()


def test_a_receive_that_waits_on_a_dead_letter_queue_gets_what_dies(
    server_url: str, prefix: str, clock: VirtualClock
) -> None:
    for suffix in ("", ".fifo"):
        with rqsqs.connect(server_url, prefix=prefix) as connection:
            dead = connection.create_queue(f"dead{suffix}")
            sources = [
                connection.create_queue(f"{name}{suffix}", dead_letter_queue=dead, max_receive_count=1)
                for name in ("one", "two")
            ]
            received: list[rqsqs.Message] = []

            def consume(dead: rqsqs.Queue = dead, received: list[rqsqs.Message] = received) -> None:
                while len(received) < 3 and (found := dead.receive(10, wait=10)):
                    dead.delete_batch(found)
                    received += found

            thread = threading.Thread(target=consume)
            thread.start()
            time.sleep(0.2)
            for source in sources:
                fill(source, 1)
                source.receive(visibility_timeout=0)
                assert source.receive() == []
            dead.send("by hand", group="a", deduplication_id="by hand")
            started = time.monotonic()
            thread.join(60)
            assert time.monotonic() - started < 30
            assert sorted(str(m.dead_letter_source) for m in received) == ["None", f"one{suffix}", f"two{suffix}"]
            assert dead.counts() == rqsqs.Counts()
            started = time.monotonic()
            assert dead.receive(wait=0.3) == []
            assert 0.25 < time.monotonic() - started < 30


def test_a_receive_that_waits_on_a_dead_letter_queue_follows_the_clock(
    connection: rqsqs.Connection, clock: VirtualClock
) -> None:
    dead = connection.create_queue("dead")
    queue = connection.create_queue("orders", dead_letter_queue=dead, max_receive_count=1)
    fill(queue, 1)
    queue.receive(visibility_timeout=0)
    assert queue.receive() == []
    (letter,) = dead.receive(visibility_timeout=600)
    received: list[rqsqs.Message] = []
    thread = threading.Thread(target=lambda: received.extend(dead.receive(wait=1000)))
    thread.start()
    time.sleep(0.2)
    clock.advance(600)
    thread.join(40)
    assert [m.message_id for m in received] == [letter.message_id]


def test_dead_letters_of_several_slots_are_moved_to_one_queue(
    connection: rqsqs.Connection, clock: VirtualClock
) -> None:
    for suffix in ("", ".fifo"):
        dead = connection.create_queue(f"dead{suffix}")
        other = connection.create_queue(f"other{suffix}")
        for number, name in enumerate(("one", "two")):
            queue = connection.create_queue(f"{name}{suffix}", dead_letter_queue=dead, max_receive_count=1)
            queue.send_batch(
                [
                    rqsqs.Entry(number * 100 + i, group=f"g{i % 3}", deduplication_id=f"{name}{i}")
                    if queue.is_fifo
                    else number * 100 + i
                    for i in range(12)
                ]
            )
            while queue.receive(100, visibility_timeout=0):
                pass
        assert dead.counts().visible == 24
        assert settle(dead, dead.redrive(other)).moved == 24
        moved = other.receive(100) if suffix == "" else other.peek(100)
        assert sorted(m.body for m in moved) == [*range(12), *range(100, 112)]
        if suffix:
            for group in ("g0", "g1", "g2"):
                of_one = [m.body for m in moved if m.group == group and m.body < 100]
                assert of_one == sorted(of_one)
