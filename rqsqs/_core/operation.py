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
    """One script call. After a lost answer it can be repeated: the script does it once (lua/lib/once.lua), or twice is
    as good as once.

    Attributes:
        script: name of the file in lua/.
        keys: full key names, all of one hash tag.
        args: arguments of the script.
        parse: makes the result of the reply.
        undo: makes the operations that give back what a result holds, if nobody is there any more to take it.
        durability: how safe what it writes has to be. Then the result is a pair: the result, and what was Reached.
        marked: its arguments tell it from other calls, as a script wants that is called in a lane; the index of the one
            that says with an "r" at its end that the call is repeated.
        keeps_answer: its lane keeps the whole answer, with the messages: a large one is to be forgotten there.
    """

    __slots__ = ("args", "durability", "keeps_answer", "keys", "marked", "parse", "script", "undo")

    def __init__(
        self,
        script: str,
        keys: tuple[str, ...],
        args: tuple[Arg, ...],
        parse: Callable[[Any], Any] | None = None,
        undo: Callable[[Any], Sequence[Operation]] | None = None,
        durability: Durability | None = None,
        marked: int | None = None,
        keeps_answer: bool = False,
    ) -> None:
        self.script: str = script
        self.keys: tuple[str, ...] = keys
        self.args: tuple[Arg, ...] = args
        self.parse: Callable[[Any], Any] | None = parse
        self.undo: Callable[[Any], Sequence[Operation]] | None = undo
        self.durability: Durability | None = durability
        self.marked: int | None = marked
        self.keeps_answer: bool = keeps_answer

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Operation):
            return NotImplemented
        return (self.script, self.keys, self.args) == (other.script, other.keys, other.args)

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return f"Operation({self.script!r}, {self.keys!r}, {self.args!r})"


@dataclass(frozen=True, slots=True)
class Wait:
    """Block until a wakeup list has a token. The result is (result of `then`, what is left of the time in ms); without
    `then` it begins with the list that had one, or None.

    Attributes:
        bells: the wakeup lists of partitions. Waiters of one process with the same lists line up: one of them blocks.
        timeout_ms: at most so long.
        wake: the caller owns a due time: run this operation after `wake_in_ms`, and again after as many milliseconds
            as it returns, if not 0.
        then: makes the operation to run at once when there was a token or the time is over. Its result is None if it
            was not run, because another waiter of this process kept watch all the time or the connection broke.
        also: more lists on which this waiter blocks, if it is the one who blocks.
    """

    bells: tuple[str, ...]
    timeout_ms: int
    wake_in_ms: int | None = None
    wake: Operation | None = None
    then: Callable[[], Operation] | None = None
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class IsWatched:
    """Does another waiter of this process block on these bells right now? (Then nothing is visible.)"""

    bells: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sleep:
    """Do nothing for a while (move tasks with a rate)."""

    ms: int


@dataclass(frozen=True, slots=True)
class Spawn:
    """Run a flow in the background, beside the caller."""

    flow: Callable[[], Flow[Any]]
    name: str
