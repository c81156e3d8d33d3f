"""What the command line says when a name is wrong, something exists, or a question is answered with no."""

from __future__ import annotations

import os
import re
import shlex
import signal
import subprocess

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

import rqsqs
from rqsqs._text import did_you_mean
from rqsqs.cli.settings import LOOKED_AT
from tests.cli.tools import COMMAND, Run, Terminal, records
from tests.clusters import client_of


def test_near_names_come_first_and_then_what_begins_so() -> None:
    names = ["orders", "orders-dead", "bills", "pay.fifo"]
    assert did_you_mean("ordrs", names) == "; did you mean 'orders'?"
    assert did_you_mean("Bills", names) == "; did you mean 'bills'?"
    assert did_you_mean("pay", names) == "; did you mean 'pay.fifo'?"
    assert did_you_mean("ord", names) == "; did you mean 'orders' or 'orders-dead'?"
    assert did_you_mean("nothing-like-it", names) == did_you_mean("x", names) == did_you_mean("x", []) == ""


@pytest.mark.parametrize(
    "words",
    [
        "stats ordrs", "show ordrs", "send ordrs hello", "receive ordrs", "peek ordrs", "purge ordrs --yes",
        "rm ordrs --yes", "pause ordrs", "resume ordrs", "tag ordrs a=b", "set ordrs --delay 1", "search ordrs x",
        "cancel ordrs --dedup-id x", "export ordrs", "dlq ls ordrs", "dlq redrive ordrs", "consumers ls ordrs",
        "create bills --dlq ordrs", "dlq redrive orders --to ordrs",
    ],
)  # fmt: skip
def test_every_command_names_the_queue_that_was_meant(run: Run, connection: rqsqs.Connection, words: str) -> None:
    connection.create_queue("orders")
    said = run(*words.split(), code=1).stderr
    assert "'ordrs'" in said
    assert "does not exist; did you mean 'orders'?" in said
    assert said.count("\n") == 1


def test_no_name_is_suggested_where_none_is_near(run: Run, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    assert run("stats", "letters", code=1).stderr == "rqsqs: the queue 'letters' does not exist\n"


def test_among_very_many_queues_those_that_begin_alike_are_looked_at(
    run: Run, connection: rqsqs.Connection, valkey_url: str
) -> None:
    with client_of(valkey_url) as client:
        client.zadd(connection.transport.space.names, {f"queue-{number:05d}": 0 for number in range(20 * LOOKED_AT)})
    assert "did you mean 'queue-07500'" in run("stats", "queue-07500x", code=1).stderr


def test_wrong_options_of_settings_name_the_right_one(run: Run) -> None:
    assert "--visibility-timeout" in run("create", "orders", "--visibilty-timeout", "5", code=2).stderr
    assert "--max-receive-count" in run("set", "orders", "--max-recieve-count", "5", code=2).stderr


def test_creating_a_queue_that_is_different_tells_the_command_that_changes_it(run: Run) -> None:
    run("create", "dead")
    run("create", "orders", "--delay", "5s", "--partitions", "2", "--retry", "1s..5m")
    wanted = ("--delay", "14m", "--retention", "14d", "--dlq", "dead", "--max-receive-count", "3",
              "--retry", "1500ms..1h", "--retry", "ValueError=never")  # fmt: skip
    said = run("create", "orders", *wanted, code=1).stderr
    assert "DelaySeconds (it has 5, not 840)" in said
    assert "MessageRetentionPeriod (it has 345600, not 1209600)" in said
    command = re.search(r"; rqsqs (set orders .*) changes that\n$", said)
    assert command is not None
    run(*shlex.split(command[1]))
    assert run("create", "orders", *wanted).stderr == "created orders\n"
    said = run("create", "orders", "--partitions", "1", code=1).stderr
    assert said.endswith("Partitions (it has 2, not 1); use it as it is, or delete it first\n")
    run("create", "a.fifo", "--content-based-deduplication")
    said = run("create", "a.fifo", "--no-content-based-deduplication", code=1).stderr
    assert said.endswith("; rqsqs set a.fifo --no-content-based-deduplication changes that\n")


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    ("command", "question", "answer", "said", "code", "left"),
    [
        ("purge orders", "Remove 1 message from orders? [y/N] ", "n\n", "rqsqs: nothing was removed", 1, 1),
        ("purge orders", "Remove 1 message from orders? [y/N] ", "\n", "rqsqs: nothing was removed", 1, 1),
        ("purge orders", "Remove 1 message from orders? [y/N] ", "\x04", "rqsqs: nothing was removed", 1, 1),
        ("purge orders", "Remove 1 message from orders? [y/N] ", signal.SIGINT, "rqsqs: interrupted", 130, 1),
        ("purge orders", "Remove 1 message from orders? [y/N] ", "Yes\n", "removed 1 message from orders", 0, 0),
        ("rm orders", "Delete orders with all messages? [y/N] ", "n\n", "rqsqs: nothing was deleted", 1, 1),
        ("rm orders", "Delete orders with all messages? [y/N] ", "y\n", "deleted orders", 0, None),
    ],
)
def test_a_question_is_answered(
    connection: rqsqs.Connection,
    command: str,
    question: str,
    answer: str | signal.Signals,
    said: str,
    code: int,
    left: int | None,
) -> None:
    queue = connection.create_queue("orders")
    queue.send("hello")
    terminal = Terminal(100, *command.split())
    terminal.read_until(question)
    if isinstance(answer, str):
        terminal.press(answer)
    else:
        terminal.process.send_signal(answer)
    assert terminal.end() == code
    assert terminal.seen.splitlines()[-1] == said
    assert (queue.counts().visible if left is not None else connection.exists("orders")) == (left or 0)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("command", ["purge orders", "rm orders"])
