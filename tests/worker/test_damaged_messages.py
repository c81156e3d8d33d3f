"""Messages that cannot be read: damaged ones fail like others, those of a newer version wait for it."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

import rqsqs
from rqsqs import RetryPolicy
from rqsqs.worker import scheduler
from tests.worker.serving import App, is_empty, until

SOON = RetryPolicy(base=0.01, cap=0.02)
RECORDS = {
    "garbage": b"\xc1\xc1",
    "nothing": b"",
    "one part": b"\x91\x00",
    "garbage behind it": b"\x92\x00\xa1x\xc1",
    "odd attributes": b"\x93\x00\xa1x\x81\xa1a\x81\xa1b\x01",
    "newer and cut": b"\x92\x04",
}
NEWER = b"\x92\x04\xa1x"


def lists(app: App, name: str) -> dict[bytes, list[bytes]]:
    """The lists of all partitions of a queue that hold messages."""
    client = app.redis()
    found = {}
    for key in client.scan_iter(f"{app.prefix}:*:{name}:*", count=1000):
        if client.type(key) == b"list" and (key.endswith(b":ready") or b":group:" in key):
            found[key] = client.lrange(key, 0, -1)
    return found


def damage(app: App, name: str, body: str, record: bytes) -> None:
    """Overwrite the record of the message that waits with this body."""
    client = app.redis()
    places = [(key, i) for key, items in lists(app, name).items() for i, item in enumerate(items)
              if body.encode() in item and not item[:13].isdigit()]  # fmt: skip
    assert len(places) == 1, lists(app, name)
    client.lset(*places[0], record)


def send(queue: rqsqs.Queue, *bodies: str) -> None:
    """In the group that their first letter names."""
    for body in bodies:
        queue.send(body, **({"group": body[0], "deduplication_id": body} if queue.is_fifo else {}))


class Seen:
    """Handlers of all kinds, and what they got."""

    def __init__(self) -> None:
        self.bodies: list[str] = []
        self.receives: dict[str, int] = {}
        self.before: Any = lambda body: None

    def plain(self, message: rqsqs.Message) -> None:
        self.before(message.body)
        self.receives[message.body] = message.receive_count
        self.bodies.append(message.body)

    async def coroutine(self, message: Any) -> None:
        await asyncio.sleep(0)
        self.plain(message)

    def batch(self, messages: list[rqsqs.Message]) -> None:
        for message in messages:
            self.plain(message)


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
def test_a_damaged_message_is_tried_again_and_dead_lettered_as_it_is(
    app: App, record: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    dead = app.queue("dead")
    q = app.queue(dead_letter_queue="dead", max_receive_count=3, retry_policy=SOON)
    send(q, "MARK", "a", "b")
    damage(app, "q", "MARK", record)
    seen = Seen()
    with caplog.at_level(logging.INFO, "rqsqs.worker"):
        running = app.serve(seen.plain, concurrency=2)
        until(lambda: dead.counts().visible == 1)
        send(q, "c")
        until(lambda: is_empty(q))
    assert sorted(seen.bodies) == ["a", "b", "c"]
    assert running.worker.status()["is_live"]
    assert running.worker.status()["queues"]["q"]["failed"] == 3
    texts = [r.getMessage() for r in caplog.records]
    assert sum("failed: rqsqs.MessageDamaged" in text for text in texts) == 3
    assert sum("went to the dead-letter queue" in text for text in texts) == 1
    (stored,) = [item for items in lists(app, "dead").values() for item in items if not item[:13].isdigit()]
    assert record in stored
    with pytest.raises(rqsqs.MessageDamaged) as caught:
        dead.receive()
    assert caught.value.record == record
    cause = caught.value.cause
    assert cause
    assert (cause.type, cause.failures, cause.receives) == ("rqsqs.MessageDamaged", 3, 3)


@pytest.mark.parametrize("kind", ["plain", "coroutine", "batch"])
@pytest.mark.parametrize("settings", [{}, {"partitions": 3}], ids=["one partition", "three"])
def test_it_spoils_no_others(app: App, kind: str, settings: dict[str, Any]) -> None:
    dead = app.queue("dead")
    q = app.queue(dead_letter_queue="dead", max_receive_count=2, retry_policy=SOON, **settings)
    send(q, "MARK1", *(f"a{n}" for n in range(10)), "MARK2")
    for body in ("MARK1", "MARK2"):
        damage(app, "q", body, b"\xc1")
    seen = Seen()
    app.serve(getattr(seen, kind), concurrency=4, **({"batch": 5} if kind == "batch" else {}))
    until(lambda: is_empty(q) and dead.counts().visible == 2)
    assert sorted(seen.bodies) == [f"a{n}" for n in range(10)]
    assert set(seen.receives.values()) == {1}


@pytest.mark.parametrize("kind", ["plain", "coroutine", "batch"])
def test_its_group_waits_for_it_and_others_do_not(app: App, kind: str) -> None:
    q = app.queue("q.fifo", retry_policy=RetryPolicy(base=3600, cap=3600))
    send(q, "a1", "a-MARK", "a3", "b1", "b2")
    damage(app, "q.fifo", "a-MARK", b"\xc1")
    seen = Seen()
    running = app.serve({"q.fifo": getattr(seen, kind)}, concurrency=2, **({"batch": 5} if kind == "batch" else {}))
    until(lambda: len(seen.bodies) == 3 and running.worker.status()["queues"]["q.fifo"]["failed"])
    send(q, "b3")
    until(lambda: "b3" in seen.bodies)
    assert [body for body in seen.bodies if body[0] == "a"] == ["a1"]
    assert [body for body in seen.bodies if body[0] == "b"] == ["b1", "b2", "b3"]


@pytest.mark.parametrize("kind", ["plain", "coroutine", "batch"])
def test_its_group_goes_on_when_it_went_to_the_dead_letter_queue(app: App, kind: str) -> None:
    dead = app.queue("dead.fifo")
    q = app.queue("q.fifo", dead_letter_queue="dead.fifo", max_receive_count=3, retry_policy=SOON)
    send(q, "a1", "a-MARK", "a3", "b1")
    damage(app, "q.fifo", "a-MARK", b"\xc1")
    seen = Seen()
    dead_lettered: list[int] = []
    seen.before = lambda body: dead_lettered.append(dead.counts().visible) if body == "a3" else None
    app.serve({"q.fifo": getattr(seen, kind)}, concurrency=2, **({"batch": 5} if kind == "batch" else {}))
    until(lambda: is_empty(q))
    assert [body for body in seen.bodies if body[0] == "a"] == ["a1", "a3"]
    assert dead_lettered == [1]
    assert seen.receives["a3"] == 1, "what stood behind it was not tried"


def test_without_a_dead_letter_queue_it_stays_and_is_no_hot_loop(app: App) -> None:
    q = app.queue(retry_policy=RetryPolicy(base=3600, cap=3600))
    send(q, "MARK")
    damage(app, "q", "MARK", b"\xc1")
    seen = Seen()
    running = app.serve(seen.plain)
    until(lambda: running.worker.status()["queues"]["q"]["failed"] == 1)
    until(lambda: running.worker.status()["queues"]["q"]["in_flight"] == 0)
    send(q, "a", "b")
    until(lambda: len(seen.bodies) == 2 and q.counts().in_flight == 1)
    running.stop()
    assert (q.counts().visible, q.counts().in_flight) == (0, 1)
    assert running.worker.status()["state"] == "stopped"


@pytest.mark.parametrize("name", ["q", "q.fifo"])
@pytest.mark.parametrize("kind", ["plain", "coroutine"])
def test_a_message_of_a_newer_version_lets_its_queue_rest(
    app: App, name: str, kind: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scheduler, "RESTS_S", (0.02, 0.05))
    q, other = app.queue(name, max_receive_count=2, dead_letter_queue=app.queue(f"dead-{name}")), app.queue("other")
    send(q, "MARK", "a")
    good = next(i for items in lists(app, name).values() for i in items if b"MARK" in i and not i[:13].isdigit())
    damage(app, name, "MARK", NEWER)
    seen = Seen()
    handler = getattr(seen, kind)
    with caplog.at_level(logging.INFO, "rqsqs.worker"):
        worker = app.start(make(app, {name: handler, "other": handler})).worker
        status = until(lambda: (now := worker.status()).get("problems") and now)
        assert (status["is_ready"], status["is_live"]) == (False, True)
        assert status["queues"][name]["state"] == "resting"
        assert status["queues"]["other"]["state"] == "running"
        (problem,) = status["problems"]
        assert problem.startswith(f"{name}: the message ")
        assert "has format 2" in problem
        send(other, "x")
        until(lambda: "x" in seen.bodies)
        queue = next(queue for queue in worker._runtime.queues if queue.name == name)
        until(lambda: queue.rests > 5)  # it looks again and again
        texts = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
        assert len(texts) == 1, texts
        assert texts[0].startswith(f"{name} cannot be served, trying again from time to time: ")
        until(lambda: place(app, name, NEWER, good))
        until(lambda: {"MARK", "a"} <= set(seen.bodies))
        until(lambda: worker.status()["is_ready"])
    assert seen.receives["MARK"] == 1, "its receives were spent"
    texts = [r.getMessage() for r in caplog.records if r.levelno >= logging.WARNING]
    assert len(texts) == 2
    assert texts[1].startswith(f"{name} is served again after ")
    assert "problems" not in worker.status()


def make(app: App, handlers: dict[str, Any]) -> Any:
    worker = app.worker(concurrency=2)
    for name, function in handlers.items():
        worker.add(name, function)
    return worker


def place(app: App, name: str, old: bytes, new: bytes) -> bool:
    """Put another record in its place while it waits."""
    client = app.redis()
    script = """
    for i, item in ipairs(redis.call("LRANGE", KEYS[1], 0, -1)) do
      if item == ARGV[1] then redis.call("LSET", KEYS[1], i - 1, ARGV[2]) return 1 end
    end
    return 0"""
    return any([client.eval(script, 1, key, old, new) for key in lists(app, name)])
