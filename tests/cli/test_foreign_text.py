"""What others wrote into queues does not control the terminal of whoever looks at them, by any command.

Names, tags, bodies, attributes, groups, causes, consumers and damaged data are full of what terminals obey. Every
command of the program runs over them, those that will be added too, in a terminal and into a pipe.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

import click
from click.testing import CliRunner

import rqsqs
from rqsqs import cli
from rqsqs._core import flows
from rqsqs.cli.parameter_types import QUEUE, QueueName
from rqsqs.cli.program import explain, program
from rqsqs.cli.settings import Settings
from tests.cli.tools import commands, die_of
from tests.clusters import client_of

EVIL = (
    "evil\x1b]0;title\x07\x1b[35m\x9b35m\x9d0;t\x9c\u202ereversed\u2066\u200f\u061c\u2028\u2029\x7f\x08\x00[red]r[/red]"
)
FAKE = "2030-01-01 FAKED"
WORD = EVIL.replace("\x00", "")  # as an argument
LINES = f"{EVIL}\n{FAKE}\r{FAKE}"
OURS = re.compile(
    r"\r?\x1b\[(?!35m)[?;\d]*[A-Za-z]"
)  # bold, dim, colours, the cursor of `top`; magenta is not among them
FORBIDDEN = {chr(c) for c in (*range(32), *range(0x7F, 0xA0))} - {"\n"}
FORBIDDEN |= {*"\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u200e\u200f\u061c\u2028\u2029"}
UNENDING = {
    "console",
    "server",
    "worker",
    "gateway",
    "demo",
    "chaos",
    "metrics sample",
    "metrics serve",
    "alarms run",
}  # only wrong arguments
COMMANDS = commands()


@pytest.fixture
def message_id(connection: rqsqs.Connection, prefix: str, valkey_url: str) -> str:
    """A message that could not be handled, in the queue "texts", beside much else that is evil."""
    dead = connection.create_queue("dead", tags={EVIL: LINES})
    queue = connection.create_queue("texts", tags={"team" + EVIL: LINES}, dead_letter_queue="dead", max_receive_count=1)
    fifo = connection.create_queue("texts.fifo")
    die_of(queue, 2, EVIL, LINES)
    for body in (LINES, LINES.encode(), b"\xff\x9b\x1b", {EVIL: [LINES, {"x": EVIL}]}, [EVIL.encode()], {1: EVIL}):
        queue.send(body, attributes={"a": EVIL, "b": b"\x1b\x9b\xff"})
    fifo.send(EVIL, group=EVIL[:20], deduplication_id=EVIL[:30])
    queue.send(EVIL, delay=600, group=EVIL[:20], deduplication_id=EVIL[:30])
    about: dict[str, Any] = dict.fromkeys(("host", "state"), EVIL) | {
        "held": [[EVIL, 1_900_000_000_000]],
        "in_flight": 2,
    }
    connection.transport.run(flows.beat(connection.transport.queue("texts"), (), 0, EVIL, about, 600_000))
    with client_of(valkey_url) as client:
        damaged = connection.create_queue("damaged")
        client.hset(f"{prefix}:{{damaged}}:meta", "VisibilityTimeout", LINES)
        client.hset(f"{prefix}:{{damaged}}:meta", "visibility", LINES)
        assert damaged.name in [q.name for q in connection.queues()]
        client.zadd(f"{prefix}:{{queues}}:names", {f"zz{LINES}": 0})
    return dead.peek(1)[0].message_id


class Call:
    """Calls `rqsqs` in process."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        separate = "mix_stderr" in inspect.signature(CliRunner).parameters
        self._runner = CliRunner(**({"mix_stderr": False} if separate else {}))  # type: ignore[arg-type]

    def __call__(self, *words: str, tty: bool = False, stdin: str = "") -> Any:
        """Its result; what it printed holds nothing that a terminal obeys."""
        with self._monkeypatch.context() as patch:
            if tty:
                stream = click.testing._NamedTextIOWrapper
                patch.setattr(stream, "isatty", lambda self: self.name != "<stdin>", raising=False)
                patch.setenv("TERM", "xterm")
            result = self._runner.invoke(program, words, input=stdin, color=tty)
        assert result.exception is None or isinstance(result.exception, SystemExit), (
            words,
            "".join(traceback.format_exception(result.exception)),
        )
        for text in (result.stdout, result.stderr):
            bare = OURS.sub("", text) if tty else text
            assert not {c for c in bare.replace("\r\n", "\n") if c in FORBIDDEN}, (words, text)
            if words[-1] != "--body":  # which prints bodies as they are, line by line
                assert not [line for line in bare.splitlines() if line.startswith(FAKE)], (words, text)
            text.encode()
        return result


