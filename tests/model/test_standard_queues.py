"""Standard queues against a model: a chain of dead-letter queues, delays, fair groups, deduplication, retention."""

from __future__ import annotations

import itertools
import random
import secrets
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rqsqs._core import envelope, flows
from rqsqs.errors import MessageNotAvailable, MoveTaskRefused
from rqsqs.limits import AWS, NATIVE
from tests.model.harness import (
    RETRIES,
    SOAK_TIMEOUT,
    WORDS,
    InlineTransport,
    Record,
    Seen,
    TurnedClock,
    Word,
    client,
    keys_left,
    look,
    retry_attribute,
    run_machine,
    shown_cause,
    side_by_side,
    some_word,
)
from tests.model.ledger import Ledger

FAR_MS = 900_000  # a message that was scheduled further ahead lives from its due time on
WINDOW_MS = 300_000
CHAIN = {"work": "dead", "dead": "grave"}
NAMES = ("work", "dead", "grave", "other")
GROUPS = (None, None, "a", "b", "ü/@:{x}")


@dataclass
class Message:
    """What must be true of one message."""

    body: int
    queue: str
    sent_ms: int
    message_id: str
    group: str | None
    visible_at_ms: int
    base_ms: int  # retention counts from here
    waits: bool = True  # not received since it was sent, moved or given another time
    total: int = 0  # receives over all queues
    count: int = 0  # receives in this queue
    first_ms: int | None = None
    source: str | None = None
    stay: int = 0  # handles of another stay do nothing
    received: int = 0  # receives of this stay
    since_ms: int = 0  # when it became visible before its last receive
    before: str | None = None  # the queue it was in before a move
    record: Record = field(default_factory=Record)


@dataclass
class Handle:
    body: int
    queue: str
    stay: int
    delivery: Any
    count: int
    received_ms: int
    is_certain: bool = True

    @property
    def text(self) -> str:
        return str(self.delivery.receipt_handle)


@dataclass
class Queue:
    visibility_s: int = 30
    delay_s: int = 0
    retention_s: int = 345_600
    max_receives: int | None = None
    retries: str = ""
    is_paused: bool = False
    is_fair: bool = False  # its groups take turns, when one of them has a visible message
    paused_groups: set[str] = field(default_factory=set)
    purged_us: int = 0
    dedup: dict[str, tuple[int, str, int]] = field(default_factory=dict)


SENDS = st.fixed_dictionaries(
    {},
    optional={
        "delay_ms": st.sampled_from([0, 1, 1000, 30_000, 900_000, 1_000_000, 86_400_000]),
        "due_in_ms": st.sampled_from([-5000, 0, 10_000, 2_000_000]),
        "group": st.sampled_from(GROUPS),
        "dedup_id": st.sampled_from([None, None, "d1", "d2", "long " * 10]),
    },
)
PICK = st.integers(0, 10_000)
LETTERS = "ssrrrrttttdvcpffffb"


