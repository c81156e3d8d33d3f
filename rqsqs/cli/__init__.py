"""The command `rqsqs`. One module per group of commands; `program` puts them together, `settings` connects.

What all commands share: --url, --prefix and --json before or behind the command's name, and these exit codes.

    0  done
    1  refused or failed: the queue does not exist, a message is too large, some entries failed, the answer was no
    2  called in a wrong way: an unknown option, a value that its rule does not allow, --yes is missing
    3  the server failed: unreachable, read-only, full, wrong password
    4  nothing there: an empty receive, no queues to list, nothing found, nothing to move
   70  a bug of rqsqs: please report it; RQSQS_TRACEBACK=1 shows where
  130  interrupted by Ctrl-C; worker, server and top end with 0, it is the way to end them

Results go to stdout, everything else to stderr: notes, progress, and errors in one line.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from types import FrameType
from typing import Any, NoReturn


def main() -> NoReturn:
    """Run the command line, as a process of its own.

    Ctrl-C is a KeyboardInterrupt only while a command is at work, which may have to tidy up. Before and after, and in
    the middle of an import, it would end in a traceback: there it ends the process at once.
    """
    is_ignored = signal.getsignal(signal.SIGINT) is not signal.default_int_handler  # as behind nohup
    if not is_ignored:
        signal.signal(signal.SIGINT, _leave)
    _open_streams()
    sys.unraisablehook = _unraisable
    code = 130
    try:
        code = _run(is_ignored)
    except KeyboardInterrupt:
        _tell("interrupted")
    finally:
        if not is_ignored:
            signal.signal(signal.SIGINT, _leave)
    exec("")  # else Python would kill itself for a Ctrl-C that came in the exec() of a dataclass and was dealt with
    sys.exit(_flushed(code))


def _run(is_ignored: bool) -> int:
    from importlib.util import find_spec

    if find_spec("click") is None or find_spec("rich") is None:
        _tell("the command line needs click and rich: pip install 'rqsqs[cli]'")
        return 1
    from rqsqs.cli.program import program

    if not is_ignored:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        program()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    return 0


def _leave(number: int, frame: FrameType | None) -> NoReturn:
    """End without unwinding, which says more than a user wants to know."""
    _tell("interrupted")
    os._exit(130)


def _tell(text: str) -> None:
    with contextlib.suppress(OSError):  # nobody reads it
        os.write(2, b"\n" * os.isatty(2) + f"rqsqs: {text}\n".encode())  # perhaps behind ^C


def _open_streams() -> None:
    """Let 0, 1 and 2 be open: what was closed cannot be read, and swallows what is written.

    Else the next file or socket would get such a number, and programs that this one starts would write into it.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_WRONLY)  # the lowest free number: this one
            os.set_inheritable(number, True)
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, mode, encoding="utf-8", closefd=False))  # noqa: SIM115 - until the end
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="backslashreplace")  # for terminals that do not know all characters


def _flushed(code: int) -> int:
    """Write what is left, so that Python's own end finds nothing to complain about; the exit code."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = code or int(stream is sys.stdout)
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return code


def _unraisable(event: Any) -> None:
    """What Python would print and forget, such as a Ctrl-C that came inside of a callback of its own."""
    if event.exc_type is KeyboardInterrupt:
        signal.raise_signal(signal.SIGINT)
