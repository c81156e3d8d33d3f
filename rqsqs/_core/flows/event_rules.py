"""Flows of rules for events: what users read and change, and how events become actions.

Whoever evaluates alarms follows the stream of events as well. The place up to which it was read, and the actions on
what was read, are written in one step. So a process that dies leaves nothing out, and two of them do nothing twice.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from itertools import count

from rqsqs._core.actors import actor_of
from rqsqs._core.alarm_records import RuleEntry
from rqsqs._core.flows.action_checks import check_actions
from rqsqs._core.flows.alarm_events import tell_definition
from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Flow
from rqsqs._core.operations import event_rules as operations
from rqsqs._core.operations.alarms import MOST_ENTRIES, read_history
from rqsqs._core.operations.event_rules import Rules
from rqsqs._core.operations.events import Page, read_events, shortened
from rqsqs._text import did_you_mean
from rqsqs.alarm_models import AlarmEvent
from rqsqs.errors import OverLimit, ResourceNotFound
from rqsqs.event_models import Event
from rqsqs.event_rule_models import EventRule

log = logging.getLogger("rqsqs.alarms")

MOST_AT_ONCE = 100  # actions that one call adds, and those of one event more
MOST_BYTES = 4_000  # of what an event says to an action
MOST_PAGES = 100  # of 100 events, in one turn: all that are kept
MOST_TRIES = 50


# What users do


def put(space: Keyspace, rule: EventRule) -> Flow[None]:
    """Create a rule, or replace it.

    Raises:
        InvalidParameterValue: an action cannot be done.
        OverLimit: there are too many.
    """
    yield from check_actions(space, rule.actions)
    known: Rules = yield operations.read_rules(space)
    page: Page = yield read_events(space, "", "-0")  # by the clock of those who write events
    before = known.rules.get(rule.name)
    created_at_ms = before.created_at_ms if before is not None else None
    dated = replace(rule, created_at_ms=page.now_ms if created_at_ms is None else created_at_ms)
    done = yield operations.put_rule(space, dated, f"{page.now_ms - 1}-999999999")
    if done < 0:
        raise OverLimit(f"a prefix must have {operations.MOST} rules for events at most: delete some first")
    yield from tell_definition(space, before, dated)


def all_rules(space: Keyspace) -> Flow[list[EventRule]]:
    """All rules, in order of their names."""
    known: Rules = yield operations.read_rules(space)
    return list(known.rules.values())


def get(space: Keyspace, name: str) -> Flow[EventRule]:
    """A rule.

    Raises:
        ResourceNotFound.
    """
    known: Rules = yield operations.read_rules(space)
    if name not in known.rules:
        raise _not_found(name, known)
    return known.rules[name]


def delete(space: Keyspace, names: Sequence[str]) -> Flow[None]:
    """Delete rules, all of them or none.

    Raises:
        ResourceNotFound: one does not exist.
    """
    known: Rules = yield operations.read_rules(space)
    missing = yield operations.delete_rules(space, names)
    if missing:
        raise _not_found(missing, known)
    for name in names:
        yield from tell_definition(space, known.rules.get(name), None)


def history(space: Keyspace, name: str, since_ms: int | None, before_ms: int, most: int) -> Flow[list[AlarmEvent]]:
    """What was done for a rule, the newest first.

    Args:
        since_ms: None = so long before now as `before_ms` says.
    """
    known: Rules = yield operations.read_rules(space)
    since_ms = known.now_ms - before_ms if since_ms is None else since_ms
    found: list[AlarmEvent] = []
    for skip in count(0, MOST_ENTRIES):
        events, is_more = yield read_history(space, name, skip, of_rule=True)
        found += events
        if not is_more or len(found) >= most or (events and events[-1].at_ms < since_ms):
            break
    return [event for event in found if event.at_ms >= since_ms][:most]


def test(space: Keyspace, name: str) -> Flow[None]:
    """Let the actions of a rule be done on an event that did not happen.

    Raises:
        ResourceNotFound.
    """
    for _ in range(MOST_TRIES):
        known: Rules = yield operations.read_rules(space)
        rule = known.rules.get(name)
        if rule is None:
            raise _not_found(name, known)
        kind = rule.kinds[0] if rule.kinds else "queue-created"
        queue = rule.queue or "test"
        event = Event(f"{known.now_ms}-test", known.now_ms, kind, queue, actor_of(space), detail={"test": True})
        place = known.place.decode(errors="replace")
        done = yield operations.put_actions(space, known.place, place, known.now_ms, entries_of(rule, event))
        if done < 0:
            raise OverLimit("actions of rules must not wait by the thousand: does anybody evaluate alarms?")
        if done:
            return
    raise OverLimit("events are read all the time by others: try again")


# Events -> actions


def follow(space: Keyspace) -> Flow[int]:
    """Read the events that nobody has looked at yet, and put the actions of rules that match into the outbox; the
    result is how many."""
    known: Rules = yield operations.read_rules(space)
    if not known.place or not known.rules:
        return 0
    place, total = known.place, 0
    for _ in range(MOST_PAGES):
        page: Page = yield read_events(space, place.decode(errors="replace"), "0")
        entries: list[RuleEntry] = []
        for n, event in enumerate(page.events, 1):
            for rule in known.rules.values():
                if rule.matches(event):
                    entries += entries_of(rule, event)
            if len(entries) < MOST_AT_ONCE and n < len(page.events):
                continue
            done = yield operations.put_actions(space, place, event.id, known.now_ms, entries)
            if done < 0:
                log.error("rules wait: thousands of their actions are to be done")
            if done < 1:
                return total
            place, total = event.id.encode(), total + len(entries)
            entries = []
        if page.is_last:
            break
    return total


def entries_of(rule: EventRule, event: Event) -> list[RuleEntry]:
    """What a rule does on an event. The idempotency keys are the same whenever it is read."""
    keys = [f"{rule.name}\n{event.id}\n{n}" for n, _ in enumerate(rule.actions)]
    event = shortened(event, MOST_BYTES)
    ids = [hashlib.blake2b(key.encode(), digest_size=16).hexdigest() for key in keys]
    return [RuleEntry(id, action, rule.name, event) for id, action in zip(ids, rule.actions, strict=True)]


def _not_found(name: str, known: Rules) -> ResourceNotFound:
    return ResourceNotFound(f"there is no rule {name!r}{did_you_mean(name, known.rules)}")
