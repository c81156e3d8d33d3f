"""What docs/cli.md shows works, line by line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

import rqsqs
from rqsqs import cli
from rqsqs.cli.program import BUG, COMMANDS, INTERRUPTED, program
from rqsqs.cli.report import NOTHING, OK, REFUSED, SERVER, USAGE
from tests.cli.tools import Run

DOCUMENT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


@pytest.mark.timeout(600)  # many commands, each a process
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_examples_run_in_order(valkey_url: str, prefix: str, tmp_path: Path) -> None:
    command = tmp_path / "bin" / "rqsqs"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rqsqs "$@"\n')
    command.chmod(0o755)
    root = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": root,
        "RQSQS_URL": valkey_url,
        "RQSQS_PREFIX": prefix,
    }
    script = "set -eo pipefail\n" + "".join(re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL))
    result = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=580
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "bodies.txt").read_bytes() == b'text\n{"id": 2}\n\x00\x01\n'
    assert "Traceback" not in result.stderr


def test_every_command_is_in_the_table() -> None:
    for name in COMMANDS:
        assert f"`{name}" in DOCUMENT


def test_the_exit_codes_are_those_of_the_code() -> None:
    table = re.search(r"\| Exit code \| Meaning \|\n\|---\|---\|\n((?:\|.*\|\n)+)", DOCUMENT)
    assert table is not None
    documented = {int(code): text.replace("`", "") for code, text in re.findall(r"\| (\d+) \| (.*) \|", table[1])}
    described = {int(code): text for code, text in re.findall(r"^ +(\d+)  (.+)$", cli.__doc__ or "", re.MULTILINE)}
    assert documented == described
    assert list(documented) == [OK, REFUSED, USAGE, SERVER, NOTHING, BUG, INTERRUPTED]
    assert re.findall(r"(\d+) [a-z]", (program.help or "").partition("Exit codes:")[2]) == list(map(str, documented))


def test_the_variables_are_those_of_the_code() -> None:
    package = Path(cli.__file__).parents[1]
    read = {name for file in package.rglob("*.py") for name in re.findall(r"\bRQSQS_[A-Z_]+\b", file.read_text())}
    table = re.search(r"\| Variable \| Meaning \|\n\|---\|---\|\n((?:\|.*\|\n)+)", DOCUMENT)
    assert table is not None
    inner = {"RQSQS_COMPLETE"}  # what the shell's completion calls
    inner |= {"RQSQS_ACTION_ID", "RQSQS_SOURCE", "RQSQS_SUBJECT"}  # which commands of alarms are given: docs/actions.md
    assert set(re.findall(r"^\| `(RQSQS_[A-Z_]+)` \|", table[1], re.MULTILINE)) == read - inner


@pytest.mark.parametrize(
    ("words", "code"),
    [("stats q", OK), ("stats x", REFUSED), ("receive q --wait x", USAGE), ("purge q", USAGE), ("receive q", NOTHING),
     ("ls --url redis://127.0.0.1:1", SERVER)],
)  # fmt: skip
def test_commands_end_with_the_documented_codes(run: Run, connection: rqsqs.Connection, words: str, code: int) -> None:
    connection.create_queue("q")
    run(*words.split(), code=code)


def test_a_bug_is_one_line_and_a_traceback_if_one_is_wanted(
    run: Run, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def metrics(self: rqsqs.Queue) -> None:
        raise LookupError("a bug")

    run("create", "q")
    monkeypatch.setattr(rqsqs.Queue, "metrics", metrics)
    monkeypatch.delenv("RQSQS_TRACEBACK", raising=False)
    said = run("stats", "q", code=BUG).stderr
    assert said.count("\n") == 1
    assert "RQSQS_TRACEBACK=1" in said
    monkeypatch.setenv("RQSQS_TRACEBACK", "1")
    with pytest.raises(SystemExit) as ended:
        program.main(["stats", "q"])
    assert ended.value.code == BUG
    assert capfd.readouterr().err.endswith('raise LookupError("a bug")\nLookupError: a bug\n')
