"""Alarms as they are read: with their states, when they were evaluated, and actions that wait to be done."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from rqsqs.alarm_models import Alarm, AlarmState, CompositeAlarm, alarm_of
from rqsqs.event_models import Event

REGION, ACCOUNT = "us-east-1", "000000000000"
LATE_S = 180  # without an evaluation: nobody does it


@dataclass(frozen=True, slots=True)
class AlarmInfo:
    """An alarm with its state.

    Attributes:
        alarm: an Alarm or a CompositeAlarm.
        state: its present state.
    """

    __module__ = "rqsqs"

    alarm: Alarm | CompositeAlarm
    state: AlarmState

    @property
    def name(self) -> str:
        """Of the alarm."""
        return self.alarm.name

    def to_json(self) -> dict[str, Any]:
        """Both, with the names of CloudWatch's DescribeAlarms."""
        return self.alarm.to_json() | self.state.to_json()


@dataclass(frozen=True, slots=True)
class AlarmEvaluation:
    """An evaluation of all alarms.

    Attributes:
        at_ms: when it was done, epoch ms.
        age_s: how long ago that was when it was read, by the server's clock.
        minute: it took data until the beginning of this minute since 1970.
        evaluator: the process that did it: HOST-PID-RANDOM.
        alarms: how many there were.
        failed: how many of them could not be evaluated.
        took_ms: how long it took.
    """

    __module__ = "rqsqs"

    at_ms: int
    age_s: float
    minute: int
    evaluator: str = ""
    alarms: int = 0
    failed: int = 0
    took_ms: int = 0

    @property
    def is_late(self) -> bool:
        """Does nobody seem to evaluate any more, by its age?"""
        return self.age_s > LATE_S

    def to_json(self) -> dict[str, Any]:
        """As it is stored: without the age and the minute."""
        names = ("at_ms", "evaluator", "alarms", "failed", "took_ms")
        return {name: getattr(self, name) for name in names}


@dataclass(frozen=True, slots=True)
class AlarmHealth:
    """Whether somebody evaluates alarms, and does their actions.

    Attributes:
        now_ms: the server's time.
        alarms, rules: how many alarms there are, and rules for events, which the same processes follow.
        evaluation: the last one; None if there was none.
        waiting: actions that are not done yet: due, at work, or to be tried again.
        overdue_s: how long the first of them has been due without anybody having begun it.
        counts: attempts of actions by outcome (`done`, `failed`, `given_up`), and when the last one had it (`done_at`
            ...), epoch ms.
    """

    now_ms: int
    alarms: int
    rules: int
    evaluation: AlarmEvaluation | None
    waiting: int
    overdue_s: float
    counts: Mapping[str, int]

    @property
    def is_late(self) -> bool:
        """Are there alarms that nobody evaluates, or rules that nobody follows?"""
        return self.alarms + self.rules > 0 and (self.evaluation is None or self.evaluation.is_late)

    @property
    def is_overdue(self) -> bool:
        """Does nobody do actions?"""
        return self.overdue_s > LATE_S

    def since(self, outcome: str) -> float | None:
        """Seconds since an action ended in this way; None = none did."""
        at_ms = self.counts.get(f"{outcome}_at")
        return None if at_ms is None else max(self.now_ms - at_ms, 0) / 1000


@dataclass(frozen=True, slots=True)
class PutBy:
    """Whose right to send messages an alarm has, if a gateway's caller put it.

    Attributes:
        arn: of the caller.
        relies: names of queues to which it may send by their own policies alone.
    """

    arn: str
    relies: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """As it is stored."""
        return {"Arn": self.arn, "Relies": list(self.relies)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any] | None) -> PutBy | None:
        """From what is stored; None = a program with access to Redis put it, which may do everything."""
        return None if data is None else cls(str(data["Arn"]), tuple([str(name) for name in data["Relies"]]))


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """An action to be done, because an alarm went from one state to another.

    Attributes:
        id: its idempotency key: the same whenever this action of this transition is tried.
        action: what to do, as the alarm names it.
        alarm: as it was.
        before, state: the two states.
        attempts: how often it was tried.
        put_by: of the alarm.
    """

    id: str
    action: str
    alarm: Alarm | CompositeAlarm
    before: AlarmState
    state: AlarmState
    attempts: int = 0
    put_by: PutBy | None = None

    @property
    def name(self) -> str:
        """Of the alarm."""
        return self.alarm.name

    def tried(self) -> OutboxEntry:
        """The same after one more attempt."""
        return replace(self, attempts=self.attempts + 1)

    def to_json(self) -> dict[str, Any]:
        """As it is stored, below its id."""
        return {
            "Action": self.action,
            "Attempts": self.attempts,
            "Alarm": self.alarm.to_json(),
            "OldState": self.before.to_json(),
            "NewState": self.state.to_json(),
            **({} if self.put_by is None else {"PutBy": self.put_by.to_json()}),
        }

    @classmethod
    def from_json(cls, id: str, data: Mapping[str, Any]) -> OutboxEntry:
        """From what is stored."""
        return cls(
            id,
            str(data["Action"]),
            alarm_of(data["Alarm"]),
            AlarmState.from_json(data["OldState"]),
            AlarmState.from_json(data["NewState"]),
            int(data["Attempts"]),
            PutBy.from_json(data.get("PutBy")),
        )


@dataclass(frozen=True, slots=True)
class RuleEntry:
    """An action to be done, because an event matched a rule.

    Attributes:
        id, action, attempts: as in OutboxEntry.
        name: of the rule.
        event: that matched.
    """

    id: str
    action: str
    name: str
    event: Event
    attempts: int = 0

    def tried(self) -> RuleEntry:
        """The same after one more attempt."""
        return replace(self, attempts=self.attempts + 1)

    def to_json(self) -> dict[str, Any]:
        """As it is stored, below its id."""
        return {"Action": self.action, "Attempts": self.attempts, "Rule": self.name, "Event": self.event.to_json()}

    @classmethod
    def from_json(cls, id: str, data: Mapping[str, Any]) -> RuleEntry:
        """From what is stored."""
        event = Event.from_json(data["Event"])
        return cls(id, str(data["Action"]), str(data["Rule"]), event, int(data["Attempts"]))


Entry = OutboxEntry | RuleEntry


def entry_of(id: str, data: Mapping[str, Any]) -> Entry:
    """An entry of the outbox from what is stored."""
    return RuleEntry.from_json(id, data) if "Rule" in data else OutboxEntry.from_json(id, data)


def arn_of(name: str, region: str = REGION, account: str = ACCOUNT) -> str:
    """The ARN of an alarm."""
    return f"arn:aws:cloudwatch:{region}:{account}:alarm:{name}"


def rule_arn_of(name: str, region: str = REGION, account: str = ACCOUNT) -> str:
    """The ARN of a rule for events."""
    return f"arn:aws:events:{region}:{account}:rule/{name}"


def timestamp(at_ms: int) -> str:
    """Such as 2019-10-02T17:04:40.985+0000."""
    when = datetime.fromtimestamp(at_ms // 1000, UTC)
    return f"{when:%Y-%m-%dT%H:%M:%S}.{at_ms % 1000:03}+0000"


def history_data_of(before: AlarmState, after: AlarmState) -> dict[str, Any]:
    """The data of an entry of the history that tells of a transition."""
    return {"version": "1.0", "oldState": _state(before), "newState": _state(after)}


def _state(state: AlarmState) -> dict[str, Any]:
    data = {"stateReasonData": json.loads(state.reason_data)} if state.reason_data else {}
    return {"stateValue": state.value, "stateReason": state.reason, **data}
