"""Events of alarms and of rules for events: who put or deleted which, and which alarms went off."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rqsqs._action_targets import parse_target
from rqsqs._core.flows.events import tell
from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Flow
from rqsqs._core.operations.alarms import Stored
from rqsqs.alarm_models import Alarm, AlarmState, CompositeAlarm
from rqsqs.errors import InvalidParameterValue
from rqsqs.event_rule_models import EventRule

KIND = "alarm-changed"
MOST_TOLD = 10  # transitions of one evaluation; of the others only how many there are
ONCE_MS = 3_600_000  # in which it is told once that an alarm came into a state
Definition = Alarm | CompositeAlarm | EventRule
Transition = tuple[Stored, AlarmState]  # what there was, and the state it has now
_HIDDEN = frozenset({"AlarmName", "AlarmConfigurationUpdatedTimestamp", "name", "created_at_ms"})
_ACTIONS = frozenset({"OKActions", "AlarmActions", "InsufficientDataActions", "actions"})


def tell_definition(space: Keyspace, before: Definition | None, after: Definition | None) -> Flow[None]:
    """Tell that an alarm or a rule was created, changed or deleted, if it was."""
    either = after or before
    if either is None:  # what could not be read was deleted
        return
    change = "created" if before is None else "deleted" if after is None else "updated"
    was, is_now = _raw(before), _raw(after)
    changed = {name for name in {**was, **is_now} if was.get(name) != is_now.get(name)}
    if change == "updated" and not changed:
        return
    yield from tell(
        space,
        KIND,
        _queue(either),
        before={name: _shown(name, was.get(name)) for name in was if name in changed},
        after={name: _shown(name, is_now.get(name)) for name in is_now if name in changed},
        detail={"rule" if isinstance(either, EventRule) else "alarm": either.name, "change": change},
    )


def tell_transitions(space: Keyspace, made: Sequence[Transition], *, by_hand: bool = False) -> Flow[None]:
    """Tell of transitions: those to ALARM first, and of the others how many there are, if they are many.

    Args:
        by_hand: somebody gave the first one its state. It is told each time; others once an hour.
    """
    in_order = sorted(made, key=lambda each: each[1].value != "ALARM") if not by_hand else list(made)
    for n, (known, state) in enumerate(in_order[:MOST_TOLD]):
        is_told_always = by_hand and n == 0
        yield from tell(
            space,
            KIND,
            _queue(known.alarm),
            before={"StateValue": known.state.value},
            after={"StateValue": state.value},
            detail={"alarm": known.name, "change": "state", "reason": state.reason},
            once="" if is_told_always else f"{known.name}:{state.value}",
            once_ms=0 if is_told_always else ONCE_MS,
        )
    if (more := len(in_order) - MOST_TOLD) > 0:
        yield from tell(space, KIND, detail={"change": "state", "more_alarms": more})


def _raw(definition: Definition | None) -> Mapping[str, Any]:
    if definition is None:
        return {}
    return {name: value for name, value in definition.to_json().items() if name not in _HIDDEN and value != []}


def _shown(name: str, value: Any) -> str | None:
    """As a text; URLs without their path, which may hold a secret."""
    if value is None:
        return None
    if name in _ACTIONS:
        return " ".join([_target(action) for action in value])
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _target(action: str) -> str:
    try:
        return str(parse_target(action))
    except InvalidParameterValue:  # put before it was checked
        return "?"


def _queue(definition: Definition | None) -> str:
    """The queue that an alarm is about, if it is one."""
    queues = definition.queues if isinstance(definition, Alarm) else ()
    return queues[0] if len(queues) == 1 else ""
