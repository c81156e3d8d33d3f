"""Finding messages: search, show QUEUE MESSAGE_ID, cancel, release."""

from __future__ import annotations

import json

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

import rqsqs
from tests.cli.tools import Run, die_of, die_silently, in_terminal, records


@pytest.fixture
def queue(connection: rqsqs.Connection) -> rqsqs.Queue:
    """One message in flight, three visible, one delayed."""
    queue = connection.create_queue("orders")
    queue.send("lamp in flight")
    queue.receive()
    queue.send("lamp one", attributes={"color": "red", "raw": b"\xff"})
    queue.send({"item": "lamp", "size": 2}, group="a")
    queue.send(b"chair")
    queue.send("Lamp later", delay=3600, deduplication_id="dedup-7")
    return queue


def bodies(run: Run, *arguments: str) -> list[object]:
    return [record["body"] for record in records(run("search", "orders", *arguments, "--json"))]


def test_all_states_are_searched_and_named(run: Run, queue: rqsqs.Queue) -> None:
    found = records(run("search", "orders", "lamp", "--json"))
    assert [(record["state"], record["body"]) for record in found] == [
        ("visible", "lamp one"),
        ("visible", {"item": "lamp", "size": 2}),
        ("in_flight", "lamp in flight"),
    ]
    counts = queue.counts()
    assert (counts.visible, counts.in_flight, counts.delayed) == (3, 1, 1)
    shown = run("search", "orders", "lamp").stdout
    assert "visible\n  color=red" in shown
    assert "in flight\n  lamp in flight" in shown


def test_what_is_searched_can_be_narrowed(run: Run, queue: rqsqs.Queue) -> None:
    assert bodies(run, "lamp", "--ignore-case", "--state", "delayed") == ["Lamp later"]
    assert bodies(run, "lamp", "-i", "-s", "delayed", "-s", "in_flight") == ["Lamp later", "lamp in flight"]
    assert bodies(run, "lamp", "--group", "a") == [{"item": "lamp", "size": 2}]
    assert bodies(run, "lamp", "--max", "1") == ["lamp one"]
    assert bodies(run, r"^\{.*\d\}$", "--regex") == [{"item": "lamp", "size": 2}]
    assert "must be a regular expression" in run("search", "orders", "(", "--regex", code=2).stderr
    result = run("search", "orders", "sofa", code=4)
    assert (result.stdout, result.stderr) == ("", "no message in orders contains 'sofa'\n")


def test_ids_and_attributes_are_searched(run: Run, queue: rqsqs.Queue) -> None:
    message = queue.peek()[0]
    for text in (message.message_id, "color=red", "lamp one"):
        assert bodies(run, text) == ["lamp one"]
    assert bodies(run, "dedup-7") == ["Lamp later"]


