"""Alarms as they are stored: definitions, states, histories and actions; and that each transition happens once."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest

from rqsqs._core.alarm_records import AlarmEvaluation, AlarmHealth
from rqsqs._core.flows import alarm_histories, alarm_states, alarms
from rqsqs._core.operation import Sleep
from rqsqs._core.operations import alarms as operations
from rqsqs.alarm_models import Alarm, AlarmEvent, AlarmState, CompositeAlarm
from rqsqs.errors import InvalidParameterValue, OverLimit, ResourceNotFound
from tests.lua.conftest import Engine

DAY_MS = 86_400_000


def late(name: str = "late", **options: Any) -> Alarm:
    given = {"metric_name": "oldest_age_s", "queue": "q", "threshold": 60, "comparison_operator": ">"}
    return Alarm(name, **{**given, **options})  # type: ignore[arg-type]


class Store:
    """Short names."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.space = engine.transport.space

    def put(self, *given: Alarm | CompositeAlarm) -> None:
        for alarm in given:
            self.engine.run(alarms.put(self.space, alarm))

    def get(self, name: str) -> operations.Stored:
        found = self.engine.run(alarms.get(self.space, name))
        assert isinstance(found, operations.Stored)
        return found

    def set(self, name: str, value: str, reason: str = "because", data: str = "") -> None:
        self.engine.clock.advance_ms(10)
        self.engine.run(alarms.set_state(self.space, name, value, reason, data))  # type: ignore[arg-type]
        self.engine.clock.advance_ms(10)

    def states(self) -> dict[str, str]:
        found = self.engine.run(alarm_states.read_all(self.space))
        return {name: each.state.value for name, each in found.alarms.items()}

    def history(self, name: str | None = None, most: int = 1000) -> list[AlarmEvent]:
        found = self.engine.run(alarm_histories.history(self.space, name, 0, 0, most))
        assert isinstance(found, list)
        return found

    def summaries(self, name: str | None = None) -> list[str]:
        return [event.summary for event in self.history(name)]

    def due(self) -> operations.Due:
        found = self.engine.execute(operations.read_actions(self.space))
        assert isinstance(found, operations.Due)
        return found


@pytest.fixture
def store(engine: Engine) -> Store:
    return Store(engine)


def test_an_alarm_is_kept_as_it_was_put_and_starts_unchecked(store: Store) -> None:
    alarm = late(evaluation_periods=3, alarm_actions=["log:"], tags={"team": "blue"}, description="é \N{SNOWMAN}")
    store.put(alarm)
    found = store.get("late")
    assert found.alarm == alarm
    assert found.alarm is not None
    assert found.alarm.updated_at_ms == store.engine.clock.ms
    assert found.state == AlarmState(
        "INSUFFICIENT_DATA", "Unchecked: Initial alarm creation", "", store.engine.clock.ms, store.engine.clock.ms
    )
    assert store.summaries() == ['Alarm "late" created']


def test_an_update_replaces_the_definition_and_keeps_the_state(store: Store) -> None:
    store.put(late(description="one"))
    store.set("late", "ALARM")
    store.put(late(threshold=5))
    found = store.get("late")
    assert found.alarm == late(threshold=5)
    assert found.state.value == "ALARM"
    assert store.summaries()[0] == 'Alarm "late" updated'


def test_an_alarm_cannot_become_one_of_the_other_kind(store: Store) -> None:
    store.put(late(), CompositeAlarm("both", "ALARM(late)"))
    with pytest.raises(InvalidParameterValue, match="must stay what it is"):
        store.put(late("both"))


def test_two_that_put_at_the_same_time_both_succeed(store: Store) -> None:
    """The second one finds that the definitions have changed, and starts again."""
    first = alarms.put(store.space, CompositeAlarm("a", "ALARM(late)"))
    store.put(late())
    step, replies = next(first), 0
    while replies < 2:
        step, replies = first.send(store.engine.execute(step)), replies + 1
    store.put(late("other"))
    while True:
        try:
            step = first.send(None if isinstance(step, Sleep) else store.engine.execute(step))
        except StopIteration:
            break
    assert store.states() == {"a": "OK", "late": "INSUFFICIENT_DATA", "other": "INSUFFICIENT_DATA"}


