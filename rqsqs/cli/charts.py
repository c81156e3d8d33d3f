"""Charts of block characters: a title, a few lines of columns, and a time axis. No command is here."""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

BLOCKS, PLAIN = "▁▂▃▄▅▆▇█", ".,:-=+*#"
LINES = 3  # of columns
LABEL = 8  # characters in front of them
ZERO, GAP, PLAIN_GAP = "_", "·", "?"

Values = Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """One number over time.

    Attributes:
        values: of each period; None = it was not measured.
        facts: what else the title says.
        shown: makes text of a number.
    """

    title: str
    values: Values
    facts: Sequence[str]
    shown: Callable[[float], str]

    def lines(self, columns: int) -> list[str]:
        """The chart without its title, in so many columns at most."""
        values = squeezed(self.values, columns)
        highest = max([value for value in values if value is not None], default=0.0)
        blocks, gap = (BLOCKS, GAP) if can_write(BLOCKS + GAP) else (PLAIN, PLAIN_GAP)
        levels = [_level(value, highest) for value in values]
        found = []
        for line in reversed(range(LINES if highest else 1)):
            label = self.shown(highest) if line == LINES - 1 and highest else "0" if line == 0 else ""
            cells = "".join([_cell(level, line, blocks, gap) for level in levels])
            found.append(f"{label:>{LABEL}} {cells}".rstrip())
        return found


def squeezed(values: Values, columns: int) -> Values:
    """No more than so many: of those that share a column the largest one counts."""
    share = max(math.ceil(len(values) / columns), 1)
    parts = [values[n : n + share] for n in range(0, len(values), share)]
    return [max([value for value in part if value is not None], default=None) for part in parts]


def axis(moments: Sequence[datetime], columns: int) -> list[str]:
    """A line with the times below the columns."""
    share = max(math.ceil(len(moments) / columns), 1)
    marked = list(moments[::share])
    is_long = (marked[-1] - marked[0]).total_seconds() > 86_400
    form = "%d %b %H:%M" if is_long else "%H:%M"
    width = len(marked[0].strftime(form))
    text = ""
    for n, moment in enumerate(marked):
        if len(text) <= n and (n + width <= columns or not text):
            text = text.ljust(n) + moment.strftime(form) + "    "
    return [" " * (LABEL + 1) + text.rstrip()]


def can_write(text: str) -> bool:
    """Does the terminal know these characters?"""
    try:
        text.encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def in_short(number: float) -> str:
    """`0.25`, `3.1`, `56`, `1.2k`, `34M`."""
    for size, unit in ((1e9, "G"), (1e6, "M"), (1e3, "k")):
        if number >= size:
            return f"{number / size:.{1 if number < 10 * size else 0}f}{unit}"
    return f"{number:.0f}" if number >= 10 or number == int(number) else f"{number:.2g}"


def _level(value: float | None, highest: float) -> int | None:
    """How many eighths of a line."""
    if value is None:
        return None
    return math.ceil(value / highest * LINES * 8) if value > 0 else 0


def _cell(level: int | None, line: int, blocks: str, gap: str) -> str:
    if line == 0 and not level:
        return gap if level is None else ZERO
    above = (level or 0) - 8 * line
    return blocks[min(above, 8) - 1] if above > 0 else " "
