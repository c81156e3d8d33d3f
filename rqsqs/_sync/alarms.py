# Made by tools/unasync.py from rqsqs/_async/alarms.py: edit that, and run `make sync`.
"""Alarms of a prefix: definitions, states and histories. `rqsqs alarms run` evaluates them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import TYPE_CHECKING

from rqsqs import _arguments as arguments
from rqsqs._alarm_checks import pairs
from rqsqs._arguments import Moment
from rqsqs._core.alarm_records import AlarmEvaluation, AlarmInfo
from rqsqs._core.flows import alarms as flows
from rqsqs._core.flows.action_checks import actions_of, check_actions
from rqsqs._core.flows.alarm_histories import history
from rqsqs._core.flows.alarm_states import read_all
from rqsqs._not_copied import NotCopied
from rqsqs._text import shown
from rqsqs.alarm_models import (
    MOST_NAME,
    MOST_REASON,
    MOST_TAGS,
    STATES,
    Alarm,
    AlarmEvent,
    AlarmState,
    CompositeAlarm,
    StateValue,
)
from rqsqs.errors import InvalidParameterValue, MissingParameter

if TYPE_CHECKING:
    from rqsqs._io.sync.runner import Transport

TWO_WEEKS = timedelta(days=14)
MOST_EVENTS = 100_000
Infos = list[AlarmInfo]
Events = list[AlarmEvent]


class Alarms(NotCopied):
    """The alarms of a connection's prefix. Made by Connection.alarms."""

    __module__ = "rqsqs"
    _instead = "pass the URL and the prefix instead; rqsqs.connect(url, prefix=prefix).alarms makes another one"

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    def put(self, alarm: Alarm | CompositeAlarm) -> None:
        """Create an alarm, or replace the one of this name; its state stays until it is evaluated.

        A new alarm is in the state INSUFFICIENT_DATA. A composite alarm is evaluated at once, others at the next full
        minute.

        Args:
            alarm: the whole definition.

        Raises:
            InvalidParameterValue: an action is none, or its queue does not exist, or is of another account; the rule
                names alarms that do not exist, or leads back to the alarm itself; or the alarm of this name is of the
                other kind.
            OverLimit: there are 5,000 alarms, or 150 composite alarms that name one of those in the rule.
        """
        if not isinstance(alarm, Alarm | CompositeAlarm):
            raise InvalidParameterValue(f"alarm must be an Alarm or a CompositeAlarm, got {shown(alarm)}")
        self._transport.run(check_actions(self._transport.space, actions_of(alarm)))
        self._transport.run(flows.put(self._transport.space, alarm))

    def get(self, name: str) -> AlarmInfo:
        """An alarm with its state.

        Args:
            name: of the alarm.

        Returns:
            What it is, and how it is.

        Raises:
            ResourceNotFound.
        """
        found = self._transport.run(flows.get(self._transport.space, _name(name)))
        return flows.info(found)

    def list(self, prefix: str = "", *, state: StateValue | None = None) -> Infos:
        """All alarms with their states.

        Args:
            prefix: only those whose names begin with it.
            state: only those in this state.

        Returns:
            They, in order of names. Those that cannot be read are left out.
        """
        prefix = arguments.text("prefix", prefix)
        if state is not None:
            _state(state)
        found = self._transport.run(read_all(self._transport.space))
        infos = [flows.info(each) for each in found.alarms.values() if each.alarm is not None]
        return [i for i in infos if i.name.startswith(prefix) and state in (None, i.state.value)]

    def delete(self, *names: str) -> None:
        """Delete alarms, all of them or none. Their histories stay for two weeks.

        Args:
            names: of the alarms.

        Raises:
            ResourceNotFound: one does not exist.
            InvalidParameterValue: one is in the rule of a composite alarm that is not to be deleted.
        """
        self._transport.run(flows.delete(self._transport.space, _names(names)))

    def set_state(self, name: str, value: StateValue, reason: str, *, reason_data: str = "") -> None:
        """Give an alarm another state, for example to test its actions. The next evaluation, within a minute, gives
        back the state that its data make; a composite alarm keeps it until one of its children changes.

        Args:
            name: of the alarm.
            value: "OK", "ALARM" or "INSUFFICIENT_DATA". If it is another one, the actions are done.
            reason: for people, up to 1,023 characters.
            reason_data: the same for programs, a JSON object of up to 4,000 characters.

        Raises:
            ResourceNotFound, InvalidParameterValue.
        """
        _state(value)
        if not isinstance(reason, str) or not 1 <= len(reason) <= MOST_REASON:
            rule = f"a str of 1 to {MOST_REASON:,} characters"
            raise InvalidParameterValue(f"reason must be {rule}, got {shown(reason)}")
        AlarmState(value, reason, reason_data)  # checks the rest
        self._transport.run(flows.set_state(self._transport.space, _name(name), value, reason, reason_data))

    def history(
        self, name: str | None = None, *, since: Moment | timedelta = TWO_WEEKS, max_events: int = 1000
    ) -> Events:
        """What happened to alarms: changes of states and definitions, and actions, also of deleted alarms. Of an alarm
        the last 2,000 events of two weeks are kept.

        Args:
            name: of an alarm; None = of all.
            since: a datetime with time zone, epoch seconds, or a timedelta before now.
            max_events: how many at most, the newest ones.

        Returns:
            Events, the newest first.
        """
        if name is not None:
            _name(name)
        if isinstance(max_events, bool) or not isinstance(max_events, int) or not 1 <= max_events <= MOST_EVENTS:
            rule = f"an int from 1 to {MOST_EVENTS:,}"
            raise InvalidParameterValue(f"max_events must be {rule}, got {shown(max_events)}")
        if isinstance(since, timedelta):
            before_ms, since_ms = arguments.milliseconds("since", since, 1000 * 14 * 86_400), None
        else:
            before_ms, since_ms = 0, arguments.epoch_ms("since", since)
        return self._transport.run(history(self._transport.space, name, since_ms, before_ms, max_events))

    def enable_actions(self, *names: str) -> None:
        """Let the actions of alarms be done again.

        Args:
            names: of the alarms.

        Raises:
            ResourceNotFound: one does not exist; nothing was changed.
        """
        self._transport.run(flows.enable_actions(self._transport.space, _names(names), enabled=True))

    def disable_actions(self, *names: str) -> None:
        """Let no actions of alarms be done; their states go on changing.

        Args:
            names: of the alarms.

        Raises:
            ResourceNotFound: one does not exist; nothing was changed.
        """
        self._transport.run(flows.enable_actions(self._transport.space, _names(names), enabled=False))

    def tag(self, name: str, tags: Mapping[str, str]) -> None:
        """Set tags of an alarm.

        Args:
            name: of the alarm.
            tags: names to text; others that the alarm has stay.

        Raises:
            ResourceNotFound: there is no such alarm.
            InvalidParameterValue: it would have more than 50.
        """
        checked = pairs("tags", tags, MOST_TAGS, 128, 256, 0)
        self._transport.run(flows.change_tags(self._transport.space, _name(name), checked))

    def untag(self, name: str, *tags: str) -> None:
        """Remove tags of an alarm.

        Args:
            name: of the alarm.
            tags: names of the tags; unknown ones are ignored.

        Raises:
            ResourceNotFound: there is no such alarm.
        """
        removed = [arguments.text("the name of a tag", tag) for tag in tags]
        self._transport.run(flows.change_tags(self._transport.space, _name(name), {}, removed))

    def evaluation(self) -> AlarmEvaluation | None:
        """When all alarms were evaluated last. If nobody evaluates them, they stay as they are and nobody is woken:
        look whether `age_s` is below 180.

        Returns:
            The last evaluation; None if there was none.
        """
        return self._transport.run(flows.evaluation(self._transport.space))


def _name(name: str) -> str:
    if not isinstance(name, str) or not 1 <= len(name) <= MOST_NAME:
        rule = f"a str of 1 to {MOST_NAME} characters"
        raise InvalidParameterValue(f"name of an alarm must be {rule}, got {shown(name)}")
    return name


def _names(names: tuple[str, ...]) -> tuple[str, ...]:
    if not names:
        raise MissingParameter("names must have the name of one alarm at least, got none")
    return tuple(_name(name) for name in dict.fromkeys(names))


def _state(value: StateValue) -> None:
    if value not in STATES:
        raise InvalidParameterValue(f"a state must be one of {', '.join(STATES)}, got {shown(value)}")
