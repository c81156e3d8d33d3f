"""The flow of a receive that waits: for one partition or several."""

from __future__ import annotations

import contextlib
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
from rqsqs._core.operation import Flow, IsWatched, MarkOutdated, Operation, Sleep, Wait
from rqsqs._core.operations import Received
from rqsqs.errors import QueueDoesNotExist, RqsqsError, ServerError

T = TypeVar("T")
Ask = Callable[[Partition, str, str, int], Operation]  # partition, wait, waiter, count
GOES_ON = "/-"  # behind `wait`: if nothing is found that is no empty receive yet
NOW = "0" + GOES_ON  # the `wait` of a look by a caller that waits: it is over
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
        return (yield from Polling(q, ask, count, wait_ms, waiter, end).line_up())
    if len(q.partitions) == 1:
        wait = wait_word(wait_ms)
        got = yield first(wait, waiter) if first else ask(q.home, wait, waiter, count)
        if got.messages and not got.missing_dlq and got.topology == q.topology:  # the common case
            return list(got.messages)
        return (yield from Polling(q, ask, count, wait_ms, waiter, end).go_on(got))
    polling = Polling(q, ask, count, wait_ms, waiter, end)
    order = q.in_turn(start)
    if first is not None and start is not None:
        polling.first[start] = first
        if start not in order:
            order = (start, *order)
    return (yield from polling.run(order))


def wait_word(wait_ms: int | None) -> str:
    """How long to wait, as the scripts want it said."""
    return "?" if wait_ms is None else f"+{wait_ms}" if wait_ms else ""


def _lists(partitions: Sequence[Partition]) -> tuple[str, ...]:
    return tuple([p.wakeups for p in partitions])


