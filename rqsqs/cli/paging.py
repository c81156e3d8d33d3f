"""How many messages a queue holds, and a walk over all of them, page by page, without touching them."""

from __future__ import annotations

import time
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


def counts_record(counts: Counts, at: float | None = None) -> dict[str, Any]:
    """Numbers of messages, and the age of the oldest one at a time (epoch seconds; now), as JSON."""
    sent_at_ms = counts.oldest_sent_at_ms
    age = None if sent_at_ms is None else round(max((at or time.time()) - sent_at_ms / 1000, 0), 3)
    record = {"visible": counts.visible, "in_flight": counts.in_flight, "delayed": counts.delayed}
    return record | {"oldest_age_s": age}


def total(counts: Counts, states: Sequence[State] = STATES) -> int:
    """How many messages are in some states."""
    return sum(int(getattr(counts, state)) for state in states)
