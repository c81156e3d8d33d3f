"""Who evaluates the alarms of a prefix, and when.

Once a minute, when the metrics of the minute before have been sampled, one of all processes that could do so evaluates
all alarms. A lease says which, as with samples (rqsqs/metrics/sampling.py). Minutes that nobody evaluated are made up
for, one by one. An evaluator that dies, or two at the same time, do no harm: a transition is one step, made once
(set_alarm_state.lua), and its actions are in the outbox from then on.
"""

from __future__ import annotations

import logging
import os
import random
import time
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from rqsqs._core.alarm_records import AlarmEvaluation
from rqsqs._core.flows.alarm_events import Transition, tell_transitions
from rqsqs._core.flows.alarm_states import following, moved, read_all, read_some, settle, transition
from rqsqs._core.flows.metric_history import Wanted
from rqsqs._core.flows.metric_history import measured as minutes_of
from rqsqs._core.flows.server_memory import memory_history
from rqsqs._core.keys import Keyspace
from rqsqs._core.metric_history import Chosen
from rqsqs._core.operation import Flow
from rqsqs._core.operations.alarms import Stored, mark_evaluation
from rqsqs._core.operations.leases import take_lease
from rqsqs.alarm_models import CREATED, Alarm
from rqsqs.errors import QueueDoesNotExist, RequestError, RqsqsError
from rqsqs.metric_models import HistoryPoint

from .evaluation import Decision, evaluate, interval_s, span_of
from .math import SERVER, measured, of_histories, sources
from .reasons import reason_data_of, reason_of
from .statistics import needed

if TYPE_CHECKING:
    from rqsqs._core.flows.alarm_states import Everything

log = logging.getLogger("rqsqs.alarms")

MINUTE_MS = 60_000
HELD_MS = 59_000  # less than a minute: whoever comes first in the next one gets it
FIRST_S, OTHERS_S = 15.0, (20.0, 30.0)  # after the beginning of a minute: who had the lease, and all others
MADE_UP_FOR = 15  # minutes that nobody evaluated
MOST_TRIES = 5
Histories = Mapping[str, "list[HistoryPoint] | RequestError"]


class Evaluator:
    """One process that evaluates the alarms of a prefix when it is its turn.

    Attributes:
        name: HOST-PID-RANDOM.
        holder: who had the lease when it looked.
        last: its last evaluation.
    """

    def __init__(self, space: Keyspace) -> None:
        self.space = space
        host = os.uname().nodename if hasattr(os, "uname") else "host"
        self.name = f"{host}-{os.getpid()}-{os.urandom(3).hex()}"
        self.holder = ""
        self.last: AlarmEvaluation | None = None
        self._ahead_ms = 0.0  # of our clock is the server's
        self._trouble = ""

    @property
    def is_holder(self) -> bool:
        return self.holder == self.name

    def delay(self) -> float:
        """Seconds until it is to look again."""
        after_ms = 1000 * (FIRST_S if self.is_holder else random.uniform(*OTHERS_S))
        now_ms = time.time() * 1000 + self._ahead_ms
        return ((after_ms - now_ms) % MINUTE_MS) / 1000 or 60.0

    def turn(self) -> Flow[AlarmEvaluation | None]:
        """Evaluate if nobody else has the lease; None = somebody has, or it is done."""
        (lease,) = self.space.alarms("evaluator")
        self.holder, now_ms = yield take_lease(lease, self.name, HELD_MS)
        self._ahead_ms = now_ms - time.time() * 1000
        done = (yield from self.evaluate()) if self.is_holder else None
        self._trouble = ""
        return done

    def evaluate(self) -> Flow[AlarmEvaluation | None]:
        """Evaluate, whoever has the lease; None = this minute is done."""
        done: AlarmEvaluation | None = yield from evaluate_all(self.space, self.name)
        self.last = done or self.last
        return done

    def leave(self) -> Flow[None]:
        """Give the lease up, so that who comes next need not wait until it ends."""
        if self.is_holder:
            self.holder = ""
            (lease,) = self.space.alarms("evaluator")
            yield take_lease(lease, self.name, 1)

    def failed(self, error: Exception) -> None:
        """Say that a turn failed, if that was not said last time."""
        if not isinstance(error, RqsqsError):
            log.error("alarms were not evaluated", exc_info=error)
        elif str(error) != self._trouble:
            log.error("alarms were not evaluated: %s", error)
            self._trouble = str(error)


