"""Code that the console offers to copy sends the same message again, whatever stands in it, and does nothing else."""

from __future__ import annotations

import asyncio
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

import rqsqs
from rqsqs import aio
from rqsqs._async.message import Message
from rqsqs.console.reading_messages import find
from rqsqs.inspection import copies
from rqsqs.inspection.copies import Copy

TEXTS = [
    "plain",
    "",
    "-",
    "--help",
    'it\'s "quoted" `touch owned` $(touch owned) ${HOME} !! \\ \\n %s',
    "'; touch owned; echo '",
    '"""; import os; os.mkdir("owned"); """',
    "two\nlines\n",
    "tab\tand\rreturn",
    "\x1b[2J\x07\x00",
    "right \u202e to left \u200b\ufeff",
    "🦊 ünïcödé",
    "{{7*7}} {% raw %} <script>",
    "x" * 20_000,
]
OBJECTS: list[Any] = [{"a": [1, 2.5, None, True], "b": {"c": "'\"\\"}}, [], 5, None, {"n": "x" * 20_000}]
ODD: list[Any] = [b"", b"\x00\xff'\"", b"x" * 20_000, {1: "x", b"k": [b"\x00"]}, {"f": float("inf")}]
OPTIONS: list[dict[str, Any]] = [
    {"group": "g ' \" $(touch owned)", "deduplication_id": "-d '"},
    {"attributes": {"a": "it's $(touch owned)", "b": "-", "c.d": ""}},
    {"attributes": {"n": 5, "f": 2.5, "raw": b"\x00'", "t": "\u202e"}},
    {"trace_context": {"traceparent": "00-1-2-01"}, "group": "\u202e"},
]
BODIES = TEXTS + OBJECTS + ODD


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, valkey_url: str, prefix: str) -> Path:
    """A folder where code runs that knows the server by the environment."""
    monkeypatch.setenv("RQSQS_URL", valkey_url)
    monkeypatch.setenv("RQSQS_PREFIX", prefix)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def looked_at(url: str, prefix: str, queue: str, sent: list[rqsqs.SentMessage]) -> list[Message]:
    """Messages as the console has them."""

    async def main() -> list[Message]:
        async with aio.connect(url, prefix=prefix) as connection:
            found = [await find(connection.queue(queue), each.message_id) for each in sent]
            return [each[0] for each in found if each is not None]

    return asyncio.run(main())


def copied(
    place: Path, url: str, prefix: str, connection: rqsqs.Connection, make: Callable[[Message, str], Copy]
) -> tuple[list[Message], list[Copy]]:
    """All kinds of messages, and the code of each that sends it to the queue `copies`."""
    connection.create_queue("copies", maximum_message_size=1_048_576)
    source = connection.create_queue("source")
    sent = [source.send(body) for body in BODIES]
    sent += [source.send(f"with options {n}", **options) for n, options in enumerate(OPTIONS)]
    messages = looked_at(url, prefix, "source", sent)
    assert len(messages) == len(BODIES) + len(OPTIONS)
    made = [make(message, "copies") for message in messages]
    for message, copy in zip(messages, made, strict=True):
        if copy.file:
            (place / copies.file_name(message)).write_text(copies.as_line(message))
    return messages, made


def received(connection: rqsqs.Connection) -> rqsqs.Message:
    (message,) = connection.queue("copies").receive(delete=True)
    return message


def facts(message: Message | rqsqs.Message) -> object:
    return (
        repr(message.body), message.group, message.deduplication_id, message.attributes, message.trace_context,
    )  # fmt: skip


def test_shell_commands_send_the_same(place: Path, valkey_url: str, prefix: str, connection: rqsqs.Connection) -> None:
    from rqsqs.cli.program import program

    messages, made = copied(place, valkey_url, prefix, connection, copies.shell)
    # A real shell takes the code apart; the words go to the command without another process.
    shell = ['rqsqs() { local i=-; [ -p /dev/stdin ] && i=$(cat; echo x); printf \'%s\\0\' "${i%x}" $# "$@"; }']
    words = subprocess.run(
        ["bash", "-c", "\n".join([*shell, *(copy.code for copy in made)])],
        capture_output=True, check=True, timeout=60, stdin=subprocess.DEVNULL,
    ).stdout.decode().split("\0")  # fmt: skip
    at = 0
    for message, copy in zip(messages, made, strict=True):
        number = int(words[at + 1])
        stdin, given = words[at], words[at + 2 : at + 2 + number]
        at += 2 + number
        result = CliRunner().invoke(program, given, input=stdin)
        assert result.exit_code == 0, (copy.code, result.output)
        assert facts(received(connection)) == facts(message)
    assert at == len(words) - 1
    assert not list(place.glob("owned*"))


def test_python_code_sends_the_same(place: Path, valkey_url: str, prefix: str, connection: rqsqs.Connection) -> None:
    for message, copy in zip(*copied(place, valkey_url, prefix, connection, copies.python), strict=True):
        exec(copy.code, {})
        assert facts(received(connection)) == facts(message), copy.code
    assert not list(place.glob("owned*"))


def test_boto3_code_sends_what_clients_of_sqs_receive(
    place: Path, valkey_url: str, prefix: str, connection: rqsqs.Connection
) -> None:
    pytest.importorskip("boto3")
    done = 0
    for message, copy in zip(*copied(place, valkey_url, prefix, connection, copies.boto3), strict=True):
        text = message._delivery.text()
        is_odd = "" in (text, *message.attributes.values()) or not re.fullmatch("[!-~]*", message.group or "")
        if is_odd or re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1f]", text):  # SQS does not take it
            with pytest.raises(Exception, match=r"InvalidMessageContents|MissingParameter|InvalidParameterValue"):
                exec(copy.code, {})
            continue
        exec(copy.code, {})
        done += 1
        again = received(connection)
        assert again.body == message._delivery.text(), copy.code
        assert (again.group, again.attributes) == (message.group, message.attributes)
    assert done >= len(BODIES) + len(OPTIONS) - 7
    assert not list(place.glob("owned*"))


@pytest.mark.parametrize("make", [copies.shell, copies.python, copies.boto3])
def test_code_holds_nothing_that_hides(
    place: Path, valkey_url: str, prefix: str, connection: rqsqs.Connection, make: Callable[[Message, str], Copy]
) -> None:
    _, made = copied(place, valkey_url, prefix, connection, make)
    for copy in made:
        assert all(c.isprintable() or c == "\n" for c in copy.code)
