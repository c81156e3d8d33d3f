"""Flows of alarms: what users read and change. Whoever changes something says what it has read, and starts again if
somebody else was quicker.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any, NoReturn

from rqsqs._core.actors import putter
from rqsqs._core.alarm_records import AlarmEvaluation, AlarmInfo
from rqsqs._core.flows.alarm_events import tell_definition, tell_transitions
from rqsqs._core.flows.alarm_states import (
    MOST_TRIES,
    Everything,
    following,
    give_way,
    read_all,
    read_some,
    settle_composites,
    too_busy,
    transition,
)
from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import AtOnce, Flow
from rqsqs._core.operations import alarms as operations
from rqsqs._core.operations.alarms import AT_ONCE, Definition, Stored, by_name
from rqsqs._core.portions import portions
from rqsqs._text import did_you_mean
from rqsqs.alarm_models import CREATED, AlarmEvent, AlarmState, CompositeAlarm, StateValue
from rqsqs.errors import InvalidParameterValue, OverLimit, RequestError, ResourceNotFound, RqsqsError

MOST_PARENTS = 150  # composite alarms whose rules name an alarm
_LISTED = 200  # names that are read at once


# Reading


def list_named(
    space: Keyspace, prefix: str, after: str, most: int, wanted: Callable[[Stored], bool]
) -> Flow[list[Stored]]:
    """Up to so many alarms in order of their names, behind one of them.

    Args:
        prefix: what their names begin with.
        after: a name; "" = from the first one.
        wanted: only those that it is true of.
    """
    found: list[Stored] = []
    while len(found) < most:
        names: list[str] = yield operations.list_names(space, prefix, after, _LISTED)
        if names:
            known: dict[str, Stored] = yield from read_named(space, names)
            found += [each for each in known.values() if wanted(each)]
        if len(names) < _LISTED:
            break
        after = names[-1]
    return found[:most]


def read_named(space: Keyspace, names: Sequence[str]) -> Flow[dict[str, Stored]]:
    """These alarms, as far as they exist, in this order and in one round trip.

    Args:
        names: one at least.
    """
    found: dict[str, Stored] = {}
    pages = yield AtOnce([operations.read_alarms(space, names=some) for some in portions(list(names), AT_ONCE)])
    for page in pages:
        if isinstance(page, RqsqsError):
            raise page
        found |= by_name(page.alarms)
    return {name: found[name] for name in names if name in found}


def get(space: Keyspace, name: str) -> Flow[Stored]:
    """An alarm.

    Raises:
        ResourceNotFound.
    """
    found: Everything = yield from read_some(space, [name])
    if name not in found.alarms:
        yield from _not_found(space, [name])
    return found.alarms[name]


def info(known: Stored) -> AlarmInfo:
    """What users see of an alarm.

    Raises:
        RequestError: its definition cannot be read.
    """
    if known.alarm is None:
        raise RequestError(f"the definition of the alarm {known.name!r} must be readable, but it is not: put it again")
    return AlarmInfo(known.alarm, known.state)


def evaluation(space: Keyspace) -> Flow[AlarmEvaluation | None]:
    """The last evaluation of all alarms."""
    found: Everything = yield from read_some(space, [])
    return found.evaluated


# Changes


def put(space: Keyspace, alarm: Definition, *, keeps_tags: bool = False) -> Flow[None]:
    """Create an alarm, or replace its definition. Its actions were checked before (action_checks.py).

    Args:
        keeps_tags: an alarm that is there keeps its tags, whatever those of `alarm` are.

    Raises:
        InvalidParameterValue: a rule names alarms that do not exist, or the alarm itself by way of others.
        OverLimit: there are too many alarms, or too many rules that name one of them.
    """
    for tried in range(MOST_TRIES):
        yield from give_way(tried)
        known = yield from _family(space, alarm)
        if isinstance(alarm, CompositeAlarm):
            yield from _check_parents(space, alarm)
        before = known.alarms.get(alarm.name)
        if before is not None and before.alarm is not None and type(before.alarm) is not type(alarm):
            kinds = ("a composite alarm", "an alarm on a metric")
            was, is_now = kinds if isinstance(before.alarm, CompositeAlarm) else kinds[::-1]
            raise InvalidParameterValue(
                f"an alarm must stay what it is, got {is_now} for {alarm.name!r}, which is {was}: delete it first"
            )
        now = known.now_ms
        dated = replace(alarm, updated_at_ms=now)
        if keeps_tags and before is not None and before.alarm is not None:
            dated = replace(dated, tags=before.alarm.tags)
        state = AlarmState("INSUFFICIENT_DATA", CREATED, "", now, now)
        word = "updated" if before else "created"
        event = configured(dated, now, word)
        done = yield operations.put_alarm(space, known.revision, dated, state, event, putter.get())
        if done < 0:
            raise OverLimit(f"a prefix must have {operations.MOST:,} alarms at most: delete some first")
        if done:
            yield from tell_definition(space, before.alarm if before else None, dated)
            if isinstance(alarm, CompositeAlarm):
                yield from settle_composites(space, afresh={alarm.name: word})
            return
    too_busy()


def delete(space: Keyspace, names: Sequence[str]) -> Flow[None]:
    """Delete alarms: all of them, or none.

    Raises:
        ResourceNotFound: one does not exist.
        InvalidParameterValue: a composite alarm that stays names one.
    """
    for tried in range(MOST_TRIES):
        yield from give_way(tried)
        known: Everything = yield from read_all(space)
        if missing := [name for name in names if name not in known.alarms]:
            yield from _not_found(space, missing)
        for each in known.alarms.values():
            if each.name not in names and isinstance(each.alarm, CompositeAlarm):
                for child in each.alarm.children:
                    if child in names:
                        raise InvalidParameterValue(
                            f"an alarm must not be in the rule of a composite alarm when it is deleted, got {child!r}, "
                            f"which is in that of {each.name!r}: delete or change that first",
                            detail=child,
                        )
        events = [configured(known.alarms[name], known.now_ms, "deleted") for name in dict.fromkeys(names)]
        revision = known.revision
        for some in portions(events, AT_ONCE):
            if not (yield operations.delete_alarms(space, revision, some)):
                break
            revision = b"%d" % (int(revision) + 1)
            for event in some:
                yield from tell_definition(space, known.alarms[event.alarm].alarm, None)
            names = [name for name in names if name not in {event.alarm for event in some}]
        if not names:
            return
    too_busy()


def enable_actions(space: Keyspace, names: Sequence[str], *, enabled: bool, must_exist: bool = True) -> Flow[None]:
    """Let actions of alarms be done or not.

    Args:
        must_exist: all of them; False = those that do not are left out.

    Raises:
        ResourceNotFound: one does not exist; nothing was changed.
    """
    known: Everything = yield from read_some(space, names)
    if must_exist and (missing := [name for name in names if name not in known.alarms]):
        yield from _not_found(space, missing)
    for name in dict.fromkeys(names):
        for tried in range(MOST_TRIES):
            each = known.alarms.get(name)
            if each is None or each.alarm is None or each.alarm.actions_enabled == enabled:
                break
            changed = replace(each.alarm, actions_enabled=enabled, updated_at_ms=known.now_ms)
            event = configured(changed, known.now_ms, "updated")
            if (yield operations.put_alarm(space, known.revision, changed, each.state, event, each.put_by)):
                yield from tell_definition(space, each.alarm, changed)
                known = yield from read_some(space, names)
                break
            yield from give_way(tried + 1)
            known = yield from read_some(space, names)
        else:
            too_busy()


def set_state(space: Keyspace, name: str, value: StateValue, reason: str, reason_data: str) -> Flow[None]:
    """Give an alarm a state; its actions are done if it is another one. An evaluation can give it another one again.

    Raises:
        ResourceNotFound.
    """
    for tried in range(MOST_TRIES):
        yield from give_way(tried)
        known: Everything = yield from read_some(space, [name])
        each = known.alarms.get(name)
        if each is None:
            yield from _not_found(space, [name])
            return
        state = following(each.state, value, reason, reason_data, known.now_ms)
        if (yield transition(space, each, state, seen=each.seen)):
            if value != each.state.value:
                yield from tell_transitions(space, [(each, state)], by_hand=True)
                yield from settle_composites(space)
            return
    too_busy()


def change_tags(space: Keyspace, name: str, tags: Mapping[str, str], removed: Collection[str] = ()) -> Flow[None]:
    """Set tags of an alarm and remove others. Nothing else of it changes, and its history does not tell of it.

    Raises:
        ResourceNotFound: there is no such alarm.
        InvalidParameterValue: it would have too many.
    """
    for tried in range(MOST_TRIES):
        yield from give_way(tried)
        known: Everything = yield from read_some(space, [name])
        each = known.alarms.get(name)
        if each is None:
            yield from _not_found(space, [name])
            return
        alarm = info(each).alarm
        changed = {key: value for key, value in alarm.tags.items() if key not in removed} | dict(tags)
        if changed == alarm.tags:
            return
        tagged = replace(alarm, tags=changed)
        if (yield operations.put_alarm(space, known.revision, tagged, each.state, None, each.put_by)):
            yield from tell_definition(space, alarm, tagged)
            return
    too_busy()


# Helpers


def configured(known: Definition | Stored, now_ms: int, word: str) -> AlarmEvent:
    """The entry of the history that says that an alarm was created, updated or deleted."""
    alarm = known.alarm if isinstance(known, Stored) else known
    name, kind = known.name, isinstance(alarm, CompositeAlarm)
    data: dict[str, Any] = {"version": "1.0", "type": word.capitalize()[:-1]}
    if alarm is not None and word != "deleted":
        data["updatedAlarm" if word == "updated" else "createdAlarm"] = alarm.to_json()
    return AlarmEvent(name, now_ms, "ConfigurationUpdate", _summary(name, word), data, kind)


def _summary(name: str, word: str) -> str:
    room = 255 - len(f'Alarm "" {word}')
    return f'Alarm "{name if len(name) <= room else name[: room - 3] + "..."}" {word}'


def _family(space: Keyspace, alarm: Definition) -> Flow[Everything]:
    """An alarm that is to be put, as it is there, and all alarms below it.

    Raises:
        InvalidParameterValue: as put() says.
    """
    known: Everything = yield from read_some(space, [alarm.name])
    wanted = list(alarm.children) if isinstance(alarm, CompositeAlarm) else []
    seen = set(wanted)
    while wanted:
        if alarm.name in wanted:
            raise InvalidParameterValue(f"rule must not lead back to the alarm itself, got {alarm.name!r} below it")
        more: Everything = yield from read_some(space, wanted)
        if missing := [name for name in wanted if name not in more.alarms]:
            there: Everything = yield from read_all(space)
            near = did_you_mean(missing[0], there.alarms)
            text = f"rule must name alarms that exist, got {missing[0]!r}{near}"
            raise InvalidParameterValue(text, detail=", ".join(missing))
        found = [each.alarm for each in more.alarms.values()]
        wanted = [c for below in found if isinstance(below, CompositeAlarm) for c in below.children if c not in seen]
        seen.update(wanted)
        wanted = list(dict.fromkeys(wanted))
    return known


def _check_parents(space: Keyspace, alarm: CompositeAlarm) -> Flow[None]:
    """Is there room for one more rule that names the children?"""
    there: Everything = yield from read_all(space)
    others = [each.alarm for name, each in there.alarms.items() if name != alarm.name]
    parents = Counter(child for other in others if isinstance(other, CompositeAlarm) for child in other.children)
    for child in alarm.children:
        if parents[child] >= MOST_PARENTS:
            rule = f"an alarm must be in the rules of {MOST_PARENTS} composite alarms at most"
            raise OverLimit(f"{rule}, got one more for {child!r}")


def _not_found(space: Keyspace, missing: Sequence[str]) -> Flow[NoReturn]:
    there: Everything = yield from read_all(space)
    near = did_you_mean(missing[0], there.alarms)
    raise ResourceNotFound(f"there is no alarm {missing[0]!r}{near}", sqs_message="")
