"""`rqsqs dlq`: why messages died, and their way back."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

import rqsqs
from rqsqs import aio
from tests.cli.tools import COMMAND, Run, Terminal, die_of, die_silently, records, wait_for

UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


@pytest.fixture
def dead(connection: rqsqs.Connection) -> rqsqs.Queue:
    return connection.create_queue("dead")


@pytest.fixture
def queue(connection: rqsqs.Connection, dead: rqsqs.Queue) -> rqsqs.Queue:
    return connection.create_queue("orders", dead_letter_queue=dead, max_receive_count=1)


def test_dead_letter_queues_are_listed_with_their_sources(
    run: Run, connection: rqsqs.Connection, queue: rqsqs.Queue
) -> None:
    connection.create_queue("bills", dead_letter_queue="dead")
    die_silently(queue, 3)
    table = [re.split(r"\s{2,}", line) for line in run("dlq", "ls").stdout.splitlines()]
    assert table[0] == ["QUEUE", "MESSAGES", "OLDEST", "SOURCES"]
    assert (table[1][:2], table[1][3]) == (["dead", "3"], "bills, orders")
    (record,) = records(run("dlq", "ls", "--json"))
    assert (record["queue"], record["sources"], record["visible"]) == ("dead", ["bills", "orders"], 3)
    assert 0 <= record["oldest_age_s"] < 60
    assert "--messages goes with QUEUE" in run("dlq", "ls", "--messages", code=2).stderr


def test_without_dead_letters_there_is_nothing(run: Run, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    assert run("dlq", "ls", code=4).stderr == "no queue is a dead-letter queue\n"
    assert run("dlq", "ls", "orders", code=4).stderr == "no message in orders\n"
    assert run("dlq", "ls", "orders", "--messages", code=4).stderr == "no message in orders\n"
    run("dlq", "ls", "nothing", code=1)


def test_causes_are_put_together(run: Run, connection: rqsqs.Connection, queue: rqsqs.Queue, dead: rqsqs.Queue) -> None:
    bills = connection.create_queue("bills", dead_letter_queue=dead, max_receive_count=3)
    for number in (1, 22, 333):
        die_of(queue, 2, "KeyError", f"order {number} has no price")
    die_of(bills, 1, "KeyError", "order 4 has no price")
    die_of(queue, 1, "TimeoutError", "")
    die_silently(queue, 4)
    dead.send("sent here")
    found = records(run("dlq", "ls", "dead", "--json"))
    assert [(r["count"], r["type"], r["source"]) for r in found[:2]] == [
        (6, "KeyError", "orders"),
        (4, "ReceivedTooOften", "orders"),
    ]
    assert found[0]["message"] == "order … has no price"
    assert {(r["count"], r["type"], r["message"], r["source"]) for r in found[2:]} == {
        (1, "KeyError", "order 4 has no price", "bills"),
        (1, "TimeoutError", "", "orders"),
        (1, None, None, None),
    }
    shown = run("dlq", "ls", "dead").stdout
    assert re.search(rf"6  KeyError: order … has no price\n   from orders, sent .* ago, for example {UUID}\n", shown)
    assert "sent here, not a dead letter" in shown
    result = run("dlq", "ls", "dead", "--max", "2")
    assert "looked at 2 of 13 messages; --max looks at more" in result.stderr


def test_single_dead_letters_show_their_cause(run: Run, queue: rqsqs.Queue) -> None:
    die_of(queue, 2, "KeyError", "'price'")
    assert len(records(run("dlq", "ls", "dead", "--messages", "--max", "1", "--json"))) == 1
    shown = run("dlq", "ls", "dead", "--messages").stdout
    assert shown.count("failed  KeyError: 'price'") == 2
    cause = records(run("peek", "dead", "--json"))[0]["cause"]
    assert (cause["worker"], cause["at"]) == ("host-1-a", "2025-06-15T15:06:40+00:00")


def test_a_dry_run_says_what_would_be_moved(
    run: Run, connection: rqsqs.Connection, queue: rqsqs.Queue, dead: rqsqs.Queue
) -> None:
    assert run("dlq", "redrive", "dead", "--dry-run", code=4).stderr == "dead is empty\n"
    bills = connection.create_queue("bills", dead_letter_queue=dead, max_receive_count=1)
    die_silently(queue, 3)
    die_silently(bills, 1)
    (first, second) = records(run("dlq", "redrive", "dead", "--dry-run", "--json"))
    assert (first["source"], first["to"], first["messages"], first["problem"]) == ("orders", "orders", 3, None)
    assert (second["source"], second["messages"]) == ("bills", 1)
    assert re.search(r"3 +orders +bills", run("dlq", "redrive", "dead", "--dry-run", "--to", "bills").stdout)
    assert "does not exist" in run("dlq", "redrive", "dead", "--dry-run", "--to", "none", code=1).stderr
    assert "is not the dead-letter queue" in run("dlq", "redrive", "orders", "--dry-run", code=1).stderr
    assert dead.counts().visible == 4


def test_what_cannot_go_back_is_said_before(
    run: Run, connection: rqsqs.Connection, queue: rqsqs.Queue, dead: rqsqs.Queue
) -> None:
    dead.send("sent here")
    result = run("dlq", "redrive", "dead", "--dry-run", code=1)
    assert "came from nowhere" in result.stdout
    assert "say --to" in result.stderr
    assert "came from nowhere; say --to" in run("dlq", "redrive", "dead", code=1).stderr
    run("dlq", "redrive", "dead", "--to", "orders")
    assert queue.counts().visible == 1


def test_a_redrive_moves_no_more_than_wanted(run: Run, queue: rqsqs.Queue, dead: rqsqs.Queue) -> None:
    die_silently(queue, 7)
    (record,) = records(run("dlq", "redrive", "dead", "--dry-run", "--max", "3", "--json"))
    assert record["messages"] == 3
    (record,) = records(run("dlq", "redrive", "dead", "--max", "3", "--json"))
    assert (record["moved"], record["status"]) == (3, "COMPLETED")
    assert (queue.counts().visible, dead.counts().visible) == (3, 4)
    assert run("dlq", "redrive", "dead", "-n", "50").stderr == "moved 4 messages back\n"
    assert "x>=1" in run("dlq", "redrive", "dead", "--max", "0", code=2).stderr
    assert "stands alone" in run("dlq", "redrive", "dead", "--cancel", "--max", "1", code=2).stderr


def test_single_dead_letters_are_redriven_by_id(run: Run, queue: rqsqs.Queue, dead: rqsqs.Queue) -> None:
    die_silently(queue, 5)
    first, second, third, fourth, _ = dead.peek(5)
    choice = ("--message", second.message_id, "-m", fourth.message_id.upper())
    (record,) = records(run("dlq", "redrive", "dead", *choice, "--dry-run", "--json"))
    assert (record["messages"], record["to"]) == (2, "orders")
    assert run("dlq", "redrive", "dead", *choice).stderr == "moved 2 messages back\n"
    assert [m.body for m in queue.peek(5)] == [1, 3]
    assert run("dlq", "redrive", "dead", *choice, code=4).stderr == "moved 0 messages back, 2 not found\n"
    assert "no such message is visible" in run("dlq", "redrive", "dead", *choice, "--dry-run", code=4).stderr
    (held,) = dead.receive(visibility_timeout=60)
    assert held.message_id == first.message_id
    result = run("dlq", "redrive", "dead", "-m", first.message_id, "-m", third.message_id, "--json", code=1)
    assert records(result) == [
        {"queue": "dead", "to": None, "moved": 1, "not_found": [], "failed": {first.message_id: "NotVisible"}}
    ]
    assert "1 message not moved: in flight" in run("dlq", "redrive", "dead", "-m", first.message_id, code=1).stderr
    assert "a message or the message_id of one, got" in run("dlq", "redrive", "dead", "-m", "5", code=2).stderr


def test_dead_letters_are_redriven_by_their_cause(
    run: Run, connection: rqsqs.Connection, queue: rqsqs.Queue, dead: rqsqs.Queue
) -> None:
    other = connection.create_queue("inspection")
    die_of(queue, 3, "TimeoutError", "no answer")
    die_of(queue, 2, "KeyError", "'price'")
    (record,) = records(run("dlq", "redrive", "dead", "--cause", "TimeoutError", "--dry-run", "--json"))
    assert record["messages"] == 3
    result = run("dlq", "redrive", "dead", "--cause", "no answer", "--max", "2", "--to", "inspection")
    assert result.stderr == "moved 2 messages to inspection\n"
    assert (other.counts().visible, dead.counts().visible) == (2, 3)
    assert records(run("dlq", "redrive", "dead", "--cause", "KeyError: 'price'", "--json"))[0]["moved"] == 2
    assert [m.cause.type for m in dead.peek(9) if m.cause] == ["TimeoutError"]
    shown = run("dlq", "redrive", "dead", "--cause", "KeyError", code=4).stderr
    assert shown == "no message in dead failed with 'KeyError'\n"


def test_options_that_choose_dead_letters_have_rules(run: Run, queue: rqsqs.Queue) -> None:
    for options in (("--message", "x", "--cause", "y"), ("--message", "x", "--max", "1")):
        assert "do not go with it" in run("dlq", "redrive", "dead", *options, code=2).stderr
    assert "--no-wait does not go" in run("dlq", "redrive", "dead", "--cause", "x", "--no-wait", code=2).stderr
    assert "stands alone" in run("dlq", "redrive", "dead", "--cause", "x", "--cancel", code=2).stderr


def test_options_of_a_redrive_that_exclude_each_other(run: Run) -> None:
    for options in (("--cancel", "--dry-run"), ("--no-wait", "--dry-run"), ("--cancel", "--to", "x")):
        assert "exclude each other" in run("dlq", "redrive", "dead", *options, code=2).stderr


@pytest.mark.usefixtures("environment")
def test_a_redrive_goes_on_in_the_background_until_it_is_cancelled(
    run: Run, queue: rqsqs.Queue, dead: rqsqs.Queue
) -> None:
    die_silently(queue, 100)
    command = [*COMMAND, "dlq", "redrive", "dead", "--no-wait", "--rate", "2"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert re.fullmatch(UUID + "\n", result.stdout)
    wait_for(lambda: queue.counts().visible >= 2)
    assert "there can be one at a time; --cancel ends it" in run("dlq", "redrive", "dead", code=1).stderr
    result = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr.startswith("rqsqs: a move task of 'dead' is running")
    (record,) = records(run("dlq", "redrive", "dead", "--cancel", "--json"))
    assert record["status"] == "CANCELLED"
    assert record["moved"] == queue.counts().visible
    assert run("dlq", "redrive", "dead", "--cancel", code=4).stderr == "no redrive of dead is running\n"


@pytest.mark.usefixtures("environment")
def test_cancelling_says_how_many_had_been_moved(run: Run, queue: rqsqs.Queue, dead: rqsqs.Queue) -> None:
    die_silently(queue, 100)
    task = dead.redrive(max_per_second=10)
    wait_for(lambda: queue.counts().visible)
    result = run("dlq", "redrive", "dead", "--cancel")
    assert re.fullmatch(r"cancelled; [1-9]\d* messages? had been moved\n", result.stderr)
    assert next(t for t in dead.move_tasks() if t.task_id == task).status == "CANCELLED"


@pytest.mark.usefixtures("environment")
def test_ctrl_c_in_a_terminal_cancels_a_redrive(queue: rqsqs.Queue, dead: rqsqs.Queue) -> None:
    die_silently(queue, 100)
    terminal = Terminal(80, "dlq", "redrive", "dead", "--rate", "10")
    terminal.read_until("/100")
    wait_for(lambda: queue.counts().visible)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    assert "had been moved\n" in terminal.seen
    assert terminal.seen.endswith("rqsqs: interrupted\n")  # behind a bar that may be drawn once more
    assert queue.counts().visible + dead.counts().visible == 100


@pytest.mark.usefixtures("environment")
def test_ctrl_c_ends_a_redrive_of_single_messages_at_once(queue: rqsqs.Queue, dead: rqsqs.Queue) -> None:
    die_silently(queue, 100)
    ids = [m.message_id for m in dead.peek(100)]
    terminal = Terminal(80, "dlq", "redrive", "dead", "--rate", "10", *[f"--message={text}" for text in ids])
    wait_for(lambda: queue.counts().visible)
    terminal.process.send_signal(signal.SIGINT)
    assert terminal.end() == 130
    (task,) = dead.move_tasks()
    assert task.status == "CANCELLED"
    moved = queue.counts().visible
    assert moved == 100 - dead.counts().visible
    assert moved - task.moved in (0, 1)  # the one under way counts with the next step
    assert dead.redrive_messages(ids[-1:]).moved == (ids[-1],), "another one need not wait"


def test_a_redrive_of_single_messages_ends_when_its_task_is_cancelled(
    valkey_url: str, prefix: str, queue: rqsqs.Queue, dead: rqsqs.Queue
) -> None:
    die_silently(queue, 100)
    ids = [m.message_id for m in dead.peek(100)]

    async def main() -> None:
        async with aio.connect(valkey_url, prefix=prefix) as connection:
            moving = asyncio.create_task(connection.queue("dead").redrive_messages(ids, max_per_second=10))
            while not queue.counts().visible:
                await asyncio.sleep(0.01)
            moving.cancel()
            with pytest.raises(asyncio.CancelledError):
                await moving

    asyncio.run(main())
    (task,) = dead.move_tasks()
    assert task.status == "CANCELLED"
    assert dead.redrive_messages(ids[-1:]).moved == (ids[-1],)
