"""What both runners put on the wire, and when they lose patience."""

from __future__ import annotations

import base64
import functools
import os
import random
import time
from collections.abc import Generator, Iterator
from typing import Any, Protocol

import hiredis
import redis.exceptions as rx

from rqsqs._core import messages, scripts
from rqsqs._core.operation import Operation
from rqsqs.models import Durability, Reached

RETRY_AFTER_S = (0.0, 0.1, 0.4)  # pauses before an operation is tried again on a new connection
FAILOVER_S = 30.0  # so long it is tried again where another server may take over
LOADS = 4  # a script is loaded so often before we give in to somebody who flushes scripts all the time
# What a connection raises that is lost: also by something that is no Redis.
BROKEN = (rx.ConnectionError, rx.TimeoutError, rx.InvalidResponse, OSError)
GRACE_S = 10.0  # so much later than it promised a blocking command may answer
WATCHDOG_S = 5.0  # so often a waiter makes sure that it waits for the right server, where that may change
COVERED_S = 100.0  # so long after it was begun a call may be repeated: lanes surely know it (lua/lib/once.lua)
LARGE_ANSWER = 8192  # bytes that a lane need not keep once the caller has them
FIRST_NUMBER, LAST_NUMBER = -9_999_999, -1_000_000  # of the calls in a lane: 8 characters, and no names of messages
CLOSED = "the connection was closed while this waited"  # said to whoever did
END_S = 5.0  # so long close() lets those come back by themselves
TEST_WAIT_MS = 50  # under a test clock, which may be put forward between two steps, waiters look again this often


class TooLate(rx.ConnectionError):
    """A call cannot be repeated any more."""


class Silent(rx.TimeoutError):
    """Nothing came from where no server has answered yet."""


