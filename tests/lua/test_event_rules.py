"""Rules for events: what is stored, which events match, and that none is missed and none acted on twice."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest

from rqsqs._core import flows
from rqsqs._core.alarm_records import RuleEntry
from rqsqs._core.flows import event_rules
from rqsqs._core.operation import Operation
from rqsqs._core.operations import alarms
from rqsqs._core.operations import event_rules as operations
from rqsqs.alarm_models import AlarmEvent
from rqsqs.errors import InvalidParameterValue, OverLimit, ResourceNotFound
from rqsqs.event_models import Actor, Event
from rqsqs.event_rule_models import EventRule
from tests.lua.conftest import Engine

WHO = Actor("cli", "ann", "laptop")


class Store:
    """Short names."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.space = engine.transport.space

    def put(self, name: str = "all", actions: Any = ("log:",), **options: Any) -> None:
        given = {"kinds": ["queue-purged", "queue-deleted"]} | options  # else it sees how others are put
        self.engine.run(event_rules.put(self.space, EventRule(name, actions=actions, **given)))
        self.engine.clock.advance_ms(1)

    def rules(self) -> list[EventRule]:
        found: list[EventRule] = self.engine.run(event_rules.all_rules(self.space))
        return found

    def tell(self, kind: str = "queue-purged", queue: str = "q", who: Actor = WHO, **says: Any) -> None:
        self.space.actor = who
        self.engine.run(flows.tell(self.space, kind, queue, **says))

    def follow(self) -> int:
        found = self.engine.run(event_rules.follow(self.space))
        assert isinstance(found, int)
        return found

    def due(self) -> list[RuleEntry]:
        found = self.engine.execute(alarms.read_actions(self.space, 10_000)).entries
        assert all(isinstance(entry, RuleEntry) for entry in found)
        return list(found)


@pytest.fixture
def store(engine: Engine) -> Store:
    return Store(engine)


def test_a_rule_sees_what_happens_after_it_was_put(store: Store) -> None:
    store.tell(queue="before")
    store.engine.clock.advance_ms(1)
    store.put(actions=["log:", "https://example.com/x"])
    assert store.follow() == 0
    store.tell(queue="after", before={"a": "1"}, after={"a": None}, detail={"count": 3})
    assert store.follow() == 2
    assert store.follow() == 0
    first, second = sorted(store.due(), key=lambda entry: entry.action)
    assert (first.action, second.action) == ("https://example.com/x", "log:")
    assert first.id != second.id
    assert (first.name, first.attempts) == ("all", 0)
    told = first.event
    assert (told.kind, told.queue, told.who) == ("queue-purged", "after", WHO)
    assert (told.before, told.after, told.detail) == ({"a": "1"}, {"a": None}, {"count": 3})
    assert told.at_ms == store.engine.clock.ms


def test_a_rule_that_is_put_again_sees_what_nobody_has_looked_at_yet(store: Store) -> None:
    store.put(kinds=["queue-deleted"])
    store.tell()
    store.engine.clock.advance_ms(1000)
    store.put("new")
    store.put(kinds=["queue-purged"])
    assert store.rules()[0].created_at_ms is not None
    assert store.follow() == 1  # and the new one does not
    assert [entry.name for entry in store.due()] == ["all"]


@pytest.mark.parametrize(
    ("options", "matches"),
    [
        ({}, True),
        ({"kinds": ["queue-purged", "queue-deleted"]}, True),
        ({"kinds": ["queue-deleted"]}, False),
        ({"queue": "orders-*"}, True),
        ({"queue": "orders-??.fifo"}, True),
        ({"queue": "*.fifo"}, True),
        ({"queue": "*"}, True),
        ({"queue": "orders"}, False),
        ({"queue": "orders-?"}, False),
        ({"queue": "ORDERS-*"}, False),
        ({"who": "ANN@lap"}, True),
        ({"who": "bob"}, False),
        ({"api": "cli"}, True),
        ({"api": "native"}, False),
        ({"enabled": False}, False),
        ({"kinds": ["queue-purged"], "queue": "o*", "who": "ann", "api": "cli"}, True),
        ({"kinds": ["queue-purged"], "queue": "o*", "who": "ann", "api": "gateway"}, False),
    ],
)
def test_all_that_a_rule_says_has_to_hold(options: dict[str, Any], matches: bool) -> None:
    event = Event("1-0", 1, "queue-purged", "orders-eu.fifo", WHO)
    assert EventRule("r", actions=["log:"], **options).matches(event) is matches


