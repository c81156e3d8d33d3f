"""The flow of a receive that waits: for one partition or several."""

from __future__ import annotations

import functools
import itertools
import os
import secrets
import time
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

from rqsqs._core import operations
from rqsqs._core.delivery import Delivery
from rqsqs._core.flows.topology import adopt_shard, at, refresh
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Flow, IsWatched, Operation, Sleep, Wait
from rqsqs._core.operations import Received
from rqsqs.errors import QueueDoesNotExist, ServerError

T = TypeVar("T")
Ask = Callable[[Partition, str, str, int], Operation]  # partition, wait, waiter, count
NOW = "0"  # the `wait` of a look by a caller that waits: it is over
AT_LIMIT = -1  # a receive's wake_at when there are too many messages in flight
LOOK_AGAIN_MS = 500  # a waiter asks again this often while too many messages are in flight
POLL_CALLS = 10  # a receive that does not wait makes at most this many calls
BLOCK_MS = 60_000  # a waiter looks again at least this often, whatever happened to its wakeup token


class WaiterNames:
    """Names callers that wait: PROCESS-NUMBER (lua/lib/wakeups.lua)."""

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Name this process among all on all machines; in a forked child anew."""
        self.process = secrets.token_hex(8)
        self.numbers = itertools.count()

    def next(self) -> str:
        """Another name."""
        return f"{self.process}-{next(self.numbers)}"


class Duty(NamedTuple):
    """What a waiter does about the next due time of a partition, by now_ms(): as the timer owner it wakes somebody at
    `wake_at` (0 = it is a backup), and it receives by itself at `look_at`."""

    wake_at: int
    look_at: int


waiter_names = WaiterNames()
os.register_at_fork(after_in_child=waiter_names.begin)


def wait_and_receive(
    q: QueueRef,
    ask: Ask,
    count: int,
    wait_ms: int | None,
    first: Callable[[str, str], Operation] | None = None,
    start: Partition | None = None,
) -> Flow[list[Delivery]]:
    """Receive from a queue; `first` makes the first operation if it is another one than `ask` makes, for the partition
    `start`."""
    waiter = "" if wait_ms == 0 else waiter_names.next()
    end = now_ms(q) + (wait_ms or 0)
    if wait_ms and first is None and (yield IsWatched(_lists(q.partitions))):
        return (yield from line_up(q, ask, count, wait_ms, waiter))
    answers: dict[Partition, tuple[Received, str]] = {}
    if len(q.partitions) == 1:
        wait = wait_word(wait_ms)
        got = yield first(wait, waiter) if first else ask(q.home, wait, waiter, count)
        if got.messages and not got.missing_dlq and got.topology == q.topology:  # the common case
            return list(got.messages)
        answers, first, start = {q.home: (got, wait)}, None, None
    return (yield from look_everywhere(q, ask, count, wait_ms, waiter, end, first, start if first else None, answers))


def wait_word(wait_ms: int | None) -> str:
    """How long to wait, as the scripts want it said."""
    return "?" if wait_ms is None else f"+{wait_ms}" if wait_ms else ""


def _lists(partitions: Sequence[Partition]) -> tuple[str, ...]:
    """The wakeup lists of partitions."""
    return tuple([p.wakeups for p in partitions])


def line_up(q: QueueRef, ask: Ask, count: int, wait_ms: int, waiter: str) -> Flow[list[Delivery]]:
    """Nothing is visible, or the one who watches would have it: wait behind it without asking."""
    blocked_on, home = q.partitions, q.home
    then = functools.partial(ask, home, NOW, "", count) if len(blocked_on) == 1 else None
    also = tuple([p.backup for p in blocked_on])
    got, left_ms = yield Wait(_lists(blocked_on), min(wait_ms, BLOCK_MS), then=then, also=also)
    wait_ms = max(wait_ms - min(wait_ms, BLOCK_MS) + left_ms, 0)
    answers: dict[Partition, tuple[Received, str]] = {}
    start: Partition | None = home
    if then is None:
        start = _with_list(blocked_on, got)
    elif got is not None and got.messages:
        answers[home] = (got, NOW)
    elif got is not None and got.wake_at_ms != got.now_ms:
        got = None
    if not wait_ms and got is None:
        return []
    end = now_ms(q) + wait_ms
    owed = {start: None} if got is not None and start is not None else {}
    return (yield from look_everywhere(q, ask, count, wait_ms, waiter, end, None, start, answers, blocked_on, owed))


def look_everywhere(
    q: QueueRef,
    ask: Ask,
    count: int,
    wait_ms: int | None,
    waiter: str,
    end: int,
    first: Callable[[str, str], Operation] | None,
    start: Partition | None,
    answers: dict[Partition, tuple[Received, str]],
    blocked_on: tuple[Partition, ...] = (),
    owed: dict[Partition, None] | None = None,
) -> Flow[list[Delivery]]:
    """Receive from the partitions of a queue, each in its turn first; begin at `start`, with `first` if given.

    One round over all partitions finds messages, or makes the caller a waiter of every one. A token tells where to look
    then, and only there: what holds of tokens and due times (lua/lib/wakeups.lua) holds for each partition by itself.
    Whoever takes a token receives there, and whoever has duties and goes away gives them up. Who waits for one
    partition only sends its next receive along, to be run at once when the token comes.

    Args:
        end: when the waiting ends, by now_ms().
        answers: of partitions that were asked already, and how long they were told to wait.
        blocked_on: the partitions whose wakeup lists were listened to.
        owed: where a token may have been taken and nobody looked yet.
    """
    wait = (wait_word(wait_ms) or NOW) if blocked_on else wait_word(wait_ms)
    ends: dict[Partition, str] = {}  # when the waiting ends, by the clock of the partition's server
    duties: dict[Partition, Duty] = {}
    owed = owed or {}
    calls = left = 0
    got: Any
    try:
        order = tuple(answers) or q.in_turn(start)
        if first is not None and start is not None and start not in order:
            order = (start, *order)
        while True:
            partitions = q.partitions
            found: list[Delivery] = []
            again: list[Partition] = []
            limited: list[Partition] = []
            is_stale = False
            for p in order:
                look = NOW if waiter and found else ends.get(p, wait)
                calls += 1
                if p in answers:
                    got, look = answers.pop(p)
                else:
                    if first is not None and p is start:
                        operation, first = first(look, waiter), None
                    else:
                        operation = ask(p, look, waiter if look != NOW or p in duties else "", count - len(found))
                    got = yield from holding(found, at(q, p, operation, False))
                if got is None:
                    break
                owed.pop(p, None)
                if got is False:  # no such shard, or not yet
                    duties.pop(p, None)
                    continue
                found += got.messages
                if waiter and (got.missing_dlq or got.wake_at_ms == got.now_ms):
                    owed[p] = None
                if got.missing_dlq:
                    yield from holding(found, adopt_shard(q, p, got.missing_dlq))
                if p is q.home and got.topology != q.topology:
                    yield from holding(found, refresh(q))
                    is_stale = True
                if got.messages:
                    duties.pop(p, None)
                    if len(found) >= count:
                        break
                    continue
                now = now_ms(q)
                if waiter and look != NOW:
                    if wait_ms is None and not ends:
                        end = now + got.wait_until_ms - got.now_ms
                    left = min(got.wait_until_ms - got.now_ms, end - now)
                    ends[p], wait = str(got.wait_until_ms), f"+{max(left, 0)}"
                if got.missing_dlq or got.wake_at_ms == got.now_ms:
                    again.append(p)
                elif got.look_at_ms:
                    wake_at = got.wake_at_ms and now + got.wake_at_ms - got.now_ms
                    duties[p] = Duty(wake_at, now + got.look_at_ms - got.now_ms)
                else:
                    duties.pop(p, None)
                    if got.wake_at_ms == AT_LIMIT:
                        limited.append(p)
            left = min(left, end - now_ms(q))
            is_stale = is_stale or partitions != q.partitions
            goes_on = left > 0 or calls < POLL_CALLS
            if not found and (again or is_stale) and goes_on:
                order = q.in_turn(None) if is_stale else tuple(again)
                if left <= 0:
                    order = order[: POLL_CALLS - calls]
                continue
            if blocked_on and blocked_on != q.partitions and (found or left > 0):
                yield from holding(found, _ring(q.home))  # whoever listens to the same lists learns of the others
            if found or left <= 0:
                yield from holding(found, _leave(duties, waiter, owed))
                return found
            # Nothing anywhere: block on the lists of all.
            blocked_on = q.partitions
            block = min(left, BLOCK_MS, LOOK_AGAIN_MS if limited else left)
            if duties:
                block = min(block, max(min([duty.look_at for duty in duties.values()]) - now_ms(q), 1))
            listened = [p for p in blocked_on if p not in limited]
            if not listened:
                yield Sleep(block)
                order = blocked_on
                continue
            wake_in, wake = operations.watch_all(
                [(max(duty.wake_at - now_ms(q), 0), p) for p, duty in duties.items() if duty.wake_at], waiter
            )
            also = tuple([p.wake(waiter) if p in duties else p.backup for p in listened])
            look = ends.get(q.home, wait)
            then = functools.partial(ask, q.home, look, waiter, count) if len(blocked_on) == 1 else None
            got, left_ms = yield Wait(_lists(listened), block, wake_in, wake, then, also)
            if got is not None:
                if then is not None:
                    answers[q.home], order = (got, look), blocked_on
                    continue
                woken = _with_list(blocked_on, got)
                order = (woken,) if woken is not None else blocked_on
                owed.update(dict.fromkeys(order))
                continue
            if left <= block - left_ms:
                yield from _leave(duties, waiter, owed)
                return []
            now = now_ms(q)
            come = [p for p, duty in duties.items() if min(duty.wake_at or duty.look_at, duty.look_at) <= now]
            order = tuple(come) or (tuple(limited) if limited and left_ms == 0 else q.in_turn(None))
    except QueueDoesNotExist:
        if blocked_on or ends:
            yield operations.wake_waiter(q.home)  # whoever else waits finds out as well
        raise
    except BaseException as e:
        if not isinstance(e, GeneratorExit | ServerError):
            if ends and len(q.partitions) == 1:  # the receive that it sent along may have given it a duty
                duties[q.home] = Duty(0, 0)
            yield from _leave(duties, waiter, owed)
        raise


def now_ms(q: QueueRef) -> int:
    """A clock to measure time with, or the test clock."""
    clock = q.space.clock
    return clock.now_us() // 1000 if clock is not None else time.monotonic_ns() // 1_000_000


def _with_list(partitions: Sequence[Partition], key: str | None) -> Partition | None:
    """The partition to which a wakeup list belongs."""
    return next((p for p in partitions if key.startswith(p.base)), None) if key else None


def _leave(duties: dict[Partition, Duty], waiter: str, owed: dict[Partition, None]) -> Flow[None]:
    while duties:
        yield operations.wake_waiter(duties.popitem()[0], waiter)
    while owed:
        yield operations.wake_waiter(owed.popitem()[0])


def _ring(p: Partition) -> Flow[None]:
    yield operations.wake_waiter(p)


def holding(deliveries: Sequence[Delivery], step: Flow[T]) -> Flow[T | None]:
    """Do a step while messages are in hand: trouble with the server must not lose them, an interruption gives them
    back."""
    try:
        return (yield from step)
    except ServerError:
        if not deliveries:
            raise
        return None
    except BaseException as e:
        if not isinstance(e, GeneratorExit):
            yield from give_back(deliveries)
        raise


def give_back(deliveries: Sequence[Delivery]) -> Flow[None]:
    for p in {d.partition: None for d in deliveries}:
        held = [d for d in deliveries if d.partition is p]
        for operation in operations.give_back(p, held):  # noqa: UP028 - a list takes no answers
            yield operation
