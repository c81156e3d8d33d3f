"""What the last looks at a queue said, and sparklines of it."""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Sequence

from rqsqs.inspection.looks import Look

KEPT = 150  # looks: five minutes at two seconds each
SERIES = ("depth", "in_per_s", "out_per_s", "failures_per_s")
BARS = "▁▂▃▄▅▆▇█"
PLAIN_BARS = "._-:=+*#"  # for terminals that do not know those
GAP = math.nan


class Trend:
    """Of one queue; a look that failed is a gap."""

    __slots__ = ("_series", "seen")

    def __init__(self) -> None:
        self.seen = 0  # looks in all
        self._series = [array("f") for _ in SERIES]

    def add(self, look: Look | None) -> None:
        """One more look; None = it failed."""
        self.seen += 1
        for name, values in zip(SERIES, self._series, strict=True):
            value = None if look is None else getattr(look, name)
            values.append(GAP if value is None else value)
            if len(values) >= 2 * KEPT:
                del values[:KEPT]

    def values(self, name: str) -> list[float]:
        """The newest stands last."""
        return self._series[SERIES.index(name)].tolist()[-KEPT:]

    def spark(self, name: str, width: int, bars: str = BARS) -> str:
        return spark(self.values(name), width, self.seen, bars)


class Trends:
    """Of all queues that were there at the last look."""

    def __init__(self) -> None:
        self._of: dict[str, Trend] = {}

    def add(self, looks: Iterable[Look] | None) -> None:
        """What a look found; None = it failed."""
        if looks is None:
            for trend in self._of.values():
                trend.add(None)
            return
        found = {}
        for look in looks:
            found[look.queue] = trend = self._of.get(look.queue) or Trend()
            trend.add(look)
        self._of = found

    def of(self, queue: str) -> Trend:
        return self._of.get(queue) or Trend()


def spark(values: Sequence[float], width: int, seen: int, bars: str = BARS) -> str:
    """Values as bars from zero to the greatest, the newest on the right; a gap is a space.

    If there are more of them than characters, a bar is the mean of 2, 4, 8 ... of them, always of the same ones, so
    that bars move but do not change.

    Args:
        seen: how many values there were in all, of which these are the last.
    """
    size = 1
    while -(-len(values) // size) > max(width, 1):
        size *= 2
    found = []
    for i in range(-(seen - len(values)) % size, len(values), size):  # without an incomplete one on the left
        known = [value for value in values[i : i + size] if not math.isnan(value)]
        found.append(sum(known) / len(known) if known else GAP)
    found = found[-width:] if width > 0 else []
    top = max((value for value in found if not math.isnan(value)), default=0.0)
    last = len(bars) - 1

    def bar(value: float) -> str:
        if math.isnan(value):
            return " "
        return bars[0 if value <= 0 or not top else max(1, round(value / top * last))]

    return "".join(map(bar, found)).rjust(width)