def test_a_rule_for_a_queue_is_not_for_what_is_of_none() -> None:
    event = Event("1-0", 1, "access-denied", None, WHO)
    assert not EventRule("r", actions=["log:"], queue="*").matches(event)
    assert EventRule("r", actions=["log:"]).matches(event)


def test_rules_see_how_others_are_put_and_deleted(store: Store) -> None:
    store.put("all", kinds=[])
    store.put("other", actions=["https://example.com/secret"])
    store.put("other", actions=["https://example.com/secret"])  # is so
    store.put("other", actions=["https://example.com/secret", "log:"], enabled=False)
    store.engine.run(event_rules.delete(store.space, ["other"]))
    assert store.follow() == 3
    told = [entry.event for entry in sorted(store.due(), key=lambda entry: entry.event.id)]
    assert [(event.kind, event.detail) for event in told] == [
        ("alarm-changed", {"rule": "other", "change": change}) for change in ("created", "updated", "deleted")
    ]
    assert told[1].before == {"actions": "https://example.com/...", "enabled": "true"}
    assert told[1].after == {"actions": "https://example.com/... log:", "enabled": "false"}
    assert "secret" not in str(told)


def test_no_pattern_takes_long() -> None:
    rule = EventRule("r", actions=["log:"], queue="a*" * 49 + "b")
    started = time.process_time()
    assert not rule.matches(Event("1-0", 1, "queue-purged", "a" * 80, WHO))
    assert time.process_time() - started < 5


def test_each_event_is_acted_on_once_though_many_follow_and_die(store: Store) -> None:
    """A follower that dies before its last step has done nothing; two at once do the same once."""
    store.put(kinds=["queue-purged"])
    for n in range(250):
        store.tell("queue-purged" if n % 2 else "queue-deleted", f"q{n}")
    assert store.follow() == 125
    store.tell(queue="last")
    dead = event_rules.follow(store.space)  # reads, and dies
    step: Any = next(dead)
    for _ in range(2):
        step = dead.send(store.engine.execute(step))
    assert isinstance(step, Operation)
    assert step.script == "put_rule_actions"
    assert store.follow() == 1
    assert store.engine.execute(step) == 0  # that one was late
    queues = [entry.event.queue for entry in store.due()]
    assert sorted(map(str, queues)) == sorted([*[f"q{n}" for n in range(1, 250, 2)], "last"])


def test_ids_of_actions_are_the_same_whenever_they_are_read() -> None:
    event = Event("5-0", 5, "queue-purged", "q", WHO)
    rule = EventRule("r", actions=["log:", "log:"])
    first, again = event_rules.entries_of(rule, event), event_rules.entries_of(rule, event)
    assert [entry.id for entry in first] == [entry.id for entry in again]
    assert len({entry.id for entry in first}) == 2


def test_without_any_rule_nobody_reads_events(store: Store) -> None:
    store.put()
    store.put("other")
    with pytest.raises(ResourceNotFound, match="no rule 'othr'; did you mean 'other'"):
        store.engine.run(event_rules.delete(store.space, ["all", "othr"]))
    assert len(store.rules()) == 2
    store.engine.run(event_rules.delete(store.space, ["all", "other"]))
    assert store.engine.names("{alarms}:*") == []
    store.tell()
    store.engine.clock.advance_ms(1)
    store.put()
    assert store.follow() == 0  # what happened meanwhile is not told


def test_a_place_that_was_lost_is_found_again_when_a_rule_is_put(store: Store) -> None:
    store.put()
    store.engine.redis.delete(*store.space.alarms("events_read"))
    store.tell()
    store.engine.clock.advance_ms(1)
    assert store.follow() == 0
    store.put()
    store.tell()
    assert store.follow() == 1


def test_rules_wait_while_their_actions_do(store: Store) -> None:
    """Alarms have the other half of the outbox to themselves."""
    store.put()
    outbox = store.space.alarms("outbox")[0]
    store.engine.redis.hset(outbox, mapping={str(n): "{}" for n in range(5000)})
    store.tell()
    assert store.follow() == 0
    with pytest.raises(OverLimit):
        store.engine.run(event_rules.test(store.space, "all"))
    store.engine.redis.delete(outbox)
    assert store.follow() == 1


