"""Walking over all messages of a queue without touching them, page by page."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import click

import rqsqs
from rqsqs.models import Counts, State

F = TypeVar("F", bound=Callable[..., Any])

PAGE = 250
# A message goes from delayed to visible to in flight: looked at in this order it is rather seen twice than missed.
STATES: tuple[State, ...] = ("delayed", "visible", "in_flight")


def state_option(text: str) -> Callable[[F], F]:
    """--state, which may be repeated; all states without it."""
    return click.option(
        "--state", "-s", "states", type=click.Choice(["visible", "in_flight", "delayed"]), multiple=True, help=text
    )


def chosen(states: Sequence[str]) -> tuple[State, ...]:
    """The states to look at, in the order in which messages pass through them."""
    return tuple(state for state in STATES if not states or state in states)


def pages(queue: rqsqs.Queue, states: Sequence[State]) -> Iterator[tuple[State, list[rqsqs.Message]]]:
    """All messages of some states, a few hundred at a time."""
    for state in states:
        cursor, is_first = "", True
        while cursor or is_first:
            found, cursor = queue.browse(state, cursor, PAGE)
            is_first = False
            yield state, found


def total(counts: Counts, states: Sequence[State] = STATES) -> int:
    """How many messages are in some states."""
    return sum(int(getattr(counts, state)) for state in states)
