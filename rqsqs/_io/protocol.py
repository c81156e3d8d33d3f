"""What both variants put on the wire, and what errors of connections mean."""

from __future__ import annotations

import functools
import random
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any

import hiredis
import redis.exceptions as rx

from rqsqs import errors
from rqsqs._core import ids, operations, scripts
from rqsqs._core.operation import Operation
from rqsqs._io import tuning
from rqsqs.models import Durability, DurabilityResult

# What a lost connection raises; also one to something that is not Redis.
BROKEN = (rx.ConnectionError, rx.TimeoutError, rx.InvalidResponse, OSError)
# What a call for several threads may raise; anything else was raised from outside in the thread that made it.
ERRORS = (errors.RequestError, errors.ServerError, errors.EmbeddedServerUnavailable, errors.UsageError)
SOCKETS = {"rqsqs", "redis", "socket", "ssl"}  # whose code raises the errors of connections
LARGE_ANSWER = 8192  # bytes that a slot need not keep once the caller has them
FIRST_NUMBER, LAST_NUMBER = -9_999_999, -1_000_000  # of the calls in a slot: 8 characters, and no names of messages
CLOSED = "the connection was closed"
# Words must be text or bytes: hiredis asks Python for the text of others, and if a signal handler raises meanwhile, the
# process dies.
pack_command: Callable[[tuple[str | bytes, ...]], bytes] = hiredis.pack_command  # type: ignore[assignment]
MORE = object()  # returned by a reader that needs more bytes


class TooLate(rx.ConnectionError):
    """It is too late to repeat a call."""


class NoAnswer(rx.TimeoutError):
    """No answer from a server that has not answered before."""


class BrokenOff(rx.ConnectionError):
    """A wait ends because the server does not answer, or is no longer a master."""


def is_from_outside(error: Exception) -> bool:
    """Was it raised by a signal handler? The usual time limit by SIGALRM raises TimeoutError, as sockets do; it must
    end the call."""
    if not isinstance(error, TimeoutError) or error.errno is not None:
        return False
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return trace is not None and str(trace.tb_frame.f_globals.get("__name__")).partition(".")[0] not in SOCKETS


