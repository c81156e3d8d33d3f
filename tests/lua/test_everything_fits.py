"""Batches of a thousand, odd bodies and names, and memory that is full."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rqsqs._core import envelope, flows
from rqsqs.errors import MessageTooLarge, OverLimit, ServerOutOfMemory
from rqsqs.limits import AWS, NATIVE
from rqsqs.models import FailedEntry
from tests.lua.conftest import Engine
from tests.servers import Server

ODD = ["", "\x00", "a\x00b", "{}", "}{", "{x}:y", "🦊" * 10, "\r\n", "%s %d", "'\"\\", "@/-", "x" * 1_048_576]
NAMES = ["a", "@", "/", "a@b/c", "{x}", "}{", "🦊", "%", "*", "[a]?", "\x00", "-", "x" * 128]


def test_batches_of_a_thousand(engine: Engine, name: str) -> None:
    q = engine.queue(name)
    group = "g" if q.is_fifo else None
    assert len(engine.send(q, *range(1000), group=group)) == 1000
    got = engine.receive(q, 1000)
    assert [d.body for d in got] == list(range(1000))
    assert len({d.message_id for d in got}) == 1000
    changes = [(d.receipt_handle, 0) for d in got]
    assert engine.run(flows.change_visibility(q, changes, NATIVE)) == [None] * 1000
    got = engine.receive(q, 1000)
    assert sorted(d.body for d in got) == list(range(1000))
    assert engine.delete(q, *got) == [None] * 1000
    assert engine.counts(q) == (0, 0, 0)


def test_a_thousand_dead_letters_at_once(engine: Engine, name: str) -> None:
    dlq = engine.queue("dead.fifo" if name.endswith(".fifo") else "dead")
    q = engine.queue(name, dlq.name)
    engine.send(q, *range(1000), group="g" if q.is_fifo else None)
    assert len(engine.receive(q, 1000, 0)) == 1000
    assert engine.bodies(q, 1000) == []
    assert sorted(engine.bodies(dlq, 1000) + engine.bodies(dlq, 1000)) == list(range(1000))


def test_a_thousand_with_delays_groups_and_ids(engine: Engine) -> None:
    q = engine.queue("q")
    batch = [envelope.outgoing(i, group=f"g{i % 7}", dedup_id=f"d{i % 500}", delay_ms=i % 3) for i in range(1000)]
    answers = engine.run(flows.send_messages(q, batch, NATIVE))
    assert [a.is_duplicate for a in answers] == [False] * 500 + [True] * 500
    assert [a.message_id for a in answers[500:]] == [a.message_id for a in answers[:500]]
    engine.clock.advance_ms(2)
    assert sorted(engine.bodies(q, 1000)) == list(range(500))


@pytest.mark.parametrize("body", ODD, ids=lambda b: repr(b[:8]))
def test_odd_bodies_come_back_as_they_were(engine: Engine, name: str, body: str) -> None:
    q = engine.queue(name, MaximumMessageSize="1048576")
    group = "g" if q.is_fifo else None
    engine.send(q, body, body.encode(), [body, {"x": body}], group=group)
    got = engine.receive(q)
    assert [d.body for d in got] == [body, body.encode(), [body, {"x": body}]] or len(body) > 1000
    assert got[0].body == body
    engine.delete(q, *got)
    assert engine.counts(q)[1] == 0


@pytest.mark.parametrize("group", NAMES, ids=repr)
def test_odd_groups_and_ids(engine: Engine, name: str, group: str) -> None:
    q = engine.queue(name)
    (sent,) = engine.send(q, "a", group=group, dedup_id=group)
    assert engine.send(q, "b", group=group, dedup_id=group)[0].is_duplicate
    (d,) = engine.receive(q, visibility_ms=0)
    assert (d.group, d.dedup_id, d.group_name) == (group, group, group)
    assert engine.run(flows.groups(q)) == ([group] if q.is_fifo else [])
    engine.run(flows.pause(q, resume=False, group=group))
    assert engine.bodies(q) == []
    engine.run(flows.pause(q, resume=True, group=group))
    (d,) = engine.receive(q, visibility_ms=0)
    assert d.receive_count == 2
    assert engine.run(flows.cancel(q, sent.message_id))
    assert engine.counts(q) == (0, 0, 0)
    engine.send(q, "c", group=group, delay_ms=5)
    engine.clock.advance_ms(5)
    (d,) = engine.receive(q)
    assert engine.delete(q, d) == [None]
    engine.run(flows.delete_queue(q, NATIVE))
    assert [key for key in engine.names() if ":dedup:" not in key] == []


def test_the_largest_message_fits_and_one_byte_more_fails_alone(engine: Engine, name: str) -> None:
    q = engine.queue(name, MaximumMessageSize="1024")
    group = "g" if q.is_fifo else None
    sent = engine.send(q, "x" * 1024, "y" * 1025, "ü" * 512, group=group)
    assert isinstance(sent[1], FailedEntry)
    assert isinstance(sent[1].error, MessageTooLarge)
    assert sent[1].error.detail == "1024"
    assert engine.bodies(q) == ["x" * 1024, "ü" * 512]


def test_in_flight_at_the_limit_a_short_poll_fails(engine: Engine) -> None:
    import dataclasses

    q = engine.queue("q")
    limits = dataclasses.replace(AWS, in_flight=2)
    engine.send(q, "a", "b", "c")
    got = engine.run(flows.receive_messages(q, limits, 2))
    with pytest.raises(OverLimit):
        engine.run(flows.receive_messages(q, limits, 1))
    engine.delete(q, got[0])
    assert len(engine.run(flows.receive_messages(q, limits, 1))) == 1
    engine.clock.advance_ms(30_000)
    assert len(engine.run(flows.receive_messages(q, limits, 2))) == 2


def test_when_memory_is_full_sending_fails_and_consuming_works(
    small_server: Server, engine_at: Callable[..., Engine], name: str
) -> None:
    engine = engine_at(small_server.url)
    q = engine.queue(name)
    group = "g" if q.is_fifo else None
    sent = engine.send(q, *[f"{i:01000}" for i in range(100)], group=group)
    engine.redis.config_set("maxmemory", "1mb")
    try:
        before = {key: engine.redis.dump(engine.transport.space.prefix + ":" + key) for key in engine.names()}
        for options in ({}, {"delay_ms": 5}, {"dedup_id": "d"}):
            with pytest.raises(ServerOutOfMemory):
                engine.send(q, "refused", group=group, **options)
        assert {k: engine.redis.dump(engine.transport.space.prefix + ":" + k) for k in engine.names()} == before
        got = engine.receive(q, 10)
        assert len(got) == 10
        changes = [(got[-1].receipt_handle, 0)]
        assert engine.run(flows.change_visibility(q, changes, NATIVE)) == [None]
        assert engine.delete(q, *got[:9]) == [None] * 9
        assert engine.run(flows.cancel(q, sent[50].message_id, group=group))
        assert engine.counts(q) == (90, 0, 0)
        engine.run(flows.purge_queue(q, NATIVE))
        assert engine.counts(q) == (0, 0, 0)
    finally:
        engine.redis.config_set("maxmemory", "0")
    engine.send(q, "accepted", group=group)
    assert engine.bodies(q) == ["accepted"]
