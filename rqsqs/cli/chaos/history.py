"""What producers and consumers were told, and the proof that it fits together.

Times are of the monotonic clock, which all processes of a machine share. A process writes down what it is about to do,
and what it was told as soon as it knows. So whatever it was killed at, the history says what may have happened.

    sending -> sent        acknowledged
            -> refused     certainly not stored
            -> nothing     the outcome is unknown: the answer was lost, or the process was killed
    received
    deleting -> deleted | kept | nothing
"""

from __future__ import annotations

import bisect
import itertools
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TextIO, TypeVar

K = TypeVar("K", bound=Hashable)
Kind = Literal["sending", "sent", "refused", "received", "deleting", "deleted", "kept", "error"]

MARGIN_S = 0.01  # the server counts visibility timeouts in ms, and clocks are not of one speed


@dataclass(frozen=True, slots=True)
class Event:
    """One thing a process does or was told."""

    kind: Kind  # see above; "error": a call failed
    began: float  # when the call was made (seconds); the same for all events of one call
    ended: float  # when it was answered
    number: int = -1  # of the message; in its group they are sent in rising order
    group: str = ""  # its message group, "" = none
    message: str = ""  # its message id (received, deleted)
    receives: int = 0  # its receive count
    visible_s: float = 0.0  # received: for how long it is invisible to others
    by: str = ""  # name of the process
    text: str = ""  # of the error

    @property
    def call(self) -> tuple[str, float]:
        """What all events of one call have in common."""
        return self.by, self.began


class Journal:
    """Writes events to a file, each at once."""

    def __init__(self, path: Path, by: str) -> None:
        self._file: TextIO = open(path, "a", encoding="utf-8")  # noqa: SIM115 - as long as the process
        self._by = by

    def call(self, kind: Kind | None = None, **about: Any) -> Callable[..., None]:
        """A call begins, which is written down; returns a function that writes what it was told."""
        began, ended = time.monotonic(), 0.0
        if kind is not None:
            self.write(kind, began, began, **about)

        def told(kind: Kind, **more: Any) -> None:
            nonlocal ended
            ended = ended or time.monotonic()
            self.write(kind, began, ended, **about, **more)

        return told

    def write(self, kind: Kind, began: float, ended: float, **more: Any) -> None:
        event = asdict(Event(kind, round(began, 6), round(ended, 6), by=self._by, **more))
        self._file.write(json.dumps({name: value for name, value in event.items() if value != ""}) + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._file.close()


def read(folder: Path) -> Iterator[Event]:
    """All events of all journals in a folder; a last line that a killed process did not finish is left out."""
    for path in sorted(folder.glob("*.journal")):
        for line in path.read_bytes().splitlines(keepends=True):
            if line.endswith(b"\n"):
                yield Event(**json.loads(line))


@dataclass(slots=True)
class Verdict:
    """What a history shows: counts, and the numbers of the messages that show a broken promise."""

    sent: int = 0  # acknowledged sends
    unknown: int = 0  # messages of which nobody knows whether they were stored
    delivered: int = 0  # different messages that were received
    redelivered: int = 0  # deliveries beyond the first of a message
    lost: list[int] = field(default_factory=list)
    vanished: list[int] = field(default_factory=list)  # nobody tried to delete them since they were delivered
    ghosts: list[int] = field(default_factory=list)  # also if their send was refused
    risen: list[int] = field(default_factory=list)  # with the same message id
    early: list[int] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)  # they came with two message ids
    disordered: list[tuple[str, int, int]] = field(default_factory=list)  # group, number, earlier one not deleted
    shared: list[tuple[str, int, int]] = field(default_factory=list)  # group, the numbers that two consumers had
    errors: int = 0  # calls that failed
    longest_pause_s: float = 0.0  # longest time in which no call succeeded, while messages were sent

    @property
    def broken(self) -> dict[str, list[Any]]:
        """The promises that were broken, with the messages that show it."""
        found: dict[str, list[Any]] = {
            "acknowledged and never delivered": self.lost,
            "delivered, not deleted, and gone": self.vanished,
            "delivered and never sent": self.ghosts,
            "delivered after its delete was acknowledged": self.risen,
            "delivered again before its visibility timeout was over": self.early,
            "stored twice": self.doubled,
            "delivered out of order": self.disordered,
            "with two consumers at a time": self.shared,
        }
        return {name: items for name, items in found.items() if items}


