"""`rqsqs events rules`: set, ls, test, rm; and what is done on events."""

from __future__ import annotations

import json

import rqsqs
from tests.cli.tools import Run, records


def test_a_rule_is_set_acts_and_is_removed(run: Run, connection: rqsqs.Connection) -> None:
    run("events", "rules", "ls", code=4)
    connection.create_queue("pages")
    told = run("events", "rules", "set", "gone", "--kind", "queue-deleted", "--kind", "queue-purged", "--queue", "or*",
               "--who", "ann", "--action", "arn:aws:sqs:us-east-1:000000000000:pages", "--action", "log:")  # fmt: skip
    assert "set gone: queue-deleted, queue-purged of or* by ann" in told.stderr
    assert "nobody evaluates" in told.stderr
    connection.transport.space.actor = rqsqs.Actor("native", "ann", "laptop")
    for name in ("orders", "bills"):
        connection.create_queue(name)
        connection.delete_queue(name)
    run("alarms", "run", "--once")
    (message,) = connection.queue("pages").receive(10)
    notification = json.loads(message.body)
    assert notification["TopicArn"] == "arn:aws:events:us-east-1:000000000000:rule/gone"
    assert notification["Subject"] == "queue-deleted: orders by ann@laptop (native)"
    about = json.loads(notification["Message"])
    assert (about["kind"], about["queue"], about["rule"]) == ("queue-deleted", "orders", "gone")
    assert about["before"]["VisibilityTimeout"] == "30"
    (event,) = [each for each in records(run("events", "--json", "--kind", "queue-deleted", "--queue", "orders"))]
    assert about == event | {"rule": "gone"}
    listed = run("events", "rules", "ls")
    assert "gone" in listed.stdout
    assert "done" in listed.stdout
    assert "nobody evaluates" not in listed.stderr
    (row,) = records(run("events", "rules", "ls", "--json"))
    assert (row["last_outcome"], row["api"], row["enabled"]) == ("done", None, True)
    assert "deleted gone" in run("events", "rules", "rm", "gone").stderr
    assert "there is no rule 'gone'" in run("events", "rules", "rm", "gone", code=1).stderr


def test_a_test_acts_and_says_what_would_have_matched(run: Run, connection: rqsqs.Connection) -> None:
    for name in ("orders", "bills"):
        connection.create_queue(name)
    run("events", "rules", "set", "new", "--kind", "queue-created", "--action", "command:page", "--off")
    told = run("events", "rules", "test", "new").stderr
    assert "new acts on a test; 2 events of the last day would match" in told
    run("alarms", "run", "--once")
    (row,) = records(run("events", "rules", "ls", "--json"))
    assert "[commands.NAME]" in row["last_outcome"]
    assert "new (off)" in run("events", "rules", "ls").stdout


def test_mistakes_are_explained(run: Run, connection: rqsqs.Connection) -> None:
    assert (
        "queue-deleted"
        in run("events", "rules", "set", "a", "--kind", "queue-delete", "--action", "log:", code=2).stderr
    )
    assert "mail:me" in run("events", "rules", "set", "a", "--action", "mail:me", code=2).stderr
    assert "must exist" in run("events", "rules", "set", "a", "--action", "arn:aws:sqs:us-east-1:000000000000:no",
                               code=2).stderr  # fmt: skip
    assert "letters, digits" in run("events", "rules", "set", "a b", "--action", "log:", code=2).stderr
    assert connection.event_rules.list() == []
    assert "there is no rule 'none'" in run("events", "rules", "test", "none", code=1).stderr


def test_events_are_shown_without_a_word_for_it(run: Run, connection: rqsqs.Connection) -> None:
    connection.create_queue("rules")
    assert run("events", "show").stdout == run("events").stdout
    shown = run("events", "--queue", "rules", "--json").stdout
    assert json.loads(shown)["queue"] == "rules"
    assert run("events", "--json", "--queue=rules").stdout == shown
    assert run("events", "--json", "rules", "ls", code=4).stdout == ""


def test_screens_hide_paths_of_urls_and_say_first_which_alarm_it_is(run: Run, connection: rqsqs.Connection) -> None:
    run("events", "rules", "set", "hook", "--action", "https://hooks.example.com/secret")
    assert "secret" not in run("events", "rules", "ls").stdout
    (row,) = records(run("events", "rules", "ls", "--json"))
    assert row["actions"] == ["https://hooks.example.com/secret"]  # to set it elsewhere
    lines = run("events", "--kind", "alarm-changed").stdout.splitlines()
    assert "change created, rule hook" in " ".join(map(str.strip, lines))
    assert "secret" not in "".join(lines)
