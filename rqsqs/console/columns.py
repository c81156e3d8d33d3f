"""The columns of the list of queues."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

NONE = "none"  # written for a list of names alone


@dataclass(frozen=True, slots=True)
class Column:
    """One of them.

    Attributes:
        title: what stands above it.
        is_usual: whether it is shown to who chose nothing.
        is_narrow: whether it is on a small screen, too.
        is_sorted: whether queues can be sorted by it.
    """

    title: str
    is_usual: bool = True
    is_narrow: bool = False
    is_sorted: bool = True


COLUMNS = {
    "trend": Column("Last hour", is_sorted=False),
    "visible": Column("Visible", is_narrow=True),
    "in_flight": Column("In flight", is_narrow=True),
    "delayed": Column("Delayed"),
    "total": Column("All messages", is_usual=False),
    "oldest": Column("Oldest", is_narrow=True),
    "in": Column("In/s"),
    "out": Column("Out/s"),
    "failures": Column("Failures/s"),
    "change": Column("Change/s", is_usual=False),
    "consumers": Column("Consumers"),
    "empty": Column("Empty in"),
}
USUAL = tuple(name for name, column in COLUMNS.items() if column.is_usual)


def columns_of(chosen: frozenset[str] | None) -> tuple[str, ...]:
    """Which are shown.

    Args:
        chosen: None = the usual ones.
    """
    return USUAL if chosen is None else tuple(name for name in COLUMNS if name in chosen)


def written(chosen: Iterable[str]) -> str:
    """A choice, for a cookie."""
    return ".".join(chosen) or NONE