@pytest.fixture
def call(environment: None, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Call:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    return Call(monkeypatch)


def value_for(parameter: click.Parameter) -> str:
    """Something that a parameter may be; evil if it may be anything."""
    kind = parameter.type
    if isinstance(kind, QueueName):
        return "texts"
    if isinstance(kind, click.Choice):
        return str(kind.choices[0])
    return WORD if isinstance(kind, click.types.StringParamType) else "1"


def calls_of(words: str, command: click.Command) -> Iterator[list[str]]:
    """Ways to call a command: as it is meant, with each of its options, and with arguments that are wrong."""
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    options = [p for p in command.params if isinstance(p, click.Option) and not p.is_flag]
    given = [value_for(p) for p in arguments if p.required or p.nargs == -1]
    ends = {"top": ["--count", "1"], "rm": ["--yes"], "purge": ["--yes"]}.get(words, [])
    if words not in UNENDING:
        yield [*given, *ends]
        if not any(p.required for p in arguments):
            yield ends
        yield [*given, *ends, "--url", f"redis://127.0.0.1:1/{WORD}"]
        for option in options:
            yield [*given, option.opts[0], value_for(option), *ends]
    yield [*given, WORD, WORD, *ends]
    for option in options:
        if words not in UNENDING or not isinstance(option.type, click.types.StringParamType):
            yield [*given, option.opts[0], WORD, *ends]


@pytest.mark.parametrize("words", COMMANDS)
def test_no_command_shows_what_a_terminal_would_obey(
    words: str, call: Call, message_id: str, connection: rqsqs.Connection
) -> None:
    for arguments in calls_of(words, COMMANDS[words]):
        connection.create_queue("texts")
        call(*words.split(), *arguments, tty=True)
        call(*words.split(), *arguments, "--json", stdin=f"{LINES}\n")


def test_all_of_it_is_shown_with_its_marks_and_escapes(call: Call, message_id: str) -> None:
    shown = {
        "tags": call("tag", "texts", tty=True),
        "queue": call("show", "texts", tty=True),
        "messages": call("peek", "texts", tty=True),
        "bodies": call("peek", "texts", "--body", tty=True),
        "delayed": call("peek", "texts", "--state", "delayed", tty=True),
        "message": call("show", "dead", message_id, tty=True),
        "found": call("search", "texts", "reversed", tty=True),
        "causes": call("dlq", "ls", "dead", tty=True),
        "dead letters": call("dlq", "ls", "dead", "--messages", tty=True),
        "consumers": call("consumers"),
        "held": call("consumers", "texts", "--held", tty=True),
        "names": call("ls", tty=True),
    }
    for what, result in shown.items():
        assert "\\u202e" in result.stdout, what
        assert "[red]r[/red]" in result.stdout.replace("\n", "").replace(" ", ""), what
    assert "\\x1b]0;title\\x07\\x1b[35m\\x9b35m" in shown["tags"].stdout


def test_json_means_what_was_sent(call: Call, message_id: str) -> None:
    found = [json.loads(line) for line in call("peek", "texts", "--json").stdout.splitlines()]
    assert LINES in [line.get("body") for line in found]
    assert {EVIL: [LINES, {"x": EVIL}]} in [line.get("body") for line in found]
    assert found[0]["attributes"] == {"a": EVIL, "b": {"base64": "G5v/"}}
    exported = [json.loads(line) for line in call("export", "texts").stdout.splitlines()]
    assert EVIL in [line.get("attributes", {}).get("a") for line in exported]
    assert LINES in [line.get("body") for line in exported]
    assert json.loads(call("tag", "dead", "--json").stdout)["tags"] == {EVIL: LINES}
    (cause, *_) = [json.loads(line) for line in call("dlq", "ls", "dead", "-m", "--json").stdout.splitlines()]
    assert (cause["cause"]["type"], cause["cause"]["message"]) == (EVIL, LINES)


def test_bodies_alone_go_into_a_pipe_as_they_are(environment: None, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("texts")
    queue.send_batch([LINES, b"\xff\x9b\x1b"])
    result = CliRunner().invoke(program, ["receive", "texts", "--max", "2", "--body"])
    assert LINES.encode() + b"\n" in result.stdout_bytes
    assert b"\xff\x9b\x1b\n" in result.stdout_bytes


def test_names_that_complete_are_harmless(environment: None, message_id: str) -> None:
    items = QUEUE.shell_complete(click.Context(program, obj=Settings()), click.Argument(["queue"]), "")
    assert {item.value for item in items} >= {"dead", "texts", "texts.fifo"}
    assert not {c for item in items for c in item.value} & FORBIDDEN


@pytest.mark.parametrize(
    "error",
    [
        rqsqs.ServerError(LINES),
        rqsqs.QueueDoesNotExist(LINES),
        rqsqs.InvalidParameterValue(LINES * 10_000),
        click.UsageError(LINES),
        click.ClickException(LINES),
        OSError(2, LINES, LINES),
        OSError(LINES),
    ],
)
def test_errors_are_one_harmless_line(error: Exception, capsys: pytest.CaptureFixture[str]) -> None:
    explain(error, Settings())
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert said.endswith("\n")
    assert not set(said[:-1]) & FORBIDDEN
    assert len(said) < 10_000


def test_everything_is_printed_by_one_module() -> None:
    """Nobody else calls click.echo(), print() or a Console, which know nothing of foreign text. The terminal of `top`
    takes lines of its own kind, whose text is made harmless when they are made."""
    folder = Path(cli.__file__).parent
    for file in {*folder.rglob("*.py")} - {*folder.glob("demo/cache_job/*")}:  # an application
        called = {ast.unparse(n.func) for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.Call)}
        allowed = (
            {"print"} if file.name == "__init__.py" else {"sys.stdout.write"} if file.name == "terminal.py" else set()
        )
        found = called & {
            "click.echo",
            "click.secho",
            "echo",
            "print",
            "Console",
            "sys.stdout.write",
            "sys.stderr.write",
        }
        assert file.name == "output.py" or found <= allowed, file.name
