"""What both machines share: a clock to turn, background work that runs at once, a look at everything, and what a worker
may say."""

from __future__ import annotations

import functools
import os
import random
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import run_state_machine_as_test

from rqsqs import RetryPolicy, _settings
from rqsqs._core import flows, scripts
from rqsqs._core.keys import Clock, Keyspace, QueueRef
from rqsqs._core.operation import Flow, Operation
from rqsqs._core.operations import Outcome
from rqsqs._io import protocol
from rqsqs._io.sync.runner import Link, Transport
from rqsqs.errors import RqsqsError
from rqsqs.models import Failure, State
from tests.clusters import client_of

START_US = 1_700_000_000_000_000
SOAK_SECONDS = float(os.environ.get("RQSQS_SOAK_SECONDS", "0"))
STATES: tuple[State, ...] = ("visible", "in_flight", "delayed")


class TurnedClock:
    """Time stands still until somebody turns it."""

    def __init__(self, now_us: int = START_US) -> None:
        self.us = now_us

    def now_us(self) -> int:
        return self.us

    @property
    def ms(self) -> int:
        return self.us // 1000

    def advance_ms(self, ms: int) -> None:
        self.us += ms * 1000


def two_minutes_ago() -> TurnedClock:
    """For what is to be sampled at once: the first sample of a queue is that of the minute after its creation."""
    return TurnedClock(time.time_ns() // 1000 - 120_000_000)


class Lost:
    """A call whose answer is lost, as its first attempt has arrived or not. repeat() is what the caller does next."""

    def __init__(self, link: Link, operation: Operation, has_arrived: bool = True) -> None:
        self.link, self.operation = link, operation
        self.slot = protocol.CallSlot()
        self.packed = protocol.pack(operation, link.router.is_cluster, self.slot)
        self.reply = self.arrive() if has_arrived else None

    def arrive(self) -> Any:
        """The first attempt arrives (again, as if it had been on its way all the time)."""
        node = self.link.router.node(self.operation.keys[0])
        line = node.calls.take()
        assert line is not None
        try:
            return line.ask(self.packed)
        except redis.exceptions.NoScriptError:
            return line.load_and_ask(protocol.load(self.operation), self.packed)
        finally:
            node.calls.give(line)

    def first(self) -> Any:
        """The answer that was lost."""
        return self.reply if self.operation.parse is None else self.operation.parse(self.reply)

    def repeat(self) -> Any:
        """The answer to the repetition."""
        return self.link.execute(self.operation, self.slot)


class Lossy:
    """A link that loses every fourth answer, some of them with the call; and now and then lets a first attempt arrive
    after its repetition."""

    def __init__(self, link: Link) -> None:
        self._link = link
        self._draw = random.Random(0)
        self.lost = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._link, name)

    def execute(self, operation: Operation) -> Any:
        """Run one operation."""
        # To delete again what another consumer had is no failure any more when it is gone.
        if self._draw.random() < 0.75 or operation.script == "delete_message_fifo":
            return self._link.execute(operation)
        is_receive = operation.script.startswith("receive")  # counts as empty when it arrives for the first time
        try:
            lost = Lost(self._link, operation, has_arrived=is_receive or self._draw.random() < 0.75)
        except redis.ResponseError:  # nothing was done
            return self._link.execute(operation)
        self.lost += 1
        answer = lost.repeat()
        if scripts.get(operation.script).has_slot and self._draw.random() < 0.25 and not is_receive:
            lost.arrive()
        return answer


class InlineTransport(Transport):
    """Background flows run to their end before the caller goes on.

    Args:
        is_lossy: answers are lost.
    """

    def __init__(self, url: str, prefix: str, clock: Clock | None = None, *, is_lossy: bool = False) -> None:
        super().__init__(url, prefix, clock)
        if is_lossy:
            self.link = Lossy(self.link)  # type: ignore[assignment]

    def spawn(self, make: Callable[[], Any], name: str) -> None:
        self.run(make())


