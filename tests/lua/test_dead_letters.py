"""Dead letters: the shard that is not there, comes back, is copied, keeps what belongs to a message."""

from __future__ import annotations

import pytest

from rqsqs._core import flows
from rqsqs.errors import QueueDoesNotExist, ReceiptHandleExpired, ResourceNotFound
from rqsqs.limits import NATIVE
from tests.lua.conftest import Engine, policy


@pytest.fixture
def dead(name: str) -> str:
    return "dead.fifo" if name.endswith(".fifo") else "dead"


def send(engine: Engine, q: object, *bodies: object) -> None:
    engine.send(q, *bodies, group="g" if q.is_fifo else None)  # type: ignore[arg-type, attr-defined]


def test_a_missing_target_is_refused_when_it_is_set(engine: Engine, name: str, dead: str) -> None:
    with pytest.raises(ResourceNotFound):
        engine.queue(name, dead)
    q = engine.queue(name)
    with pytest.raises(ResourceNotFound):
        engine.run(flows.set_attributes(q, {"RedrivePolicy": policy(dead, 1)}, NATIVE))


def test_a_creation_that_was_interrupted_is_completed_by_the_next_one(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead)
    interrupted = flows.create_queue(engine.transport.queue(name), {"RedrivePolicy": policy(dead, 1)}, NATIVE)
    step = next(interrupted)
    while step.script != "create_queue":
        step = interrupted.send(engine.execute(step))
    engine.execute(step)
    interrupted.close()
    assert engine.run(flows.dead_letter_sources(dlq)) == []
    engine.queue(name, dead)
    assert engine.run(flows.dead_letter_sources(dlq)) == [name]


def test_without_its_dead_letter_queue_a_message_stays_and_is_delivered_on(
    engine: Engine, name: str, dead: str
) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead)
    engine.run(flows.delete_queue(dlq, NATIVE))
    send(engine, q, "a")
    counts = [engine.receive(q, visibility_ms=0)[0].receive_count for _ in range(4)]
    assert counts == [1, 2, 3, 4]


def test_a_dead_letter_queue_that_is_created_again_gets_its_messages_within_a_minute(
    engine: Engine, name: str, dead: str
) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead)
    engine.run(flows.delete_queue(dlq, NATIVE))
    send(engine, q, "a")
    for _ in range(2):
        assert engine.bodies(q, visibility_ms=0) == ["a"]
    engine.queue(dead)
    assert engine.bodies(q, visibility_ms=0) == ["a"]  # the source does not look again at once
    engine.clock.advance_ms(60_001)
    assert engine.bodies(q, visibility_ms=0) == []
    (letter,) = engine.receive(dlq)
    assert (letter.body, letter.receive_count, letter.dead_letter_source) == ("a", 4, name)
    assert engine.delete(dlq, letter) == [None]
    assert engine.counts(dlq) == (0, 0, 0)
    assert engine.run(flows.dead_letter_sources(dlq)) == [name]


def test_a_stranger_finds_dead_letters_in_other_slots(engine: Engine, name: str, dead: str) -> None:
    engine.queue(dead)
    q = engine.queue(name, dead)
    send(engine, q, "a")
    engine.receive(q, visibility_ms=0)
    engine.receive(q)
    stranger = type(q)(engine.transport.space, dead)  # knows one partition only
    assert engine.bodies(stranger) == ["a"]


def test_a_shard_follows_the_attributes_of_its_queue(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead)
    send(engine, q, "a")
    engine.receive(q, visibility_ms=0)
    engine.receive(q)
    engine.run(flows.set_attributes(dlq, {"VisibilityTimeout": "7"}, NATIVE))
    engine.run(flows.pause(dlq, resume=False))
    assert engine.bodies(dlq) == []
    engine.run(flows.pause(dlq, resume=True))
    assert engine.bodies(dlq) == ["a"]
    engine.clock.advance_ms(6999)
    assert engine.bodies(dlq) == []
    engine.clock.advance_ms(1)
    assert engine.bodies(dlq) == ["a"]


def test_an_older_copy_of_the_attributes_does_not_overwrite_a_newer_one(engine: Engine) -> None:
    from rqsqs._core.operations import queues

    dlq = engine.queue("dead")
    q = engine.queue("q", "dead")
    shard = dlq.partition(q.home.tag)
    old = engine.execute(queues.get_queue(dlq.home))
    engine.clock.advance_ms(1)
    engine.run(flows.set_attributes(dlq, {"VisibilityTimeout": "7"}, NATIVE))
    assert engine.execute(queues.put_shard(shard, q.home, old)) == 0
    assert engine.execute(queues.get_queue(shard))["VisibilityTimeout"] == "7"


def test_standard_dead_letters_keep_their_age_and_fifo_ones_begin_anew(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead, MessageRetentionPeriod="100")
    q = engine.queue(name, dead)
    send(engine, q, "a")
    engine.receive(q, visibility_ms=0)
    engine.clock.advance_ms(90_000)
    assert engine.bodies(q) == []
    engine.clock.advance_ms(20_000)
    assert engine.bodies(dlq) == (["a"] if q.is_fifo else [])


def test_a_message_scheduled_far_ahead_is_not_too_old_when_it_dies(engine: Engine) -> None:
    dlq = engine.queue("dead")
    q = engine.queue("q", "dead")
    week = 7 * 86_400_000
    engine.send(q, "a", delay_ms=week)
    engine.clock.advance_ms(week)
    assert engine.bodies(q, visibility_ms=0) == ["a"]
    assert engine.bodies(q) == []
    assert engine.bodies(dlq) == ["a"]