class Polling:
    """Receives from the partitions of a queue, each in its turn first.

    One round over all partitions finds messages, or makes the caller a waiter of every one. A token tells where to look
    then, and only there: what holds of tokens and due times (lua/lib/wakeups.lua) holds for each partition by itself.
    Whoever takes a token receives there, and whoever has duties and goes away gives them up. Who waits for one
    partition only sends its next receive along, to be run at once when the token comes.

    Args:
        count: how many messages are enough.
        waiter: the name of the caller, if it waits.
        end: when the waiting ends, by now_ms().

    Attributes:
        first: makes the first operation for a partition, where that is another one.
        answers: of partitions that were asked already, and how long they were told to wait.
        ends: when the waiting ends, by the clocks of the partitions' servers.
        duties: those of the caller, as a waiter.
        owed: where a token may have been taken and nobody looked yet.
        blocked_on: the partitions whose wakeup lists were listened to.
        looked_at: when the home was asked last, which tells of other partitions (time.monotonic(); 0 = not since this
            began).
        left: milliseconds until the waiting ends.
        again, limited: partitions to be asked again at once, and those with too many messages in flight.
        is_stale: the partitions of the queue have changed.
        is_counted: the server counted this as an empty receive. If it finds messages all the same, in partitions of
            which it learned by that answer, that stays so: a count never goes back.
    """

    def __init__(
        self, q: QueueRef, ask: Ask, count: int, wait_ms: int | None, waiter: str, end: int | None = None
    ) -> None:
        self.q, self.ask, self.count, self.wait_ms, self.waiter = q, ask, count, wait_ms, waiter
        self.wait = wait_word(wait_ms)
        self.end = now_ms(q) + (wait_ms or 0) if end is None else end
        self.first: dict[Partition, Callable[[str, str], Operation]] = {}
        self.answers: dict[Partition, tuple[Received, str]] = {}
        self.ends: dict[Partition, str] = {}
        self.duties: dict[Partition, Duty] = {}
        self.owed: dict[Partition, None] = {}
        self.blocked_on: tuple[Partition, ...] = ()
        self.looked_at = 0.0
        self.calls = self.left = 0
        self.is_counted = False
        self.again: list[Partition] = []
        self.limited: list[Partition] = []
        self.is_stale = False

    def go_on(self, got: Received) -> Flow[list[Delivery]]:
        """The only partition was asked, and that was not all."""
        self.answers[self.q.home] = (got, self.wait)
        return self.run((self.q.home,))

    def _is_outdated(self, marked_at: float = 0.0) -> bool:
        """Does the queue have other partitions than those whose wakeup lists are listened to? Or may it have, as these
        were marked as outdated by another connection, and the queue was not looked at since?"""
        return self.blocked_on != self.q.partitions or marked_at > self.looked_at

    def _tells_of_others(self, got: Any) -> bool:
        """Does an answer of the home say that there are other partitions? (A list that had a token says nothing.)"""
        return isinstance(got, Received) and got.topology != self.q.topology

    def line_up(self) -> Flow[list[Delivery]]:
        """Nothing is visible, or the one who watches would have it: wait behind it without asking."""
        q, total = self.q, self.wait_ms or 0
        self.blocked_on, block = q.partitions, min(total, BLOCK_MS)
        then = self._then(NOW, "")
        also = tuple([p.backup for p in self.blocked_on])
        outdated = self._is_outdated, self._tells_of_others
        got, left_ms = yield Wait(_lists(self.blocked_on), block, None, None, then, also, *outdated)
        start: Partition | None = q.home
        if then is None:
            start = _with_list(self.blocked_on, got)
        elif got is not None and got.messages:
            self.answers[q.home] = (got, NOW)
        elif got is not None and got.wake_at_ms != got.now_ms:
            got = None
        left = max(total - block + left_ms, 0)
        if not left and got is None:
            yield from count_empty(q)
            return []
        self.end, self.wait = now_ms(q) + left, wait_word(left) or NOW
        if got is not None and start is not None:
            self.owed[start] = None
        return (yield from self.run(tuple(self.answers) or q.in_turn(start)))

    def run(self, order: tuple[Partition, ...]) -> Flow[list[Delivery]]:
        """Look at partitions and wait, by turns."""
        q = self.q
        try:
            while True:
                found = yield from self._look(order)
                order = () if found else self._at_once()
                if order:
                    continue
                if self.blocked_on and self._is_outdated() and (found or self.left > 0):
                    yield from holding(found, _pass_on(q.home, _lists(self.blocked_on)))
                if not found and self.left > 0:
                    order = yield from self._block()
                    got, _ = self.answers.get(q.home, (None, ""))
                    if got is not None and self._is_whole(got):
                        return got.messages
                if not order:
                    yield from holding(found, self._leave())
                    if not (found or self.is_counted):
                        yield from count_empty(q)
                    return found
        except QueueDoesNotExist:
            if self.blocked_on or self.ends:
                yield operations.wake_waiter(q.home)  # whoever else waits finds out as well
            raise
        except BaseException as e:
            if not isinstance(e, GeneratorExit | ServerError):
                if self.ends and len(q.partitions) == 1:  # the receive that it sent along may have given it a duty
                    self.duties[q.home] = Duty(0, 0)
                yield from self._leave()
            raise

    def _is_whole(self, got: Received) -> bool:
        """Has the answer to the receive that was sent along messages, and leaves nothing else to be done?"""
        q, duties = self.q, len(self.duties) - (self.q.home in self.duties)  # that one is over with the messages
        is_plain = not (got.missing_dlq or duties or self.owed) and got.wake_at_ms != got.now_ms
        return is_plain and got.messages != [] and got.topology == q.topology and self.blocked_on == q.partitions

    def _look(self, order: tuple[Partition, ...]) -> Flow[list[Delivery]]:
        """Ask partitions until there are enough messages."""
        q, partitions = self.q, self.q.partitions
        found: list[Delivery] = []
        self.again, self.limited, self.is_stale = [], [], False
        for p in order:
            got: Any
            self.calls += 1
            if p in self.answers:
                got, look = self.answers.pop(p)
                word = look
            else:
                if p is q.home:
                    self.looked_at = time.monotonic()
                look = NOW if self.waiter and found else self.ends.get(p, self.wait)
                is_last = p is order[-1] and not (found or self.again or self.is_stale or self.is_counted)
                word = look if is_last or look == NOW else look + GOES_ON
                got = yield from holding(found, at(q, p, self._question(p, look, word, len(found)), False))
            if got is None:  # no answer, but there are messages
                break
            self.owed.pop(p, None)
            if got is False:  # no such shard, or not yet
                self.duties.pop(p, None)
                continue
            found += got.messages
            if self.waiter and (got.missing_dlq or got.wake_at_ms == got.now_ms):
                self.owed[p] = None
            if got.missing_dlq:
                yield from holding(found, adopt_shard(q, p, got.missing_dlq))
            if p is q.home and got.topology != q.topology:
                yield from holding(found, refresh(q))
                self.is_stale = True
            if not got.messages:
                self._nothing_at(p, got, look)
                is_over = got.wait_until_ms <= got.now_ms != got.wake_at_ms and not got.missing_dlq
                self.is_counted |= is_over and not word.endswith(GOES_ON)
                continue
            self.duties.pop(p, None)
            if len(found) >= self.count:
                break
        self.left = min(self.left, self.end - now_ms(q))
        self.is_stale = self.is_stale or partitions != q.partitions
        return found

    def _question(self, p: Partition, look: str, word: str, found: int) -> Operation:
        first = self.first.pop(p, None)
        if first is not None:
            return first(word, self.waiter)
        return self.ask(p, word, self.waiter if look != NOW or p in self.duties else "", self.count - found)

    def _nothing_at(self, p: Partition, got: Received, look: str) -> None:
        """A partition had no messages: when does the waiting end there, and what is the caller's duty until then?"""
        now = now_ms(self.q)
        if self.waiter and look != NOW:
            if self.wait_ms is None and not self.ends:
                self.end = now + got.wait_until_ms - got.now_ms
            self.left = min(got.wait_until_ms - got.now_ms, self.end - now)
            self.ends[p], self.wait = str(got.wait_until_ms), f"+{max(self.left, 0)}"
        if got.missing_dlq or got.wake_at_ms == got.now_ms:
            self.again.append(p)
        elif got.look_at_ms:
            wake_at = got.wake_at_ms and now + got.wake_at_ms - got.now_ms
            self.duties[p] = Duty(wake_at, now + got.look_at_ms - got.now_ms)
        else:
            self.duties.pop(p, None)
            if got.wake_at_ms == AT_LIMIT:
                self.limited.append(p)

    def _at_once(self) -> tuple[Partition, ...]:
        """Where to look again without waiting, as nothing was found."""
        if not (self.again or self.is_stale):
            return ()
        order = self.q.in_turn(None) if self.is_stale else tuple(self.again)
        return order if self.left > 0 else order[: max(POLL_CALLS - self.calls, 0)]

    def _block(self) -> Flow[tuple[Partition, ...]]:
        """Nothing anywhere: block on the lists of all. Returns where to look then; nowhere if the time is over."""
        q, waiter, duties, limited = self.q, self.waiter, self.duties, self.limited
        self.blocked_on = partitions = q.partitions
        block = min(self.left, BLOCK_MS, LOOK_AGAIN_MS if limited else self.left)
        if duties:
            block = min(block, max(min([duty.look_at for duty in duties.values()]) - now_ms(q), 1))
        listened = [p for p in partitions if p not in limited]
        if not listened:
            yield Sleep(block)
            return partitions
        wake_in, wake = operations.watch_all(
            [(max(duty.wake_at - now_ms(q), 0), p) for p, duty in duties.items() if duty.wake_at], waiter
        )
        also = tuple([p.wake(waiter) if p in duties else p.backup for p in listened])
        look = self.ends.get(q.home, self.wait)
        then = self._then(look, waiter)
        outdated = self._is_outdated, self._tells_of_others
        got, left_ms = yield Wait(_lists(listened), block, wake_in, wake, then, also, *outdated)
        if got is not None and then is not None:
            self.answers[q.home] = (got, look)
            return partitions
        if got is not None:
            woken = _with_list(partitions, got)
            order = (woken,) if woken is not None else partitions
            self.owed.update(dict.fromkeys(order))
            return order
        if self.left <= block - left_ms:
            return ()
        now = now_ms(q)
        due = tuple([p for p, duty in duties.items() if min(duty.wake_at or duty.look_at, duty.look_at) <= now])
        return due or (tuple(limited) if limited and left_ms == 0 else q.in_turn(None))

    def _then(self, look: str, waiter: str) -> Callable[[], Operation] | None:
        """Makes the receive that is sent along with a wait, if that is for one partition only."""
        if len(self.blocked_on) > 1:
            return None
        return functools.partial(self.ask, self.q.home, look, waiter, self.count)

    def _leave(self) -> Flow[None]:
        """Give up all duties, and put out again the tokens that may have been taken."""
        while self.duties:
            yield operations.wake_waiter(self.duties.popitem()[0], self.waiter)
        while self.owed:
            yield operations.wake_waiter(self.owed.popitem()[0])