@dataclass
class Record:
    """What workers said of a message."""

    kind: str = ""  # of the last cause
    failures: int = 0  # in the life it has now
    told: int = 0  # receives up to the last word in this life
    causes: tuple[int, int] = (0, 0)  # failures and receives that the last cause names
    buried: int | None = None  # receives when it came to the dead-letter queue it is in

    def cause(self) -> tuple[str, int, int] | None:
        """Type, failures and receives of the cause it shows."""
        if self.buried is not None and self.buried > self.told:
            return "ReceivedTooOften", self.failures, self.buried
        return (self.kind, *self.causes) if self.kind else None

    def redriven(self) -> Record:
        """The same message in its next life."""
        return Record(self.kind, causes=self.causes)


@dataclass(frozen=True)
class Word:
    """How a worker settles a message that it did not finish."""

    outcome: str
    kind: str = "Plain"
    wanted_ms: int | None = None
    chance: int = 0

    def of(self, delivery: Any) -> Outcome:
        """As it is said."""
        if self.outcome == "requeue":
            return Outcome(delivery, "requeue")
        kinds = (self.kind, "Exception")
        cause = Failure(self.kind, "", "", "w", 1, delivery.failures + 1, delivery.receive_count)
        return Outcome(delivery, self.outcome, cause, kinds, self.wanted_ms, self.chance)

    def delay_ms(self, policy: str, failures: int) -> int | None:
        """When it is tried again; None = not at all."""
        rule = RETRIES[policy]
        if self.outcome == "dead-letter" or self.kind in rule.dead_letter:
            return None
        if self.wanted_ms is not None:
            return self.wanted_ms
        rule = rule.exceptions.get(self.kind, rule)
        return int(min(rule.cap * 1000, rule.base * 1000 * 2 ** (failures - 1)) * self.chance / 1_000_000)


RETRIES = {
    "": RetryPolicy(),
    "short": RetryPolicy(0.5, 2),
    "special": RetryPolicy(2, 100, dead_letter=("Final",), exceptions={"Special": RetryPolicy(7, 20)}),
}
WORDS = st.one_of(
    st.just(Word("requeue")),
    st.builds(
        Word,
        st.sampled_from(["retry", "retry", "retry", "dead-letter"]),
        st.sampled_from(["Plain", "Special", "Final"]),
        st.sampled_from([None, None, 0, 5000]),
        st.sampled_from([0, 1, 250_000, 1_000_000]),
    ),
)


def some_word(draw: random.Random) -> Word:
    """The same from plain random numbers."""
    outcome = draw.choice(["requeue", "requeue", "retry", "retry", "retry", "dead-letter"])
    return Word(
        outcome,
        draw.choice(["Plain", "Special", "Final"]),
        draw.choice([None, None, 0]),
        draw.choice([0, 0, 1_000_000]),
    )


def retry_attribute(policy: str) -> str | None:
    """The attribute RetryPolicy."""
    return _settings.retry_policy(RETRIES[policy]) if policy else None


def shown_cause(delivery: Any) -> tuple[str, int, int] | None:
    """What can be compared of a cause."""
    return (delivery.cause.type, delivery.cause.failures, delivery.cause.receives) if delivery.cause else None


@dataclass(frozen=True)
class Seen:
    """A message as browsing shows it."""

    queue: str
    state: State
    receive_count: int
    first_received_at_ms: int | None
    sent_at_ms: int
    group: str
    source: str | None
    visible_at_ms: int | None
    message_id: str
    tag: str
    cause: tuple[str, int, int] | None


def side_by_side(transport: Transport, flows_: Iterable[Flow[Any]]) -> list[Any]:
    """The results of flows that only look, one step of all of them in one round trip."""
    link, results = transport.link, dict[int, Any]()
    link = link._link if isinstance(link, Lossy) else link
    asked: list[tuple[int, Flow[Any], Operation]] = []

    def go_on(i: int, flow: Flow[Any], go: Callable[[], Any]) -> None:
        try:
            asked.append((i, flow, go()))
        except StopIteration as end:
            results[i] = end.value

    for i, flow in enumerate(flows_):
        go_on(i, flow, functools.partial(next, flow))
    while asked:
        now, asked = asked, []
        for (i, flow, operation), reply in zip(now, _replies(link, [o for _, _, o in now]), strict=True):
            try:
                result = link.execute(operation) if isinstance(reply, redis.ResponseError) else operation.parse(reply)
            except RqsqsError as e:
                go_on(i, flow, functools.partial(flow.throw, e))
            else:
                go_on(i, flow, functools.partial(flow.send, result))
    return [results[i] for i in range(len(results))]


