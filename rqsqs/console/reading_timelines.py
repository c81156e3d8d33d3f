"""What happened to a message, as far as the caller may see it, in rows of a table."""

from __future__ import annotations

from dataclasses import dataclass

from rqsqs import _arguments as arguments
from rqsqs._base_message import moment
from rqsqs._core.flows.timeline import timeline
from rqsqs.console.permissions import LOOK_INTO
from rqsqs.console.visits import Visit
from rqsqs.errors import InvalidParameterValue
from rqsqs.inspection import timeline as telling
from rqsqs.inspection.words import age
from rqsqs.timeline_models import Timeline, TimelineStep

FRESH_S = 2.0
MOST_ROUNDS = 5  # of queues that were named by those before


@dataclass(frozen=True, slots=True)
class Row:
    """A step.

    Attributes:
        date, time: when, to be shown.
        after: how long after the step before.
        queue: where.
        link: the page of that queue's message; None = it is this one, or none that the caller may see.
        title: what happened.
        facts: what else is known.
        is_bad: whether something went wrong.
    """

    date: str
    time: str
    after: str
    queue: str
    link: str | None
    title: str
    facts: list[str]
    is_bad: bool


async def read(visit: Visit, message_id: str, *, is_gone: bool) -> Timeline:
    """The timeline of a message of the queue of the path, also of other queues of which the caller may see messages.

    Args:
        is_gone: the queue does not hold it: what was read before it went is not shown.
    """
    queue = visit.queue()
    known, allowed = {queue.name}, frozenset({queue.name})
    for _ in range(MOST_ROUNDS):
        may_read = allowed.__contains__

        async def load() -> Timeline:
            return await queue._run(timeline(queue._ref, message_id, may_read))  # noqa: B023

        found = await visit.read(("timeline", queue.name, message_id, allowed, is_gone), load, FRESH_S)
        named = {name for step in found.steps for name in (step.source, step.destination) if name} - known
        if not named:
            break
        await visit.learn(*named)
        known |= named
        allowed |= {name for name in named if visit.may(LOOK_INTO, name)}
    return found


def is_message_id(text: str) -> bool:
    """Whether a text looks like the id of a message."""
    try:
        return bool(arguments.message_id(text))
    except InvalidParameterValue:
        return False


def rows(visit: Visit, message_id: str, steps: tuple[TimelineStep, ...]) -> list[Row]:
    """Its steps, for the page of the message."""
    found = []
    for step in steps:
        is_here = (step.queue, step.message_id) == (visit.queue().name, message_id)
        may_see = not is_here and visit.may(LOOK_INTO, step.queue)
        found.append(
            Row(
                f"{moment(step.at_ms):%Y-%m-%d}",
                f"{moment(step.at_ms):%H:%M:%S}.{step.at_ms % 1000:03d}",
                "" if step.after_s is None else f"+{age(step.after_s)}",
                step.queue,
                visit.url("queues", step.queue, "messages", step.message_id) if may_see else None,
                telling.title(step),
                telling.facts(step),
                step.kind in ("dead_lettered", "expired", "timed_out")
                or (step.kind == "released" and step.outcome != "requeue"),
            )
        )
    return found