class Lane:
    """Names one call after another, so that a script knows one that is repeated (lua/lib/once.lua).

    Attributes:
        name: which nobody else has.
        number: of the present call.
        since: when that was begun, by both clocks: one of them may leave out the time in which the machine was
            suspended, the other one can be set.
    """

    __slots__ = ("name", "number", "since")

    def __init__(self) -> None:
        self.since = (0.0, 0.0)
        self.name = base64.urlsafe_b64encode(os.urandom(9)).decode()
        self.number = random.randrange(FIRST_NUMBER, (FIRST_NUMBER + LAST_NUMBER) // 2)  # deduplication ids keep it

    def begin(self) -> None:
        """The next call begins."""
        self.number += 1
        self.since = (time.monotonic(), time.time())

    def check(self) -> None:
        """May the present call be repeated, so that it is done once?

        Raises:
            TooLate.
        """
        monotonic, wall = self.since
        passed = max(time.monotonic() - monotonic, time.time() - wall)
        if passed > COVERED_S:
            raise TooLate(f"it was sent {passed:.0f} s ago, and done twice if it was repeated so late")


class Lanes:
    """As many lanes as there were calls at the same time."""

    __slots__ = ("_free",)

    def __init__(self) -> None:
        self._free: list[Lane] = []

    def take(self, operation: Operation) -> Lane | None:
        """A lane with the number of a new call, if the operation's script wants one."""
        if not scripts.get(operation.script).has_lane:
            return None
        try:
            lane = self._free.pop()
        except IndexError:
            lane = Lane()
        lane.begin()
        return lane

    def give(self, lane: Lane | None) -> None:
        """The lane's call is over: it was answered at the first attempt. Otherwise nobody may use the lane again."""
        if lane is not None and lane.number < LAST_NUMBER:
            self._free.append(lane)


class Changeable(Protocol):
    """What has servers."""

    @property
    def is_dynamic(self) -> bool:
        """May another server take over?"""


def pauses(router: Changeable) -> Iterator[float]:
    """Seconds to wait before one attempt after the other."""
    if not router.is_dynamic:
        yield from RETRY_AFTER_S
        return
    end = time.monotonic() + FAILOVER_S
    pause = 0.0
    while time.monotonic() < end:
        yield pause
        pause = min(max(2 * pause, 0.02), 0.25)


def is_elsewhere(error: rx.ResponseError) -> bool:
    """Does a server say that it cannot answer now, but another one or a later one can? Then nothing was done.

    TRYAGAIN and ASK mean that a slot is on its way (see call): soon MOVED says where it is.
    """
    kinds = (rx.AskError, rx.TryAgainError, rx.ClusterDownError, rx.ReadOnlyError)  # Moved is an Ask, MasterDown a Down
    return isinstance(error, kinds) or is_unblocked(error) or is_cut_off(error)


def is_cut_off(error: Exception) -> bool:
    """Does a replica that has lost its primary answer nothing? redis-py 5.3 has no class for it."""
    return str(error).startswith("MASTERDOWN")


def is_unblocked(error: rx.ResponseError) -> bool:
    """Was a blocking command ended from outside?"""
    return str(error).startswith("UNBLOCKED")


def is_worth_another(error: Exception, sent: bool, is_dynamic: bool) -> bool:
    """May an operation be tried again whose connection failed?"""
    if isinstance(error, rx.AuthenticationError | rx.AuthorizationError | TooLate):
        return False
    if isinstance(error, rx.BusyLoadingError | Silent):  # nothing was done
        return is_dynamic
    return not (isinstance(error, rx.TimeoutError) and sent and not is_dynamic)


@functools.lru_cache(maxsize=20_000)
def _head(script: str, keys: tuple[str, ...], is_cluster: bool, lane: str) -> tuple[str | bytes, ...]:
    if lane:
        keys = (_slot(keys, lane), *keys)
    if is_cluster:
        keys = (*keys, f"{keys[-1]}:none")
    return (b"EVALSHA", scripts.get(script).sha, str(len(keys)), *keys)


def _slot(keys: tuple[str, ...], lane: str) -> str:
    return f"{keys[0].rpartition(':')[0]}:call:{lane}"


def forgetting(operation: Operation, lane: Lane | None, reply: Any) -> Operation | None:
    """What to do when an operation has been answered, if its lane keeps the answer and that is a large one."""
    if lane is None or not operation.keeps_answer or _bytes_of(reply) <= LARGE_ANSWER:
        return None
    return messages.forget_answer(_slot(operation.keys, lane.name), lane.number)


def _bytes_of(reply: Any) -> int:
    if type(reply) is list:
        return sum([len(item) if type(item) is bytes else _bytes_of(item) for item in reply])
    return len(reply) if type(reply) is bytes else 0


def command(*words: str | bytes) -> bytes:
    """A command, packed. Numbers have to be text already: of others hiredis asks Python for their text, and if a signal
    handler raises meanwhile, the process dies."""
    packed: bytes = hiredis.pack_command(words)  # type: ignore[arg-type]  # it says that it takes one word
    return packed


class Packer:
    """Packs what redis-py says on its own when it opens a connection; the same to hiredis."""

    def pack(self, *words: Any) -> list[bytes]:
        """A command; its first word may be more than one."""
        first, *others = [word if isinstance(word, str | bytes) else str(word) for word in words]
        return [command(*first.split(), *others)]


def call(operation: Operation, is_cluster: bool, lane: Lane | None, repeated: bool = False) -> bytes:
    """The EVALSHA of an operation, packed.

    Args:
        lane: what Lanes.take() gave for it.
        repeated: it may have been done before.

    In a cluster it names one more key, which never exists. So no server runs it while the slot is on its way from one
    to another: scripts touch keys that they do not name, and would be stopped in the middle at the first that is not
    there, with half of their writes done.
    """
    if lane is None:
        return command(*_head(operation.script, operation.keys, is_cluster, ""), *operation.args)
    head = _head(operation.script, operation.keys, is_cluster, lane.name)
    marked, args = operation.marked, operation.args
    if marked is not None and repeated:
        return command(*head, *args[:marked], f"{args[marked]!s}r", *args[marked + 1 :])
    if marked is not None:
        return command(*head, *args)
    return command(*head, f"{lane.number}r" if repeated else str(lane.number), *operation.args)


def load(operation: Operation) -> bytes:
    """The SCRIPT LOAD an operation needs when the server does not know its script, packed."""
    return command("SCRIPT", "LOAD", scripts.get(operation.script).source)


def confirmation(operation: Operation, router: Changeable) -> Generator[list[bytes], list[Any], Reached]:
    """Find out on the connection of an operation, after its answer, how safe is what it wrote: yields commands, is sent
    their answers, of which each may be an error.

    The server waits until replicas and disk have what this connection wrote. If a script found that it had nothing to
    do, as somebody did it before, that could be nothing: so a mark is written first. In a lane there is always a write.

    Raises:
        ConnectionError: the server is no master any more. The operation has to be repeated at its successor.
    """
    durability = operation.durability
    assert durability is not None
    timeout = str(max(round(durability.timeout * 1000), 1))  # ms; 0 would be for ever
    replicas = str(durability.replicas)
    wait = command("WAITAOF", "1", replicas, timeout) if durability.aof else command("WAIT", replicas, timeout)
    mark = messages.mark_connection(operation)
    marking = [load(mark), call(mark, False, None)]
    answers = yield [wait] if scripts.get(operation.script).has_lane else [*marking, wait]
    reached = _reached(durability, answers)
    if router.is_dynamic and not reached.is_enough:  # is it a replica by now? WAIT does not tell
        answers += yield marking
        for answer in answers:
            if isinstance(answer, rx.ResponseError) and is_elsewhere(answer):
                raise rx.ConnectionError(str(answer))
    return reached


def _reached(durability: Durability, answers: list[Any]) -> Reached:
    for answer in answers:
        if isinstance(answer, Exception):
            return Reached(0, False if durability.aof else None, False, str(answer))
    aof, replicas = (answers[-1][0] >= 1, int(answers[-1][1])) if durability.aof else (None, int(answers[-1]))
    return Reached(replicas, aof, replicas >= durability.replicas and aof is not False)