def test_a_long_queue_is_searched_to_its_end(run: Run, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders.fifo")
    for start in range(0, 2000, 500):
        queue.send_batch(
            [rqsqs.Entry(i, group=f"g{i % 3}", deduplication_id=str(i)) for i in range(start, start + 500)]
        )
    found = records(run("search", "orders.fifo", "7$", "--regex", "--group", "g1", "--json"))
    assert sorted(record["body"] for record in found) == [i for i in range(2000) if i % 10 == 7 and i % 3 == 1]


@pytest.mark.usefixtures("environment")
def test_found_messages_and_progress_do_not_mix_in_a_terminal(connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    queue.send_batch(["x" if i % 100 else f"needle {i}" for i in range(1000)])
    seen = in_terminal(80, "search", "orders", "needle")
    assert seen.count("  needle ") == 10
    assert all(line.strip().startswith("needle") for line in seen.splitlines() if "needle " in line)


def test_one_message_is_shown_in_full(run: Run, queue: rqsqs.Queue) -> None:
    for state in ("visible", "in_flight", "delayed"):
        message = queue.peek(state=state)[0]  # type: ignore[arg-type]
        shown = run("show", "orders", message.message_id.upper()).stdout
        assert shown.startswith(message.message_id)
        assert state.replace("_", " ") in shown
        assert str(message.body) in shown
        (record,) = records(run("show", "orders", message.message_id, "--json"))
        assert (record["state"], record["body"]) == (state, message.body)
    assert "dedup-7" in run("show", "orders", queue.peek(state="delayed")[0].message_id).stdout
    result = run("show", "orders", "0199c1a2-7f3e-7000-8000-0123456789ab", code=4)
    assert result.stderr == "orders holds no message 0199c1a2-7f3e-7000-8000-0123456789ab\n"


def test_a_dead_letter_tells_why(run: Run, connection: rqsqs.Connection) -> None:
    dead = connection.create_queue("dead")
    die_of(connection.create_queue("orders", dead_letter_queue=dead, max_receive_count=3), 1, "KeyError", "'price'")
    (message,) = dead.peek()
    shown = run("show", "dead", message.message_id).stdout
    for text in ("KeyError: 'price'", "host-1-a", "came from", "orders", "traceback\n  Traceback:\n    in handle\n"):
        assert text in shown
    (record,) = records(run("show", "dead", message.message_id, "--json"))
    assert (record["cause"]["type"], record["cause"]["message"]) == ("KeyError", "'price'")
    assert bodies_of(run, "dead", "KeyError") == [0]


def bodies_of(run: Run, queue: str, text: str) -> list[object]:
    return [record["body"] for record in records(run("search", queue, text, "--json"))]


def test_a_message_that_died_in_silence_says_so(run: Run, connection: rqsqs.Connection) -> None:
    dead = connection.create_queue("dead")
    die_silently(connection.create_queue("orders", dead_letter_queue=dead, max_receive_count=1), 1)
    (message,) = dead.peek()
    assert "visibility timeout pass" in run("show", "dead", message.message_id).stdout


def test_the_queue_shows_both_sides_of_its_dead_letters(run: Run, connection: rqsqs.Connection) -> None:
    dead = connection.create_queue("dead")
    connection.create_queue("orders", dead_letter_queue=dead, max_receive_count=3)
    assert "to dead after 3 receives" in run("show", "orders").stdout
    assert records(run("show", "orders", "--json"))[0]["dead_letter_queue"] == "dead"
    assert records(run("show", "dead", "--json"))[0]["dead_letter_sources"] == ["orders"]


def test_waiting_messages_are_cancelled(run: Run, queue: rqsqs.Queue) -> None:
    first, second, _ = queue.peek(3)
    result = run("cancel", "orders", first.message_id, second.message_id, "--dedup-id", "dedup-7")
    assert result.stderr == "cancelled 3 messages of orders\n"
    counts = queue.counts()
    assert (counts.visible, counts.in_flight, counts.delayed) == (1, 1, 0)
    (record,) = records(run("cancel", "orders", first.message_id, "--json", code=4))
    assert record == {"queue": "orders", "cancelled": 0, "failed": 0}
    assert "holds no message with deduplication id x" in run("cancel", "orders", "--dedup-id", "x", code=4).stderr
    flying = queue.peek(state="in_flight")[0].message_id
    assert f"message {flying} is in flight" in run("cancel", "orders", flying, code=1).stderr
    assert "say which messages" in run("cancel", "orders", code=2).stderr
    assert "the message_id of one, got 'nonsense'" in run("cancel", "orders", "nonsense", code=2).stderr


def test_a_group_helps_to_cancel(run: Run, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders.fifo")
    sent = queue.send("x", group="a", deduplication_id="1")
    run("cancel", "orders.fifo", sent.message_id, "--group", "b", code=4)
    run("cancel", "orders.fifo", sent.message_id, "--group", "a")
    assert queue.counts().visible == 0


def test_received_messages_are_released(run: Run, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    queue.send_batch(range(3))
    received = records(run("receive", "orders", "--max", "3", "--json"))
    handles = [record["receipt_handle"] for record in received]
    assert run("release", "orders", handles[0]).stderr == "released 1 message of orders\n"
    assert queue.counts().visible == 1
    result = run("release", "orders", "-", "--delay", "1h", "--json", input="\n".join(handles[1:]) + "\n")
    assert records(result) == [{"queue": "orders", "released": 2, "failed": 0}]
    assert all(m.visible_at and m.visible_at.timestamp() - m.sent_at.timestamp() > 3000 for m in
               queue.peek(2, "in_flight"))  # fmt: skip
    result = run("release", "orders", "nonsense", code=1)
    assert "handle 1: " in result.stderr
    run("release", "orders", "-", input="", code=4)


def test_fields_of_objects_are_found_however_they_were_sent(run: Run, connection: rqsqs.Connection) -> None:
    body = {"customer": 7, "address": {"city": "Bonn"}, "items": [{"id": 4}, {"id": None}], "paid": True}
    queue = connection.create_queue("orders")
    queue.send(body)
    queue.send(json.dumps(body, separators=(",", ":")))
    queue.send({"customer": 70, "deep": [[[[5]]]]})
    for text in ("address.city=Bonn", "items[0].id=4", "items[1].id=null", "paid=true"):
        assert [record["body_type"] for record in records(run("search", "orders", text, "--json"))] == [
            "object",
            "text",
        ]
    assert len(records(run("search", "orders", "customer=7", "--json"))) == 3
    assert len(records(run("search", "orders", "^customer=7$", "--regex", "--json"))) == 2
    assert len(records(run("search", "orders", "deep[0][0][0][0]=5", "--json"))) == 1
    run("search", "orders", "customer=8", code=4)


def test_bodies_that_look_like_json_and_are_none_or_too_deep_are_searched(
    run: Run, connection: rqsqs.Connection
) -> None:
    queue = connection.create_queue("orders")
    for body in ("{not json", "[" * 100_000, '{"' + "k" * 1000 + '":{"a":"found"}}', [], {}, "", {"a": b"\xff"}):
        queue.send(body)
    assert len(records(run("search", "orders", "k.a=found", "--json"))) == 1
    run("search", "orders", "customer=8", code=4)