def check(events: Iterable[Event], is_drained: bool = True) -> Verdict:
    """Hold a history against the promises: events in any order, but those of a call as they were written. If the queue
    is not drained, what was not delivered may be in it."""
    verdict = Verdict()
    open_sends: Counter[int] = Counter()  # attempts whose outcome nobody knows
    sends: set[int] = set()
    received: dict[int, list[Event]] = defaultdict(list)
    deleting: dict[tuple[int, str, float], Event] = {}
    deleted: dict[tuple[int, str], Event] = {}
    good: list[Event] = []
    for event in sorted(events, key=lambda e: e.ended):
        number = event.number
        match event.kind:
            case "error":
                verdict.errors += 1
            case "sending":
                open_sends[number] += 1
            case "sent":
                open_sends[number] -= 1
                sends.add(number)
            case "refused":
                open_sends[number] -= 1
            case "received":
                received[number].append(event)
            case "deleting":
                deleting[number, *event.call] = event
            case "deleted":
                deleted.setdefault((number, event.message), event)
            case "kept":
                deleting.pop((number, *event.call), None)
        if event.kind in ("sent", "received", "deleted"):
            good.append(event)
    attempts = grouped(deleting.values(), lambda e: e.number)  # to delete it, that may have succeeded
    maybe = {n for n, count in open_sends.items() if count > 0} - sends
    verdict.sent = len(sends)
    verdict.unknown = len(maybe)
    verdict.delivered = len(received)
    verdict.redelivered = sum(map(len, received.values())) - len(received)
    if is_drained:
        verdict.lost = sorted(sends - received.keys())
        verdict.vanished = sorted(received.keys() - attempts.keys())
    verdict.ghosts = sorted(received.keys() - sends - maybe)
    verdict.doubled = sorted(n for n, found in received.items() if len({e.message for e in found}) > 1)
    verdict.risen = sorted(
        {
            number
            for (number, message), gone in deleted.items()
            if any(e.began > gone.ended and e.message == message for e in received.get(number, ()))
        }
    )
    verdict.early = sorted(n for n, found in received.items() if _is_early(found))
    verdict.longest_pause_s = _longest_pause(good)
    for group, found in grouped((e for e in good if e.kind == "received" and e.group), lambda e: e.group).items():
        calls = grouped(found, lambda e: e.call)
        verdict.disordered += _disorder(group, calls, attempts, set(verdict.vanished))
        verdict.shared += _sharing(group, calls, attempts)
    return verdict


def grouped(events: Iterable[Event], key: Callable[[Event], K]) -> dict[K, list[Event]]:
    """In the order in which they come."""
    found: dict[K, list[Event]] = defaultdict(list)
    for event in events:
        found[key(event)].append(event)
    return found


def _longest_pause(good: list[Event]) -> float:
    """Between two successes, from the first send to the last one: afterwards consumers may have nothing to do."""
    sends = [e.ended for e in good if e.kind == "sent"]
    times = [e.ended for e in good if sends and sends[0] <= e.ended <= sends[-1]]
    return max((b - a for a, b in itertools.pairwise(times)), default=0.0)


def _is_early(found: list[Event]) -> bool:
    """Was a message handed out twice within a visibility timeout? When the server did so lies between the beginning
    and the end of a receive; whichever of two came first, it is certain if both fit into the timeout as a whole."""
    return any(
        max(one.ended, other.ended) - one.began < min(one.visible_s, other.visible_s) - MARGIN_S
        for one, other in itertools.pairwise(sorted(found, key=lambda e: e.began))
    )


def _disorder(
    group: str,
    calls: dict[tuple[str, float], list[Event]],
    attempts: dict[int, list[Event]],
    vanished: set[int],
) -> Iterator[tuple[str, int, int]]:
    """Whoever is given a message of a group is given all earlier ones with it, in order, unless they are deleted: so
    before the receive was over somebody had begun to delete them."""
    numbers = sorted({e.number for found in calls.values() for e in found})
    forever = float("inf")
    gone = {n: min((e.began for e in attempts.get(n, ())), default=forever) for n in numbers}
    gone |= dict.fromkeys(vanished & gone.keys(), -forever)  # reported already
    latest = list(itertools.accumulate((gone[n] for n in numbers), max))
    for found in calls.values():
        for one, other in itertools.pairwise(found):
            if other.number < one.number:
                yield group, one.number, other.number
        together = {e.number for e in found}
        first, last, ended = min(together), max(together), found[0].ended
        place = bisect.bisect_left(numbers, first)
        skipped = numbers[:place] if place and latest[place - 1] > ended else []
        between = numbers[place : bisect.bisect_left(numbers, last)]
        for number in itertools.chain(skipped, between):
            if number not in together and gone[number] > ended:
                yield group, first if number < first else last, number
                break


def _sharing(
    group: str, calls: dict[tuple[str, float], list[Event]], attempts: dict[int, list[Event]]
) -> Iterator[tuple[str, int, int]]:
    """While a consumer certainly has a message, no other one asks for and is given something of its group."""
    ordered = sorted(calls.values(), key=lambda found: found[0].began)
    begins = [found[0].began for found in ordered]
    for found in ordered:
        for held in found:
            own = [e.began for e in attempts.get(held.number, ()) if e.by == held.by and e.began >= held.ended]
            until = min([held.began + held.visible_s - MARGIN_S, *own])
            for later in ordered[bisect.bisect_right(begins, held.ended) : bisect.bisect_left(begins, until)]:
                if later[0].by != held.by and later[0].ended < until and later[0].number != held.number:
                    yield group, held.number, later[0].number
