"""FIFO queues against a model: order, group locks, deduplication, delays, dead letters, attempts, pauses."""

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
from rqsqs._core.sent import SentMessage
from rqsqs.errors import MessageNotAvailable, MoveTaskRefused, ReceiptHandleExpired
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

WINDOW_MS = 300_000
WORK, DEAD, GRAVE, OTHER = NAMES = ("work.fifo", "dead.fifo", "grave.fifo", "other.fifo")
CHAIN = {WORK: DEAD, DEAD: GRAVE}
GROUPS = ("a", "a", "b", "ü/@:{x}")


@dataclass(eq=False)
class Message:
    """What must be true of one message."""

    body: int
    queue: str
    tag: str  # the partition it is in
    group: str
    stamp: int
    message_id: str
    enqueued_at_ms: int  # retention counts from here
    since_us: int  # from when on it can be received
    moved_up: tuple[int, bool, int, int] | None = (
        None  # hand_outs then; the turn it got: is it certain, earliest, latest
    )
    due_ms: int | None = None  # delayed until then by itself
    is_postponed: bool = False  # delayed by the queue
    invisible_until_ms: int = 0
    total: int = 0  # receives over all queues
    count: int = 0  # receives in this queue that count
    hand_outs: int = 0  # all of them, and those that came back unbegun once more: the last one's handle works
    first_ms: int | None = None
    source: str | None = None
    stay: int = 0  # handles of another stay do nothing
    plan: str = ""  # what its key says of a delay
    record: Record = field(default_factory=Record)

    @property
    def sent_ms(self) -> int:
        return self.stamp // 1000

    @property
    def place(self) -> tuple[str, str, str]:
        return self.queue, self.tag, self.group

    def turn(self) -> tuple[int, int]:
        """When its group has its turn, if this is the head: at the earliest and at the latest (us)."""
        if self.moved_up is None or self.moved_up[0] != self.hand_outs:
            return self.since_us, self.since_us
        _, is_certain, low, high = self.moved_up
        return (max if is_certain else min)(low, self.since_us), max(high, self.since_us)


@dataclass
class Handle:
    body: int
    queue: str
    stay: int
    receive: int
    delivery: Any
    plan: str
    received_ms: int
    stamp: int

    @property
    def text(self) -> str:
        return str(self.delivery.receipt_handle)


@dataclass
class Attempt:
    expires_ms: int
    deadline_ms: int
    handles: list[Handle]


@dataclass
class Queue:
    visibility_s: int = 30
    delay_s: int = 0
    retention_s: int = 345_600
    max_receives: int | None = None
    retries: str = ""
    by_content: bool = False
    by_group: bool = False
    is_paused: bool = False
    paused_groups: set[str] = field(default_factory=set)
    purged_us: int = 0
    last_us: int = 0
    dedup: dict[tuple[str, str], SentMessage] = field(default_factory=dict)
    attempts: dict[str, Attempt] = field(default_factory=dict)


SENDS = st.fixed_dictionaries(
    {"group": st.sampled_from(GROUPS)},
    optional={
        "delay_ms": st.sampled_from([0, 1, 1000, 30_000, 1_000_000]),
        "due_in_ms": st.sampled_from([-5000, 0, 10_000, 2_000_000]),
        "dedup_id": st.sampled_from([None, None, "d1", "d2", "long " * 10]),
        "content_hash": st.sampled_from([None, "d1", "hash"]),
    },
)
PICK = st.integers(0, 10_000)
LETTERS = "ssrrrrrttttddvvcpffffbg"


