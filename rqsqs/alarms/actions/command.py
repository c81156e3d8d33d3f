"""Commands: a program of the operator's configuration, with the notification as JSON on its standard input.

No shell reads anything. The program gets few variables of the environment: not those of this process, which may have
passwords. When its time is over it is killed with all processes of its group.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import tempfile

from rqsqs._text import printable_lines, shortened

from .configuration import CommandLine
from .notifications import PendingAction, body, subject_line
from .retries import AttemptFailed

log = logging.getLogger("rqsqs.alarms")

MOST_OUTPUT = 8 * 1024  # bytes that are logged; a program may write more
OUTPUT_S = 0.5  # for what is still in the pipe when the program has ended; others may keep it open
TERMINATE_S = 2.0  # from SIGTERM to SIGKILL
KEPT = ("PATH", "HOME", "LANG", "LC_ALL", "TZ")


async def run(name: str, command: CommandLine, pending: PendingAction) -> str:
    """Run a command.

    Args:
        name: its name, for people.
        command: what runs.
        pending: what it is told.

    Returns:
        What happened, for people.

    Raises:
        AttemptFailed.
    """
    output = _Output()
    try:
        with tempfile.TemporaryFile() as stdin:  # not a pipe: who does not read it disturbs nobody
            stdin.write(body(pending).encode())
            stdin.seek(0)
            try:
                process = await asyncio.create_subprocess_exec(
                    *command.argv,
                    stdin=stdin,
                    stdout=output.write_end,
                    stderr=output.write_end,
                    env=_environment(command, pending),
                    cwd="/",
                    start_new_session=True,
                )
            except OSError as error:
                reason = error.strerror or type(error).__name__
                raise AttemptFailed(f"the command {name} could not be run: {reason}") from None
        output.begin()
        try:
            async with asyncio.timeout(command.timeout):
                status = await process.wait()
        except TimeoutError:
            raise AttemptFailed(f"the command {name} was killed after {command.timeout:g} seconds") from None
        finally:
            if process.returncode is None:  # too late, or we are cancelled
                await _end(process)
        await output.end()
    finally:
        output.close()
        if output.data:
            log.info("the command %s wrote: %s", name, output.text)
    if status < 0:
        raise AttemptFailed(f"the command {name} was ended by signal {-status}")
    if status:
        raise AttemptFailed(f"the command {name} ended with status {status}")
    return f"the command {name} ended with status 0"


def _environment(command: CommandLine, pending: PendingAction) -> dict[str, str]:
    return {
        **{name: os.environ[name] for name in KEPT if name in os.environ},
        **command.environment,
        "RQSQS_ACTION_ID": pending.id,
        "RQSQS_SOURCE": pending.notification.source.replace("\0", ""),
        "RQSQS_SUBJECT": subject_line(pending.notification),
    }


async def _end(process: asyncio.subprocess.Process) -> None:
    """End a process with its group: kindly, then at once."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGTERM)
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(TERMINATE_S):
                await process.wait()
    finally:
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)  # others of the group as well, when the first one has ended
    await process.wait()


class _Output:
    """What a program writes: the beginning is kept, the rest is read and dropped."""

    def __init__(self) -> None:
        self._read_end, self.write_end = os.pipe()
        os.set_blocking(self._read_end, False)
        self._over = asyncio.Event()
        self._is_watched = False
        self.data = b""
        self.dropped = 0

    @property
    def text(self) -> str:
        more = f" ... and {self.dropped:,} more bytes" if self.dropped else ""
        return shortened(printable_lines(self.data.decode(errors="replace").strip()), MOST_OUTPUT) + more

    def begin(self) -> None:
        """The program has its end of the pipe now."""
        os.close(self.write_end)
        self.write_end = -1
        asyncio.get_running_loop().add_reader(self._read_end, self._read)
        self._is_watched = True

    async def end(self) -> None:
        """Read what is still there."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OUTPUT_S):
                await self._over.wait()

    def close(self) -> None:
        if self._is_watched:
            self._stop()
        if self.write_end >= 0:
            os.close(self.write_end)
        os.close(self._read_end)

    def _read(self) -> None:
        try:
            more = os.read(self._read_end, 64 * 1024)
        except BlockingIOError:
            return
        if not more:
            self._stop()
            self._over.set()
        kept = more[: MOST_OUTPUT - len(self.data)]
        self.data += kept
        self.dropped += len(more) - len(kept)

    def _stop(self) -> None:
        asyncio.get_running_loop().remove_reader(self._read_end)
        self._is_watched = False
