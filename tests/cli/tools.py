"""What the tests of the command line share."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import rqsqs
from rqsqs._core import flows
from rqsqs._core.operations import Outcome

if TYPE_CHECKING:
    import click

Run = Callable[..., Any]
COMMAND = [sys.executable, "-m", "rqsqs"]


def commands() -> dict[str, click.Command]:
    """All commands of the program that are no groups, by the words that call them."""
    import click

    from rqsqs.cli.program import program

    def leaves(command: click.Command, context: click.Context, *words: str) -> Iterator[tuple[str, click.Command]]:
        if not isinstance(command, click.Group):
            yield " ".join(words), command
            return
        for name in command.list_commands(context):
            found = command.get_command(context, name)
            assert found is not None
            yield from leaves(found, click.Context(found, info_name=name, parent=context), *words, name)

    return dict(leaves(program, click.Context(program)))


def records(result: Any) -> list[dict[str, Any]]:
    """The JSON lines of a result."""
    return [json.loads(line) for line in result.stdout.splitlines()]


def let_a_millisecond_pass(queue: rqsqs.Queue) -> None:
    """Until the server's clock shows another one: two looks within the same one have no rates."""
    now = queue.metrics().at_ms
    while queue.metrics().at_ms == now:
        pass


def wait_for(is_so: Callable[[], object]) -> None:
    """Until something is so."""
    deadline = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def die_of(queue: rqsqs.Queue, count: int, kind: str, text: str) -> None:
    """Send messages and let a worker give them up."""
    queue.send_batch(range(count))
    found = queue.receive(count)
    cause = rqsqs.Failure(kind, text, f"Traceback:\n  in handle\n{kind}: {text}\n", "host-1-a", 1_750_000_000_000, 1, 1)
    outcomes = [Outcome(message._delivery, "dead-letter", cause, (kind, "Exception")) for message in found]
    queue._run(flows.release(queue._ref, outcomes))


def die_silently(queue: rqsqs.Queue, count: int) -> None:
    """Send messages that are received once too often; the queue allows one receive."""
    queue.send_batch(range(count))
    assert len(queue.receive(count, visibility_timeout=0)) == count
    assert queue.receive(count) == []


class Terminal:
    """A command in a terminal of its own.

    Args:
        columns: how wide it is.
    """

    def __init__(self, columns: int, *arguments: str, lines: int = 24, **environment: str) -> None:
        self._columns = columns
        self._leader, follower = pty.openpty()
        fcntl.ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.process = subprocess.Popen(
            [*COMMAND, *arguments],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env={**os.environ, "TERM": "xterm", **environment},
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY),  # Ctrl-C in it is a signal
        )
        os.close(follower)
        self.raw = b""
        self.settings_at_end: list[Any] = []

    def press(self, keys: str) -> None:
        """Type something."""
        os.write(self._leader, keys.encode())

    def resize(self, columns: int, lines: int) -> None:
        """Give its window another size."""
        self._columns = columns
        fcntl.ioctl(self._leader, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    @property
    def rows(self) -> list[str]:
        """What stands on a screen whose lines are written one by one, each at its place."""
        rows: dict[int, str] = {}
        text = self.raw.decode(errors="replace")
        for part in text[text.rfind("\x1b[2J") :].split("\x1b[")[1:]:
            if place := re.match(r"(\d+);1H", part):
                at = int(place[1])
                rows[at] = part[place.end() :]
            elif rows and part[:1] == "K":  # erases from the cursor on, which never stands behind the last column
                rows[at] = rows[at][: self._columns - 1] + part[1:]
            elif rows:
                rows[at] += part.partition("m")[2]
        return [rows.get(i, "") for i in range(1, max(rows, default=0) + 1)]

    def wait_for_row(self, pattern: str) -> str:
        """Read until a row of the screen is so; returns it."""
        deadline = time.monotonic() + 60
        while True:
            if found := next((row for row in self.rows if re.search(pattern, row)), None):
                return found
            assert time.monotonic() < deadline, "\n".join(self.rows)
            if select.select([self._leader], [], [], 0.1)[0]:
                self.raw += os.read(self._leader, 65_536)

    @property
    def seen(self) -> str:
        """What was written so far, without escape codes."""
        text = self.raw.decode(errors="replace").replace("\r\n", "\n")
        return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", text)

    def settings(self) -> list[Any]:
        """How the terminal treats what is typed."""
        return termios.tcgetattr(self._leader)

    def read_until(self, part: str | None, patience: float = 60, *, escapes: bool = False) -> str:
        """Read until something shows up, perhaps an escape code; None = to the end."""
        deadline = time.monotonic() + patience
        while part is None or part not in (self.raw.decode(errors="replace") if escapes else self.seen):
            assert time.monotonic() < deadline, self.seen
            if not select.select([self._leader], [], [], 0.1)[0]:
                continue
            try:
                chunk = os.read(self._leader, 4096)
            except OSError:  # its other side is closed
                chunk = b""
            if not chunk:
                assert part is None, self.seen
                break
            self.raw += chunk
        return self.seen

    def end(self) -> int:
        """Read to the end; the exit code."""
        self.read_until(None)
        self.settings_at_end = self.settings()
        os.close(self._leader)
        return self.process.wait(60)


def in_terminal(columns: int, *arguments: str) -> str:
    """What a person sees in a terminal of so many columns, escape codes included."""
    terminal = Terminal(columns, *arguments)
    terminal.end()
    return terminal.raw.decode().replace("\r\n", "\n")
