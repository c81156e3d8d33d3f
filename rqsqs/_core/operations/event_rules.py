"""Builders and parsers of rules for events. They lie beside the alarms, with whose actions theirs wait to be done."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rqsqs._core.alarm_records import RuleEntry
from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Operation
from rqsqs._core.operations.alarms import dumped
from rqsqs.event_rule_models import EventRule

MOST = 100  # rules of a prefix


@dataclass(frozen=True, slots=True)
class Rules:
    """All rules.

    Attributes:
        now_ms: the server's time.
        place: id of the last event that they have seen, as it is stored; b"" = nobody reads events.
        rules: by name; those that cannot be read are left out.
    """

    now_ms: int
    place: bytes
    rules: dict[str, EventRule]


def put_rule(space: Keyspace, rule: EventRule, place: str) -> Operation:
    """The result is 1; -1 if there are too many rules.

    Args:
        place: behind this id events are read, if it is the first rule.
    """
    arguments = (rule.name, dumped(rule.to_json()), place, str(MOST))
    return Operation("put_event_rule", space.alarms("rules events_read"), arguments)


def delete_rules(space: Keyspace, names: Sequence[str]) -> Operation:
    """The result is "", or the name of one that does not exist."""
    return Operation("delete_event_rules", space.alarms("rules events_read"), tuple(names), lambda r: r.decode())


def read_rules(space: Keyspace) -> Operation:
    """The result is Rules."""

    def parse(reply: list[Any]) -> Rules:
        now_ms, place, *found = reply
        rules = {}
        for name, data in zip(found[::2], found[1::2], strict=True):
            with contextlib.suppress(ValueError, TypeError, RecursionError):
                rule = EventRule.from_json(json.loads(data))
                if rule.name.encode() == name:
                    rules[rule.name] = rule
        return Rules(now_ms, place, {name: rules[name] for name in sorted(rules)})

    return Operation("read_event_rules", space.alarms("rules events_read"), (space.now_us(),), parse)


def put_actions(space: Keyspace, before: bytes, after: str, at_ms: int, entries: Sequence[RuleEntry]) -> Operation:
    """The result is 1; 0 if `before` is not what is there, -1 if too many actions wait."""
    found = [argument for entry in entries for argument in (entry.id, dumped(entry.to_json()))]
    keys = space.alarms("events_read outbox outbox_due")
    return Operation("put_rule_actions", keys, (before, after, str(at_ms), *found))
