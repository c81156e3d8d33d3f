"""What the screen shows: the last look, and what was chosen with keys and the mouse. No terminal and no server here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rqsqs.cli.screen.detail import Detail
from rqsqs.cli.screen.reader import Read
from rqsqs.cli.screen.trends import BARS, Trends
from rqsqs.inspection.looks import Look, in_order

WHEEL = 3  # rows


@dataclass(frozen=True)
class Summary:
    """What takes a walk over all queues: once for each look and choice, not for each key.

    Attributes:
        totals: of those of the list: a number and what it is, and rates.
        dead: the dead-letter queues that hold messages, of all queues, the largest first.
        paused: how many are paused.
        longest: characters of the longest name.
        has_delayed: some message is delayed.
    """

    totals: tuple[tuple[str, int], ...]
    rates: tuple[tuple[str, float], ...]
    dead: list[Look]
    paused: int
    longest: int
    has_delayed: bool


@dataclass
class Screen:
    """Everything there is to paint.

    Attributes:
        where: the server.
        bars: of sparklines, from low to high.
        interval: seconds between two looks.
        order: what the list is sorted by, one of ORDERS.
        is_reversed: the other way round.
        word: what names must contain.
        is_typing: keys go into that word.
        only_problems: show only queues that need somebody.
        is_paused: show no newer numbers.
        is_help: show what the keys do.
        selected: a queue; None = the first one, whichever it is.
        opened: the queue that is shown alone.
        scrolled: lines of what is longer than the screen that are above it.
        failure: why the last look failed, since when (the clock on the wall).
        titles: where the list's titles are, by column on the screen: what a click on them sorts by.
    """

    where: str = ""
    bars: str = BARS
    interval: float = 2.0
    order: str = "name"
    is_reversed: bool = False
    word: str = ""
    is_typing: bool = False
    only_problems: bool = False
    is_paused: bool = False
    is_help: bool = False
    selected: str | None = None
    opened: str | None = None
    scrolled: int = 0
    looks: Sequence[Look] = ()
    looked_at: str = ""
    took_s: float = 0.0
    detail: Detail | str | None = None
    trends: Trends = field(default_factory=Trends)
    failure: str = ""
    titles: list[tuple[int, int, str]] = field(default_factory=list)
    first_row: int = 0  # of the terminal, that has a queue
    rows: int = 1  # of the terminal, that have queues
    number: int = 0  # of the look
    _top: int = 0
    _summary: Summary | None = None
    _sorted: tuple[Sequence[Look], object, list[Look]] = ((), None, [])

    def take(self, read: Read) -> None:
        """What a look found."""
        self.looks, self.number, self.looked_at, self.took_s = read.looks, read.number, read.looked_at, read.took_s
        self.failure = read.failure
        self.detail = read.detail[1] if read.detail is not None and read.detail[0] == self.opened else None

    def chosen(self) -> list[Look]:
        """The queues of the list, in order."""
        what = self.order, self.is_reversed, self.word, self.only_problems
        if self._sorted[0] is not self.looks or self._sorted[1] != what:
            word = self.word.casefold()
            found = [look for look in self.looks if word in look.queue.casefold()]
            if self.only_problems:
                found = [look for look in found if look.is_problem]
            self._summary = None
            self._sorted = self.looks, what, in_order(found, self.order, is_reversed=self.is_reversed)
        return self._sorted[2]

    def summary(self) -> Summary:
        """Of the last look and what was chosen."""
        chosen = self.chosen()
        if self._summary is None:
            now = [look.now for look in chosen]
            totals = (
                ("visible", sum([m.visible for m in now])),
                ("in flight", sum([m.in_flight for m in now])),
                ("delayed", sum([m.delayed for m in now])),
            )
            rates = []
            for text, found in (
                ("in", [look.in_per_s for look in chosen]),
                ("out", [look.out_per_s for look in chosen]),
                ("fail", [look.failures_per_s for look in chosen]),
            ):
                known: list[float] = [rate for rate in found if rate is not None]
                rates += [(text, sum(known))] if known else []
            dead = [look for look in self.looks if look.holds_dead_letters]
            self._summary = Summary(
                totals,
                tuple(rates),
                sorted(dead, key=lambda look: -look.depth),
                sum([look.now.is_paused for look in self.looks]),
                max([len(look.now.queue) for look in self.looks], default=0),
                any([look.now.delayed for look in self.looks]),
            )
        return self._summary

    def cursor(self) -> int:
        """Where the selected queue is in the list."""
        if self.selected is None:
            return 0
        return next((i for i, look in enumerate(self.chosen()) if look.queue == self.selected), 0)

    def press(self, key: str, at: tuple[int, int] = (0, 0)) -> bool:
        """A key, `click` or `wheel-up` and `wheel-down` at a column and a row of the terminal. False = that was all."""
        if key == "ctrl-c":
            return False
        if self.is_typing:
            self._type(key)
        elif self.is_help:
            self._scroll(key)
            if key in ("?", "q", "esc", "enter"):
                self.is_help, self.scrolled = False, 0
        elif key == "q":
            return False
        elif key == "?":
            self.is_help, self.scrolled = True, 0
        elif key in ("p", " "):
            self.is_paused = not self.is_paused
        elif self.opened is not None:
            self._scroll(key)
            if key in ("esc", "left", "backspace"):
                self.opened, self.scrolled = None, 0
        else:
            self._in_list(key, at)
        return True

    def _type(self, key: str) -> None:
        if key in ("enter", "esc", "up", "down"):
            self.is_typing = False
            if key == "esc":
                self.word = ""
            if key in ("up", "down"):
                self._move(key)
        elif key == "backspace":
            self.word = self.word[:-1]
        elif len(key) == 1 and len(self.word) < 80:
            self.word += key

    def _in_list(self, key: str, at: tuple[int, int]) -> None:
        if key == "/":
            self.is_typing = True
        elif key == "esc":
            self.word, self.only_problems = "", False
        elif key == "!":
            self.only_problems = not self.only_problems
        elif key in ("s", "S", "right", "left"):
            columns = [order for _, _, order in self.titles]
            if columns:
                step = 1 if key in ("s", "right") else -1
                here = columns.index(self.order) if self.order in columns else -1
                self.order, self.is_reversed = columns[(here + step) % len(columns)], False
        elif key == "r":
            self.is_reversed = not self.is_reversed
        elif key == "enter":
            self._open()
        elif key == "click":
            self._click(*at)
        else:
            self._move(key)

    def _move(self, key: str) -> None:
        step = {
            "up": -1,
            "k": -1,
            "down": 1,
            "j": 1,
            "page-up": -self.rows,
            "page-down": self.rows,
            "wheel-up": -WHEEL,
            "wheel-down": WHEEL,
            "home": -len(self.looks),
            "g": -len(self.looks),
            "end": len(self.looks),
            "G": len(self.looks),
        }.get(key)
        chosen = self.chosen()
        if step is None or not chosen:
            return
        cursor = min(max(self.cursor() + step, 0), len(chosen) - 1)
        self.selected = chosen[cursor].queue if cursor else None

    def _scroll(self, key: str) -> None:
        step = {
            "up": -1,
            "k": -1,
            "down": 1,
            "j": 1,
            "page-up": -self.rows,
            "page-down": self.rows,
            "wheel-up": -WHEEL,
            "wheel-down": WHEEL,
            "home": -10_000,
            "end": 10_000,
            "g": -10_000,
            "G": 10_000,
        }.get(key, 0)
        self.scrolled = max(self.scrolled + step, 0)  # painting knows how long it is

    def _open(self) -> None:
        chosen = self.chosen()
        if chosen:
            self.opened, self.scrolled, self.detail = chosen[self.cursor()].queue, 0, None

    def _click(self, x: int, y: int) -> None:
        """On a title: sort by it, or the other way round. On a queue: select it, or open it if it is."""
        if y == self.first_row - 1:
            for start, end, order in self.titles:
                if start <= x < end:
                    self.is_reversed = order == self.order and not self.is_reversed
                    self.order = order
            return
        chosen, i = self.chosen(), self.scrolled_list(self.rows) + y - self.first_row
        if self.first_row <= y < self.first_row + self.rows and i < len(chosen):
            if i == self.cursor():
                self._open()
            else:
                self.selected = chosen[i].queue if i else None

    def scrolled_list(self, rows: int) -> int:
        """The place in the list of what stands first on the screen: the selected queue is always there."""
        cursor, length = self.cursor(), len(self.chosen())
        self._top = max(min(self._top, cursor, length - rows), cursor - rows + 1, 0)
        return self._top
