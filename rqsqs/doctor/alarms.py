"""Checks of alarms: does somebody evaluate them, and do their actions?"""

from __future__ import annotations

from collections.abc import Iterator

import rqsqs
from rqsqs._core.alarm_records import AlarmHealth
from rqsqs._core.operations.alarms import read_health
from rqsqs._io.server_checks import Finding
from rqsqs.inspection import words

HOUR_S, DAY_S = 3600, 86_400


def check_alarms(connection: rqsqs.Connection) -> Iterator[Finding]:
    """Does somebody evaluate the alarms, and do their actions?"""
    try:
        health: AlarmHealth = connection.transport.run(read_health(connection.transport.space))
    except rqsqs.RqsqsError as error:
        yield Finding("alarms", "fail", f"the alarms cannot be looked at: {error}", "see the findings above")
    else:
        yield from judge(health)


def judge(health: AlarmHealth) -> Iterator[Finding]:
    """The same by what was read."""
    last = health.evaluation
    start = "start `rqsqs alarms run`, or a gateway with --alarms, or a worker with --actions"
    if health.is_late:
        number = words.counted(health.alarms, "alarm") if health.alarms else words.counted(health.rules, "rule")
        text = f"nobody evaluates {number}"
        text += "" if last is None else f"; {last.evaluator} did last, {words.age(last.age_s)} ago"
        yield Finding("alarms", "fail", text, f"{start}; see its log")
    elif health.alarms + health.rules:
        assert last is not None
        text = f"{words.counted(health.alarms, 'alarm')}, evaluated {words.age(last.age_s)} ago by {last.evaluator}"
        yield Finding("alarms", "ok", text)
    else:
        yield Finding("alarms", "ok", "no alarms, so nobody is woken; rqsqs alarms defaults QUEUE sets some")
    if last is not None and last.failed and not health.is_late:
        text = f"{words.counted(last.failed, 'alarm')} could not be evaluated"
        yield Finding("alarms", "warn", text, f"the log of {last.evaluator} says why")
    yield from _check_actions(health, start)


def _check_actions(health: AlarmHealth, start: str) -> Iterator[Finding]:
    waiting = words.counted(health.waiting, "action")
    if health.is_overdue:
        text = f"nobody does the actions of alarms; {waiting} not done, the first due for {words.age(health.overdue_s)}"
        yield Finding("actions", "fail", text, f"{start}; see its log")
    advice = "rqsqs alarms history tells which, and why"
    given_up, failed, done = (health.since(outcome) for outcome in ("given_up", "failed", "done"))
    if given_up is not None and given_up < DAY_S:
        text = f"an action of an alarm failed and was given up {words.age(given_up)} ago"
        yield Finding("actions", "warn", text, advice)
    elif failed is not None and failed < HOUR_S and health.waiting and (done is None or failed < done):
        text = f"actions of alarms fail, the last one {words.age(failed)} ago; {waiting} to be tried again"
        yield Finding("actions", "warn", text, advice)
