"""`rqsqs events`: who did what, for people and for programs."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess

import rqsqs
from rqsqs._core import flows
from rqsqs.event_models import KINDS, Actor
from rqsqs.inspection.events import facts
from tests.cli.tools import COMMAND, Run, in_terminal, records, wait_for


def tell(connection: rqsqs.Connection, kind: str, queue: str, who: Actor, **says: object) -> None:
    space = connection.transport.space
    space.actor = who
    connection.transport.run(flows.tell(space, kind, queue, **says))  # type: ignore[arg-type]


def test_events_are_lines_that_read_well(run: Run, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders", visibility_timeout=40)
    queue.configure(visibility_timeout=60)
    connection.delete_queue("orders")
    by = f"{rqsqs_name(connection)} (native)"
    lines = run("events").stdout.splitlines()
    assert [line[21:] for line in lines[:4]] == [
        f"queue-created     orders  {by}" if len(by) < 34 else "queue-created     orders",
        "VisibilityTimeout 40",
        f"settings-changed  orders  {by}" if len(by) < 34 else "settings-changed  orders",
        "VisibilityTimeout 40 -> 60",
    ]
    assert lines[4][21:].startswith("queue-deleted     orders")
    assert "VisibilityTimeout 60" in lines[5]
    run("events", "--queue", "other", code=4)


def rqsqs_name(connection: rqsqs.Connection) -> str:
    return str(next(iter(connection.events())).who)


def test_programs_get_all_of_it(run: Run, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders").tag({"team": "b"})
    connection.create_queue("other")
    found = records(run("events", "--json", "--queue", "orders"))
    assert [one["kind"] for one in found] == ["queue-created", "tags-changed"]
    assert (found[1]["before"], found[1]["after"]) == ({"team": None}, {"team": "b"})
    assert found[0]["who"]["address"] == os.uname().nodename
    assert [one["queue"] for one in records(run("events", "--json", "--kind", "queue-created", "--until", "0s"))] == [
        "orders",
        "other",
    ]
    run("events", "--kind", "queue-create", code=2)
    run("events", "--since", "15d", code=2)
    assert all(kind in run("events", "show", "--help").stdout for kind in KINDS)


def test_what_others_wrote_cannot_steer_the_terminal(run: Run, connection: rqsqs.Connection) -> None:
    evil = "\x1b[2J\u202e\nqueue-created"
    tell(connection, "tags-changed", "q", Actor("native", evil, evil), before={evil: evil}, after={evil: evil * 100})
    tell(connection, "redrive-ended", "q", Actor("gateway", "", "1.2.3.4"), detail={"reason": evil, "x": [evil]})
    shown = run("events")
    assert "\x1b" not in shown.stdout
    assert "\u202e" not in shown.stdout
    assert len(shown.stdout.splitlines()) == 5
    assert "anonymous@1.2.3.4 (gateway)" in shown.stdout
    assert "more characters" in shown.stdout
    assert "\x1b" not in run("events", "--json").stdout


def test_on_a_terminal_long_values_are_folded(connection: rqsqs.Connection, environment: None) -> None:
    connection.create_queue("q" * 80)
    policy = json.dumps({"Statement": [{"Sid": "s" * 30}] * 10})
    tell(
        connection,
        "policy-changed",
        "orders",
        Actor("cli", "ann", "laptop"),
        before={"Policy": None},
        after={"Policy": policy},
    )
    shown = re.sub(r"\x1b\[[0-9;]*m", "", in_terminal(80, "events"))
    assert "more characters" in shown
    assert max(len(line) for line in shown.splitlines() if "q" * 80 not in line) <= 80


def test_follow_prints_what_happens_next(connection: rqsqs.Connection, prefix: str) -> None:
    connection.create_queue("first")
    words = [*COMMAND, "events", "--follow", "--json", "--url", connection.transport.url, "--prefix", prefix]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["queue"] == "first"
        connection.create_queue("second")
        assert json.loads(process.stdout.readline())["queue"] == "second"
        process.send_signal(signal.SIGINT)
        assert process.stdout.read() == ""
    assert process.returncode == 0
    wait_for(lambda: process.poll() is not None)


def test_causes_are_told_the_most_frequent_first() -> None:
    said = facts({"count": 3, "causes": {"KeyError: 'a'": 1, "OSError: gone": 2}, "task": {"id": "t"}})
    assert said == ["count 3", "causes 2 x OSError: gone; 1 x KeyError: 'a'", "task id=t"]