def _replies(link: Link, operations: list[Operation]) -> list[Any]:
    """What a server answers, errors included; those of a cluster are left to the link."""
    if link.router.is_cluster:
        return [redis.ResponseError()] * len(operations)
    node = link.router.node(operations[0].keys[0])
    line, replies = node.calls.take(), list[Any]()
    assert line is not None
    line.connection.send_packed_command([protocol.pack(o, False, line.slot) for o in operations], check_health=False)
    for _ in operations:
        try:
            replies.append(line.connection.read_response(disable_decoding=True))
        except redis.ResponseError as e:
            replies.append(e)
    node.calls.give(line)
    return replies


def look(transport: Transport, queues: Sequence[QueueRef]) -> list[tuple[Any, Seen]]:
    """Every message of some queues as (body, Seen), FIFO groups in order."""
    places = [(queue, state) for queue in queues for state in STATES]
    pages = side_by_side(transport, [_all_of(queue, state) for queue, state in places])
    return [
        (
            d.body,
            Seen(
                queue.name,
                state,
                d.receive_count,
                d.first_received_at_ms,
                d.sent_at_ms,
                d.group_name,
                d.dead_letter_source,
                d.visible_at_ms,
                d.message_id,
                d.partition.tag,
                shown_cause(d),
            ),
        )
        for (queue, state), deliveries in zip(places, pages, strict=True)
        for d in deliveries
    ]


def _all_of(queue: QueueRef, state: State) -> Flow[list[Any]]:
    found, cursor = yield from flows.browse(queue, state, "", 1000)
    while cursor:
        more, cursor = yield from flows.browse(queue, state, cursor, 1000)
        found += more
    return found


@functools.cache
def client(url: str) -> Any:
    """A plain redis-py client."""
    return client_of(url)


def keys_left(url: str, space: Keyspace) -> list[str]:
    """Keys under a prefix that will not go away by themselves, or should not be there without their queue."""
    connection = client(url)
    return sorted(
        key.decode()
        for key in connection.scan_iter(space.prefix + ":*", count=1000)
        if (connection.ttl(key) < 0 or key.endswith((b":heartbeats", b":consumers", b":commands")))
        and not key.endswith(b"{queues}:format")  # of the prefix
    )


def run_machine(machine: Any, url: str, *, examples: int, steps: int, letters: str, seeds: Sequence[int] = ()) -> None:
    """Run a machine; with RQSQS_SOAK_SECONDS for so long.

    Hypothesis tries the odd and the short, the same every time without a soak; long ordinary days (work_for_a_while)
    come from plain random numbers, others in every run: a failure names its seed.

    Args:
        seeds: of days that found something once.
    """
    bound: Any = type(machine.__name__, (machine,), {"url": url})

    def days(numbers: Iterable[int]) -> None:
        for number in numbers:
            draw, one = random.Random(number), bound()
            try:
                one.work_for_a_while([(draw.choice(letters), draw.randrange(2**20)) for _ in range(60)])
            except BaseException as e:
                e.add_note(f"seed {number}")
                raise
            finally:
                one.teardown()

    common = settings(
        stateful_step_count=steps,
        suppress_health_check=list(HealthCheck),
        database=None,
        print_blob=False,
    )
    if not SOAK_SECONDS:
        run_state_machine_as_test(bound, settings=settings(common, max_examples=examples, derandomize=True))  # type: ignore[no-untyped-call]
        first = random.SystemRandom().getrandbits(40)
        print(f"{machine.__name__}: the seeds {seeds} and {first} to {first + 2 * examples - 1}")
        days(seeds)
        days(range(first, first + 2 * examples))
        return
    deadline = time.monotonic() + SOAK_SECONDS
    runs = 0
    while time.monotonic() < deadline:
        soak = settings(
            common,
            max_examples=50,
            stateful_step_count=random.SystemRandom().choice((20, 50, 120)),
            phases=(Phase.generate,),
        )
        run_state_machine_as_test(bound, settings=soak)  # type: ignore[no-untyped-call]
        first = random.SystemRandom().getrandbits(40)
        days(range(first, first + 100))
        runs += 1
    print(f"{machine.__name__}: {runs * 50} examples, {runs * 100} days of 60 steps")


SOAK_TIMEOUT = SOAK_SECONDS + 900 if SOAK_SECONDS else 300
