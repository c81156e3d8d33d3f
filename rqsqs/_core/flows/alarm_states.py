"""Flows of the states of alarms: what is stored is read, transitions are made, and composite alarms follow their
children.

Who makes a transition says by which definition and state it was decided. If these are others by now, it is not made.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any, NoReturn

from rqsqs._alarm_rules import Child, parse
from rqsqs._core.alarm_records import AlarmEvaluation
from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Flow, Operation
from rqsqs._core.operations import alarms as operations
from rqsqs._core.operations.alarms import AT_ONCE, Stored, by_name
from rqsqs._core.portions import portions
from rqsqs.alarm_models import MOST_REASON, MOST_REASON_DATA, AlarmEvent, AlarmState, CompositeAlarm, StateValue
from rqsqs.errors import OverLimit

MOST_TRIES = 50


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
            {"version": "1.0", "oldState": told(before), "newState": told(state)},
            isinstance(known.alarm, CompositeAlarm),
        )
        if known.alarm is not None:
            actions = operations.outbox_entries(known.alarm, before, state)
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
    for _ in range(MOST_TRIES):
        known: Everything = yield from read_all(space)
        if (yield from settle(space, known.alarms, known.now_ms, afresh)):
            return
    too_busy()


def settle(
    space: Keyspace,
    alarms: dict[str, Stored],
    now_ms: int,
    afresh: Mapping[str, str] = MappingProxyType({}),
    minute: int | None = None,
) -> Flow[bool]:
    """The same with alarms that were read, which are brought up to date; False = some of them changed meanwhile.

    Args:
        minute: that is evaluated. Nothing is changed if somebody is beyond it, who may have done half of the next one.
    """
    for name in children_first(alarms):
        each = alarms[name]
        assert isinstance(each.alarm, CompositeAlarm)
        children = {child: alarms[child].state for child in each.alarm.children if child in alarms}
        seen = {child: state.transitioned_at_ms for child, state in children.items()}
        if seen == each.seen and name not in afresh:
            continue
        value = value_of(each.alarm.rule, {child: state.value for child, state in children.items()})
        state = each.state
        if value != state.value or name in afresh:
            changed = [child for child, at_ms in seen.items() if (each.seen or {}).get(child) != at_ms]
            reason, data = _reason(name, value, children, changed, afresh.get(name))
            state = following(state, value, reason, data, now_ms)
        if not (yield transition(space, each, state, seen=seen, minute=minute)):
            return False
        alarms[name] = moved(each, state, seen)
    return True


def value_of(rule: str, states: Mapping[str, StateValue]) -> StateValue:
    """What a rule makes of the states of its children; one that does not exist is INSUFFICIENT_DATA."""
    stack: list[bool] = []
    for step in parse(rule):
        if isinstance(step, Child):
            stack.append(states.get(step.name, "INSUFFICIENT_DATA") == step.state)
        elif step == "NOT":
            stack.append(not stack.pop())
        elif isinstance(step, bool):
            stack.append(step)
        else:
            right, left = stack.pop(), stack.pop()
            stack.append((left and right) if step == "AND" else (left or right))
    return "ALARM" if stack.pop() else "OK"


def children_first(alarms: Mapping[str, Stored]) -> list[str]:
    """The composite alarms, each behind those in its rule. Those in a circle, which nobody can make, are left out."""
    left = {
        name: {child for child in each.alarm.children if child in alarms and is_composite(alarms[child])}
        for name, each in alarms.items()
        if isinstance(each.alarm, CompositeAlarm)
    }
    found: list[str] = []
    while ready := [name for name, children in left.items() if not children & left.keys()]:
        found += ready
        for name in ready:
            del left[name]
    return found


def is_composite(known: Stored) -> bool:
    return isinstance(known.alarm, CompositeAlarm)


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


# Helpers


def told(state: AlarmState) -> dict[str, Any]:
    """A state, as entries of the history have it."""
    data = {"stateReasonData": json.loads(state.reason_data)} if state.reason_data else {}
    return {"stateValue": state.value, "stateReason": state.reason, **data}


def arn_of(name: str) -> str:
    return f"arn:aws:cloudwatch:us-east-1:000000000000:alarm:{name}"


def timestamp(at_ms: int) -> str:
    when = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03}+0000"


def too_busy() -> NoReturn:
    raise OverLimit("the alarms must stay as they are for a moment, but somebody changes them all the time: try again")