def evaluate_all(space: Keyspace, evaluator: str) -> Flow[AlarmEvaluation | None]:
    """Evaluate all alarms for each minute that is over and was not evaluated; None = there is none."""
    began = time.monotonic()
    known: Everything = yield from read_all(space)
    newest = known.now_ms // MINUTE_MS
    last = known.evaluated.minute if known.evaluated else newest - 1
    if last > newest + 60:  # the clock was put back
        last = newest - 1
    minutes = range(max(last + 1, newest - MADE_UP_FOR + 1), newest + 1)
    if not minutes:
        return None
    alarms = known.alarms
    histories: Histories = yield from _histories(space, alarms.values(), minutes)
    done = None
    for minute in minutes:
        failed = 0
        made: list[Transition] = []
        for name in list(alarms):
            found = yield from _evaluate(space, alarms, name, histories, minute, known.now_ms, made)
            if found is None:
                return done  # another process is ahead of this one
            failed += not found
        for _ in range(MOST_TRIES):
            if (yield from settle(space, alarms, known.now_ms, made, minute=minute)):
                break
            fresh: Everything = yield from read_all(space)
            if _is_done(fresh, minute):
                return done
            alarms = fresh.alarms
        yield from tell_transitions(space, made)
        took_ms = round((time.monotonic() - began) * 1000)
        done = AlarmEvaluation(known.now_ms, 0.0, minute, evaluator, len(alarms), failed, took_ms)
        if not (yield mark_evaluation(space, done)):
            return done
    return done


def decide(alarm: Alarm, histories: Histories, minute: int, current: Stored) -> Decision:
    """What the data until a minute make of an alarm.

    Raises:
        RequestError: a queue cannot be read, or there is something wrong with an expression.
    """
    points: dict[str, list[HistoryPoint]] = {}
    for queue in sources(alarm):
        found = histories.get(queue, [])
        if isinstance(found, RequestError):
            raise found
        points[queue] = found
    return evaluate(alarm, measured(alarm, minute * MINUTE_MS, of_histories(points)), current.state.value)


def _evaluate(
    space: Keyspace,
    alarms: dict[str, Stored],
    name: str,
    histories: Histories,
    minute: int,
    now_ms: int,
    made: list[Transition],
) -> Flow[bool | None]:
    """Evaluate an alarm; False = that is not possible, None = this minute was evaluated already."""
    for _ in range(MOST_TRIES):
        known = alarms[name]
        alarm = known.alarm
        if not isinstance(alarm, Alarm):
            return alarm is not None
        if minute * 60 % interval_s(alarm) and known.state.reason != CREATED:
            return True
        try:
            decision = decide(alarm, histories, minute, known)
            if decision.state == known.state.value:
                return True
            text, data = reason_of(alarm, decision), reason_data_of(alarm, decision, now_ms)
        except RequestError as error:
            log.warning("the alarm %r was not evaluated: %s", name, error)
            return False
        except Exception:
            log.exception("the alarm %r was not evaluated, by a mistake of ours", name)
            return False
        state = following(known.state, decision.state, text, data, now_ms)
        if (yield transition(space, known, state, minute=minute)):
            alarms[name] = moved(known, state)
            made.append((known, state))
            log.info("%s is %s, was %s: %s", name, state.value, known.state.value, text)
            return True
        fresh: Everything = yield from read_some(space, [name])
        if _is_done(fresh, minute):
            return None
        if name not in fresh.alarms:
            del alarms[name]
            return True
        alarms[name] = fresh.alarms[name]
    return False


def _is_done(known: Everything, minute: int) -> bool:
    """Was a minute evaluated? A much later one is left from before the clock was put back."""
    return known.evaluated is not None and minute <= known.evaluated.minute <= minute + 60


def _histories(space: Keyspace, alarms: Iterable[Stored], minutes: range) -> Flow[Histories]:
    """The histories of the queues, and of the server, that the alarms look at, as far back as they look."""
    since: dict[str, int] = {}
    names: dict[str, set[str]] = {}
    for each in alarms:
        if isinstance(each.alarm, Alarm):
            begin_ms, _ = span_of(each.alarm, minutes[0] * MINUTE_MS)
            since |= {queue: min(begin_ms, since.get(queue, begin_ms)) for queue in sources(each.alarm)}
            for query in each.alarm.queries:
                if query.queue is not None and query.metric_name is not None:
                    names.setdefault(query.queue, set()).update(needed(query.metric_name))
    found: dict[str, list[HistoryPoint] | RequestError] = {}
    until_ms = minutes[-1] * MINUTE_MS
    if SERVER in since:
        try:
            found[SERVER] = yield from memory_history(space, since.pop(SERVER), until_ms)
        except RequestError as error:
            found[SERVER] = error
    wanted = [Wanted(space.queue(queue), at_ms, until_ms, Chosen.of(names[queue])) for queue, at_ms in since.items()]
    for one, points in zip(wanted, (yield from minutes_of(wanted, _as_they_are)), strict=True):
        found[one.q.name] = [] if isinstance(points, QueueDoesNotExist) else points
    return found


def _as_they_are(_: Wanted, points: list[HistoryPoint]) -> Flow[list[HistoryPoint]]:
    yield from ()
    return points
