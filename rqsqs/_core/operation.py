"""What a runner can be asked to do. A flow is a generator that yields these and is sent their results."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from rqsqs.models import Durability

T = TypeVar("T")
Arg = str | bytes
Flow = Generator[Any, Any, T]


class Operation:
    """One script call. After a lost answer it can be repeated: the script does it once (lua/lib/idempotency.lua), or
    twice is as good as once. Common operations are classes of their own, which have these attributes as well.

    Attributes:
        script: name of the file in lua/.
        keys: full key names, all of one hash tag.
        args: arguments of the script.
        parse: makes the result of the reply, or a flow that goes on where one call was not all; None = the reply is it.
        undo: makes the operations that give back what a result holds, if nobody is there any more to take it.
        durability: how safe what it writes has to be. Then the result is a pair: the result, and what was reached.
        repeat_mark: index of the argument that gets an "r" at its end if the call is repeated, of a script that knows
            its calls by their arguments; None = it knows them by the call slot.
        keeps_answer: its call slot keeps the whole answer, with the messages: a large one is to be forgotten there.
        unless_watched: the wakeup lists of what it receives from. If another waiter of this process blocks on them,
            nothing is visible, and its flow line_up() is run instead.
    """

    __slots__ = ("args", "durability", "keeps_answer", "keys", "parse", "repeat_mark", "script", "undo")

    unless_watched: tuple[str, ...] | None = None

    def __init__(
        self,
        script: str,
        keys: tuple[str, ...],
        args: tuple[Arg, ...],
        parse: Callable[[Any], Any] | None = None,
        undo: Callable[[Any], Sequence[Operation]] | None = None,
        durability: Durability | None = None,
        repeat_mark: int | None = None,
        keeps_answer: bool = False,
    ) -> None:
        self.script: str = script
        self.keys: tuple[str, ...] = keys
        self.args: tuple[Arg, ...] = args
        self.parse: Callable[[Any], Any] | None = parse
        self.undo: Callable[[Any], Sequence[Operation]] | None = undo
        self.durability: Durability | None = durability
        self.repeat_mark: int | None = repeat_mark
        self.keeps_answer: bool = keeps_answer

    def recover(self, error: BaseException) -> Any:
        """What to do about an error when this is all that was to be done: a result, or a flow; or raises."""
        raise error

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Operation):
            return NotImplemented
        return (self.script, self.keys, self.args) == (other.script, other.keys, other.args)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Operation({self.script!r}, {self.keys!r}, {self.args!r})"


@dataclass(frozen=True, slots=True)
class AtOnce:
    """Run operations at once: one round trip to each server, whatever their number. The result is a list with the
    result of each, or its RqsqsError.

    Attributes:
        operations: those without a call slot: reads, and what may be done twice. One whose reply is an
            error, or lost, runs again by itself.
    """

    operations: Sequence[Operation]


@dataclass(frozen=True, slots=True)
class Wait:
    """Block until a wakeup list has a token. The result is (result of `then`, what is left of the time in ms); without
    `then` it begins with the list that had one, or None.

    Attributes:
        lists: the wakeup lists of partitions. Waiters of one process with the same lists line up: one of them blocks.
        timeout_ms: the longest time to wait.
        wake: the caller owns a due time: run this operation after `wake_in_ms`, and again after as many milliseconds
            as it returns, if not 0.
        then: makes the operation to run at once when there was a token or the time is over. Its result is None if it
            was not run, because another waiter of this process kept watch all the time or the connection broke.
        also: more lists on which this waiter blocks, if it is the one who blocks.
        is_outdated: does the queue have other partitions by now, or may it have, as these lists were marked as outdated
            at that time (time.monotonic(); 0 = never)? Then this waiter does not become the one who blocks.
        marks: does the result of `then` say that the queue has other partitions? Then the lists are marked before
            another waiter blocks.
    """

    lists: tuple[str, ...]
    timeout_ms: int
    wake_in_ms: int | None = None
    wake: Operation | None = None
    then: Callable[[], Operation] | None = None
    also: tuple[str, ...] = ()
    is_outdated: Callable[[float], bool] = lambda marked_at: False
    marks: Callable[[Any], bool] = lambda result: False


@dataclass(frozen=True, slots=True)
class IsWatched:
    """Does another waiter of this process block on these wakeup lists right now? (Then nothing is visible.)"""

    lists: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MarkOutdated:
    """The queue has other partitions than those of these wakeup lists: who lines up for them shall look at it first."""

    lists: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sleep:
    """Do nothing for a while (move tasks with a rate)."""

    ms: int


@dataclass(frozen=True, slots=True)
class Spawn:
    """Run a flow in the background, beside the caller."""

    flow: Callable[[], Flow[Any]]
    name: str