def test_a_rule_that_cannot_be_read_harms_no_other(store: Store) -> None:
    store.put()
    rules = store.space.alarms("rules")[0]
    for n, data in enumerate(("no", "[]", '{"name":"x"}', '{"name":"y","actions":["log:"],"more":1}')):
        store.engine.redis.hset(rules, f"broken{n}", data)
    store.tell()
    assert store.follow() == 1
    assert [rule.name for rule in store.rules()] == ["all"]
    store.engine.run(event_rules.delete(store.space, ["broken0"]))


def test_there_are_a_hundred_rules_at_most(store: Store) -> None:
    rules = store.space.alarms("rules")[0]
    store.engine.redis.hset(rules, mapping={str(n): "{}" for n in range(operations.MOST)})
    with pytest.raises(OverLimit, match="100 rules"):
        store.put("one-more")
    store.put("5")


def test_an_event_that_says_much_is_shortened(store: Store) -> None:
    store.put()
    store.tell(detail={f"{n}": "x" * 3000 for n in range(5)})
    assert store.follow() == 1
    (entry,) = store.due()
    assert len(json.dumps(entry.to_json())) < 5000
    assert "more characters" in str(entry.event.detail["0"])


def test_a_test_acts_also_on_a_rule_that_is_not_enabled(store: Store) -> None:
    store.put(kinds=["worker-lost"], queue="orders*", enabled=False)
    store.engine.run(event_rules.test(store.space, "all"))
    (entry,) = store.due()
    assert (entry.event.kind, entry.event.detail) == ("worker-lost", {"test": True})
    with pytest.raises(ResourceNotFound):
        store.engine.run(event_rules.test(store.space, "none"))


def test_what_became_of_actions_is_kept_by_rule(store: Store) -> None:
    store.put()
    store.put("other")
    store.tell()
    assert store.follow() == 2
    now = store.engine.clock.ms
    for entry in store.due():
        event = AlarmEvent(entry.name, now, "Action", f"done by {entry.name}")
        assert store.engine.execute(alarms.settle_action(store.space, entry, "done", now, event))
    assert store.due() == []
    (found,) = store.engine.run(event_rules.history(store.space, "other", None, 1000, 10))
    assert found.summary == "done by other"


@pytest.mark.parametrize(
    ("action", "wrong"),
    [
        ("mail:me", "an action must be like"),
        ("arn:aws:sqs:us-east-1:000000000000:missing", "must exist"),
        ("arn:aws:sqs:us-east-1:111111111111:q", "of the account 000000000000"),
    ],
)
def test_what_no_action_can_be_is_refused(store: Store, action: str, wrong: str) -> None:
    with pytest.raises(InvalidParameterValue, match=wrong):
        store.put(actions=[action])
    assert store.rules() == []


def test_a_rule_may_send_to_a_queue_that_is_there(store: Store) -> None:
    store.engine.queue("pages")
    store.put(actions=["arn:aws:sqs:us-east-1:000000000000:pages"])


@pytest.mark.parametrize(
    ("options", "wrong"),
    [
        ({"name": ""}, "name of a rule"),
        ({"name": "a b"}, "name of a rule"),
        ({"actions": []}, "1 to 5 targets, got 0"),
        ({"actions": ["log:"] * 6}, "1 to 5 targets, got 6"),
        ({"actions": "log:"}, "actions must be a list"),
        ({"actions": ["log:\n"]}, "control characters"),
        ({"kinds": ["queue-delete"]}, "did you mean 'queue-deleted'"),
        ({"queue": "a b"}, "queue must be a name"),
        ({"queue": ""}, "queue must be a name"),
        ({"who": ""}, "who must be"),
        ({"api": "telnet"}, "api must be one of"),
        ({"enabled": 1}, "enabled must be True or False"),
        ({"description": "x" * 513}, "description must be"),
    ],
)
def test_mistakes_are_told_at_once(options: dict[str, Any], wrong: str) -> None:
    given = {"name": "r", "actions": ["log:"]} | options
    with pytest.raises(InvalidParameterValue, match=wrong):
        EventRule(given.pop("name"), **given)