def test_without_a_terminal_nobody_is_asked(connection: rqsqs.Connection, command: str) -> None:
    """With nothing on stdin that ends, reading it would hang."""
    connection.create_queue("orders").send("hello")
    keep_open, write = os.pipe()
    try:
        ended = subprocess.run(
            [*COMMAND, *command.split()], stdin=keep_open, capture_output=True, text=True, timeout=60, check=False
        )
    finally:
        os.close(keep_open)
        os.close(write)
    assert (ended.returncode, ended.stdout) == (2, "")
    assert "there is no terminal to ask: say --yes" in ended.stderr
    assert connection.queue("orders").counts().visible == 1


HINT = "rqsqs: sent as text, though it looks like JSON: --as json sends an object, --as text is quiet\n"


@pytest.mark.parametrize(
    ("arguments", "body", "said"),
    [
        (['{"id": 1}'], '{"id": 1}', HINT),
        ([' [1, "a"]\n'], ' [1, "a"]\n', HINT),
        (["-"], '{"id": 1}', HINT),
        (['{"id": 1}', "--json"], '{"id": 1}', HINT),
        (['{"id": 1}', "--as", "text"], '{"id": 1}', ""),
        (['{"id": 1}', "--as", "json"], {"id": 1}, ""),
        (['{"id": 1}', "--as", "bytes"], b'{"id": 1}', ""),
        (["7"], "7", ""),
        (["hello"], "hello", ""),
        (["{hello}"], "{hello}", ""),
        (["[" * 50_000], "[" * 50_000, ""),
    ],
)
def test_text_that_looks_like_json_is_sent_with_a_hint(
    run: Run, connection: rqsqs.Connection, arguments: list[str], body: object, said: str
) -> None:
    queue = connection.create_queue("orders")
    sent = run("send", "orders", *arguments, input='{"id": 1}\n')
    assert sent.stderr == said
    assert len(sent.stdout.splitlines()) == 1
    assert [message.body for message in queue.receive()] == [body]


@pytest.mark.parametrize(
    ("body", "kind"), [('{"id": 1}', "text"), ({"id": 1}, "object"), (7, "object"), (b"{}", "bytes")]
)
def test_every_command_tells_text_from_objects(run: Run, connection: rqsqs.Connection, body: object, kind: str) -> None:
    queue = connection.create_queue("orders")
    message_id = queue.send(body).message_id
    for command in (("peek", "orders"), ("show", "orders", message_id), ("search", "orders", message_id),
                    ("receive", "orders", "--visibility-timeout", "0")):  # fmt: skip
        assert [record["body_type"] for record in records(run(*command, "--json"))] == [kind]
        shown = run(*command).stdout
        assert f"body ({kind})" in shown if command[0] == "show" else shown.startswith(f"{message_id}, {kind}, sent ")
    run("send", "orders", "--file", "-", input=run("peek", "orders", "--json").stdout)
    assert [message.body for message in queue.receive(10)] == [body, body]


def test_queues_in_memory_are_gone_and_create_says_so(run: Run) -> None:
    said = run("create", "orders", "--url", "embedded://").stderr
    assert said.endswith(
        "orders is gone again: embedded:// is memory of this command; embedded://~ keeps queues on disk\n"
    )


def test_a_demo_at_no_url_is_one_line(run: Run) -> None:
    said = run("demo", "--url", "NONSENSE", code=2).stderr
    assert said.startswith("rqsqs: cannot connect to 'NONSENSE': ")
    assert said.count("\n") == 1
