"""What producers and consumers were told, and the proof that it fits together.

Times are of the monotonic clock, which all processes of a machine share. A process writes an event down when it has
been told, before it goes on; what it was told and could not write down, because it was killed, nobody relies on.
"""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TextIO

Kind = Literal["sent", "unknown", "received", "deleted", "trouble"]


@dataclass(frozen=True, slots=True)
class Event:
    """One thing a process was told.

    Attributes:
        kind: "sent" and acknowledged; "unknown": the answer to a send was lost; "received"; "deleted" and acknowledged;
            "trouble": a call failed.
        began: when the call was made (seconds).
        ended: when it was answered.
        number: of the message; in its group they are sent in rising order.
        group: its message group, "" = none.
        receives: its receive count.
        visible_s: received: for how long it is invisible to others.
        by: name of the process.
        text: of the trouble.
    """

    kind: Kind
    began: float
    ended: float
    number: int = -1
    group: str = ""
    receives: int = 0
    visible_s: float = 0.0
    by: str = ""
    text: str = ""


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


def read(folder: Path) -> Iterator[Event]:
    """All events of all journals in a folder; a line that a killed process did not finish is left out."""
    for path in sorted(folder.glob("*.journal")):
        for line in path.read_text(encoding="utf-8").splitlines():
            try:
                yield Event(**json.loads(line))
            except ValueError:
                continue


@dataclass(slots=True)
class Verdict:
    """What a history shows.

    Attributes:
        sent: acknowledged sends.
        unknown: sends whose answer was lost; each may be there or not.
        delivered: different messages that were received.
        deliveries: receives of messages.
        redelivered: deliveries beyond the first of a message.
        lost: numbers that were acknowledged and never delivered.
        ghosts: numbers that were delivered although nobody sent them.
        risen: numbers delivered after their delete was acknowledged.
        disordered: (group, number, number before it) whose first deliveries came in the wrong order.
        shared: (group, number, other number) of which two consumers had one each at the same time.
        doubled: numbers stored twice: two deliveries with the receive count 1.
        troubles: calls that failed.
        longest_pause_s: longest time in which no call succeeded.
    """

    sent: int = 0
    unknown: int = 0
    delivered: int = 0
    deliveries: int = 0
    redelivered: int = 0
    lost: list[int] = field(default_factory=list)
    ghosts: list[int] = field(default_factory=list)
    risen: list[int] = field(default_factory=list)
    disordered: list[tuple[str, int, int]] = field(default_factory=list)
    shared: list[tuple[str, int, int]] = field(default_factory=list)
    doubled: list[int] = field(default_factory=list)
    troubles: int = 0
    longest_pause_s: float = 0.0

    @property
    def broken(self) -> dict[str, list[Any]]:
        """The promises that were broken, with the messages that show it."""
        found: dict[str, list[Any]] = {
            "acknowledged and never delivered": self.lost,
            "delivered and never sent": self.ghosts,
            "delivered after its delete was acknowledged": self.risen,
            "delivered out of order": self.disordered,
            "with two consumers at a time": self.shared,
        }
        return {name: items for name, items in found.items() if items}


def check(events: Iterable[Event]) -> Verdict:
    """Hold a history against the promises."""
    verdict = Verdict()
    sends: dict[int, Event] = {}
    maybe: set[int] = set()
    receives: dict[int, list[Event]] = defaultdict(list)
    deletes: dict[int, Event] = {}
    good: list[float] = []
    for event in sorted(events, key=lambda e: e.ended):
        if event.kind == "trouble":
            verdict.troubles += 1
            continue
        if event.kind == "unknown":
            verdict.unknown += 1
            maybe.add(event.number)
            continue
        good.append(event.ended)
        if event.kind == "sent":
            sends[event.number] = event
        elif event.kind == "received":
            receives[event.number].append(event)
        else:
            deletes.setdefault(event.number, event)
    verdict.sent = len(sends)
    verdict.delivered = len(receives)
    verdict.deliveries = sum(map(len, receives.values()))
    verdict.redelivered = verdict.deliveries - verdict.delivered
    verdict.lost = sorted(set(sends) - set(receives))
    verdict.ghosts = sorted(set(receives) - set(sends) - maybe)
    verdict.doubled = sorted(n for n, found in receives.items() if sum(e.receives == 1 for e in found) > 1)
    verdict.risen = sorted(n for n, gone in deletes.items() if any(e.began > gone.ended for e in receives.get(n, ())))
    verdict.longest_pause_s = max((b - a for a, b in itertools.pairwise(good)), default=0.0)
    groups: dict[str, list[Event]] = defaultdict(list)
    for found in receives.values():
        for event in found:
            if event.group:
                groups[event.group].append(event)
    for group, found in groups.items():
        _check_group(verdict, group, found, deletes)
    return verdict


def _check_group(verdict: Verdict, group: str, found: list[Event], deletes: dict[int, Event]) -> None:
    found.sort(key=lambda e: (e.ended, e.number))
    newest, known = -1, set()
    for event in found:
        if event.number not in known:
            known.add(event.number)
            if event.number < newest:
                verdict.disordered.append((group, event.number, newest))
            newest = max(newest, event.number)
    for held, later in itertools.pairwise(found):
        if held.by == later.by and held.ended == later.ended:
            continue  # one receive
        gone = deletes.get(held.number)
        until = held.began + held.visible_s
        if gone is not None and gone.by == held.by:
            until = min(until, gone.ended)
        if later.ended < until and later.number != held.number and later.began > held.ended:
            if gone is not None and gone.began <= later.ended:
                continue  # its delete was on its way
            verdict.shared.append((group, held.number, later.number))
