"""No argument, file, stdin or URL is a bug of rqsqs: every command over values that its author did not think of.

Commands run in process against a real server. Each ends with an exit code that is documented, in a line that says
what is wrong; none ends in a traceback, and none with 70, "a bug of rqsqs".
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

import click
from click.testing import CliRunner

import rqsqs
from rqsqs.cli.parameter_types import DURABILITY, FILE, MOMENT, PAIR, RETRY, QueueName
from rqsqs.cli.program import program
from tests.cli.tools import commands

DOCUMENTED = {0, 1, 2, 3, 4, 130}
ENDS = {"top": ["--count", "1"], "rm": ["--yes"], "purge": ["--yes"]}

NUMBERS = ["0", "-1", "1", "9" * 5000, "-" + "9" * 30, str(2**31), str(2**63), str(2**64), "1e400", "0x10", "٣", "1_0"]
NUMBERS += ["nan", "inf", "-inf", "1.5", " 1 ", ""]
DURATIONS = ["0", "-1", "1ms", "9" * 400, "9" * 30 + "d", "9" * 17, f"0.{'0' * 500}1", "٠s", "1e3", "nan", "inf", ""]
MOMENTS = ["nan", "inf", "-inf", "1e308", "-1e308", "9" * 400, "0", "-1", "253402300800000"]
MOMENTS += ["0001-01-01T00:00", "9999-12-31T23:59:59", "0001-01-01T00:00+23:59", "9999-12-31T23:59-23:59"]
MOMENTS += ["2030-02-30", "2030-W01", "2030-01-01T00:00+99:00", "٢٠٣٠-٠١-٠١", ""]
PATHS = ["missing", ".", "latin1", "nul", "x" * 300, "a/b/c", "a\x00b", "\udcff", "", "-", "empty"]
PATHS += ["/dev/null", "deep", "types"]
TEXTS = [
    "",
    " ",
    "a\x00b",
    "\udcff\udc80",
    "\ud800",
    "a\nb",
    "\u202e",
    "x" * 1_000_000,
    "-",
    "--",
    "-x",
    "=",
    "=x",
    "[",
    "(a",
]
TEXTS += ["*", "{x}", "%s%n{0}", "[red]", "../..", "q.fifo.fifo", "é" * 80, "(" * 200, "a{99999999999}", "(?P<1>x)"]
TEXTS += ["(?z)", "\\", "a=\udcff", "\udcff=a", "a" * 81, "1" * 5000, "[]", "null"]
KINDS = ["", "text", "bytes", "json", "1s..", "..1s", "9e9..1", "5s..1s", "X=1s..2s", "=1s..2s", "X=never", "0..0"]
KINDS += [f"{'9' * 400}..{'9' * 400}", "1s..5m", "X=1s", "replicas=x", "replicas=99999999999999", "aof,timeout=nan"]
KINDS += ["timeout=-1", "replicas=1,timeout=1e400", ",", "aof=1", "deletes"]
DEEP = "[" * 100_000 + "]" * 100_000
FILES = {"latin1": b'{"body": "\xe9"}\n', "nul": b"\0\0\n", "empty": b"", "deep": DEEP.encode(), "types": b"[1]\n"}
STDINS = [
    b"",
    b"\xff\xfe\n",
    b"\x00\n",
    DEEP.encode(),
    b'{"body": ' + DEEP.encode() + b"}\n",
    b"null\n",
    b"[]\n",
    b"1\n",
]
STDINS += [b'{"body": 1' + b"0" * 5000 + b"}\n"]
STDINS += [
    b'{"body": "x", ' + rest + b"}\n"
    for rest in (
        *(f'"{name}": {value}'.encode() for name in ("delay", "at", "deduplication_window", "group", "deduplication_id",
                                                     "attributes", "message_id", "sent_at", "sequence_number", "state",
                                                     "receive_count", "visible_at", "cause", "body_base64")
          for value in ("1e400", "NaN", "-1", "true", "[]", "{}", '""', '"\\ud800"', '"\\u0000"', '"9999-12-31T23:59"',
                        "1" + "0" * 400, '{"a": {"base64": 1}}', '{"a": {"base64": "x"}}', '{"": 1}', '{"a": null}',
                        '{"a": 1' + "0" * 400 + "}", '{"a": NaN}', '{"\\ud800": "x"}', '{"a": true}')),
    )
]  # fmt: skip
STDINS += [
    b'{"body_base64": 1}\n',
    b'{"body_base64": "\\ud800"}\n',
    b'{"body_base64": "x"}\n',
    b'{"body_msgpack": 1}\n',
]
STDINS += [b'{"body_msgpack": "k5OTk5M="}\n', b'{"body_msgpack": "wQ=="}\n', b'{"body_msgpack": "1v////8="}\n']
STDINS += [
    b'{"body_msgpack": "' + b"kZGR" * 1000 + b'kQ=="}\n',
    b'{"body": "\\ud800"}\n',
    b'{"body": {"\\ud800": 1}}\n',
]
STDINS += [
    b'{"body": NaN}\n',
    b'{"body": 1e400}\n',
    b'{"body": -9223372036854775809}\n',
    b'{"body": 18446744073709551616}\n',
]


COMMANDS = commands()


def hostile(parameter: click.Parameter) -> list[str]:
    """What somebody may write for a parameter."""
    kind = parameter.type
    if kind.name == "duration":
        return [*DURATIONS, *TEXTS[:8]]
    if kind is MOMENT:
        return [*MOMENTS, *TEXTS[:8]]
    if isinstance(kind, click.types.IntParamType | click.types.FloatParamType):
        return [*NUMBERS, *TEXTS[:8]]
    if kind is FILE:
        return [*PATHS, *TEXTS[:8]]
    if kind in (RETRY, DURABILITY, PAIR):
        return [*KINDS, *TEXTS[:8]]
    if isinstance(kind, QueueName) and parameter.opts[0].startswith("-"):
        return TEXTS[:8]
    return TEXTS


def calls_of(words: str, command: click.Command) -> Iterator[list[str]]:
    """A command with each of its options and arguments being something that nobody expected."""
    ends = ENDS.get(words, [])
    arguments = [p for p in command.params if isinstance(p, click.Argument)]
    valid = ["q" if isinstance(p.type, QueueName) else "x" for p in arguments if p.required]
    for option in command.params:
        if isinstance(option, click.Option) and not option.is_flag:
            for value in hostile(option):
                yield [*words.split(), f"{max(option.opts, key=len)}={value}", *ends, *valid]
    for i, argument in enumerate(arguments):
        for value in hostile(argument):
            yield [*words.split(), *ends, "--", *valid[:i], value, *valid[i + 1 :]]


@pytest.fixture
def call(environment: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connection: rqsqs.Connection) -> Any:
    """Call `rqsqs` with arguments; it ends as documented. What never ends is not begun."""
    for name, data in FILES.items():
        (tmp_path / name).write_bytes(data)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))

    def interrupted(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    def stopped(listener: Any) -> Any:
        listener.stop()
        listener.serve()
        raise KeyboardInterrupt

    monkeypatch.setattr("rqsqs.embedded.acquire", interrupted)
    monkeypatch.setattr("rqsqs.cli.chaos.trial.Trial.__enter__", interrupted)
    monkeypatch.setattr("rqsqs.cli.demo.show.run", interrupted)
    monkeypatch.setattr("rqsqs.worker.Worker.run", lambda _: None)
    monkeypatch.setattr("rqsqs.worker.supervisor.Supervisor.run", lambda _: 0)
    monkeypatch.setattr("rqsqs.gateway.serving.serve", lambda *_: None)
    monkeypatch.setattr("rqsqs.metrics.listener.Listener.running", stopped)
    monkeypatch.setattr("rqsqs.metrics.sampling.Sampler.turn", interrupted)
    monkeypatch.setattr("rqsqs.alarms.running.AlarmRunner.__init__", interrupted)
    for name in ("q", "q.fifo"):
        connection.create_queue(name)
    separate = "mix_stderr" in inspect.signature(CliRunner).parameters
    runner = CliRunner(**({"mix_stderr": False} if separate else {}))  # type: ignore[arg-type]

    def call(*arguments: str, stdin: bytes = b"") -> None:
        result = runner.invoke(program, arguments, input=stdin)
        shown = [word[:100] for word in arguments], stdin[:100], result.exit_code, result.stderr[-1000:]
        assert isinstance(result.exception, SystemExit | None), (shown, repr(result.exception))
        assert result.exit_code in DOCUMENTED, shown
        assert "Traceback" not in result.output + result.stderr, shown
        assert bool(result.stderr) or result.exit_code == 0, shown

    return call


@pytest.mark.parametrize("words", COMMANDS)
def test_no_argument_is_a_bug(words: str, call: Any, connection: rqsqs.Connection) -> None:
    for arguments in calls_of(words, COMMANDS[words]):
        if words == "rm":
            connection.create_queue("q")
        call(*arguments)


@pytest.mark.parametrize(
    "arguments",
    [
        ["send", "QUEUE", "--file=-"],
        ["import", "QUEUE", "-"],
        ["send", "QUEUE", "-", "--as=json", "--group=x", "--deduplication-id=1"],
        ["delete", "QUEUE", "-"],
    ],
    ids=" ".join,
)
@pytest.mark.parametrize("queue", ["q", "q.fifo"])
def test_no_stdin_is_a_bug_and_what_was_sent_can_be_shown(arguments: list[str], queue: str, call: Any) -> None:
    for data in STDINS:
        call(*[word.replace("QUEUE", queue) for word in arguments], stdin=data)
    for command in (
        ["peek", queue, "--max=1000"],
        ["export", queue],
        ["search", queue, "x", "-i"],
        ["dlq", "ls", queue],
    ):
        call(*command)
        call(*command, "--json")


def test_a_pause_between_looks_may_be_as_long_as_it_can_be_written(call: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("rqsqs.cli.top.time.sleep", slept.append)
    for interval in ("9" * 400, "9" * 30 + "d", "1d"):
        call("top", "--count=2", f"--interval={interval}")
    (seconds,) = slept
    assert seconds < threading.TIMEOUT_MAX


@pytest.mark.parametrize(
    "url",
    [
        f"redis://{'a' * 64}.com",
        "redis://a..b",
        "redis://127.0.0.1:1?socket_read_size=-1",
        "rediss://127.0.0.1:1?ssl_cert_reqs=x",
        "rediss://127.0.0.1:1?ssl_min_version=5",
        "rediss://127.0.0.1:1?ssl_ca_path=%00",
    ],
)
def test_options_of_a_url_are_checked_before_anything_connects(url: str, call: Any) -> None:
    call("--url", url, "ls")
    with pytest.raises(rqsqs.UsageError), rqsqs.connect(url) as connection:
        connection.exists("q")
