"""Flows of the states of alarms: what is stored is read, transitions are made, and composite alarms follow their
children.

Who makes a transition says by which definition and state it was decided. If these are others by now, it is not made.
"""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import NoReturn

from rqsqs._core.alarm_records import AlarmEvaluation, arn_of, history_data_of, timestamp
from rqsqs._core.composite_alarms import evaluation_order, state_of
from rqsqs._core.flows.alarm_events import Transition, tell_transitions
from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Flow, Operation, Sleep
from rqsqs._core.operations import alarms as operations
from rqsqs._core.operations.alarms import AT_ONCE, Stored, by_name
from rqsqs._core.portions import portions
from rqsqs.alarm_models import MOST_REASON, MOST_REASON_DATA, AlarmEvent, AlarmState, CompositeAlarm, StateValue
from rqsqs.errors import OverLimit

MOST_TRIES = 50
MOST_PAUSE_MS = 100
BUSY = "busy"  # detail of an OverLimit that is over in a moment


@dataclass(frozen=True, slots=True)
class Everything:
    """All alarms, as they were read page by page."""

    now_ms: int
    revision: bytes
    evaluated: AlarmEvaluation | None
    alarms: dict[str, Stored]


def read_all(space: Keyspace) -> Flow[Everything]:
    """All alarms."""
    page = first = yield operations.read_alarms(space)
    found = by_name(first.alarms)
    while page.cursor != b"0":
        page = yield operations.read_alarms(space, page.cursor)
        found |= by_name(page.alarms)
    return Everything(page.now_ms, first.revision, page.evaluated, {name: found[name] for name in sorted(found)})


def read_some(space: Keyspace, names: Iterable[str]) -> Flow[Everything]:
    """These alarms, as far as they exist."""
    found: dict[str, Stored] = {}
    pages = []
    for some in portions(list(names), AT_ONCE):
        pages.append((yield operations.read_alarms(space, names=some)))
        found |= by_name(pages[-1].alarms)
    if not pages:
        pages.append((yield operations.read_alarms(space, names=["-"])))
    return Everything(pages[-1].now_ms, pages[0].revision, pages[-1].evaluated, found)


# States


def following(before: AlarmState, value: StateValue, reason: str, reason_data: str, now_ms: int) -> AlarmState:
    """The state after another one."""
    begins_ms = before.transitioned_at_ms if value == before.value else max(now_ms, before.transitioned_at_ms + 1)
    return AlarmState(value, reason, reason_data, max(now_ms, begins_ms), begins_ms)


def transition(
    space: Keyspace,
    known: Stored,
    state: AlarmState,
    *,
    seen: Mapping[str, int] | None = None,
    minute: int | None = None,
) -> Operation:
    """Give an alarm another state, with all that belongs to it."""
    before = known.state
    event, actions = None, []
    if state.value != before.value:
        event = AlarmEvent(
            known.name,
            state.updated_at_ms,
            "StateUpdate",
            f"Alarm updated from {before.value} to {state.value}",
            history_data_of(before, state),
            isinstance(known.alarm, CompositeAlarm),
        )
        actions = operations.outbox_entries(known, state, minute)
    return operations.set_state(space, known, state, event, actions, seen=seen, minute=minute)


def moved(known: Stored, state: AlarmState, seen: Mapping[str, int] | None = None) -> Stored:
    """The alarm after its transition."""
    return replace(known, state=state, seen=seen, state_bytes=operations.state_data(state, seen))


# Composite alarms


def settle_composites(space: Keyspace, afresh: Mapping[str, str] = MappingProxyType({})) -> Flow[None]:
    """Let composite alarms follow their children.

    Args:
        afresh: names of those that are evaluated though no child changed -> what happened to them.
    """
    made: list[Transition] = []
    for tried in range(MOST_TRIES):
        yield from give_way(tried)
        known: Everything = yield from read_all(space)
        if (yield from settle(space, known.alarms, known.now_ms, made, afresh)):
            yield from tell_transitions(space, made)
            return
    too_busy()


def settle(
    space: Keyspace,
    alarms: dict[str, Stored],
    now_ms: int,
    made: list[Transition],
    afresh: Mapping[str, str] = MappingProxyType({}),
    minute: int | None = None,
) -> Flow[bool]:
    """The same with alarms that were read, which are brought up to date; False = some of them changed meanwhile.

    Args:
        made: takes the transitions.
        minute: that is evaluated. Nothing is changed if somebody is beyond it, who may have done half of the next one.
    """
    rules = {name: each.alarm.rule for name, each in alarms.items() if isinstance(each.alarm, CompositeAlarm)}
    for name in evaluation_order(rules):
        each = alarms[name]
        assert isinstance(each.alarm, CompositeAlarm)
        children = {child: alarms[child].state for child in each.alarm.children if child in alarms}
        seen = {child: state.transitioned_at_ms for child, state in children.items()}
        if seen == each.seen and name not in afresh:
            continue
        value = state_of(rules[name], {child: state.value for child, state in children.items()})
        state = each.state
        if value != state.value or name in afresh:
            changed = [child for child, at_ms in seen.items() if (each.seen or {}).get(child) != at_ms]
            reason, data = _reason(name, value, children, changed, afresh.get(name))
            state = following(state, value, reason, data, now_ms)
        if not (yield transition(space, each, state, seen=seen, minute=minute)):
            return False
        if value != each.state.value:
            made.append((each, state))
        alarms[name] = moved(each, state, seen)
    return True


def _reason(
    name: str, value: StateValue, children: Mapping[str, AlarmState], changed: Sequence[str], happened: str | None
) -> tuple[str, str]:
    """Why a composite alarm is in a state, for people and as JSON."""
    if happened is not None or not changed:
        text = f"{arn_of(name)} was {happened or 'evaluated'} and its alarm rule evaluates to {value}"
    else:
        last = max(changed, key=lambda child: children[child].transitioned_at_ms)
        state = children[last]
        when = datetime.fromtimestamp(state.transitioned_at_ms / 1000, UTC)
        text = f"{arn_of(last)} transitioned to {state.value} at {when:%A %d %B, %Y %H:%M:%S} UTC"
    triggers = [
        {"arn": arn_of(child), "state": {"value": state.value, "timestamp": timestamp(state.transitioned_at_ms)}}
        for child, state in children.items()
        if child in changed
    ]
    while triggers and len(json.dumps({"triggeringAlarms": triggers})) > MOST_REASON_DATA:
        triggers.pop()
    return text[:MOST_REASON], json.dumps({"triggeringAlarms": triggers}, separators=(",", ":"))


def give_way(tried: int) -> Flow[None]:
    """Before the next try: wait a moment, so that of many who change alarms at once somebody gets through.

    Args:
        tried: how often already.
    """
    if tried:
        yield Sleep(random.randrange(min(2**tried, MOST_PAUSE_MS)))


def too_busy() -> NoReturn:
    text = "the alarms must stay as they are for a moment, but somebody changes them all the time: try again"
    raise OverLimit(text, detail=BUSY)
