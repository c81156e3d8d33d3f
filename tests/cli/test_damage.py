"""Commands that meet what is damaged: one line on stderr, no traceback; the good messages, and the queue, in reach."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")

import rqsqs
from tests.cli.tools import Run, records
from tests.clusters import client_of


@pytest.fixture
def client(valkey_url: str) -> Any:
    return client_of(valkey_url)


@pytest.fixture
def key(prefix: str) -> str:
    return f"{prefix}:{{q/0}}:q:"


@pytest.fixture
def queue(connection: rqsqs.Connection, client: Any, key: str) -> rqsqs.Queue:
    """A damaged message, and a good one behind it."""
    queue = connection.create_queue("q")
    queue.send_batch(["bad", "good"])
    client.lset(key + "ready", 1, b"\xc1")
    return queue


@pytest.mark.parametrize("command", ["peek", "receive"])
def test_messages_are_shown_and_what_cannot_be_read_is_told(run: Run, queue: rqsqs.Queue, command: str) -> None:
    result = run(command, "q", "--max", "10", "--json")
    assert [record["body"] for record in records(result)] == ["good"]
    assert "passed over: the message" in result.stderr
    assert "is damaged" in result.stderr


@pytest.mark.parametrize("command", ["peek", "receive"])
def test_where_there_is_nothing_else_it_ends_with_1(run: Run, queue: rqsqs.Queue, command: str) -> None:
    assert queue.receive(10)  # the good one is in flight
    if command == "receive":
        queue.purge()
        return
    assert "is damaged" in run("peek", "q", "--state", "in_flight", "--max", "1", "--json").stderr


def test_search_goes_on_behind_it(run: Run, queue: rqsqs.Queue) -> None:
    result = run("search", "q", "good")
    assert "good" in result.stdout
    assert "is damaged" in result.stderr


def test_an_export_that_is_not_complete_says_so(run: Run, queue: rqsqs.Queue, tmp_path: Path) -> None:
    result = run("export", "q", str(tmp_path / "q"), code=1)
    assert "1 message could not be read: the copy is not complete" in result.stderr
    assert '"good"' in (tmp_path / "q").read_text()


def test_doctor_finds_messages(run: Run, queue: rqsqs.Queue) -> None:
    found = [r for r in records(run("doctor", "--json", code=1)) if r["check"] == "damage"]
    assert [(r["level"], "q: the message" in r["text"]) for r in found] == [("fail", True)]


DAMAGES = pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("meta", ("hset", "VisibilityTimeout", "garbage")),
        ("meta", ("hset", "RetryPolicy", "{")),
        ("meta", ("hdel", "created_us")),
        ("store", ("set", "text")),
        ("tasks", ("hset", "task", "{")),
        ("consumers", ("hset", "worker", "no")),
        ("inflight", ("zadd", {"foreign": 5})),
        ("ready", ("rpush", "foreign")),
        ("group:g", ("set", "text")),
    ],
    ids=str,
)


@DAMAGES
def test_doctor_finds_the_rest(
    run: Run, connection: rqsqs.Connection, client: Any, key: str, name: str, damage: tuple[Any, ...]
) -> None:
    connection.create_queue("q")
    if name == "group:g":
        client.zadd(key + "fair_ring", {"g": 1})
    getattr(client, damage[0])(key + name, *damage[1:])
    found = [r for r in records(run("doctor", "--json", code=1)) if r["check"] == "damage"]
    assert any(f"{key}{name}" in r["text"] for r in found), found
    assert all(r["level"] == "fail" for r in found)


@DAMAGES
def test_damage_of_one_queue_hides_no_other(
    run: Run, connection: rqsqs.Connection, client: Any, key: str, name: str, damage: tuple[Any, ...]
) -> None:
    connection.create_queue("q").send("x")
    connection.create_queue("sound").send_batch(range(3))
    if name == "group:g":
        client.zadd(key + "fair_ring", {"g": 1})
    elif damage[0] == "set":
        client.delete(key + name)
    getattr(client, damage[0])(key + name, *damage[1:])
    for command in (["stats"], ["top", "--count", "1"]):
        found = {r["queue"]: r["visible"] for r in records(run(*command, "--json"))}
        assert found["sound"] == 3


def test_doctor_says_how_much_it_looked_at(run: Run, connection: rqsqs.Connection) -> None:
    connection.create_queue("q").send("x")
    (found,) = [r for r in records(run("doctor", "--json")) if r["check"] == "damage"]
    assert (found["level"], "2 members" in found["text"]) == ("ok", True)


def test_a_damaged_queue_can_be_listed_purged_and_deleted(run: Run, queue: rqsqs.Queue, client: Any, key: str) -> None:
    client.hdel(key + "meta", "VisibilityTimeout", "created_us")
    assert "q" in run("ls").stdout
    assert "VisibilityTimeout" in run("show", "q", code=1).stderr
    run("stats")
    run("purge", "q", "--yes")
    run("rm", "q", "--yes")
    assert "q" not in run("ls", code=4).stdout


@pytest.fixture
def dead(connection: rqsqs.Connection, client: Any, key: str) -> rqsqs.Queue:
    """Dead letters: one that is damaged, and a good one behind it."""
    dead = connection.create_queue("dead")
    queue = connection.create_queue("q", dead_letter_queue="dead", max_receive_count=1, visibility_timeout=0)
    queue.send_batch(["bad", "good"])
    client.lset(key + "ready", 1, b"\xc1")
    assert [m.body for m in queue.receive(2)] == ["good"]
    assert not queue.receive()
    return dead


def damaged_id(run: Run) -> str:
    (found,) = [r for r in records(run("dlq", "ls", "dead", "--messages", "--json")) if "damaged" in r]
    return str(found["message_id"])


def test_damaged_dead_letters_are_listed(run: Run, dead: rqsqs.Queue) -> None:
    found = records(run("dlq", "ls", "dead", "--messages", "--json"))
    assert len(found) == 2
    (record,) = [r for r in found if "damaged" in r]
    assert record["record_base64"] == "wQ=="
    assert record["dead_letter_source"] == "q"
    shown = run("dlq", "ls", "dead", "--messages")
    assert "damaged: its record" in shown.stdout
    assert "passed over" not in shown.stderr
    kinds = {kind["type"]: kind for kind in records(run("dlq", "ls", "dead", "--json"))}
    assert kinds["MessageDamaged"]["count"] == 1
    assert kinds["MessageDamaged"]["example"] == record["message_id"]
    assert sum(kind["count"] for kind in kinds.values()) == 2
    assert len(records(run("dlq", "ls", "dead", "--messages", "--json", "--max", "1"))) == 1


def test_a_damaged_dead_letter_is_shown(run: Run, dead: rqsqs.Queue) -> None:
    message_id = damaged_id(run)
    assert records(run("show", "dead", message_id, "--json"))[0]["record_base64"] == "wQ=="
    assert "c1" in run("show", "dead", message_id).stdout


def test_a_damaged_dead_letter_can_be_taken_out(run: Run, dead: rqsqs.Queue) -> None:
    run("cancel", "dead", damaged_id(run))
    assert dead.counts().visible == 1
    assert [m.body for m in dead.receive(10)] == ["good"]


def test_damaged_dead_letters_are_moved_as_they_are(run: Run, dead: rqsqs.Queue, connection: rqsqs.Connection) -> None:
    (row,) = records(run("dlq", "redrive", "dead", "--dry-run", "--json"))
    assert row["messages"] == 2
    run("dlq", "redrive", "dead")
    assert dead.counts().visible == 0
    queue = connection.queue("q")
    assert queue.counts().visible == 2
    with pytest.raises(rqsqs.MessageDamaged) as found:
        queue.receive()
    assert found.value.record == b"\xc1"
