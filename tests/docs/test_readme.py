"""README.md from top to bottom, as a newcomer types it: in an empty folder, with an empty home, and no server."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("boto3")
pytest.importorskip("click")
pytest.importorskip("rich")

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"^```(\w+)\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
PATIENCE_S = 60.0


class Newcomer:
    """Types what the page says."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / "empty"
        self.folder.mkdir()
        self.home = folder / "home"
        self.home.mkdir()
        programs = folder / "bin"
        programs.mkdir()
        (programs / "rqsqs").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rqsqs "$@"\n')
        (programs / "rqsqs").chmod(0o755)
        path = f"{programs}:/usr/bin:/bin"
        self.environment = {"HOME": str(self.home), "PATH": path, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1"}
        self.left_running: list[subprocess.Popen[str]] = []

    def run(self, *command: str) -> str:
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, timeout=PATIENCE_S
        )
        assert done.returncode == 0, f"{command[-1]}\n{done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def type(self, line: str) -> str:
        """A line of shell."""
        if setting := re.match(r"export (\w+)=(\S+)", line):
            self.environment[setting[1]] = setting[2]
            return ""
        if not line.startswith("rqsqs worker "):  # which runs until Ctrl-C
            return self.run("bash", "-c", line)
        log = open(self.folder / "output", "w")  # noqa: SIM115 - the program's
        command = ["bash", "-c", f"exec {line}"]
        environment = self.environment
        with log:
            self.left_running.append(
                subprocess.Popen(
                    command, cwd=self.folder, env=environment, stdout=log, stderr=log, text=True, start_new_session=True
                )
            )
        return ""

    def save_or_run(self, code: str) -> str:
        """A program."""
        if name := re.match(r"# (\w+\.py)\n", code):
            (self.folder / name[1]).write_text(code, "utf-8")
            return ""
        if "def test_" in code:
            (self.folder / "test_mine.py").write_text(code, "utf-8")
            return self.run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "test_mine.py")
        return self.run(sys.executable, "-c", code)

    def end(self) -> list[int]:
        """Ctrl-C in all terminals; how the programs ended."""
        for process in self.left_running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGINT)
        codes = [process.wait(PATIENCE_S) for process in self.left_running]
        self.left_running.clear()
        return codes


@pytest.fixture
def newcomer(tmp_path: Path) -> Iterator[Newcomer]:
    newcomer = Newcomer(tmp_path)
    yield newcomer
    newcomer.end()


@pytest.mark.timeout(180)  # many programs, each a process
def test_the_page_works_as_typed(newcomer: Newcomer) -> None:
    told = []
    for language, text in BLOCKS:
        if language == "python":
            told.append(newcomer.save_or_run(text))
        else:
            assert language == "sh"
            told += [newcomer.type(line) for line in text.splitlines()]
    whole = "".join(told)
    assert "tea 1\ncup 1\n" in whole  # the first program
    assert whole.count('{"id": 1}') == 2, whole  # what was searched for was found, and received
    assert "letters-dead.fifo" in whole
    deadline = time.monotonic() + PATIENCE_S
    while "spoon" not in (output := (newcomer.folder / "output").read_text()):  # what the worker was sent
        assert time.monotonic() < deadline, output
        time.sleep(0.05)
    assert newcomer.end() == [0]
    assert (newcomer.home / ".local/share/rqsqs/appendonlydir").is_dir()  # all of it was on the user's own server


def test_shell_lines_are_those_that_are_run() -> None:
    """Indented blocks are not: only those of make and pip may be."""
    outside = re.sub(r"^```\w+\n.*?^```", "", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert {line.split()[0] for line in re.findall(r"^    (\S.*)", outside, re.MULTILINE)} == {"make", "pip"}


def test_shell_lines_can_be_pasted() -> None:
    """The zsh of macOS takes a # that is typed for a word, unless told otherwise."""
    assert not [line for language, text in BLOCKS if language == "sh" for line in text.splitlines() if "#" in line]
