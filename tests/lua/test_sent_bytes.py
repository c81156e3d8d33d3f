"""The bytes of what is sent: of a standard queue only with metrics="full"."""

from __future__ import annotations

from typing import Any

import pytest

from rqsqs._core import envelope, flows, operations
from rqsqs._core.keys import QueueRef
from rqsqs.errors import MessageTooLarge
from rqsqs.limits import NATIVE
from tests.lua.conftest import Engine


def sent_bytes(engine: Engine, q: QueueRef) -> int | None:
    found: int | None = engine.run(flows.metrics(q)).sent_bytes
    return found


def stored(engine: Engine, q: QueueRef) -> int:
    """The bytes of the records that are there."""
    lists, hashes = engine.names(f"*:{q.name}:ready") + engine.names(f"*:{q.name}:group:*"), f"*:{q.name}:store"
    prefix = engine.transport.space.prefix + ":"
    found = [record for name in lists for record in engine.redis.lrange(prefix + name, 0, -1)[1::2]]
    found += [record for name in engine.names(hashes) for record in engine.redis.hvals(prefix + name)]
    return sum(map(len, found))


@pytest.mark.parametrize(
    "options",
    [{}, {"delay_ms": 1000}, {"group": "a"}, {"dedup_id": "x"}],
    ids=["common", "delayed", "group", "deduplicated"],
)
@pytest.mark.parametrize("partitions", ["1", "3"])
def test_every_way_of_sending_counts_its_bytes(engine: Engine, options: dict[str, Any], partitions: str) -> None:
    q = engine.queue("q", Metrics="full", Partitions=partitions)
    assert sent_bytes(engine, q) == 0
    engine.send(q, "x" * 100, **options)
    engine.send(q, "y" * 5000, "z", **(options | ({"dedup_id": None} if options else {})))
    assert sent_bytes(engine, q) == stored(engine, q) > 5100


def test_a_duplicate_and_a_repeated_call_count_no_bytes(engine: Engine) -> None:
    q = engine.queue("q", Metrics="full")
    engine.send(q, "a", dedup_id="x")
    before = sent_bytes(engine, q)
    engine.send(q, "a", dedup_id="x")
    assert sent_bytes(engine, q) == before == stored(engine, q)
    lost = engine.lost(operations.send_messages(q.home, [envelope.outgoing("b")], NATIVE))
    lost.repeat()
    assert sent_bytes(engine, q) == stored(engine, q) > (before or 0)


def test_a_queue_begins_to_count_when_it_is_told_to(engine: Engine) -> None:
    q = engine.queue("q")
    engine.send(q, "before")
    assert sent_bytes(engine, q) is None
    engine.run(flows.set_attributes(q, {"Metrics": "full"}, NATIVE))
    assert sent_bytes(engine, q) == 0
    engine.send(q, "x" * 100)
    counted = sent_bytes(engine, q)
    assert counted is not None
    assert counted > 100
    engine.run(flows.set_attributes(q, {"Metrics": None}, NATIVE))
    engine.send(q, "after")
    assert sent_bytes(engine, q) is None
    assert len(engine.receive(q)) == 3


def test_a_message_that_is_too_large_is_refused_as_before(engine: Engine) -> None:
    q = engine.queue("q", Metrics="full", MaximumMessageSize="1024")
    (refused,) = engine.send(q, "x" * 2000)
    assert isinstance(refused.error, MessageTooLarge)
    assert sent_bytes(engine, q) == 0