class CallSlot:
    """Names one call after another, so that scripts recognize a repeated call (lua/lib/idempotency.lua). It has one
    call at a time, and no further call after one whose answer was lost.

    Attributes:
        name: unique.
        number: of the present call.
        since: when the call began, by both clocks: one may leave out the time in which the machine was suspended, the
            other can be set.
    """

    __slots__ = ("name", "number", "since")

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        self.since = (0.0, 0.0)
        self.name = ids.call_slots()
        self.number = random.randrange(FIRST_NUMBER, (FIRST_NUMBER + LAST_NUMBER) // 2)  # deduplication ids keep it

    def check(self) -> None:
        """Raise TooLate if the scripts may have forgotten the present call.

        Raises:
            TooLate.
        """
        monotonic, wall = self.since
        passed = max(time.monotonic() - monotonic, time.time() - wall)
        if passed > tuning.COVERED_S:
            raise TooLate(f"it was sent {passed:.0f} s ago: repeated this late it could be done twice")


class CallSlots:
    """Call slots for connections that callers share, one for each call at the same time.

    Attributes:
        free: those that no call uses.
    """

    __slots__ = ("free",)

    def __init__(self) -> None:
        self.free: list[CallSlot] = []

    def take(self) -> CallSlot:
        try:
            return self.free.pop()
        except IndexError:
            return CallSlot()

    def give(self, slot: CallSlot) -> None:
        """Its call was answered at the first attempt."""
        self.free.append(slot)


NO_SLOT = CallSlot()  # for scripts that need none


def is_elsewhere(error: rx.ResponseError) -> bool:
    """Does a server say that another one has the key, or that it can answer later? Then nothing was done.

    TRYAGAIN and ASK mean that a slot is on its way (see call): soon MOVED says where it is.
    """
    kinds = (rx.AskError, rx.TryAgainError, rx.ClusterDownError, rx.ReadOnlyError)  # Moved is an Ask, MasterDown a Down
    return isinstance(error, kinds) or is_unblocked(error) or is_cut_off(error)


def is_cut_off(error: Exception) -> bool:
    """Has a replica lost its master, so that it answers nothing? redis-py 5.3 has no class for it."""
    return str(error).startswith("MASTERDOWN")


def is_unblocked(error: rx.ResponseError) -> bool:
    """Was a blocking command ended from outside?"""
    return str(error).startswith("UNBLOCKED")


@functools.lru_cache(maxsize=20_000)
def _head(script: str, keys: tuple[str, ...], is_cluster: bool, slot: str) -> tuple[str | bytes, ...]:
    if slot:
        keys = (_key_of(keys, slot), *keys)
    if is_cluster:
        keys = (*keys, f"{keys[-1]}:none")
    return (b"EVALSHA", scripts.get(script).sha, str(len(keys)), *keys)


def _key_of(keys: tuple[str, ...], slot: str) -> str:
    return f"{keys[0].rpartition(':')[0]}:call:{slot}"


def forgetting(operation: Operation, slot: CallSlot, reply: Any) -> Operation | None:
    """The operation that removes a large answer from its call slot; None if the slot keeps none."""
    if not operation.keeps_answer or _bytes_of(reply) <= LARGE_ANSWER:
        return None
    return operations.forget_answer(_key_of(operation.keys, slot.name), slot.number)


def _bytes_of(reply: Any) -> int:
    if type(reply) is list:
        return sum([len(item) if type(item) is bytes else _bytes_of(item) for item in reply])
    return len(reply) if type(reply) is bytes else 0


def command(*words: str | bytes) -> bytes:
    return pack_command(words)


def reader_of(connection: Any) -> hiredis.Reader:
    """Reads the replies in what comes over a connection: gets(False) returns one, or MORE."""
    return hiredis.Reader(replyError=connection._parser.parse_error, notEnoughData=MORE)


class Packer:
    """Packs the commands that redis-py itself sends when it opens a connection."""

    def pack(self, *words: Any) -> list[bytes]:
        first, *others = [word if isinstance(word, str | bytes) else str(word) for word in words]
        return [command(*first.split(), *others)]


def pack(operation: Operation, is_cluster: bool, slot: CallSlot) -> bytes:
    """Begin a call: the EVALSHA of an operation, packed. See repetition()."""
    script = scripts.get(operation.script)
    if not script.has_slot:
        return pack_command((*_head(operation.script, operation.keys, is_cluster, ""), *operation.args))
    slot.number = number = slot.number + 1
    if number >= LAST_NUMBER:
        slot.renew()
        number = slot.number
    slot.since = (time.monotonic(), time.time())
    head = _head(operation.script, operation.keys, is_cluster, slot.name)
    if operation.repeat_mark is not None:
        return pack_command((*head, *operation.args))
    return pack_command((*head, str(number), *operation.args))


def repetition(operation: Operation, is_cluster: bool, slot: CallSlot) -> bytes:
    """The same for a call that may have been done before: with the slot and the number of that attempt.

    In a cluster a call names one more key, which never exists. So no server runs it while the hash slot is on its way
    from one to another: scripts touch keys that they do not name, and would be stopped in the middle at the first that
    that is not there, with half of their writes done.

    Raises:
        TooLate: the scripts may have forgotten it.
    """
    if not scripts.get(operation.script).has_slot:
        return pack(operation, is_cluster, slot)
    slot.check()
    head, args = _head(operation.script, operation.keys, is_cluster, slot.name), operation.args
    mark = operation.repeat_mark
    if mark is not None:
        return command(*head, *args[:mark], f"{args[mark]!s}r", *args[mark + 1 :])
    return command(*head, f"{slot.number}r", *args)


def at_once(
    operations: Sequence[Operation], is_cluster: bool, known: set[str]
) -> Generator[list[bytes], list[Any], list[Any]]:
    """Make calls that need no slot in one round trip: yields commands, is sent their replies, of which each may be an
    exception, and returns those of the calls.

    Args:
        known: the scripts that the server was given; those that it is given now come to them.
    """
    fresh = {operation.script: operation for operation in operations if operation.script not in known}
    loads = [load(operation) for operation in fresh.values()]
    replies = yield loads + [pack(operation, is_cluster, NO_SLOT) for operation in operations]
    known.update(fresh)
    return replies[len(loads) :]


def load(operation: Operation) -> bytes:
    """The SCRIPT LOAD an operation needs when the server does not know its script, packed."""
    return command("SCRIPT", "LOAD", scripts.get(operation.script).source)


def confirmation(operation: Operation, is_dynamic: bool) -> Generator[list[bytes], list[Any], DurabilityResult]:
    """Find out how safe the writes of an operation are, on its connection and after its answer: yields commands, is
    sent the replies, of which each may be an exception.

    The server waits until replicas and disk have what this connection wrote. That could be nothing, if an earlier call
    had done it all: so a mark is written first. A call with a slot always writes.

    Raises:
        ConnectionError: the server is no longer a master. The operation must be repeated at its successor.
    """
    durability = operation.durability
    assert durability is not None
    timeout = str(max(round(durability.timeout * 1000), 1))  # ms; 0 means for ever
    replicas = str(durability.replicas)
    wait = command("WAITAOF", "1", replicas, timeout) if durability.aof else command("WAIT", replicas, timeout)
    mark = operations.mark_connection(operation)
    marking = [load(mark), pack(mark, False, NO_SLOT)]
    answers = yield [wait] if scripts.get(operation.script).has_slot else [*marking, wait]
    reached = _reached(durability, answers)
    if is_dynamic and not reached.is_enough:  # is it a replica by now? WAIT does not tell
        answers += yield marking
        for answer in answers:
            if isinstance(answer, rx.ResponseError) and is_elsewhere(answer):
                raise rx.ConnectionError(str(answer))
    return reached


def _reached(durability: Durability, answers: list[Any]) -> DurabilityResult:
    for answer in answers:
        if isinstance(answer, Exception):
            return DurabilityResult(0, False if durability.aof else None, False, str(answer))
    aof, replicas = (answers[-1][0] >= 1, int(answers[-1][1])) if durability.aof else (None, int(answers[-1]))
    return DurabilityResult(replicas, aof, replicas >= durability.replicas and aof is not False)