def test_a_queue_may_be_its_own_dead_letter_queue(engine: Engine, name: str) -> None:
    q = engine.queue(name, name, 2)
    send(engine, q, "a")
    counts = []
    for _ in range(6):
        counts += [d.receive_count for d in engine.receive(q, visibility_ms=0)]
    assert counts == sorted(counts)
    assert counts[-1] >= 4
    assert sum(engine.counts(q)) == 1


def test_only_the_receipt_of_the_queue_itself_deletes_a_dead_letter(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead)
    send(engine, q, "a")
    (old,) = engine.receive(q, visibility_ms=0)
    engine.receive(q)
    (refused,) = engine.delete(q, old)
    if not q.is_fifo:
        assert isinstance(refused.error, ReceiptHandleExpired)  # it is not deleted, and nobody says so
    assert engine.counts(dlq) == (1, 0, 0)
    (failure,) = engine.delete(dlq, old)
    assert failure.error.detail == "foreign"


def test_deleting_the_source_leaves_its_dead_letters_alone(engine: Engine, name: str, dead: str) -> None:
    dlq = engine.queue(dead)
    q = engine.queue(name, dead)
    send(engine, q, "a")
    engine.receive(q, visibility_ms=0)
    engine.receive(q)
    engine.run(flows.delete_queue(q, NATIVE))
    assert engine.run(flows.dead_letter_sources(dlq)) == []
    assert engine.bodies(dlq) == ["a"]
    engine.run(flows.delete_queue(dlq, NATIVE))
    assert engine.names() == []
    with pytest.raises(QueueDoesNotExist):
        engine.counts(dlq)


def test_a_paused_group_does_not_die(engine: Engine) -> None:
    dlq = engine.queue("dead")
    q = engine.queue("q", "dead")
    engine.send(q, "a", group="g")
    engine.receive(q, visibility_ms=0)
    engine.run(flows.pause(q, resume=False, group="g"))
    assert engine.bodies(q) == []
    assert engine.counts(dlq) == (0, 0, 0)
    engine.run(flows.pause(q, resume=True, group="g"))
    assert engine.bodies(q) == []
    assert engine.bodies(dlq) == ["a"]


def test_many_dead_letters_do_not_hide_what_is_visible(engine: Engine, name: str, dead: str) -> None:
    engine.queue(dead)
    q = engine.queue(name, dead)
    for i in range(250):
        engine.send(q, i, group=f"g{i}" if q.is_fifo else None)
    assert len(engine.receive(q, 1000, 0)) == 250
    engine.send(q, "good", group="good" if q.is_fifo else None, delay_ms=1)
    engine.clock.advance_ms(1)
    assert engine.bodies(q, 1) == ["good"]


def test_a_process_that_knew_an_earlier_life_of_the_queue_finds_everything(
    engine: Engine, name: str, dead: str
) -> None:
    dlq = engine.queue(dead)
    first = engine.queue("first-" + name, dead)
    send(engine, first, "a")
    engine.receive(first, visibility_ms=0)
    engine.receive(first)
    knowing = type(dlq)(engine.transport.space, dead)
    (old,) = engine.receive(knowing)
    assert len(knowing.partitions) == 2
    engine.run(flows.delete_queue(dlq, NATIVE))
    engine.run(flows.delete_queue(first, NATIVE))
    engine.queue(dead)
    assert engine.bodies(knowing) == []
    second = engine.queue("second-" + name, dead)
    send(engine, second, "b")
    engine.receive(second, visibility_ms=0)
    engine.receive(second)
    assert engine.bodies(knowing) == ["b"]
    assert engine.delete(knowing, old) == [None]
    assert engine.counts(knowing) == (0, 1, 0)


def test_a_shard_that_is_named_and_not_there_yet_holds_nothing(engine: Engine, name: str, dead: str) -> None:
    from rqsqs._core.operations import queues

    dlq = engine.queue(dead)
    q = engine.queue(name)
    engine.execute(queues.attach_source(dlq, name, [q.home.tag]))  # and the process died
    assert engine.bodies(dlq) == []
    assert engine.counts(dlq) == (0, 0, 0)
    engine.run(flows.pause(dlq, resume=False, group="g"))
    engine.run(flows.pause(dlq, resume=True, group="g"))
    engine.run(flows.set_attributes(q, {"RedrivePolicy": policy(dead, 1)}, NATIVE))
    send(engine, q, "a")
    engine.receive(q, visibility_ms=0)
    assert engine.bodies(q) == []
    assert engine.bodies(dlq) == ["a"]
    engine.run(flows.delete_queue(dlq, NATIVE))
    assert not [key for key in engine.names() if f":{dead}:" in key]


def test_a_message_that_was_given_another_time_dies_like_any_other(engine: Engine) -> None:
    q = engine.queue("q", "q", 1)  # a policy before there is a shard: the queue is its own
    dlq = engine.queue("dead")
    engine.run(flows.set_attributes(q, {"RedrivePolicy": policy("dead", 1)}, NATIVE))
    engine.redis.delete(dlq.partition(q.home.tag).base + "meta")  # the process died before it made the shard
    (sent,) = engine.send(q, "a")
    assert engine.bodies(q, visibility_ms=0) == ["a"]
    assert engine.run(flows.reschedule(q, sent.message_id, engine.clock.ms + 1000))
    engine.clock.advance_ms(1000)
    assert engine.bodies(q) == []
    assert engine.bodies(q) == []
    (letter,) = engine.receive(dlq)
    assert (letter.body, letter.receive_count) == ("a", 2)
