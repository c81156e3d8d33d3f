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
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, Self, TextIO

Kind = Literal["sending", "sent", "refused", "received", "deleting", "deleted", "kept", "error"]

MARGIN_S = 0.01  # the server counts visibility timeouts in ms, and clocks are not of one speed


@dataclass(frozen=True, slots=True)
class Event:
    """One thing a process does or was told.

    Attributes:
        kind: see above; "error": a call failed.
        began: when the call was made (seconds); the same for all events of one call.
        ended: when it was answered.
        number: of the message; in its group they are sent in rising order.
        group: its message group, "" = none.
        message: its message id (received, deleted).
        receives: its receive count.
        visible_s: received: for how long it is invisible to others.
        by: name of the process.
        text: of the error.
    """

    kind: Kind
    began: float
    ended: float
    number: int = -1
    group: str = ""
    message: str = ""
    receives: int = 0
    visible_s: float = 0.0
    by: str = ""
    text: str = ""

    @property
    def call(self) -> tuple[str, float]:
        """What all events of one call have in common."""
        return self.by, self.began


class Journal:
    """Writes events to a file, each at once."""

    def __init__(self, path: Path, by: str) -> None:
        self._file: TextIO = open(path, "a", encoding="utf-8")  # noqa: SIM115 - as long as the process
        self._by = by

    def write(self, kind: Kind, began: float, ended: float, **more: Any) -> None:
        """Write one down."""
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
    """What a history shows.

    Attributes:
        sent: acknowledged sends.
        unknown: messages of which nobody knows whether they were stored.
        delivered: different messages that were received.
        deliveries: receives of messages.
        redelivered: deliveries beyond the first of a message.
        lost: numbers that were acknowledged and never delivered.
        vanished: numbers that were delivered and are gone, although nobody tried to delete them since.
        ghosts: numbers that were delivered although nobody sent them, or their send was refused.
        risen: numbers delivered after their delete was acknowledged, with the same message id.
        early: numbers delivered again before their visibility timeout was over.
        doubled: numbers stored twice: they came with two message ids.
        disordered: (group, number, earlier number) delivered although the earlier one was not deleted.
        shared: (group, number, other number) of which two consumers had one each at the same time.
        errors: calls that failed.
        longest_pause_s: longest time in which no call succeeded, while messages were sent.
    """

    sent: int = 0
    unknown: int = 0
    delivered: int = 0
    deliveries: int = 0
    redelivered: int = 0
    lost: list[int] = field(default_factory=list)
    vanished: list[int] = field(default_factory=list)
    ghosts: list[int] = field(default_factory=list)
    risen: list[int] = field(default_factory=list)
    early: list[int] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)
    disordered: list[tuple[str, int, int]] = field(default_factory=list)
    shared: list[tuple[str, int, int]] = field(default_factory=list)
    errors: int = 0
    longest_pause_s: float = 0.0

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
    """Hold a history against the promises.

    Args:
        events: in any order, but those of a call in the order in which they were written.
        is_drained: the queue is empty in the end; else what was not delivered may be in it.
    """
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
    attempts: dict[int, list[Event]] = defaultdict(list)  # to delete it, that may have succeeded
    for event in deleting.values():
        attempts[event.number].append(event)
    maybe = {n for n, count in open_sends.items() if count > 0} - sends
    verdict.sent = len(sends)
    verdict.unknown = len(maybe)
    verdict.delivered = len(received)
    verdict.deliveries = sum(map(len, received.values()))
    verdict.redelivered = verdict.deliveries - verdict.delivered
    if is_drained:
        verdict.lost = sorted(sends - received.keys())
        verdict.vanished = sorted(received.keys() - attempts.keys())
    verdict.ghosts = sorted(received.keys() - sends - maybe)
    verdict.doubled = sorted(n for n, found in received.items() if len({e.message for e in found}) > 1)
    risen = {number for (number, _), gone in deleted.items() if _came_after(gone, received.get(number, []))}
    verdict.risen = sorted(risen)
    verdict.early = sorted(n for n, found in received.items() if _is_early(found))
    verdict.longest_pause_s = _longest_pause(good)
    groups: dict[str, list[Event]] = defaultdict(list)
    for event in good:
        if event.kind == "received" and event.group:
            groups[event.group].append(event)
    for group, found in groups.items():
        calls: dict[tuple[str, float], list[Event]] = defaultdict(list)
        for event in found:
            calls[event.call].append(event)
        verdict.disordered += _disorder(group, calls, attempts, set(verdict.vanished))
        verdict.shared += _sharing(group, calls, attempts)
    return verdict


def _came_after(gone: Event, received: list[Event]) -> bool:
    return any(e.began > gone.ended and e.message == gone.message for e in received)


def _longest_pause(good: list[Event]) -> float:
    """Between two successes, from the first send to the last one: afterwards consumers may have nothing to do."""
    sends = [e.ended for e in good if e.kind == "sent"]
    times = [e.ended for e in good if sends and sends[0] <= e.ended <= sends[-1]]
    return max((b - a for a, b in itertools.pairwise(times)), default=0.0)


def _is_early(found: list[Event]) -> bool:
    """Was a message handed out twice within a visibility timeout? When the server did so lies between the beginning
    and the end of a receive; whichever of two came first, it is certain if both fit into the timeout as a whole."""
    ordered = sorted(found, key=lambda e: e.began)
    for one, other in itertools.pairwise(ordered):
        if max(one.ended, other.ended) - one.began < min(one.visible_s, other.visible_s) - MARGIN_S:
            return True
    return False


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