class StandardMachine(RuleBasedStateMachine):
    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.clock = TurnedClock()
        self.transport = InlineTransport(self.url, f"m{secrets.token_hex(6)}", clock=self.clock, is_lossy=True)
        self.bodies = itertools.count()
        self.messages: dict[int, Message] = {}
        self.gone: list[Message] = []
        self.handles: list[Handle] = []
        self.left: set[tuple[int, int]] = set()  # (body, stay) of handles whose message left them behind
        self.given_back: set[int] = set()  # unbegun, after the only receive: they are where they would be undelayed
        self.queues = {name: Queue() for name in NAMES}
        self.ledgers = {name: Ledger() for name in NAMES}
        for name in reversed(NAMES):
            attributes: dict[str, str] = {}
            if name in CHAIN:
                self.queues[name].max_receives = 2 if name == "work" else 1
                attributes["RedrivePolicy"] = self.policy(name, self.queues[name].max_receives or 0)
            self.run(flows.create_queue(self.ref(name), attributes, NATIVE))

    # Helpers

    def run(self, flow: Any) -> Any:
        return self.transport.run(flow)

    def ref(self, name: str) -> Any:
        return self.transport.queue(name)

    @staticmethod
    def policy(name: str, count: int) -> str:
        return f'{{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:{CHAIN[name]}","maxReceiveCount":{count}}}'

    def of(self, name: str) -> list[Message]:
        return [m for m in self.messages.values() if m.queue == name]

    def is_expired(self, m: Message) -> bool:
        return m.base_ms + self.queues[m.queue].retention_s * 1000 < self.clock.ms

    def is_visible(self, m: Message) -> bool:
        return m.visible_at_ms <= self.clock.ms

    def is_over(self, m: Message) -> bool:
        limit = self.queues[m.queue].max_receives
        return limit is not None and m.count >= limit

    def is_held(self, m: Message) -> bool:
        queue = self.queues[m.queue]
        return queue.is_paused or m.group in queue.paused_groups

    def state(self, m: Message) -> str:
        return "visible" if self.is_visible(m) else "delayed" if m.waits else "in_flight"

    def after(self, span_ms: int) -> int:
        """When a time span that begins now is over: never too early, at most a millisecond late."""
        return self.clock.ms + span_ms + (self.clock.us % 1000 > 0 and span_ms > 0)

    def schedule(self, m: Message, due_ms: int) -> None:
        m.visible_at_ms, m.waits = due_ms, True
        base_ms = due_ms if due_ms - m.sent_ms > FAR_MS else m.sent_ms
        if base_ms != m.base_ms:  # its key remembers that
            m.base_ms = base_ms
            if m.received:
                self.end_stay(m)

    def end_stay(self, m: Message) -> None:
        self.left.add((m.body, m.stay))
        m.stay, m.received = m.stay + 1, 0

    def forget(self, m: Message, why: str) -> None:
        self.gone.append(self.messages.pop(m.body))
        setattr(self.ledgers[m.queue], why, getattr(self.ledgers[m.queue], why) + 1)

    def bury(self, m: Message) -> None:
        self.ledgers[m.queue].dead_lettered += 1
        m.before = m.source = m.queue
        m.queue = CHAIN[m.queue]
        self.ledgers[m.queue].dead_letters += 1
        m.count, m.waits, m.visible_at_ms = 0, True, self.clock.ms
        self.end_stay(m)
        m.record.buried = m.total

    def pick(self, things: list[Any], number: int) -> Any:
        return things[number % len(things)] if things else None

    @staticmethod
    def some_options(draw: random.Random) -> dict[str, Any]:
        return {"group": draw.choice(GROUPS), "delay_ms": draw.choice([0, 0, 0, 1000, 1_000_000])}

    # Rules

    @rule(
        name=st.sampled_from(["work", "work", "work", "dead", "other"]), batch=st.lists(SENDS, min_size=1, max_size=6)
    )
    def send(self, name: str, batch: list[dict[str, Any]]) -> None:
        queue, now_ms = self.queues[name], self.clock.ms
        bodies, outgoing = [], []
        for spec in batch:
            bodies.append(next(self.bodies))
            options = dict(spec)
            due_in = options.pop("due_in_ms", None)
            if due_in is not None and "delay_ms" not in options:
                options["due_ms"] = now_ms + due_in
            outgoing.append(envelope.outgoing(bodies[-1], **options))
        answers = self.run(flows.send_messages(self.ref(name), outgoing, NATIVE))
        assert len(answers) == len(batch)
        for body, out, answer in zip(bodies, outgoing, answers, strict=True):
            if out.dedup_id is not None:
                first = queue.dedup.get(out.dedup_id)
                if first and first[0] // 1000 + WINDOW_MS > now_ms and first[0] > queue.purged_us:
                    assert answer.is_duplicate
                    assert answer.message_id == first[1]
                    self.ledgers[name].deduplicated += 1
                    continue
                queue.dedup[out.dedup_id] = (self.clock.us, answer.message_id, body)
            assert not answer.is_duplicate
            m = Message(body, name, now_ms, answer.message_id, out.group, now_ms, now_ms)
            if out.due_ms is not None:
                self.schedule(m, max(out.due_ms, now_ms))
            elif out.delay_ms is not None:
                self.schedule(m, self.after(out.delay_ms))
            else:
                self.schedule(m, self.after(queue.delay_s * 1000))
            self.messages[body] = m
            self.ledgers[name].sent += 1
            queue.is_fair = queue.is_fair or m.group is not None

    @rule(
        name=st.sampled_from(["work", "work", "work", "dead", "grave", "other"]),
        count=st.sampled_from([1, 1, 2, 3, 10, 1000]),
        visibility_ms=st.sampled_from([None, None, 0, 1, 5000, 60_000]),
        delete=st.sampled_from([False, False, False, True]),
        finished=st.none() | st.lists(PICK, min_size=1, max_size=3),
    )
    def receive(
        self, name: str, count: int, visibility_ms: int | None, delete: bool, finished: list[int] | None
    ) -> None:
        now_ms, queue = self.clock.ms, self.queues[name]
        done = [h for h in self.chosen(finished, name) if h.is_certain] if finished and not delete else []
        refused = [i for i, h in enumerate(done) if self.is_left(h)]
        for h in done:
            if (m := self.messages.get(h.body)) and m.queue == name and m.stay == h.stay:
                self.forget(m, "deleted")
        before = self.of(name)
        ready = [m for m in before if self.is_visible(m) and not self.is_expired(m) and not self.is_held(m)]
        due_to_die = {m.body for m in ready if self.is_over(m)}
        if done:
            handles = [h.text for h in done]
            answer, failures = self.run(
                flows.delete_and_receive(self.ref(name), NATIVE, handles, count, visibility_ms, 0)
            )
            assert [f.index for f in failures] == refused
        else:
            answer = self.run(flows.receive_messages(self.ref(name), NATIVE, count, visibility_ms, 0, delete=delete))
        self.ledgers[name].empty_receives += not answer
        bodies = [d.body for d in answer]
        assert len(set(bodies)) == len(bodies) <= count
        assert bodies or len(ready) == len(due_to_die), f"nothing was handed out of {ready}"
        for d in answer:
            m = self.messages[d.body]
            assert m in ready
            assert m.body not in due_to_die
            m.total, m.count = m.total + 1, m.count + 1
            m.first_ms = m.first_ms or now_ms
            assert (d.receive_count, d.first_received_at_ms) == (m.total, m.first_ms)
            assert (d.message_id, d.sent_at_ms, d.dead_letter_source) == (m.message_id, m.sent_ms, m.source)
            assert d.group == m.group
            assert (d.failures, shown_cause(d)) == (m.record.failures, m.record.cause())
            m.waits, m.received, m.since_ms = False, m.received + 1, m.visible_at_ms
            self.ledgers[name].receive(m.received, now_ms - m.since_ms)
            if m.received == 1 and m.body in self.given_back:
                self.ledgers[name].is_dwell_certain = False
            m.visible_at_ms = self.after(queue.visibility_s * 1000 if visibility_ms is None else visibility_ms)
            self.handles.append(Handle(m.body, name, m.stay, d, m.count, now_ms, not delete))
            if delete:
                self.forget(m, "deleted")
        if name not in CHAIN.values():
            self.in_order(name, [m for m in ready if m.body in bodies], [m for m in ready if m.body not in bodies])
        self.given_back.difference_update(bodies)
        self.compare(may_die=due_to_die)

    def in_order(self, name: str, handed_out: list[Message], rest: list[Message]) -> None:
        """What became visible first is handed out first, in a fair queue within each group."""
        for m in handed_out:
            for other in rest:
                is_clear = m.body not in self.given_back and other.body not in self.given_back
                if is_clear and (not self.queues[name].is_fair or m.group == other.group):
                    assert m.since_ms <= other.visible_at_ms or self.is_over(other), f"{m} before {other}"

    def is_left(self, h: Handle) -> bool:
        """Will a delete by this handle be refused, as it found nothing and the message is not deleted?"""
        return (h.body, h.stay) in self.left

    def chosen(self, numbers: list[int], name: str) -> list[Handle]:
        of_queue = [h for h in self.handles if h.queue == name]
        return [of_queue[-1 - n % min(len(of_queue), 30)] for n in numbers] if of_queue else []

    @rule(name=st.sampled_from(NAMES), numbers=st.lists(PICK, min_size=1, max_size=3))
    def delete(self, name: str, numbers: list[int]) -> None:
        chosen = self.chosen(numbers, name)
        if not chosen:
            return
        answer = self.run(flows.delete_messages(self.ref(name), [h.text for h in chosen], NATIVE))
        for h, failure in zip(chosen, answer, strict=True):
            # What was given back unbegun is as if it had not been received: its handle may be unknown later.
            assert (failure is not None) == self.is_left(h) or (failure is None and not h.is_certain)
        may_go = set()
        for h in chosen:
            m = self.messages.get(h.body)
            if m and m.queue == name and m.stay == h.stay:
                if h.is_certain:
                    self.forget(m, "deleted")
                else:
                    may_go.add(m.body)
        self.compare(may_go=may_go)

    @rule(
        name=st.sampled_from(NAMES),
        numbers=st.lists(PICK, min_size=1, max_size=3),
        visibility_ms=st.sampled_from([0, 0, 1, 1000, 43_200_000]),
        limits=st.sampled_from([AWS, NATIVE]),
    )
    def change_visibility(self, name: str, numbers: list[int], visibility_ms: int, limits: Any) -> None:
        chosen = self.chosen(numbers, name)
        if not chosen:
            return
        changes = [(h.text, visibility_ms) for h in chosen]
        answer = self.run(flows.change_visibility(self.ref(name), changes, limits))
        for h, failure in zip(chosen, answer, strict=True):
            m = self.messages.get(h.body)
            is_there = m is not None and m.queue == name and m.stay == h.stay
            if is_there and m is not None:
                due_ms = self.clock.ms + visibility_ms
                is_delayed = m.waits and m.received > 0  # it was rescheduled
                if failure is None:  # once it is due, a receive may have moved it to its group: it is visible again
                    assert not is_delayed or (self.queues[name].is_fair and self.is_visible(m))
                    assert not limits.total_visibility_ms or due_ms <= h.received_ms + limits.total_visibility_ms
                    m.visible_at_ms, m.waits = self.after(visibility_ms), False
                elif not isinstance(failure.error, MessageNotAvailable):
                    assert failure.error.detail == "total_visibility"
                    assert limits.total_visibility_ms
                    assert due_ms > h.received_ms + limits.total_visibility_ms
                else:
                    assert self.is_expired(m) or not h.is_certain or is_delayed
            else:
                assert failure is not None
                assert isinstance(failure.error, MessageNotAvailable)

    @rule(
        name=st.sampled_from(["work", "work", "dead", "grave", "other"]),
        numbers=st.lists(PICK, min_size=1, max_size=4),
        words=st.lists(WORDS, min_size=4, max_size=4),
    )
    def release(self, name: str, numbers: list[int], words: list[Word]) -> None:
        chosen = list({h.body: h for h in self.chosen(numbers, name) if h.is_certain}.values())
        outcomes = [word.of(h.delivery) for h, word in zip(chosen, words, strict=False)]
        answer = self.run(flows.release(self.ref(name), outcomes))
        for h, word, status in zip(chosen, words, answer, strict=False):
            m = self.messages.get(h.body)
            if m is None or m.queue != name or m.stay != h.stay:
                assert status == -2
            elif status == -2:
                assert self.is_expired(m) or m.waits
            elif m.count != h.count:
                assert status == -1
            elif word.outcome == "requeue":
                assert status == 0
                m.total, m.count = m.total - 1, m.count - 1
                if m.received == 1:  # as if it had not been received
                    m.visible_at_ms, m.waits = m.since_ms, True
                    m.first_ms = m.first_ms if m.total else None
                    m.received = 0
                    self.given_back.add(m.body)
                    for other in self.handles:  # its next receive may look like this one, if it comes at once
                        if (other.body, other.stay) == (m.body, m.stay):
                            other.is_certain = False
                else:
                    m.received -= 1
                    m.visible_at_ms, m.waits = self.clock.ms, False
            else:
                self.fail(m, h, word, status)
        self.compare()

    def fail(self, m: Message, h: Handle, word: Word, status: int) -> None:
        queue = self.queues[m.queue]
        failures = h.delivery.failures + 1
        delay_ms = word.delay_ms(queue.retries, failures)
        m.record.kind, m.record.failures, m.record.told = word.kind, failures, h.delivery.receive_count
        m.record.causes = failures, h.delivery.receive_count
        if queue.max_receives and (delay_ms is None or m.count >= queue.max_receives):
            assert status == -3
            self.bury(m)
        else:
            assert status == (RETRIES[queue.retries].cap * 1000 if delay_ms is None else delay_ms)
            m.visible_at_ms, m.waits = self.after(status), False

    @rule(
        name=st.sampled_from(["work", "work", "dead", "grave", "other"]),
        numbers=st.lists(PICK, max_size=5),
        extension_ms=st.sampled_from([1000, 20_000, 100_000]),
    )
    def beat(self, name: str, numbers: list[int], extension_ms: int) -> None:
        chosen = [h for h in self.chosen(numbers, name) if h.is_certain]
        held = [h.delivery for h in chosen]
        order, lost = self.run(
            flows.beat(self.ref(name), held, extension_ms, "worker", {"state": "running"}, extension_ms)
        )
        assert order == ""
        for h in chosen:
            m = self.messages.get(h.body)
            if m is None or m.queue != name or m.stay != h.stay or m.count != h.count:
                assert h.delivery in lost
            elif h.delivery in lost:
                assert self.is_expired(m) or m.waits
            else:  # one that was given back, or rescheduled to now, is in flight again
                m.visible_at_ms, m.waits = max(m.visible_at_ms, self.after(extension_ms)), False
        self.compare()

    @rule(name=st.sampled_from(["work", "dead"]), policy=st.sampled_from(sorted(RETRIES)))
    def set_retry_policy(self, name: str, policy: str) -> None:
        self.run(flows.set_attributes(self.ref(name), {"RetryPolicy": retry_attribute(policy)}, NATIVE))
        self.queues[name].retries = policy

    @precondition(lambda self: self.messages)
    @rule(number=PICK, tell_group=st.booleans(), due_in_ms=st.sampled_from([None, None, -1000, 0, 20_000, 2_000_000]))
    def cancel_or_reschedule(self, number: int, tell_group: bool, due_in_ms: int | None) -> None:
        m: Message = self.pick(list(self.messages.values()), number)
        ref, group = self.ref(m.queue), (m.group or "") if tell_group else None
        due_ms: int | None = None
        due: int | str | None = None
        if due_in_ms is not None and due_in_ms >= 0 and number % 2:  # so long from now
            due_ms, due = self.after(due_in_ms), f"+{due_in_ms}"
        elif due_in_ms is not None:
            due_ms = due = self.clock.ms + due_in_ms
        flow = (
            flows.cancel(ref, m.message_id, group=group)
            if due is None
            else flows.reschedule(ref, m.message_id, due, group=group)
        )
        if self.state(m) == "in_flight":
            with pytest.raises(MessageNotAvailable):
                self.run(flow)
            return
        done = self.run(flow)
        if not done:
            assert self.is_expired(m), f"not found: {m}"
        elif due_ms is None:
            self.forget(m, "cancelled")
        else:
            self.schedule(m, max(due_ms, self.clock.ms))
        self.compare()

    @rule(name=st.sampled_from(["work", "other"]), dedup_id=st.sampled_from(["d1", "d2", "long " * 10]))
    def cancel_by_deduplication_id(self, name: str, dedup_id: str) -> None:
        first = self.queues[name].dedup.get(dedup_id)
        m = self.messages.get(first[2]) if first else None
        try:
            done = self.run(flows.cancel(self.ref(name), dedup_id=dedup_id, group=m.group if m else None))
        except MessageNotAvailable:
            assert m is not None
            assert self.state(m) == "in_flight"
            return
        if done:
            assert m is not None
            assert m.queue == name
            assert self.state(m) != "in_flight"
            self.forget(m, "cancelled")
            del self.queues[name].dedup[dedup_id]
        else:
            assert m is None or m.queue != name or self.is_expired(m)

    @precondition(lambda self: self.gone)
    @rule(number=PICK)
    def cancel_what_is_gone(self, number: int) -> None:
        m = self.pick(self.gone, number)
        try:
            assert not self.run(flows.cancel(self.ref(m.queue), m.message_id))
        except MessageNotAvailable:
            raise AssertionError(f"{m} is said to be in flight") from None

    @rule(name=st.sampled_from(["work", "dead", "other"]))
    def pause_or_resume(self, name: str) -> None:
        queue = self.queues[name]
        self.run(flows.pause(self.ref(name), resume=queue.is_paused))
        queue.is_paused = not queue.is_paused

    @rule(name=st.sampled_from(["work", "other"]), group=st.sampled_from(["a", "b"]))
    def pause_or_resume_group(self, name: str, group: str) -> None:
        paused = self.queues[name].paused_groups
        self.run(flows.pause(self.ref(name), resume=group in paused, group=group))
        paused.symmetric_difference_update({group})
        self.queues[name].is_fair = True

    @rule(
        name=st.sampled_from(["work", "dead", "other"]),
        change=st.sampled_from(
            [
                ("visibility_s", "VisibilityTimeout", 10),
                ("visibility_s", "VisibilityTimeout", 30),
                ("delay_s", "DelaySeconds", 0),
                ("delay_s", "DelaySeconds", 7),
                ("retention_s", "MessageRetentionPeriod", 3600),
                ("retention_s", "MessageRetentionPeriod", 345_600),
            ]
        ),
    )
    def set_attribute(self, name: str, change: tuple[str, str, int]) -> None:
        mine, theirs, value = change
        self.run(flows.set_attributes(self.ref(name), {theirs: str(value)}, NATIVE))
        setattr(self.queues[name], mine, value)

    @rule(name=st.sampled_from(["work", "dead"]), count=st.sampled_from([None, 1, 2, 3]))
    def set_redrive_policy(self, name: str, count: int | None) -> None:
        policy = None if count is None else self.policy(name, count)
        self.run(flows.set_attributes(self.ref(name), {"RedrivePolicy": policy}, NATIVE))
        self.queues[name].max_receives = count

    @rule(name=st.sampled_from(NAMES))
    def purge(self, name: str) -> None:
        self.run(flows.purge_queue(self.ref(name), NATIVE))
        for m in self.of(name):
            self.forget(m, "vanished")
        self.left -= {(h.body, h.stay) for h in self.handles if h.queue == name}
        self.queues[name].purged_us = self.clock.us
        self.clock.us += 1

    @rule(name=st.sampled_from(["dead", "grave"]), destination=st.sampled_from([None, "other", "work"]))
    def move(self, name: str, destination: str | None) -> None:
        queue = self.queues[name]
        visible = [m for m in self.of(name) if self.is_visible(m)]
        ref = self.ref(destination) if destination else None
        if not self.run(flows.dead_letter_sources(self.ref(name))):
            with pytest.raises(MoveTaskRefused):
                self.run(flows.start_move(self.ref(name), ref, None))
            return
        task_id = self.run(flows.start_move(self.ref(name), ref, None))
        task = next(t for t in self.run(flows.list_moves(self.ref(name))) if t.task_id == task_id)
        may_move = {m.body: destination or m.source for m in visible}
        moved = self.compare(may_arrive=may_move)
        assert task.moved == len(moved)
        if task.status == "FAILED":
            assert task.failure_reason == "CouldNotDetermineMessageSource"
            assert any(m.source is None for m in visible)
        else:
            assert task.status == "COMPLETED"
            assert (
                len(moved)
                >= len(
                    [m for m in visible if not self.is_held(m) and m.body in self.messages and not self.is_expired(m)]
                )
                or queue.is_paused
            )

    @rule(
        ms=st.sampled_from([0, 1, 999, 5000, 10_000, 31_000, 61_000, 301_000, 901_000, 3_700_000]),
        us=st.integers(0, 999),
    )
    def let_time_pass(self, ms: int, us: int) -> None:
        self.clock.us += ms * 1000 + us

    @rule(steps=st.lists(st.tuples(st.sampled_from(LETTERS), st.integers(0, 2**20)), min_size=5, max_size=20))
    def work_for_a_while(self, steps: list[tuple[str, int]]) -> None:
        """What a queue sees all day, many steps on few messages: Hypothesis alone seldom gets that deep."""
        for letter, number in steps:
            draw = random.Random(number)
            name = draw.choice(["work", "work", "work", "dead", "grave"])
            numbers = [draw.randrange(10) for _ in range(draw.choice([1, 2]))]
            if letter == "s":
                first = self.some_options(draw)
                count = draw.choice([1, 1, 3])
                self.send("work", [first, *(self.some_options(draw) for _ in range(count - 1))])
            elif letter == "r":
                finished = numbers if draw.random() < 0.2 else None
                self.receive(name, draw.choice([1, 2, 10]), draw.choice([None, 0, 1000]), draw.random() < 0.1, finished)
            elif letter == "t":
                self.let_time_pass(draw.choice([1, 1000, 1000, 31_000, 1_000_000]), draw.randrange(1000))
            elif letter == "d":
                self.delete(name, numbers[:1])
            elif letter == "v":
                self.change_visibility(name, numbers, draw.choice([0, 1000]), NATIVE)
            elif letter == "f" and draw.random() < 0.1:
                self.set_retry_policy(draw.choice(["work", "dead"]), draw.choice(sorted(RETRIES)))
            elif letter == "f":
                self.release(name, numbers, [some_word(draw) for _ in numbers])
            elif letter == "b":
                self.beat(name, numbers, draw.choice([1000, 20_000]))
            elif letter == "c" and self.messages:
                self.cancel_or_reschedule(draw.randrange(100), draw.random() < 0.5, draw.choice([None, 0, 1000, 2000]))
            elif letter == "p" and draw.random() < 0.3:
                self.pause_or_resume_group("work", draw.choice("ab"))
            self.compare()

    # What must hold after every step

    @invariant()
    def everything_is_where_it_should_be(self) -> None:
        self.compare()

    def compare(
        self,
        may_die: set[int] = frozenset(),  # type: ignore[assignment]
        may_go: set[int] = frozenset(),  # type: ignore[assignment]
        may_arrive: dict[int, str | None] | None = None,
    ) -> set[int]:
        refs = [self.ref(name) for name in NAMES]
        all_counts = side_by_side(self.transport, map(flows.counts, refs))  # drops what has expired, as any use does
        seen: dict[int, Seen] = {}
        for body, s in look(self.transport, refs):
            assert body not in seen, f"{body} is in two places: {seen[body]}, {s}"
            seen[body] = s
        unknown = set(seen) - set(self.messages)
        assert not unknown, f"came back: {[seen[b] for b in unknown]}"
        arrived = set()
        for m in list(self.messages.values()):
            s = seen.get(m.body)
            if s is None:
                if m.body in may_die and not self.is_expired(m):
                    self.bury(m)  # its dead-letter queue keeps messages for a shorter time
                assert m.body in may_go or self.is_expired(m), f"lost: {m}"
                self.forget(m, "deleted" if m.body in may_go and not self.is_expired(m) else "vanished")
                continue
            if s.queue != m.queue or (may_arrive and m.body in may_arrive and s.message_id != m.message_id):
                if m.body in may_die and s.queue == CHAIN[m.queue]:
                    self.bury(m)
                else:
                    assert may_arrive is not None
                    assert may_arrive.get(m.body) == s.queue, f"{m} went to {s}"
                    arrived.add(m.body)
                    self.ledgers[m.queue].redriven_out += 1
                    self.ledgers[s.queue].redriven_in += 1
                    now_ms = self.clock.ms
                    if m.received:
                        self.left.add((m.body, m.stay))
                    self.gone.append(Message(m.body, m.queue, m.sent_ms, m.message_id, m.group, 0, 0))
                    if m.group is not None:
                        self.queues[s.queue].is_fair = True
                    self.messages[m.body] = m = Message(
                        m.body,
                        s.queue,
                        now_ms,
                        s.message_id,
                        m.group,
                        now_ms,
                        now_ms,
                        stay=m.stay + 1,
                        record=m.record.redriven(),
                    )
            assert s.state == self.state(m), f"{m} is seen as {s}"
            expected = (m.total, m.first_ms, m.sent_ms, m.group or "", m.source, m.message_id, m.record.cause())
            shown = (s.receive_count, s.first_received_at_ms, s.sent_at_ms, s.group, s.source, s.message_id, s.cause)
            assert shown == expected, f"{m} is seen as {s}"
            if s.state != "visible":
                assert s.visible_at_ms == m.visible_at_ms
        self.every_record_has_one_owner([p.base for ref in refs for p in ref.partitions])
        for name, counts in zip(NAMES, all_counts, strict=True):
            of_queue = self.of(name)
            for state in ("visible", "in_flight", "delayed"):
                all_ = [m for m in of_queue if self.state(m) == state]
                alive = [m for m in all_ if not self.is_expired(m)]
                assert len(alive) <= getattr(counts, state) <= len(all_), f"{name}: {counts}, {all_}"
            total = counts.visible + counts.in_flight + counts.delayed
            assert (counts.oldest_sent_at_ms is None) == (total == 0)
        for name, metrics in zip(NAMES, self.run(flows.all_metrics(refs)), strict=True):
            self.ledgers[name].check(metrics, len(self.of(name)))
        return arrived

    def every_record_has_one_owner(self, bases: list[str]) -> None:
        groups = {m.group or "" for m in self.messages.values()}
        with client(self.url).pipeline(transaction=False) as pipe:
            for base in bases:
                for key in ("inflight", "delayed"):
                    pipe.zrange(base + key, 0, -1)
                pipe.hmget(base + "meta", "returned", "arrived", "fair")
                pipe.smembers(base + "paused")
                pipe.hkeys(base + "store")
                for group in groups:
                    pipe.zrange(f"{base}again:{group}", 0, -1, withscores=True)
                    pipe.exists(base + (f"group:{group}" if group else "ready"))
                    pipe.zscore(base + "fair_ring", group)
            answers = iter(pipe.execute())
        for _ in bases:
            owners = next(answers) + next(answers)
            returned, arrived, is_fair = next(answers)
            paused, records_ = next(answers), next(answers)
            counted = {True: 0, False: 0}
            for group in groups:
                again, has_others, turn = next(answers), next(answers), next(answers)
                owners += [member for member, _ in again]
                for _, score in again:
                    counted[score % 1000 > 0] += 1
                if (again or has_others) and is_fair and group.encode() not in paused:
                    assert turn is not None, f"{group!r} has no turn"
            assert [int(n or 0) for n in (returned, arrived)] == [counted[True], counted[False]]
            assert sorted(owners) == sorted(records_)

    def teardown(self) -> None:
        try:
            for name in NAMES:
                self.run(flows.delete_queue(self.ref(name), NATIVE))
            left = keys_left(self.url, self.transport.space)
            assert not left, f"left behind: {left}"
        finally:
            self.transport.close()


@pytest.mark.timeout(SOAK_TIMEOUT)
def test_standard_queues_do_what_the_model_says(server_url: str) -> None:
    run_machine(
        StandardMachine, server_url, examples=5, steps=15, letters=LETTERS, seeds=(12, 10171441823, 553592937293)
    )
