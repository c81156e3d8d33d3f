"""What both machines share: a clock to turn, background work that runs at once, and a look at everything."""

from __future__ import annotations

import functools
import os
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import redis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from rqsqs._core import flows
from rqsqs._core.keys import Keyspace, QueueRef
from rqsqs._io.sync import Transport
from rqsqs.types import State

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


class InlineTransport(Transport):
    """Background flows run to their end before the caller goes on."""

    def spawn(self, make: Callable[[], Any], name: str) -> None:
        self.run(make())


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


def look(transport: Transport, queue: QueueRef) -> list[tuple[Any, Seen]]:
    """Every message of a queue as (body, Seen), FIFO groups in order."""
    found: list[tuple[Any, Seen]] = []
    for state in STATES:
        cursor = ""
        while True:
            messages, cursor = transport.run(flows.browse(queue, state, cursor, 1000))
            for d in messages:
                seen = Seen(
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
                )
                found.append((d.body, seen))
            if not cursor:
                break
    return found


@functools.cache
def client(url: str) -> redis.Redis:
    """A plain redis-py client."""
    return redis.Redis.from_url(url)


def keys_left(url: str, space: Keyspace) -> list[str]:
    """Keys under a prefix that will not go away by themselves."""
    connection = client(url)
    return sorted(
        key.decode() for key in connection.scan_iter(space.prefix + ":*", count=1000) if connection.ttl(key) < 0
    )


def run_machine(machine: Any, url: str, *, examples: int, steps: int, letters: str) -> None:
    """Run a machine the same way every time; with RQSQS_SOAK_SECONDS at random for so long.

    Hypothesis tries the odd and the short; long ordinary days (work_for_a_while) come from plain random numbers.
    """
    bound: Any = type(machine.__name__, (machine,), {"url": url})

    def days(seeds: range) -> None:
        for number in seeds:
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
        deadline=None,
        suppress_health_check=list(HealthCheck),
        database=None,
        print_blob=False,
    )
    if not SOAK_SECONDS:
        run_state_machine_as_test(bound, settings=settings(common, max_examples=examples, derandomize=True))  # type: ignore[no-untyped-call]
        days(range(3 * examples))
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


SOAK_TIMEOUT = SOAK_SECONDS + 900 if SOAK_SECONDS else 120