class FifoMachine(RuleBasedStateMachine):
    url: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.clock = TurnedClock()
        self.transport = InlineTransport(self.url, f"m{secrets.token_hex(6)}", clock=self.clock, is_lossy=True)
        self.bodies = itertools.count()
        self.messages: dict[int, Message] = {}
        self.groups: dict[tuple[str, str, str], list[Message]] = {}
        self.gone: list[Message] = []
        self.left: set[tuple[str, int]] = set()  # queue and stamp of what went to another queue
        self.handles: list[Handle] = []
        self.queues = {name: Queue() for name in NAMES}
        self.ledgers = {name: Ledger() for name in NAMES}
        for name in reversed(NAMES):
            attributes: dict[str, str] = {}
            if name in CHAIN:
                self.queues[name].max_receives = 2 if name == WORK else 1
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
        return m.enqueued_at_ms + self.queues[m.queue].retention_s * 1000 < self.clock.ms

    def is_over(self, m: Message) -> bool:
        limit = self.queues[m.queue].max_receives
        return limit is not None and m.count > 0 and m.count >= limit

    def delayed_until(self, m: Message) -> int:
        if m.is_postponed:
            return -(-m.stamp // 1000) + self.queues[m.queue].delay_s * 1000
        return m.due_ms or 0

    def visible_since_ms(self, m: Message) -> int:
        """Since when it waits to be received for the first time. It lines up by `since_us`, whatever delays it."""
        if m.plan == "q":
            return m.sent_ms + self.queues[m.queue].delay_s * 1000
        return max(m.enqueued_at_ms, int(m.plan or "0"))

    def state(self, m: Message) -> str:
        if m.invisible_until_ms > self.clock.ms:
            return "in_flight"
        return "delayed" if self.delayed_until(m) > self.clock.ms else "visible"

    def find(self, h: Handle) -> Message | None:
        m = self.messages.get(h.body)
        return m if m and m.queue == h.queue and m.stay == h.stay else None

    def front(self, place: tuple[str, str, str], is_move: bool = False) -> list[Message]:
        """What of a group could be handed out or taken out now, from the head."""
        queue = self.queues[place[0]]
        if (queue.is_paused and not is_move) or place[2] in queue.paused_groups:
            return []
        return list(itertools.takewhile(lambda m: self.state(m) == "visible", self.groups.get(place, [])))

    def forget(self, m: Message, why: str) -> None:
        self.leave_group(m, why == "deleted")
        self.gone.append(self.messages.pop(m.body))
        setattr(self.ledgers[m.queue], why, getattr(self.ledgers[m.queue], why) + 1)

    def leave_group(self, m: Message, is_deleted: bool) -> None:
        """When the head in flight is deleted the next one lines up; else that may take over the turn."""
        line = self.groups[m.place]
        if line[0] is m and len(line) > 1:
            now_us = self.clock.us
            is_locked = self.state(m) == "in_flight" and (m.moved_up is None or m.moved_up[1])
            if is_deleted and is_locked and m.group not in self.queues[m.queue].paused_groups:
                line[1].moved_up = line[1].hand_outs, True, now_us, now_us
            else:
                line[1].moved_up = line[1].hand_outs, False, m.turn()[0], now_us
        line.remove(m)

    def blur(self, place: tuple[str, str, str]) -> None:
        """Something was done to the group that may let it have the turn of its head anew."""
        for m in self.groups.get(place, [])[:1]:
            if m.moved_up:
                m.moved_up = m.moved_up[0], False, *m.moved_up[2:]

    def after(self, span_ms: int) -> int:
        """When a time from now is over: late rather than early."""
        return self.clock.ms + span_ms + (self.clock.us % 1000 > 0 and span_ms > 0)

    def is_gone(self, h: Handle) -> bool:
        m = self.find(h)
        return self.is_expired(m) if m is not None else not self.has_left(h)

    def has_left(self, h: Handle) -> bool:
        """Did the message go to another queue? Then the handle is refused, as nobody deletes it by that one."""
        return (h.queue, h.stamp) in self.left

    def bury(self, m: Message) -> None:
        self.leave_group(m, False)
        self.ledgers[m.queue].dead_lettered += 1
        self.ledgers[CHAIN[m.queue]].dead_letters += 1
        m.moved_up = None
        self.left.add((m.queue, m.stamp))
        m.source, m.queue = m.queue, CHAIN[m.queue]
        m.enqueued_at_ms, m.since_us = self.clock.ms, self.clock.us
        m.count, m.hand_outs, m.stay, m.due_ms, m.is_postponed, m.plan = 0, 0, m.stay + 1, None, False, ""
        m.invisible_until_ms = 0
        m.record.buried = m.total
        self.groups.setdefault(m.place, []).append(m)

    @staticmethod
    def some_options(draw: random.Random) -> dict[str, Any]:
        options: dict[str, Any] = {"group": draw.choice(GROUPS)}
        if draw.random() < 0.2:
            options["delay_ms"] = 1000
        return options

    # Rules

    @rule(
        name=st.sampled_from([WORK, WORK, WORK, DEAD, OTHER]),
        batch=st.lists(SENDS, min_size=1, max_size=6),
        limits=st.sampled_from([NATIVE, NATIVE, AWS]),
    )
    def send(self, name: str, batch: list[dict[str, Any]], limits: Any) -> None:
        queue, now_ms = self.queues[name], self.clock.ms
        bodies, outgoing = [], []
        for spec in batch:
            bodies.append(next(self.bodies))
            options = dict(spec)
            due_in = options.pop("due_in_ms", None)
            if due_in is not None and "delay_ms" not in options:
                options["due_ms"] = now_ms + due_in
            if limits is AWS and options.get("dedup_id") is None:  # every message has an id, or the hash of its content
                name_of_id = "content_hash" if queue.by_content else "dedup_id"
                options[name_of_id] = options.get(name_of_id) or f"own-{bodies[-1]}"
            outgoing.append(envelope.outgoing(bodies[-1], **options))
        answers = self.run(flows.send_messages(self.ref(name), outgoing, limits))
        assert len(answers) == len(batch)
        for body, out, answer in zip(bodies, outgoing, answers, strict=True):
            dedup_id = out.dedup_id or (out.content_hash if queue.by_content else None)
            if dedup_id is not None:
                key = dedup_id, out.group if queue.by_group else ""
                first = queue.dedup.get(key)
                if first:
                    stamp = int(first.sequence_number)
                    if stamp // 1000 + WINDOW_MS > now_ms and stamp > queue.purged_us:
                        expected = (first.message_id, first.sequence_number, True)
                        assert (answer.message_id, answer.sequence_number, answer.is_duplicate) == expected
                        self.ledgers[name].deduplicated += 1
                        continue
                queue.dedup[key] = answer
            assert not answer.is_duplicate
            stamp = int(answer.sequence_number)
            assert stamp == max(self.clock.us, queue.last_us + 1)
            queue.last_us = stamp
            sent_ms = stamp // 1000
            m = Message(body, name, f"{name}/0", out.group, stamp, answer.message_id, sent_ms, stamp)
            due_ms = out.due_ms if out.due_ms is not None else None
            if out.delay_ms is not None:
                due_ms = self.after(out.delay_ms)
            if due_ms is None and queue.delay_s:
                m.is_postponed, m.since_us, m.plan = True, sent_ms * 1000, "q"
            elif due_ms is not None and due_ms > now_ms:
                m.due_ms = m.enqueued_at_ms = due_ms
                m.since_us, m.plan = due_ms * 1000, f"+{due_ms}"
            self.messages[body] = m
            self.groups.setdefault(m.place, []).append(m)
            self.ledgers[name].sent += 1

    @rule(
        name=st.sampled_from([WORK, WORK, WORK, WORK, DEAD, GRAVE, OTHER]),
        count=st.sampled_from([1, 1, 2, 3, 10, 1000]),
        visibility_ms=st.sampled_from([None, None, 0, 1, 5000, 60_000]),
        delete=st.sampled_from([False, False, False, True]),
    )
    def receive(self, name: str, count: int, visibility_ms: int | None, delete: bool) -> None:
        fronts = {place: self.front(place) for place in self.groups if place[0] == name}
        answer = self.run(flows.receive_messages(self.ref(name), NATIVE, count, visibility_ms, 0, delete=delete))
        self.take_over(name, count, visibility_ms, delete, answer, fronts)

    @rule(
        name=st.sampled_from([WORK, WORK, DEAD, OTHER]),
        numbers=st.lists(PICK, min_size=1, max_size=3),
        count=st.sampled_from([1, 2, 10]),
        visibility_ms=st.sampled_from([None, 0, 5000]),
        limits=st.sampled_from([AWS, NATIVE]),
    )
    def delete_and_receive(
        self, name: str, numbers: list[int], count: int, visibility_ms: int | None, limits: Any
    ) -> None:
        chosen = self.chosen(numbers, name)
        if not chosen:
            return
        expired = []
        for h in chosen:
            m = self.find(h)
            if m is not None and h.receive == m.hand_outs and (not limits.strict or self.state(m) == "in_flight"):
                self.forget(m, "deleted")
            elif m.hand_outs if m is not None else self.has_left(h):
                expired.append(h)
        fronts = {place: self.front(place) for place in self.groups if place[0] == name}
        handles = [h.text for h in chosen]
        answer, failures = self.run(flows.delete_and_receive(self.ref(name), limits, handles, count, visibility_ms, 0))
        assert all(isinstance(f.error, ReceiptHandleExpired) for f in failures)
        failed = [chosen[f.index] for f in failures]
        # If the answer was lost, the repetition may find gone what an earlier handle could not delete.
        assert failed == [h for h in expired if h in failed or not self.is_gone(h)]
        self.take_over(name, count, visibility_ms, False, answer, fronts)

    def take_over(
        self,
        name: str,
        count: int,
        visibility_ms: int | None,
        delete: bool,
        answer: list[Any],
        fronts: dict[tuple[str, str, str], list[Message]],
        per_group: int = 1000,
    ) -> list[Handle]:
        now_ms, queue = self.clock.ms, self.queues[name]
        self.ledgers[name].empty_receives += not answer
        handles = []
        received = [self.messages[d.body] for d in answer]
        assert len(set(received)) == len(received) <= count
        served = [place for place, _ in itertools.groupby(m.place for m in received)]
        assert len(set(served)) == len(served), "a group was left and taken up again"
        good = {
            place: [m for m in front if not self.is_expired(m) and not self.is_over(m)]
            for place, front in fronts.items()
        }
        for place in served:
            mine = [m for m in received if m.place == place]
            assert mine == good[place][: len(mine)], "out of order, locked or not visible"
            assert len(mine) <= per_group
            if len(good[place]) == len(fronts[place]) and place != served[-1]:
                assert len(mine) == min(len(good[place]), per_group), "as many as possible of one group"
        # A group is met when its head became available. What is over or expired goes on the way to the first good one:
        # in the same visit, or the group lines up again by its next message.
        earliest = {place: front[0].turn()[0] // 1000 for place, front in fronts.items() if front}
        latest = {
            place: max(m.turn()[1] // 1000 for m in fronts[place][: fronts[place].index(front[0]) + 1])
            for place, front in good.items()
            if front
        }
        if len({place[1] for place in fronts}) <= 1:
            for before, after in itertools.combinations(served, 2):
                assert earliest[before] <= latest[after], (
                    "groups come in the order in which their heads became available"
                )
            if len(received) == count:
                left = [turn for place, turn in latest.items() if place not in served]
                assert not left or min(left) >= max(earliest[place] for place in served)
        if len(received) < count:
            all_good = {p for p, ms in good.items() if ms}
            dying = any(self.is_over(m) for front in fronts.values() for m in front)  # its shard may have to be made
            if len({place[1] for place in fronts}) <= 1 and not dying:
                assert all_good <= set(served), "a group that could be served was not"
            assert received or not all_good
        may_die, may_go = set(), set()
        for front in fronts.values():
            may_die |= {m.body for m in front if self.is_over(m) and not self.is_expired(m)}
        for d, m in zip(answer, received, strict=True):
            m.total, m.count, m.hand_outs = m.total + 1, m.count + 1, m.hand_outs + 1
            self.ledgers[name].receive(m.count, now_ms - self.visible_since_ms(m))
            m.first_ms = m.first_ms or now_ms
            assert (d.receive_count, d.first_received_at_ms) == (m.total, m.first_ms)
            assert (d.message_id, d.sent_at_ms, d.dead_letter_source) == (m.message_id, m.sent_ms, m.source)
            assert (d.group, int(d.sequence_number)) == (m.group, m.stamp)
            assert (d.failures, shown_cause(d)) == (m.record.failures, m.record.cause())
            m.invisible_until_ms = self.after(queue.visibility_s * 1000 if visibility_ms is None else visibility_ms)
            m.since_us = max(self.clock.us, m.invisible_until_ms * 1000)
            h = Handle(m.body, name, m.stay, m.hand_outs, d, m.plan, now_ms, m.stamp)
            self.handles.append(h)
            handles.append(h)
            if delete:
                self.forget(m, "deleted")
        self.compare(may_die=may_die, may_go=may_go)
        return handles

    @rule(
        count=st.sampled_from([1, 2, 10]), visibility_ms=st.sampled_from([None, 0, 5000]), attempt=st.sampled_from("xy")
    )
    def receive_with_an_attempt_id(self, count: int, visibility_ms: int | None, attempt: str) -> None:
        queue = self.queues[WORK]
        saved = queue.attempts.get(attempt)
        fronts = {place: self.front(place) for place in self.groups if place[0] == WORK}
        flow = flows.receive_messages(self.ref(WORK), NATIVE, count, visibility_ms, 0, attempt_id=attempt)
        deadline_ms = self.after(queue.visibility_s * 1000 if visibility_ms is None else visibility_ms)
        answer = self.run(flow)
        if saved and saved.expires_ms > self.clock.ms and not queue.is_paused:
            of_saved = [self.find(h) for h in saved.handles]
            if all(
                m is not None and m.hand_outs == h.receive and m.invisible_until_ms == saved.deadline_ms > self.clock.ms
                for m, h in zip(of_saved, saved.handles, strict=True)
            ):
                assert [(d.body, d.receipt_handle) for d in answer] == [(h.body, h.text) for h in saved.handles]
                saved.deadline_ms = deadline_ms
                for m in of_saved:
                    assert m is not None
                    m.invisible_until_ms, m.since_us = deadline_ms, max(deadline_ms * 1000, self.clock.us)
                self.compare()
                return
        handles = self.take_over(WORK, count, visibility_ms, False, answer, fronts)
        if handles and visibility_ms != 0:
            queue.attempts[attempt] = Attempt(self.clock.ms + 300_000, deadline_ms, handles)

    def chosen(self, numbers: list[int], name: str) -> list[Handle]:
        of_queue = [h for h in self.handles if h.queue == name]
        return [of_queue[-1 - n % min(len(of_queue), 30)] for n in numbers] if of_queue else []

    @rule(
        name=st.sampled_from([WORK, WORK, DEAD, GRAVE, OTHER]),
        numbers=st.lists(PICK, min_size=1, max_size=3),
        limits=st.sampled_from([AWS, NATIVE]),
    )
    def delete(self, name: str, numbers: list[int], limits: Any) -> None:
        chosen = self.chosen(numbers, name)
        if not chosen:
            return
        answer = self.run(flows.delete_messages(self.ref(name), [h.text for h in chosen], limits))
        for h, failure in zip(chosen, answer, strict=True):
            m = self.find(h)
            if m is None and not self.has_left(h):
                assert failure is None
            elif m and h.receive == m.hand_outs and (not limits.strict or self.state(m) == "in_flight"):
                assert failure is None
                self.forget(m, "deleted")
            else:
                assert failure is not None
                assert isinstance(failure.error, ReceiptHandleExpired)
        self.compare()

    @rule(
        name=st.sampled_from([WORK, WORK, DEAD, GRAVE, OTHER]),
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
        due_ms = self.after(visibility_ms)
        for h, failure in zip(chosen, answer, strict=True):
            m = self.find(h)
            if m is None:
                assert failure is not None
                assert isinstance(failure.error, MessageNotAvailable)
            elif h.receive != m.hand_outs or self.state(m) != "in_flight":
                assert failure is not None
                assert isinstance(failure.error, ReceiptHandleExpired)
            elif (
                limits.total_visibility_ms
                and self.clock.ms + visibility_ms > h.received_ms + limits.total_visibility_ms
            ):
                assert failure is not None
                assert failure.error.detail == "total_visibility"
            else:
                assert failure is None
                m.invisible_until_ms, m.since_us = due_ms, due_ms * 1000
        self.compare()

    @rule(
        name=st.sampled_from([WORK, WORK, DEAD, OTHER]),
        numbers=st.lists(PICK, max_size=3),
        count=st.sampled_from([1, 2, 3, 10]),
        extension_ms=st.sampled_from([5000, 60_000]),
        per_group=st.sampled_from([1, 1, 2, 3]),
    )
    def finish_and_receive(self, name: str, numbers: list[int], count: int, extension_ms: int, per_group: int) -> None:
        chosen = self.chosen(numbers, name)
        for h in chosen:
            m = self.find(h)
            if m is not None and h.receive == m.hand_outs:
                self.forget(m, "deleted")
        fronts = {place: self.front(place) for place in self.groups if place[0] == name}
        finished = [h.delivery for h in chosen]
        answer = self.run(flows.finish_and_receive(self.ref(name), finished, count, extension_ms, 0, per_group))
        self.take_over(name, count, extension_ms, False, answer, fronts, per_group)

    @rule(
        name=st.sampled_from([WORK, WORK, DEAD, GRAVE, OTHER]),
        numbers=st.lists(PICK, min_size=1, max_size=4),
        words=st.lists(WORDS, min_size=4, max_size=4),
    )
    def release(self, name: str, numbers: list[int], words: list[Word]) -> None:
        chosen = list({h.body: h for h in self.chosen(numbers, name)}.values())
        outcomes = [word.of(h.delivery) for h, word in zip(chosen, words, strict=False)]
        answer = self.run(flows.release(self.ref(name), outcomes))
        for h, word, status in zip(chosen, words, answer, strict=False):
            m = self.find(h)
            if m is not None:
                self.blur(m.place)
            if m is None or m.plan != h.plan:
                assert status == -2
            elif m.hand_outs != h.receive:
                assert status == -1
            elif word.outcome == "requeue":
                assert status == 0
                m.total, m.count, m.hand_outs = m.total - 1, m.count - 1, m.hand_outs + 1
                m.invisible_until_ms = 0
                m.since_us = self.clock.us
                if m.count == 0:
                    m.since_us = m.enqueued_at_ms * 1000 if m.plan or m.source else m.stamp
                    m.first_ms = m.first_ms if m.source else None
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
            m.invisible_until_ms = self.after(status)
            m.since_us = m.invisible_until_ms * 1000

    @rule(
        name=st.sampled_from([WORK, WORK, DEAD, GRAVE, OTHER]),
        numbers=st.lists(PICK, max_size=5),
        extension_ms=st.sampled_from([1000, 20_000, 100_000]),
    )
    def beat(self, name: str, numbers: list[int], extension_ms: int) -> None:
        chosen = self.chosen(numbers, name)
        held = [h.delivery for h in chosen]
        order, lost = self.run(
            flows.beat(self.ref(name), held, extension_ms, "worker", {"state": "running"}, extension_ms)
        )
        assert order == ""
        for h in chosen:
            m = self.find(h)
            is_held = m is not None and m.hand_outs == h.receive and self.state(m) == "in_flight"
            assert (h.delivery in lost) == (not is_held)
            if is_held and m is not None:
                m.invisible_until_ms = max(m.invisible_until_ms, self.after(extension_ms))
                m.since_us = m.invisible_until_ms * 1000
        self.compare()

    @rule(name=st.sampled_from([WORK, DEAD]), policy=st.sampled_from(sorted(RETRIES)))
    def set_retry_policy(self, name: str, policy: str) -> None:
        self.run(flows.set_attributes(self.ref(name), {"RetryPolicy": retry_attribute(policy)}, NATIVE))
        self.queues[name].retries = policy

    @precondition(lambda self: self.messages)
    @rule(number=PICK, tell_group=st.booleans(), due_in_ms=st.sampled_from([None, None, -1000, 0, 20_000, 2_000_000]))
    def cancel_or_reschedule(self, number: int, tell_group: bool, due_in_ms: int | None) -> None:
        m = list(self.messages.values())[number % len(self.messages)]
        ref, group = self.ref(m.queue), m.group if tell_group else None
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
        was_delayed = self.state(m) == "delayed"
        assert self.run(flow), f"not found: {m}"
        self.blur(m.place)
        if due_ms is None:
            self.forget(m, "cancelled")
        else:
            given_ms = max(due_ms, self.clock.ms)
            if given_ms > self.clock.ms or was_delayed:
                m.is_postponed, m.due_ms = False, given_ms if given_ms > self.clock.ms else None
                m.plan = f"+{given_ms}"
                if m.source is None:
                    m.enqueued_at_ms = given_ms
                m.since_us = (m.enqueued_at_ms if m.count == 0 else given_ms) * 1000
            elif m.count == 0:
                m.since_us = m.enqueued_at_ms * 1000 if m.plan or m.source else m.stamp
        self.compare()

    @rule(name=st.sampled_from([WORK, OTHER]), dedup_id=st.sampled_from(["d1", "d2"]), group=st.sampled_from(GROUPS))
    def cancel_by_deduplication_id(self, name: str, dedup_id: str, group: str) -> None:
        dedup = self.queues[name].dedup
        key = next((k for k in ((dedup_id, ""), (dedup_id, group)) if k in dedup), None)
        first = dedup[key] if key else None
        m = next((m for m in self.of(name) if first and m.message_id == first.message_id), None)
        try:
            done = self.run(flows.cancel(self.ref(name), dedup_id=dedup_id, group=m.group if m else group))
        except MessageNotAvailable:
            assert m is not None
            assert self.state(m) == "in_flight"
            return
        assert done == (m is not None)
        if m is not None and key is not None:
            self.forget(m, "cancelled")
            del dedup[key]
        self.compare()

    @precondition(lambda self: self.gone)
    @rule(number=PICK)
    def cancel_what_is_gone(self, number: int) -> None:
        m = self.gone[number % len(self.gone)]
        assert not self.run(flows.cancel(self.ref(m.queue), m.message_id))

    @rule(name=st.sampled_from([WORK, DEAD, OTHER]))
    def pause_or_resume(self, name: str) -> None:
        queue = self.queues[name]
        self.run(flows.pause(self.ref(name), resume=queue.is_paused))
        queue.is_paused = not queue.is_paused

    @rule(name=st.sampled_from([WORK, DEAD, OTHER]), group=st.sampled_from(["a", "b"]))
    def pause_or_resume_group(self, name: str, group: str) -> None:
        paused = self.queues[name].paused_groups
        self.run(flows.pause(self.ref(name), resume=group in paused, group=group))
        paused.symmetric_difference_update({group})
        for place in self.groups:
            if (place[0], place[2]) == (name, group):
                self.blur(place)

    @rule(
        name=st.sampled_from([WORK, WORK, DEAD, OTHER]),
        change=st.sampled_from(
            [
                ("visibility_s", "VisibilityTimeout", 10, "10"),
                ("visibility_s", "VisibilityTimeout", 30, "30"),
                ("delay_s", "DelaySeconds", 0, "0"),
                ("delay_s", "DelaySeconds", 7, "7"),
                ("delay_s", "DelaySeconds", 60, "60"),
                ("retention_s", "MessageRetentionPeriod", 3600, "3600"),
                ("retention_s", "MessageRetentionPeriod", 345_600, "345600"),
                ("by_content", "ContentBasedDeduplication", True, "true"),
                ("by_content", "ContentBasedDeduplication", False, "false"),
                ("by_group", "DeduplicationScope", True, "messageGroup"),
                ("by_group", "DeduplicationScope", False, "queue"),
            ]
        ),
    )
    def set_attribute(self, name: str, change: tuple[str, str, Any, str]) -> None:
        mine, theirs, value, text = change
        self.run(flows.set_attributes(self.ref(name), {theirs: text}, NATIVE))
        setattr(self.queues[name], mine, value)

    @rule(name=st.sampled_from([WORK, DEAD]), count=st.sampled_from([None, 1, 2, 3]))
    def set_redrive_policy(self, name: str, count: int | None) -> None:
        policy = None if count is None else self.policy(name, count)
        self.run(flows.set_attributes(self.ref(name), {"RedrivePolicy": policy}, NATIVE))
        self.queues[name].max_receives = count

    @rule(name=st.sampled_from(NAMES))
    def purge(self, name: str) -> None:
        self.run(flows.purge_queue(self.ref(name), NATIVE))
        for m in self.of(name):
            self.forget(m, "vanished")
        self.left = {(queue, stamp) for queue, stamp in self.left if queue != name}
        self.queues[name].purged_us = self.queues[name].last_us = max(self.clock.us, self.queues[name].last_us)

    @rule(name=st.sampled_from([DEAD, GRAVE]), destination=st.sampled_from([None, OTHER, WORK]))
    def move(self, name: str, destination: str | None) -> None:
        ref = self.ref(destination) if destination else None
        if not self.run(flows.dead_letter_sources(self.ref(name))):
            with pytest.raises(MoveTaskRefused):
                self.run(flows.start_move(self.ref(name), ref, None))
            return
        fronts = [m for place in self.groups if place[0] == name for m in self.front(place, True)]
        may_arrive = {m.body: destination or m.source for m in self.of(name)}
        task_id = self.run(flows.start_move(self.ref(name), ref, None))
        task = next(t for t in self.run(flows.list_moves(self.ref(name))) if t.task_id == task_id)
        moved = self.compare(may_arrive=may_arrive)
        self.clock.us += 1  # the next move gives other ids
        assert task.moved == len(moved)
        if task.status == "FAILED":
            assert task.failure_reason == "CouldNotDetermineMessageSource"
            assert any(may_arrive[m.body] is None for m in fronts)
        else:
            assert task.status == "COMPLETED"
            assert all(m.body in moved or m.body not in self.messages or self.is_expired(m) for m in fronts)

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
            name = draw.choice([WORK, WORK, WORK, DEAD, GRAVE])
            numbers = [draw.randrange(6) for _ in range(draw.choice([1, 2]))]
            limits = draw.choice([AWS, NATIVE])
            if letter == "s":
                first = self.some_options(draw)
                count = draw.choice([1, 2, 3])
                self.send(WORK, [first, *(self.some_options(draw) for _ in range(count - 1))], NATIVE)
            elif letter == "r" and draw.random() < 0.2:
                self.receive_with_an_attempt_id(draw.choice([1, 10]), draw.choice([None, 5000]), draw.choice("xy"))
            elif letter == "r":
                self.receive(name, draw.choice([1, 2, 10]), draw.choice([None, 0, 1000]), draw.random() < 0.1)
            elif letter == "t":
                self.let_time_pass(draw.choice([1, 1000, 1000, 31_000]), draw.randrange(1000))
            elif letter == "d" and draw.random() < 0.3:
                self.delete_and_receive(name, numbers, draw.choice([1, 10]), draw.choice([None, 0, 5000]), limits)
            elif letter == "d":
                self.delete(name, numbers, limits)
            elif letter == "v":
                self.change_visibility(name, numbers, draw.choice([0, 1000, 5000]), NATIVE)
            elif letter == "f" and draw.random() < 0.1:
                self.set_retry_policy(draw.choice([WORK, DEAD]), draw.choice(sorted(RETRIES)))
            elif letter == "f":
                self.release(name, numbers, [some_word(draw) for _ in numbers])
            elif letter == "b":
                self.beat(name, numbers, draw.choice([1000, 20_000]))
            elif letter == "g":
                self.finish_and_receive(name, numbers, draw.choice([2, 10]), 5000, draw.choice([1, 2]))
            elif letter == "c" and self.messages:
                self.cancel_or_reschedule(draw.randrange(100), draw.random() < 0.5, draw.choice([None, 0, 1000, 2000]))
            elif letter == "p" and draw.random() < 0.3:
                self.pause_or_resume_group(WORK, draw.choice("ab"))
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
        side_by_side(self.transport, map(flows.counts, refs))  # promotes and expires, as any use does
        seen: dict[int, Seen] = {}
        for body, s in look(self.transport, refs):
            assert body not in seen, f"{body} is in two places: {seen[body]}, {s}"
            seen[body] = s
        unknown = set(seen) - set(self.messages)
        assert not unknown, f"came back: {[seen[b] for b in unknown]}"
        arrived: dict[int, Message] = {}
        for place in list(self.groups):
            for m in list(self.groups[place]):
                s = seen.get(m.body)
                if s is None:
                    assert m.body in may_go or self.is_expired(m), f"lost: {m}"
                    self.forget(m, "vanished")
                elif s.message_id != m.message_id:
                    assert may_arrive is not None
                    assert may_arrive.get(m.body) == s.queue, f"{m} went to {s}"
                    if m.body not in arrived:
                        self.left.add((m.queue, m.stamp))
                        self.forget(m, "redriven_out")
                        self.ledgers[s.queue].redriven_in += 1
                        arrived[m.body] = m
                elif s.queue != m.queue:
                    assert m.body in may_die, f"{m} went to {s}"
                    self.bury(m)
        for body, old in arrived.items():
            s = seen[body]
            stamp = int(s.message_id.replace("-", "")[:12], 16) * 1000 + int(s.message_id[15:18], 16)
            new = Message(body, s.queue, s.tag, old.group, stamp, s.message_id, stamp // 1000, stamp, stay=old.stay + 1)
            new.record = old.record.redriven()
            self.messages[body] = new
            queue = self.queues[s.queue]
            if s.tag == f"{s.queue}/0":
                queue.last_us = max(queue.last_us, stamp)
            line = self.groups.setdefault(new.place, [])
            before = [m for m in line if m.body in arrived and arrived[m.body].place == old.place]
            assert not before or before[-1].stamp < stamp, "moved out of order"
            line.append(new)
            line.sort(key=lambda m: (m.body in arrived, m.stamp if m.body in arrived else 0))
        for m in self.messages.values():
            s = seen[m.body]
            if m.is_postponed and self.delayed_until(m) <= self.clock.ms:
                m.is_postponed = False
            assert s.state == self.state(m), f"{m} is seen as {s}"
            expected = (m.total, m.first_ms, m.sent_ms, m.group, m.source, m.message_id, m.tag)
            shown = (s.receive_count, s.first_received_at_ms, s.sent_at_ms, s.group, s.source, s.message_id, s.tag)
            assert s.cause == m.record.cause(), f"{m} is seen as {s}"
            assert shown == expected, f"{m} is seen as {s}"
            if s.state != "visible":
                assert s.visible_at_ms == (m.invisible_until_ms if s.state == "in_flight" else self.delayed_until(m))
        with client(self.url).pipeline(transaction=False) as pipe:
            for name, tag, group in self.groups:
                pipe.lrange(f"{self.ref(name).partition(tag).base}group:{group}", 0, -1)
            for line, keys in zip(self.groups.values(), pipe.execute(), strict=True):
                assert [key[:16].decode() for key in keys[::2]] == [str(m.stamp) for m in line]
        for name, counts in zip(NAMES, side_by_side(self.transport, map(flows.counts, refs)), strict=True):
            of_queue = self.of(name)
            for state in ("visible", "in_flight", "delayed"):
                number = len([m for m in of_queue if self.state(m) == state])
                assert getattr(counts, state) == number, f"{name}: {counts}, {of_queue}"
        for name, metrics in zip(NAMES, self.run(flows.all_metrics(refs)), strict=True):
            self.ledgers[name].check(metrics, len(self.of(name)))
        return set(arrived)

    def teardown(self) -> None:
        try:
            for name in NAMES:
                self.run(flows.delete_queue(self.ref(name), NATIVE))
            left = keys_left(self.url, self.transport.space)
            assert not left, f"left behind: {left}"
        finally:
            self.transport.close()


@pytest.mark.timeout(SOAK_TIMEOUT)
def test_fifo_queues_do_what_the_model_says(server_url: str) -> None:
    run_machine(FifoMachine, server_url, examples=5, steps=15, letters=LETTERS, seeds=(582966501579, 700047, 154))
