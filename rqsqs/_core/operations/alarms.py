"""Builders and parsers of alarms, as they are stored: definitions, states, histories, and actions to be done.

Definitions and states are JSON with the names of CloudWatch. What is read of them is kept as it was stored, as scripts
compare it: who changes something says what was there.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rqsqs._core.alarm_records import AlarmEvaluation, AlarmHealth, Entry, OutboxEntry, PutBy, RuleEntry, entry_of
from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Operation
from rqsqs.alarm_models import Alarm, AlarmEvent, AlarmState, CompositeAlarm, alarm_of
from rqsqs.errors import InvalidParameterValue

MOST = 5_000  # alarms of a prefix
MOST_BYTES = 64 * 1024  # of a definition as JSON
AT_ONCE = 50  # alarms that one call names
MOST_ENTRIES = 100  # of a history in one call
LATEST_MS = 10**14  # later than any entry
Definition = Alarm | CompositeAlarm
ActionOutcome = Literal["done", "failed", "given_up"]


@dataclass(frozen=True, slots=True)
class Stored:
    """An alarm with its state.

    Attributes:
        alarm: None if its definition cannot be read.
        state: that of a new alarm if it cannot be read.
        seen: of a composite alarm, the states of its children by which it was evaluated: name -> when they began.
        definition, state_bytes: as they are stored.
        put_by: whose right to send messages it has; None = of a program that may do everything.
    """

    name: str
    alarm: Definition | None
    state: AlarmState
    seen: Mapping[str, int] | None
    definition: bytes
    state_bytes: bytes
    put_by: PutBy | None = None


@dataclass(frozen=True, slots=True)
class Page:
    """Alarms that were read.

    Attributes:
        now_ms: the server's time.
        revision: of all definitions.
        cursor: with what to go on; "0" = that was all.
    """

    now_ms: int
    revision: bytes
    evaluated: AlarmEvaluation | None
    cursor: bytes
    alarms: list[Stored]


@dataclass(frozen=True, slots=True)
class Due:
    """Actions that are due.

    Attributes:
        now_ms: the server's time.
        length: how many actions there are in all.
        next_ms: when the next one is due that is not among these.
        entries: those that are due.
        unreadable: ids of those that cannot be read.
    """

    now_ms: int
    length: int
    next_ms: int | None
    entries: list[Entry]
    unreadable: list[str]


# Definitions and states


def read_alarms(space: Keyspace, cursor: bytes = b"0", names: Sequence[str] = ()) -> Operation:
    """The result is a Page."""
    keys = space.alarms("definitions states revision evaluated")

    def parse(reply: list[Any]) -> Page:
        now, revision, evaluated, following, *found = reply
        alarms = [stored(*found[i : i + 3]) for i in range(0, len(found), 3)]
        return Page(int(now), revision, _evaluated(evaluated, int(now)), following, alarms)

    return Operation("read_alarms", keys, (space.now_us(), cursor, *names), parse)


def list_names(space: Keyspace, prefix: str, after: str, limit: int) -> Operation:
    """The result is names of alarms, in order."""
    keys, arguments = space.alarms("names"), (prefix, after, str(limit))
    return Operation("list_queues", keys, arguments, lambda reply: [name.decode() for name in reply])


def put_alarm(
    space: Keyspace,
    revision: bytes,
    alarm: Definition,
    state: AlarmState,
    event: AlarmEvent | None,
    put_by: PutBy | None,
) -> Operation:
    """The result is 1; 0 if `revision` is not the present one, -1 if there are too many alarms.

    Args:
        state: the one of a new alarm.
        event: for the history.
        put_by: whose right to send messages it has; None = it may send to all queues.
    """
    definition = dumped(alarm.to_json() | ({} if put_by is None else {"PutBy": put_by.to_json()}))
    if len(definition) > MOST_BYTES:
        raise InvalidParameterValue(
            f"an alarm must have {MOST_BYTES:,} bytes at most as JSON, got {len(definition):,}: {alarm.name!r}"
        )
    keys = (*space.alarms("definitions states revision names histories"), space.alarm_history(alarm.name))
    at, entry = (str(event.at_ms), dumped(event.to_json())) if event else ("", b"")
    return Operation("put_alarm", keys, (alarm.name, revision, definition, state_data(state), at, entry, str(MOST)))


def delete_alarms(space: Keyspace, revision: bytes, events: Sequence[AlarmEvent]) -> Operation:
    """The result is 1; 0 if `revision` is not the present one.

    Args:
        events: one for each alarm to be deleted, up to AT_ONCE.
    """
    keys = space.alarms("definitions states revision names histories")
    histories = [space.alarm_history(event.alarm) for event in events]
    entries = [argument for event in events for argument in (event.alarm, dumped(event.to_json()))]
    return Operation("delete_alarms", (*keys, *histories), (revision, str(events[0].at_ms), *entries))


def set_state(
    space: Keyspace,
    known: Stored,
    state: AlarmState,
    event: AlarmEvent | None,
    actions: Sequence[OutboxEntry] = (),
    *,
    seen: Mapping[str, int] | None = None,
    minute: int | None = None,
) -> Operation:
    """The result is whether it was done: not if the alarm changed meanwhile.

    Args:
        known: what it was decided by.
        event: for the history; None = the value is the same.
        minute: that was evaluated; None = it does not follow from data.
    """
    full = AlarmEvent(
        known.name,
        state.updated_at_ms,
        "Action",
        "Failed to execute actions: too many wait to be executed",
        {"actionState": "Failed", "error": "10,000 actions wait: does anybody evaluate alarms?"},
    )
    return Operation(
        "set_alarm_state",
        (
            *space.alarms("definitions states evaluated histories"),
            space.alarm_history(known.name),
            *space.alarms("outbox outbox_due"),
        ),
        (
            known.name,
            "" if minute is None else str(minute),
            known.definition,
            known.state_bytes,
            state_data(state, seen),
            str(state.updated_at_ms),
            dumped(event.to_json()) if event else b"",
            dumped(full.to_json()),
            *[argument for entry in actions for argument in (entry.id, dumped(entry.to_json()))],
        ),
        bool,
    )


def mark_evaluation(space: Keyspace, done: AlarmEvaluation) -> Operation:
    """The result is False if a later minute was evaluated already."""
    return Operation("mark_evaluation", space.alarms("evaluated"), (str(done.minute), dumped(done.to_json())), bool)


# Histories


def read_history(space: Keyspace, name: str, skip: int = 0, *, of_rule: bool = False) -> Operation:
    """The result is (events, the newest first; whether there may be older ones).

    Args:
        name: of an alarm.
        of_rule: it is a rule for events.
    """
    key = space.rule_history(name) if of_rule else space.alarm_history(name)

    def parse(reply: list[bytes]) -> tuple[list[AlarmEvent], bool]:
        events = []
        for entry in reversed(reply):
            with contextlib.suppress(ValueError, TypeError, AttributeError):
                events.append(AlarmEvent.from_json(json.loads(entry[13:])))
        return events, len(reply) == MOST_ENTRIES

    return Operation("read_alarm_history", (key,), (str(skip), str(MOST_ENTRIES)), parse)


def list_histories(space: Keyspace, since_ms: int, skip: int, count: int) -> Operation:
    """The result maps names of alarms that have a history later than that, deleted ones among them, to the time of
    their last entry: the newest first."""

    def parse(reply: list[bytes]) -> dict[str, int]:
        return {name.decode(): int(float(at)) for name, at in zip(reply[::2], reply[1::2], strict=True)}

    arguments = (f"({since_ms}", str(skip), str(count))
    return Operation("list_alarm_histories", space.alarms("histories"), arguments, parse)


# Actions


def outbox_entries(known: Stored, state: AlarmState, minute: int | None = None) -> list[OutboxEntry]:
    """What is to be done when an alarm goes into another state.

    Args:
        minute: by whose data it was decided. If a server forgets the transition, as at a failover, it is made again,
            with the same idempotency keys. None = it does not follow from data.
    """
    alarm, before = known.alarm, known.state
    if alarm is None or not alarm.actions_enabled or before.value == state.value:
        return []
    actions = {
        "ALARM": alarm.alarm_actions, "OK": alarm.ok_actions, "INSUFFICIENT_DATA": alarm.insufficient_data_actions,
    }[state.value]  # fmt: skip
    when = state.transitioned_at_ms if minute is None else f"minute {minute}"
    about = f"{alarm.name}\n{alarm.updated_at_ms}\n{before.value}\n{state.value} {when}\n"
    ids = [hashlib.blake2b(f"{about}{n}".encode(), digest_size=16).hexdigest() for n, _ in enumerate(actions)]
    return [
        OutboxEntry(id, action, alarm, before, state, put_by=known.put_by)
        for id, action in zip(ids, actions, strict=True)
    ]


def read_actions(space: Keyspace, count: int = 20) -> Operation:
    """The result is a Due."""

    def parse(reply: list[Any]) -> Due:
        now, length, following, *found = reply
        entries: list[Entry] = []
        unreadable = []
        for id, data in zip(found[::2], found[1::2], strict=True):
            try:
                entries.append(entry_of(id.decode(), json.loads(data)))
            except (ValueError, TypeError, KeyError, AttributeError):
                unreadable.append(id.decode(errors="replace"))
        return Due(int(now), length, int(float(following)) if following else None, entries, unreadable)

    return Operation("read_alarm_actions", space.alarms("outbox outbox_due"), (space.now_us(), str(count)), parse)


def claim_actions(space: Keyspace, chosen: Sequence[tuple[str, int]]) -> Operation:
    """The result says of each whether it was taken: False = somebody else has taken it, or settled it.

    Args:
        chosen: ids of up to 100 actions that are due, and for how many ms nobody else is to do each.
    """
    arguments = [argument for id, ms in chosen for argument in (id, str(ms))]
    keys = space.alarms("outbox outbox_due")
    return Operation("claim_alarm_actions", keys, (space.now_us(), *arguments), lambda reply: [bool(n) for n in reply])


def release_actions(space: Keyspace, ids: Sequence[str]) -> Operation:
    """Give back up to 100 actions that were claimed and not done. The result is how many of them wait still."""
    return Operation("release_alarm_actions", space.alarms("outbox_due"), (space.now_us(), *ids))


def settle_action(
    space: Keyspace,
    entry: Entry,
    outcome: ActionOutcome,
    at_ms: int,
    event: AlarmEvent | None,
    again_at_ms: int | None = None,
) -> Operation:
    """The result is False if somebody else had settled it.

    Args:
        outcome: for the counts.
        event: for the history.
        again_at_ms: when to try it again, as `entry` now says; None = it is over.
    """
    if isinstance(entry, RuleEntry):
        keys = (*space.alarms("outbox outbox_due rule_histories"), space.rule_history(entry.name))
    else:
        keys = (*space.alarms("outbox outbox_due histories"), space.alarm_history(entry.name))
    due, data = ("", b"") if again_at_ms is None else (str(again_at_ms), dumped(entry.to_json()))
    happened = dumped(event.to_json()) if event else b""
    arguments = (entry.id, due, data, entry.name, str(at_ms), happened, outcome)
    return Operation("settle_alarm_action", (*keys, *space.alarms("action_counts")), arguments, bool)


def read_health(space: Keyspace) -> Operation:
    """The result is an AlarmHealth."""

    def parse(reply: list[Any]) -> AlarmHealth:
        now, alarms, rules, evaluated, waiting, first, *found = reply
        counts = {}
        for name, value in zip(found[::2], found[1::2], strict=True):
            with contextlib.suppress(ValueError):
                counts[name.decode(errors="replace")] = int(value)
        overdue_s = max(int(now) - float(first), 0.0) / 1000 if first else 0.0
        return AlarmHealth(int(now), alarms, rules, _evaluated(evaluated, int(now)), waiting, overdue_s, counts)

    keys = space.alarms("definitions evaluated outbox_due action_counts rules")
    return Operation("read_alarm_health", keys, (space.now_us(),), parse)


# As it is stored


def dumped(data: Mapping[str, Any]) -> bytes:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False).encode()


def state_data(state: AlarmState, seen: Mapping[str, int] | None = None) -> bytes:
    return dumped(state.to_json() | ({} if seen is None else {"Seen": dict(seen)}))


def stored(name: bytes, definition: bytes, state: bytes) -> Stored:
    """What was read of an alarm."""
    text = name.decode(errors="replace")
    alarm = put_by = None
    with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError, RecursionError):
        about = json.loads(definition)
        put_by = PutBy.from_json(about.pop("PutBy", None))
        alarm = alarm_of(about)
    known, seen = AlarmState("INSUFFICIENT_DATA"), None
    with contextlib.suppress(ValueError, TypeError, AttributeError, RecursionError):
        data = json.loads(state)
        known = AlarmState.from_json(data)
        if isinstance(data.get("Seen"), dict):
            seen = {str(child): int(at_ms) for child, at_ms in data["Seen"].items()}
    return Stored(text, alarm, known, seen, definition, state, put_by)


def _evaluated(data: bytes, now_ms: int) -> AlarmEvaluation | None:
    minute, _, about = data.partition(b" ")
    try:
        found = json.loads(about)
        age_s = abs(now_ms - found["at_ms"]) / 1000  # by a clock that was put back, as long as nobody evaluates again
        return AlarmEvaluation(age_s=age_s, minute=int(minute), **found)
    except (ValueError, TypeError, KeyError):
        return None


def by_name(alarms: Iterable[Stored]) -> dict[str, Stored]:
    return {each.name: each for each in alarms}