def count_empty(q: QueueRef) -> Flow[None]:
    """Tell the server of an empty receive that ended without a last call. Of many callers that end at about the same
    time, the first one tells it for all. A process that dies, or does not reach the server, takes the number along."""
    q.uncounted.append(1)
    while q.uncounted and not q.is_counting:
        q.is_counting = True
        try:
            total = 0
            with contextlib.suppress(IndexError):
                while True:
                    total += q.uncounted.popleft()
            if total:
                yield operations.count_empty_receives(q.home, total)
        except RqsqsError:
            pass
        finally:
            q.is_counting = False


def now_ms(q: QueueRef) -> int:
    """A clock to measure time with, or the test clock."""
    clock = q.space.clock
    return clock.now_us() // 1000 if clock is not None else time.monotonic_ns() // 1_000_000


def _with_list(partitions: Sequence[Partition], key: str | None) -> Partition | None:
    """The partition to which a wakeup list belongs."""
    return next((p for p in partitions if key.startswith(p.base)), None) if key else None


def _pass_on(home: Partition, lists: tuple[str, ...]) -> Flow[None]:
    """Whoever listens to the same wakeup lists learns that the queue has other partitions: those of this process before
    they block again, or the token could go to one that knows; one of the others by the token."""
    yield MarkOutdated(lists)
    yield operations.wake_waiter(home)


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
