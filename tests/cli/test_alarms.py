"""`rqsqs alarms`: set, list, show, test, history, rm, defaults; who evaluates."""

from __future__ import annotations

import json
import re

import pytest
import redis

import rqsqs
from rqsqs.alarms.conditions import defaults
from tests.cli.tools import Run, in_terminal
from tests.servers import Server


def test_an_alarm_is_set_listed_shown_and_removed(run: Run, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    run("alarms", "ls", code=4)
    told = run("alarms", "set", "late", "oldest_age_s > 300", "--queue", "orders", "--periods", "5", "--datapoints",
               "3", "--action", "log:", "--missing", "notBreaching", "--tag", "team=blue")  # fmt: skip
    assert "set late" in told.stderr
    assert "nobody evaluates alarms" in told.stderr
    alarm = connection.alarms.get("late").alarm
    assert isinstance(alarm, rqsqs.Alarm)
    assert (alarm.evaluation_periods, alarm.datapoints_to_alarm, alarm.threshold) == (5, 3, 300)
    listed = run("alarms", "ls")
    assert "INSUFFICIENT_DATA" in listed.stdout
    assert "oldest_age_s > 300" in listed.stdout
    shown = run("alarms", "show", "late").stdout
    assert "3 of 5, of 60 s each" in shown
    assert json.loads(run("alarms", "show", "late", "--json").stdout)["AlarmName"] == "late"
    run("alarms", "rm", "late")
    assert "there is no alarm 'late'" in run("alarms", "show", "late", code=1).stderr


def test_what_show_prints_can_be_set_again(run: Run, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    run("alarms", "set", "again", "received - 3 * deleted > 30", "--queue", "orders", "--period", "5m")
    before = connection.alarms.get("again").alarm
    data = run("alarms", "show", "again", "--json").stdout
    run("alarms", "rm", "again")
    run("alarms", "set", "--file", "-", input=data)
    assert connection.alarms.get("again").alarm == before


def test_a_rule_over_alarms_and_a_test_of_actions(run: Run, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    run("alarms", "set", "late", "oldest_age_s > 300", "--queue", "orders")
    run("alarms", "set", "page", "ALARM(late) AND NOT INSUFFICIENT_DATA(late)", "--action", "log:")
    assert "has no queue" in run("alarms", "set", "page", "ALARM(late)", "--queue", "orders", code=2).stderr
    assert "late is ALARM, was INSUFFICIENT_DATA" in run("alarms", "test", "late").stderr
    rows = [json.loads(line) for line in run("alarms", "ls", "--json").stdout.splitlines()]
    assert {row["alarm"]: row["state"] for row in rows} == {"late": "ALARM", "page": "ALARM"}
    ran = run("alarms", "run", "--once")
    assert "evaluated 2 alarms" in ran.stdout
    history = [json.loads(line) for line in run("alarms", "history", "page", "--json").stdout.splitlines()]
    done = [event for event in history if event["kind"] == "Action"]
    assert [event["data"]["actionState"] for event in done] == ["Succeeded"]
    assert connection.alarms.get("late").state.value != "ALARM"
    assert "nobody evaluates" not in run("alarms", "ls").stderr


def test_defaults_are_those_that_a_queue_needs(run: Run, connection: rqsqs.Connection) -> None:
    connection.create_queue("dead")
    connection.create_queue("orders", dead_letter_queue="dead")
    assert "orders-dead-letters" in run("alarms", "defaults", "orders", "--dry-run").stdout
    assert connection.alarms.list() == []
    run("alarms", "defaults", "orders", "--action", "log:")
    assert connection.alarms.get("server-memory").alarm.alarm_actions == ("log:",)
    names = [info.name for info in connection.alarms.list("orders-")]
    assert names == ["orders-dead-letters", "orders-in-flight", "orders-no-consumer", "orders-old-messages",
                     "orders-received-again"]  # fmt: skip
    assert "server-memory is there already" in run("alarms", "defaults", "dead").stderr
    assert connection.alarms.get("server-memory").alarm.alarm_actions == ("log:",)
    assert len(connection.alarms.list("dead-")) == 4
    assert "failed" not in run("alarms", "run", "--once").stderr
    assert {info.state.value for info in connection.alarms.list()} == {"OK"}


@pytest.mark.usefixtures("environment")
def test_names_of_states_and_times_stay_in_one_piece_on_a_narrow_terminal(connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    for alarm in defaults("orders"):
        connection.alarms.put(alarm)
    connection.alarms.put(rqsqs.CompositeAlarm("page", "ALARM(orders-no-consumer)"))
    connection.alarms.set_state("orders-no-consumer", "ALARM", "Threshold Crossed: 1 datapoint was greater.")
    listed, told = (
        re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", in_terminal(80, "alarms", word)) for word in ("ls", "history")
    )
    assert max(len(line) for line in (listed + told).splitlines() if not line.startswith("rqsqs: nobody")) <= 80
    assert listed.count("INSUFFICIENT_DATA  ") == len(defaults("orders")) - 1
    assert "orders-no-consum" in listed
    assert "arn:aws" not in listed + told
    assert "Threshold Crossed" not in listed
    assert re.search(r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d  page ", told)
    assert "arn:aws:cloudwatch:us-east-1:000000000000:alarm:" in connection.alarms.get("page").state.reason
    shown = in_terminal(80, "events", "--kind", "alarm-changed")
    assert "alarm page, change created" in shown
    assert "ComparisonOperator" not in shown


def test_who_may_not_evaluate_is_told_so(run: Run) -> None:
    with Server("valkey") as server:
        with redis.Redis.from_url(server.url) as admin:
            admin.execute_command("ACL", "SETUSER", "weak", "on", ">secret", "~*", "+@read", "+@connection")
        for rest in ((), ("--once",)):
            url = server.url.replace("redis://", "redis://weak:secret@")
            told = run("--url", url, "alarms", "run", *rest, code=3).stderr
            assert "ACL user may not do this" in told


def test_mistakes_are_explained(run: Run, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    assert "oldest_age_s" in run("alarms", "set", "a", "oldest_age > 5", "--queue", "orders", code=2).stderr
    assert "a condition must be" in run("alarms", "set", "a", "what?", "--queue", "orders", code=2).stderr
    assert "give NAME and CONDITION" in run("alarms", "set", "a", code=2).stderr
    told = run("alarms", "set", "a", "visible > 5", "--queue", "orders", "--action", "mail:me", code=2).stderr
    assert "mail:me" in told
    assert "no data yet" not in run("alarms", "set", "here", "visible > 5", "--queue", "orders").stderr
    told = run("alarms", "set", "typo", "visible > 5", "--queue", "ordes").stderr
    assert "the queue 'ordes' does not exist" in told
    assert "so there is no data yet" in told
    run("alarms", "rm", "here", "typo")
    assert connection.alarms.list() == []