def test_more_alarms_than_one_page_are_all_read(store: Store) -> None:
    store.put(*[late(f"alarm {n:03} {'x' * 100}") for n in range(130)])
    assert len(store.states()) == 130
    assert list(store.states()) == sorted(store.states())


def test_there_are_not_more_alarms_than_allowed(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(operations, "MOST", 2)
    store.put(late("a"), late("b"))
    with pytest.raises(OverLimit):
        store.put(late("c"))
    store.put(late("b", threshold=1))


def test_a_transition_writes_state_history_and_actions(store: Store) -> None:
    store.put(late(alarm_actions=["log:", "https://example.com/x"], ok_actions=["log:ok"]))
    store.set("late", "ALARM", "a test", '{"x":1}')
    state = store.get("late").state
    assert (state.value, state.reason, state.reason_data) == ("ALARM", "a test", '{"x":1}')
    event = store.history("late")[0]
    assert event.summary == "Alarm updated from INSUFFICIENT_DATA to ALARM"
    assert event.data["newState"] == {"stateValue": "ALARM", "stateReason": "a test", "stateReasonData": {"x": 1}}
    due = store.due()
    assert due.length == 2
    assert sorted(entry.action for entry in due.entries) == ["https://example.com/x", "log:"]
    assert {(entry.before.value, entry.state.value) for entry in due.entries} == {("INSUFFICIENT_DATA", "ALARM")}
    assert len({entry.id for entry in due.entries}) == 2


def test_the_same_state_again_changes_the_reason_and_does_nothing(store: Store) -> None:
    store.put(late(alarm_actions=["log:"]))
    store.set("late", "ALARM", "one")
    began = store.get("late").state.transitioned_at_ms
    store.engine.clock.advance_ms(5000)
    store.set("late", "ALARM", "two")
    state = store.get("late").state
    assert (state.reason, state.transitioned_at_ms, state.updated_at_ms) == ("two", began, began + 5020)
    assert store.due().length == 1
    assert len(store.history("late")) == 2


def test_disabled_actions_are_not_done_and_the_state_moves(store: Store) -> None:
    store.put(late(alarm_actions=["log:"], ok_actions=["log:"]))
    store.engine.run(alarms.enable_actions(store.space, ["late"], enabled=False))
    store.set("late", "ALARM")
    assert store.states() == {"late": "ALARM"}
    assert store.due().length == 0
    store.engine.run(alarms.enable_actions(store.space, ["late"], enabled=True))
    store.set("late", "OK")
    assert store.due().length == 1
    with pytest.raises(ResourceNotFound, match="did you mean 'late'"):
        store.engine.run(alarms.enable_actions(store.space, ["latte"], enabled=False))


@pytest.mark.parametrize("changed", ["state", "definition", "minute", "deleted"])
def test_a_transition_is_refused_if_it_was_decided_by_what_is_not_so_any_more(store: Store, changed: str) -> None:
    store.put(late(alarm_actions=["log:"]))
    known = store.get("late")
    state = alarm_states.following(known.state, "ALARM", "data", "", store.engine.clock.ms)
    if changed == "state":
        store.set("late", "OK")
    elif changed == "definition":
        store.put(late(alarm_actions=["log:"], threshold=61))
    elif changed == "minute":
        assert store.engine.execute(operations.mark_evaluation(store.space, AlarmEvaluation(5, 0, 1000, "x")))
    else:
        store.engine.run(alarms.delete(store.space, ["late"]))
    before = store.summaries("late")
    assert not store.engine.execute(alarm_states.transition(store.space, known, state, minute=1000))
    assert store.summaries("late") == before
    assert store.due().length == 0


def test_of_two_that_make_the_same_transition_one_does(store: Store) -> None:
    store.put(late(alarm_actions=["log:"]))
    known = store.get("late")
    state = alarm_states.following(known.state, "ALARM", "data", "", store.engine.clock.ms)
    operation = alarm_states.transition(store.space, known, state, minute=1000)
    assert [store.engine.execute(operation) for _ in range(3)] == [True, False, False]
    assert store.due().length == 1
    assert store.summaries("late").count("Alarm updated from INSUFFICIENT_DATA to ALARM") == 1


def test_a_later_minute_is_not_marked_as_an_earlier_one(store: Store) -> None:
    mark = operations.mark_evaluation
    at_ms = store.engine.clock.ms
    assert store.engine.execute(mark(store.space, AlarmEvaluation(at_ms, 0, 1000, "a", 3, 1, 20)))
    assert not store.engine.execute(mark(store.space, AlarmEvaluation(at_ms + 1, 0, 999, "b")))
    store.engine.clock.advance_ms(180_000)
    found = store.engine.run(alarms.evaluation(store.space))
    assert found == AlarmEvaluation(at_ms, 180, 1000, "a", 3, 1, 20)
    assert not found.is_late
    store.engine.clock.advance_ms(1)
    assert store.engine.run(alarms.evaluation(store.space)).is_late


def test_deleted_alarms_keep_their_history_for_two_weeks(store: Store) -> None:
    store.put(late(), late("other"))
    with pytest.raises(ResourceNotFound):
        store.engine.run(alarms.delete(store.space, ["late", "none"]))
    assert len(store.states()) == 2
    store.engine.run(alarms.delete(store.space, ["late", "other"]))
    assert store.states() == {}
    assert store.summaries("late") == ['Alarm "late" deleted', 'Alarm "late" created']
    assert len(store.summaries()) == 4
    assert 0 < store.engine.redis.pttl(store.space.alarm_history("late")) <= 14 * DAY_MS
    store.engine.clock.advance_ms(15 * DAY_MS)
    assert store.summaries("late") == []
    store.put(late("other"))
    assert store.summaries() == ['Alarm "other" created']
    assert [name.decode() for name in store.engine.redis.zrange(store.space.alarms("histories")[0], 0, -1)] == ["other"]


def test_a_history_is_bounded(store: Store) -> None:
    store.put(late())
    key = store.space.alarm_history("late")
    entry = store.engine.redis.lindex(key, 0)
    store.engine.redis.rpush(key, *[entry] * 2500)
    store.set("late", "OK")
    assert store.engine.redis.llen(key) == 2000
    assert len(store.history("late", 10_000)) == 2000
    assert len(store.history("late", 5)) == 5
    assert store.history("late", 5)[0].kind == "StateUpdate"


def test_actions_that_nobody_does_are_bounded_and_it_is_told(store: Store) -> None:
    store.put(late(alarm_actions=["log:"]))
    store.engine.redis.hset(store.space.alarms("outbox")[0], mapping={f"x{n}": "{}" for n in range(10_000)})
    store.set("late", "ALARM")
    assert store.states() == {"late": "ALARM"}
    assert store.engine.redis.hlen(store.space.alarms("outbox")[0]) == 10_000
    assert store.history("late")[0].kind == "Action" or store.history("late")[1].kind == "Action"


def test_an_action_is_there_until_it_is_settled(store: Store) -> None:
    store.put(late(alarm_actions=["log:"]))
    store.set("late", "ALARM")
    (entry,) = store.due().entries
    now = store.engine.clock.ms
    again = replace(entry, attempts=1)
    assert store.engine.execute(operations.settle_action(store.space, again, "failed", now, None, now + 5000))
    due = store.due()
    assert (due.entries, due.next_ms, due.length) == ([], now + 5000, 1)
    store.engine.clock.advance_ms(5000)
    (found,) = store.due().entries
    assert (found.id, found.attempts) == (entry.id, 1)
    event = AlarmEvent("late", now, "Action", "Successfully executed action log:")
    assert store.engine.execute(operations.settle_action(store.space, found, "done", now, event))
    assert not store.engine.execute(operations.settle_action(store.space, found, "done", now, event))
    assert store.due().length == 0
    assert store.summaries("late").count("Successfully executed action log:") == 1


def test_an_action_is_claimed_once_and_falls_due_again(store: Store) -> None:
    store.put(late(alarm_actions=["log:"]))
    store.set("late", "ALARM")
    (entry,) = store.due().entries
    execute, space = store.engine.execute, store.space
    assert execute(operations.claim_actions(space, [(entry.id, 1000), ("nothing", 5)])) == [True, False]
    assert execute(operations.claim_actions(space, [(entry.id, 1000)])) == [False]
    assert store.due().entries == []
    store.engine.clock.advance_ms(1000)
    assert execute(operations.claim_actions(space, [(entry.id, 1000)])) == [True]
    assert execute(operations.release_actions(space, [entry.id, "nothing"])) == 1
    assert [each.id for each in store.due().entries] == [entry.id]
    assert execute(operations.settle_action(space, entry, "done", store.engine.clock.ms, None))
    assert execute(operations.release_actions(space, [entry.id])) == 0
    assert execute(operations.claim_actions(space, [(entry.id, 1000)])) == [False]


def test_health_says_who_evaluates_and_whether_actions_are_done(store: Store) -> None:
    def health() -> AlarmHealth:
        found: AlarmHealth = store.engine.execute(operations.read_health(store.space))
        return found

    assert (health().alarms, health().is_late, health().is_overdue) == (0, False, False)
    store.put(late(alarm_actions=["log:"]))
    assert health().is_late
    now = store.engine.clock.ms
    store.engine.execute(operations.mark_evaluation(store.space, AlarmEvaluation(now, 0.0, now // 60_000, "me", 1)))
    assert not health().is_late
    store.engine.clock.advance_ms(-1_200_000)  # put back: these minutes are not evaluated again
    assert health().is_late
    store.engine.clock.advance_ms(1_200_000)
    store.set("late", "ALARM")
    store.engine.clock.advance_ms(181_000)
    found = health()
    assert (found.is_late, found.is_overdue, found.waiting) == (True, True, 1)
    (entry,) = store.due().entries
    store.engine.execute(operations.claim_actions(store.space, [(entry.id, 1000)]))
    assert not health().is_overdue
    now = store.engine.clock.ms
    store.engine.execute(operations.settle_action(store.space, entry, "failed", now, None, now + 5000))
    store.engine.execute(operations.settle_action(store.space, entry, "given_up", now, None))
    store.engine.clock.advance_ms(2000)
    assert (health().waiting, health().counts["failed"], health().since("given_up"), health().since("done")) == (
        0, 1, 2.0, None,
    )  # fmt: skip


def test_what_cannot_be_read_hides_nothing_else(store: Store) -> None:
    store.put(late(), late("other"))
    store.engine.redis.hset(store.space.alarms("definitions")[0], "late", "no JSON")
    store.engine.redis.hset(store.space.alarms("states")[0], "other", "[]")
    store.engine.redis.hset(store.space.alarms("outbox")[0], "bad", "[1]")
    store.engine.redis.zadd(store.space.alarms("outbox_due")[0], {"bad": 1})
    found = store.engine.run(alarm_states.read_all(store.space)).alarms
    assert found["late"].alarm is None
    assert found["other"].state.value == "INSUFFICIENT_DATA"
    assert store.due().unreadable == ["bad"]
    store.set("other", "OK")
    store.put(late())
    assert store.get("late").alarm == late()


# Composite alarms


def test_a_composite_alarm_follows_its_children_at_once(store: Store) -> None:
    store.put(late("a"), late("b"), CompositeAlarm("both", "ALARM(a) AND ALARM(b)", alarm_actions=["log:"]))
    assert store.states()["both"] == "OK"
    assert store.get("both").state.reason.endswith("was created and its alarm rule evaluates to OK")
    store.set("a", "ALARM")
    assert store.states()["both"] == "OK"
    store.set("b", "ALARM")
    assert store.states()["both"] == "ALARM"
    state = store.get("both").state
    assert ":alarm:b transitioned to ALARM at " in state.reason
    [trigger] = json.loads(state.reason_data)["triggeringAlarms"]
    assert trigger["arn"].endswith(":alarm:b")
    assert store.due().length == 1
    store.set("a", "OK")
    assert store.states()["both"] == "OK"


def test_composites_of_composites_follow_in_one_go(store: Store) -> None:
    store.put(late("a"), CompositeAlarm("not a", "NOT ALARM(a)"), CompositeAlarm("top", 'OK("not a") OR FALSE'))
    assert store.states() == {"a": "INSUFFICIENT_DATA", "not a": "ALARM", "top": "OK"}
    store.set("a", "ALARM")
    assert store.states() == {"a": "ALARM", "not a": "OK", "top": "ALARM"}


def test_a_composite_alarm_that_was_set_stays_until_a_child_changes(store: Store) -> None:
    store.put(late("a"), CompositeAlarm("c", "ALARM(a)"))
    store.set("c", "ALARM")
    store.engine.run(alarm_states.settle_composites(store.space))
    assert store.states()["c"] == "ALARM"
    store.set("a", "OK")
    assert store.states()["c"] == "OK"


def test_a_changed_rule_is_evaluated_at_once(store: Store) -> None:
    store.put(late("a"), CompositeAlarm("c", "ALARM(a)"))
    store.put(CompositeAlarm("c", "INSUFFICIENT_DATA(a)"))
    assert store.states()["c"] == "ALARM"


def test_a_child_whose_parent_nobody_settled_is_noticed_later(store: Store) -> None:
    """Whoever changed the child died before it came to the parent."""
    store.put(late("a"), CompositeAlarm("c", "ALARM(a)", alarm_actions=["log:"]))
    known = store.get("a")
    state = alarm_states.following(known.state, "ALARM", "data", "", store.engine.clock.ms)
    assert store.engine.execute(alarm_states.transition(store.space, known, state))
    assert store.states()["c"] == "OK"
    for _ in range(2):
        store.engine.run(alarm_states.settle_composites(store.space))
        assert store.states()["c"] == "ALARM"
    assert store.due().length == 1


def test_rules_name_alarms_that_exist_and_make_no_circle(store: Store) -> None:
    store.put(late("a"), late("orders"), CompositeAlarm("b", "ALARM(a)"), CompositeAlarm("c", "ALARM(b)"))
    with pytest.raises(InvalidParameterValue, match=r"got 'order'; did you mean 'orders'"):
        store.put(CompositeAlarm("d", "ALARM(order)"))
    with pytest.raises(InvalidParameterValue, match="must not lead back"):
        store.put(CompositeAlarm("b", "ALARM(c)"))
    with pytest.raises(InvalidParameterValue, match="in that of 'b'"):
        store.engine.run(alarms.delete(store.space, ["a"]))
    store.engine.run(alarms.delete(store.space, ["a", "b", "c"]))


def test_a_circle_that_something_else_wrote_stops_nothing(store: Store) -> None:
    store.put(late("a"), CompositeAlarm("b", "ALARM(a)"), CompositeAlarm("c", "ALARM(a)"), CompositeAlarm("d", "OK(a)"))
    definitions = store.space.alarms("definitions")[0]
    store.engine.redis.hset(definitions, "b", '{"AlarmName":"b","AlarmRule":"ALARM(c)"}')
    store.engine.redis.hset(definitions, "c", '{"AlarmName":"c","AlarmRule":"ALARM(b)"}')
    store.set("a", "OK")
    assert store.states()["d"] == "ALARM"


def test_a_transition_that_is_made_again_has_the_idempotency_keys_that_it_had() -> None:
    """A failover may forget it: then another evaluator makes it later, for the same minute."""
    before, alarm = AlarmState("OK", "r", "", 5, 5), late(alarm_actions=["log:", "log:"], updated_at_ms=3)

    def ids(now_ms: int, minute: int | None, updated_at_ms: int = 3) -> list[str]:
        state = AlarmState("ALARM", "r", "", now_ms, now_ms)
        known = operations.Stored("late", replace(alarm, updated_at_ms=updated_at_ms), before, None, b"", b"")
        return [entry.id for entry in operations.outbox_entries(known, state, minute)]

    assert ids(100, 7) == ids(200, 7)
    assert len({*ids(100, 7), *ids(100, 8), *ids(100, None), *ids(200, None), *ids(100, 7, 4)}) == 10
