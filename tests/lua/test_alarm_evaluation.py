"""Evaluations of all alarms: by the histories of queues, minute by minute, in virtual time."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest

from rqsqs._core import flows
from rqsqs._core.flows import alarm_histories, alarms
from rqsqs._core.flows.alarm_states import read_all
from rqsqs._core.flows.metric_history import sample
from rqsqs._core.keys import QueueRef
from rqsqs._core.operation import Sleep
from rqsqs._core.operations import alarms as operations
from rqsqs._core.operations.events import read_events
from rqsqs._core.operations.metric_history import append
from rqsqs.alarm_models import Alarm, CompositeAlarm, MetricQuery
from rqsqs.alarms import evaluator
from rqsqs.alarms.evaluator import Evaluator, evaluate_all
from rqsqs.metric_models import QueueMetrics
from tests.lua.conftest import Engine

MINUTE_MS = 60_000


@pytest.fixture
def q(engine: Engine) -> QueueRef:
    engine.clock.advance_ms(-engine.clock.ms % MINUTE_MS)
    return engine.queue("q")


def deep(name: str = "deep", **options: Any) -> Alarm:
    given = {"metric_name": "visible", "queue": "q", "threshold": 2, "comparison_operator": ">"}
    return Alarm(name, **{**given, **options})  # type: ignore[arg-type]


def put(engine: Engine, *given: Alarm | CompositeAlarm) -> None:
    for alarm in given:
        engine.run(alarms.put(engine.transport.space, alarm))


def evaluate(engine: Engine) -> Any:
    return engine.run(evaluate_all(engine.transport.space, "me"))


def states(engine: Engine) -> dict[str, str]:
    found = engine.run(read_all(engine.transport.space)).alarms
    return {name: each.state.value for name, each in found.items()}


def a_minute(engine: Engine, minutes: int = 1) -> Any:
    """Let minutes pass, sample each of them, then evaluate."""
    for _ in range(minutes):
        engine.clock.advance_ms(MINUTE_MS)
        engine.run(sample(engine.transport.space))
    return evaluate(engine)


def test_what_happens_in_a_queue_changes_the_state(engine: Engine, q: QueueRef) -> None:
    put(engine, deep(evaluation_periods=2, alarm_actions=["log:"], ok_actions=["log:"]))
    assert a_minute(engine, 2).alarms == 1
    assert states(engine) == {"deep": "OK"}
    engine.send(q, 1, 2, 3)
    a_minute(engine)
    assert states(engine) == {"deep": "OK"}
    a_minute(engine)
    assert states(engine) == {"deep": "ALARM"}
    engine.run(flows.purge_queue(q, engine.limits))
    a_minute(engine)
    assert states(engine) == {"deep": "OK"}
    reason = engine.run(alarms.get(engine.transport.space, "deep")).state.reason
    assert reason.startswith("Threshold Crossed")
    assert engine.execute(operations.read_actions(engine.transport.space)).length == 3


def test_a_minute_is_evaluated_once_and_none_is_left_out(engine: Engine, q: QueueRef) -> None:
    put(engine, deep())
    first = a_minute(engine)
    assert evaluate(engine) is None
    engine.send(q, 1, 2, 3)
    engine.clock.advance_ms(MINUTE_MS)
    engine.run(sample(engine.transport.space))
    engine.run(flows.purge_queue(q, engine.limits))
    second = a_minute(engine)
    assert second.minute == first.minute + 2
    events = engine.run(alarm_histories.history(engine.transport.space, "deep", 0, 0, 100))
    assert [event.summary.partition(" from ")[2] for event in reversed(events)] == [
        "", "INSUFFICIENT_DATA to OK", "OK to ALARM", "ALARM to OK",
    ]  # fmt: skip


def test_a_long_time_without_an_evaluator_is_not_made_up_for(engine: Engine, q: QueueRef) -> None:
    put(engine, deep())
    first = a_minute(engine)
    engine.clock.advance_ms(600 * MINUTE_MS)
    assert evaluate(engine).minute == first.minute + 600
    engine.clock.advance_ms(-300 * MINUTE_MS)  # the clock was put back
    assert a_minute(engine).minute == first.minute + 301


def test_a_queue_that_does_not_exist_has_no_data(engine: Engine, q: QueueRef) -> None:
    put(engine, deep(queue="none"), deep("other", queue="none", treat_missing_data="breaching"))
    done = a_minute(engine)
    assert (done.alarms, done.failed) == (2, 0)
    assert states(engine) == {"deep": "INSUFFICIENT_DATA", "other": "ALARM"}


def test_what_cannot_be_evaluated_is_counted_and_stops_nothing(engine: Engine, q: QueueRef) -> None:
    put(engine, deep("a"), deep("b"), deep("c"))
    engine.redis.hset(engine.transport.space.alarms("definitions")[0], "b", "no JSON")
    done = a_minute(engine)
    assert (done.alarms, done.failed) == (3, 1)
    assert states(engine) == {"a": "OK", "b": "INSUFFICIENT_DATA", "c": "OK"}


def test_a_mistake_of_ours_about_one_alarm_stops_no_other(
    engine: Engine, q: QueueRef, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    put(engine, deep("a"), deep("b"), deep("c"))
    known = evaluator.decide

    def decide(alarm: Alarm, *rest: Any) -> Any:
        return known(alarm, *rest) if alarm.name != "b" else 1 / 0

    monkeypatch.setattr(evaluator, "decide", decide)
    done = a_minute(engine)
    assert (done.alarms, done.failed) == (3, 1)
    assert states(engine) == {"a": "OK", "b": "INSUFFICIENT_DATA", "c": "OK"}
    assert "the alarm 'b' was not evaluated" in caplog.text


def test_metric_math_over_two_queues(engine: Engine, q: QueueRef) -> None:
    engine.queue("other")
    metrics = [
        MetricQuery("a", metric_name="visible", queue="q", return_data=False),
        MetricQuery("b", metric_name="visible", queue="other", return_data=False),
        MetricQuery("both", expression="a + b"),
    ]
    put(engine, Alarm("sum", metrics=metrics, threshold=3, comparison_operator=">="))
    engine.send(q, 1, 2)
    a_minute(engine)
    assert states(engine) == {"sum": "OK"}
    engine.send(engine.transport.queue("other"), 1)
    a_minute(engine)
    assert states(engine) == {"sum": "ALARM"}


def test_composite_alarms_follow_in_the_same_minute(engine: Engine, q: QueueRef) -> None:
    put(engine, deep(), CompositeAlarm("up", "ALARM(deep)"), CompositeAlarm("top", "ALARM(up)"))
    engine.send(q, 1, 2, 3)
    a_minute(engine)
    assert states(engine) == {"deep": "ALARM", "up": "ALARM", "top": "ALARM"}


def test_a_state_that_was_set_is_given_back_by_the_next_evaluation(engine: Engine, q: QueueRef) -> None:
    put(engine, deep())
    a_minute(engine)
    engine.run(alarms.set_state(engine.transport.space, "deep", "ALARM", "a test", ""))
    a_minute(engine)
    assert states(engine) == {"deep": "OK"}


def test_one_process_has_the_lease(engine: Engine, q: QueueRef) -> None:
    put(engine, deep())
    engine.clock.advance_ms(MINUTE_MS)
    first, second = Evaluator(engine.transport.space), Evaluator(engine.transport.space)
    assert engine.run(first.turn()).evaluator == first.name
    assert engine.run(second.turn()) is None
    assert first.is_holder
    assert not second.is_holder
    assert second.holder == first.name
    assert 0 <= first.delay() <= 60


def expected(alarm: Alarm, values: list[float | None], before: str) -> str:
    """What CloudWatch's guide says, in the plain form of its tables."""
    number, needed = alarm.evaluation_periods, alarm.datapoints_to_alarm or alarm.evaluation_periods
    window = values[-(number + max(2, number // 3)) :]
    breaching = [None if v is None else v > alarm.threshold for v in window]
    real = [b for b in breaching if b is not None]
    treatment = alarm.treat_missing_data or "missing"
    if len(real) >= number:
        return "ALARM" if sum(real[-number:]) >= needed else "OK"
    if not real:
        return {"missing": "INSUFFICIENT_DATA", "ignore": before, "breaching": "ALARM", "notBreaching": "OK"}[treatment]
    if treatment == "breaching":
        return "ALARM" if sum(real) + number - len(real) >= needed else "OK"
    if sum(real) >= needed:
        return "ALARM"
    if treatment == "notBreaching" or not all(real):
        return "OK"
    age = len(breaching) - breaching.index(True)
    return "ALARM" if treatment == "missing" and age >= needed else before


@pytest.mark.either_server
def test_a_day_of_alarms_is_as_an_independent_evaluator_says(engine: Engine, q: QueueRef) -> None:
    draw = random.Random(3)
    given = [
        deep(f"{number} {needed} {treatment}", evaluation_periods=number, datapoints_to_alarm=needed,
             treat_missing_data=treatment)
        for number, needed in ((1, None), (3, None), (3, 2), (5, 3))
        for treatment in ("missing", "ignore", "breaching", "notBreaching")
    ]  # fmt: skip
    put(engine, *given)
    created_ms = int(engine.redis.hget(q.home.base + "meta", "created_us") or 0) // 1000
    values: list[float | None] = [None] * 20
    wanted = dict.fromkeys([alarm.name for alarm in given], "INSUFFICIENT_DATA")
    kind = 0
    for _ in range(24 * 60):
        kind = draw.choices([kind, 0, 1, 2], [8, 1, 1, 1])[0]
        engine.clock.advance_ms(MINUTE_MS)
        value = (0, 9, None)[kind]
        values.append(value)
        if value is not None:
            metrics = QueueMetrics("q", engine.clock.ms, created_ms, visible=value)
            engine.execute(append(q.home, metrics))
        evaluate(engine)
        seen = values
        if value is None and values[-2] is not None:  # late: the queue itself is read, which is empty
            seen = [*values[:-1], 0]
        wanted = {alarm.name: expected(alarm, seen, wanted[alarm.name]) for alarm in given}
        assert states(engine) == wanted


def test_transitions_are_told_a_few_of_each_evaluation(engine: Engine, q: QueueRef) -> None:
    """And each once an hour, so that what flaps does not push other events out of the stream."""
    alarms_of_queue = [deep(f"deep {n:02}") for n in range(12)]
    other = [deep("never", threshold=100)]
    put(engine, *alarms_of_queue, *other, CompositeAlarm("page", "ALARM(never)"))
    a_minute(engine)  # all of them OK
    engine.send(q, 1, 2, 3)
    a_minute(engine)
    engine.run(flows.purge_queue(q, engine.limits))
    a_minute(engine)
    engine.clock.advance_ms(40_000)
    page = engine.execute(read_events(engine.transport.space, "", "0"))
    told = [event for event in page.events if event.detail.get("change") == "state"]
    by_state = Counter(event.after.get("StateValue", "more") for event in told)
    assert by_state["ALARM"] == 10
    assert {event.queue for event in told if event.after.get("StateValue") == "ALARM"} == {"q"}
    assert [event.detail["more_alarms"] for event in told if "more_alarms" in event.detail] == [3, 2, 2]
    once = Counter((event.detail.get("alarm"), event.after.get("StateValue")) for event in told if event.after)
    assert max(once.values()) == 1
    assert "Threshold Crossed" in str(told[1].detail["reason"])


def test_many_queues_are_read_in_few_round_trips(engine: Engine, q: QueueRef) -> None:
    names = [f"q{n:02}" for n in range(60)]
    for name in names:
        its = engine.queue(name)
        if bodies := range(int(name[1:]) % 3):
            engine.send(its, *bodies)
        put(engine, deep(name, queue=name, threshold=1), deep(f"{name}-old", queue=name, metric_name="oldest_age_s"))
    a_minute(engine)
    assert {name for name, state in states(engine).items() if state == "ALARM"} == {
        *[name for name in names if int(name[1:]) % 3 == 2],
        *[f"{name}-old" for name in names if int(name[1:]) % 3],
    }
    engine.clock.advance_ms(MINUTE_MS)
    engine.run(sample(engine.transport.space))
    trips, answer = 0, None
    flow = evaluate_all(engine.transport.space, "me")

    def alone(step: Any) -> Any:
        return (yield step)

    try:
        while True:
            step = flow.send(answer)
            trips += not isinstance(step, Sleep)
            answer = engine.run(alone(step))
    except StopIteration as end:
        done = end.value
    assert (done.alarms, done.failed) == (120, 0)
    assert trips <= 8
