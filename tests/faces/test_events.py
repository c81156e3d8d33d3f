"""What was done to queues, and who did it, through every API."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import rqsqs
from rqsqs import aio
from rqsqs._core.actors import program
from rqsqs.testing import VirtualClock


@pytest.fixture
def connection(server_url: str, prefix: str) -> Iterator[rqsqs.Connection]:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        yield connection


def kinds(connection: rqsqs.Connection, *args: Any, **options: Any) -> list[str]:
    return [event.kind for event in connection.events(*args, **options)]


def until(condition: Any) -> None:
    end = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.mark.parametrize(
    ("argv", "name"),
    [(["/srv/app/jobs.py", "x"], "jobs.py"), (["/srv/app/__main__.py"], "app"), (["-c"], "python"), ([], "python")],
)
def test_a_program_has_the_name_of_its_file(monkeypatch: pytest.MonkeyPatch, argv: list[str], name: str) -> None:
    monkeypatch.setattr(sys, "argv", argv)
    assert program.__wrapped__("native") == rqsqs.Actor("native", name, os.uname().nodename)


@pytest.mark.parametrize("suffix", ["", ".fifo"])
def test_each_change_is_told_with_what_there_was_before(connection: rqsqs.Connection, suffix: str) -> None:
    name, dead = f"orders{suffix}", f"dead{suffix}"
    connection.create_queue(dead)
    queue = connection.create_queue(name, visibility_timeout=40, tags={"team": "a"})
    connection.create_queue(name, visibility_timeout=40)  # is there
    queue.configure(visibility_timeout=60, delay=0)
    queue.configure(visibility_timeout=60)  # is so
    queue.configure(dead_letter_queue=dead, max_receive_count=3)
    queue.tag({"team": "b", "city": "Köln"})
    queue.untag("city", "none")
    for change in (queue.pause, queue.resume):
        change()
        change()  # is so
        change("g")
        change("g")
    queue.purge()
    connection.delete_queue(name)
    found = [event for event in connection.events() if event.queue == name]
    changes = [(event.kind, dict(event.before), dict(event.after), dict(event.detail)) for event in found]
    policy = found[2].after["RedrivePolicy"]
    assert policy is not None
    assert changes[:-1] == [
        (
            "queue-created",
            {},
            {"VisibilityTimeout": "40"} | ({"FifoQueue": "true"} if suffix and "FifoQueue" in found[0].after else {}),
            {"tags": {"team": "a"}},
        ),
        ("settings-changed", {"VisibilityTimeout": "40"}, {"VisibilityTimeout": "60"}, {}),
        ("settings-changed", {"RedrivePolicy": None}, {"RedrivePolicy": policy}, {}),
        ("tags-changed", {"team": "a", "city": None}, {"team": "b", "city": "Köln"}, {}),
        ("tags-changed", {"city": "Köln"}, {"city": None}, {}),
        ("queue-paused", {}, {}, {}),
        ("group-paused", {}, {}, {"group": "g"}),
        ("queue-resumed", {}, {}, {}),
        ("group-resumed", {}, {}, {"group": "g"}),
        ("queue-purged", {}, {}, {}),
    ]
    kind, before, after, _ = changes[-1]
    assert (kind, before["VisibilityTimeout"], before["RedrivePolicy"], after) == ("queue-deleted", "60", policy, {})
    who = found[0].who
    assert (who.api, who.name, who.address) == ("native", program("native").name, os.uname().nodename)


def test_more_partitions_are_told(connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("wide")
    queue.configure(partitions=3)
    (event,) = connection.events(kind="settings-changed")
    assert (event.before, event.after) == ({"Partitions": "1"}, {"Partitions": "3"})


def test_a_redrive_is_told_when_it_starts_and_when_it_ends(connection: rqsqs.Connection) -> None:
    dead = connection.create_queue("dead")
    queue = connection.create_queue("orders", dead_letter_queue=dead, max_receive_count=1)
    queue.send_batch(["secret"] * 3)
    for message in queue.receive(3):
        message.change_visibility(0)
    assert queue.receive(3) == []
    task = dead.redrive()
    until(lambda: kinds(connection, kind="redrive-ended"))
    started, ended = connection.events(kind=["redrive-started", "redrive-ended"], queue=dead)
    assert started.detail == {"task": task, "to_move": 3}
    assert ended.detail == {"task": task, "status": "COMPLETED", "moved": 3}
    for message in queue.receive(3):
        message.change_visibility(0)
    assert queue.receive(3) == []
    chosen = [message.message_id for message in dead.peek(2)]
    dead.redrive_messages(chosen)
    assert [event.detail.get("moved") for event in connection.events(kind="redrive-ended")] == [3, 2]
    assert "secret" not in str(list(connection.events()))


def test_events_are_chosen_by_time_queue_kind_and_who(server_url: str, prefix: str) -> None:
    clock = VirtualClock()
    with rqsqs.connect(server_url, prefix=prefix, clock=clock) as connection:
        for n in range(3):
            connection.create_queue(f"q{n}")
            clock.advance(60)
        at = [event.at_ms / 1000 for event in connection.events()]
        assert [event.queue for event in connection.events(at[1])] == ["q1", "q2"]
        assert [event.queue for event in connection.events(datetime.fromtimestamp(at[1], UTC), at[2])] == ["q1"]
        assert [event.queue for event in connection.events(timedelta(seconds=130))] == ["q1", "q2"]
        assert kinds(connection, queue="q1") == ["queue-created"]
        assert kinds(connection, kind="queue-deleted") == []
        assert len(kinds(connection, who="NATIVE")) == len(kinds(connection, who="@" + os.uname().nodename)) == 3
        assert kinds(connection, who="gateway") == []
        for wrong, said in (
            ({"kind": "queue-create"}, "did you mean 'queue-created'"),
            ({"kind": 5}, "kind must be"),
            ({"who": 5}, "who must be a str"),
            ({"since": "x"}, "since must be"),
            ({"since": timedelta(days=15)}, "since must be between"),
            ({"until": datetime(2030, 1, 1)}, "time zone"),
            ({"queue": "a b"}, "got 'a b'"),
            ({"follow": 1}, "follow must be True or False"),
        ):
            with pytest.raises(rqsqs.InvalidParameterValue, match=said):
                list(connection.events(**wrong))


def test_who_follows_gets_what_happens_next_and_only_that(connection: rqsqs.Connection) -> None:
    connection.create_queue("before")
    found: list[str | None] = []

    def follow() -> None:
        for event in connection.events(timedelta(0), follow=True):
            found.append(event.queue)
            if event.queue == "last":
                return

    thread = threading.Thread(target=follow)
    connection.create_queue("also-before")
    time.sleep(0.002)  # another millisecond
    thread.start()
    until(lambda: connection.exists("before") and thread.is_alive())
    time.sleep(0.3)
    for n in range(5):
        connection.create_queue(f"q{n}")
    connection.create_queue("last")
    thread.join(60)
    assert found == [*(f"q{n}" for n in range(5)), "last"]


def test_the_asyncio_api_follows_too(server_url: str, prefix: str) -> None:
    async def scenario() -> list[str]:
        async with aio.connect(server_url, prefix=prefix) as connection:
            await connection.create_queue("first")
            found: list[str] = []

            async def follow() -> None:
                async for event in connection.events(follow=True, kind=["queue-created", "queue-deleted"]):
                    found.append(event.kind)
                    if event.kind == "queue-deleted":
                        return

            task = asyncio.create_task(follow())
            while not found:
                await asyncio.sleep(0.01)
            await connection.delete_queue("first")
            await task
            return found

    assert asyncio.run(asyncio.wait_for(scenario(), 60)) == ["queue-created", "queue-deleted"]


def test_who_is_known_of_boto3_workers_and_commands(
    connection: rqsqs.Connection, server_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    boto3 = pytest.importorskip("boto3")
    from click.testing import CliRunner

    from rqsqs.boto3 import attach
    from rqsqs.cli.program import program as command

    client = boto3.client("sqs", "eu-west-1", aws_access_key_id="x", aws_secret_access_key="x")
    attach(client, server_url, prefix=prefix)
    url = client.create_queue(QueueName="by-boto3")["QueueUrl"]
    client.add_permission(QueueUrl=url, Label="l", AWSAccountIds=["222222222222"], Actions=["SendMessage"])
    client.close()
    CliRunner().invoke(command, ["create", "by-hand", "--url", server_url, "--prefix", prefix], standalone_mode=False)
    created, policy, by_hand = connection.events()
    assert (created.who.api, policy.kind, policy.who.api) == ("boto3", "policy-changed", "boto3")
    assert policy.before == {"Policy": None}
    assert "222222222222" in str(policy.after["Policy"])
    assert (by_hand.queue, by_hand.who.api, by_hand.who.address) == ("by-hand", "cli", os.uname().nodename)
