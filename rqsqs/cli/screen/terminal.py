"""The terminal: a screen of its own, which is left as it was; keys and the mouse; lines, of which only those are
written that changed."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import sys
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import Any

from rqsqs.cli.screen.lines import Line

_ENTER = "\x1b[?1049h\x1b[?25l\x1b[?7l\x1b[2J"  # another screen, no cursor, no line breaks of its own
_LEAVE = "\x1b[?7h\x1b[?25h\x1b[?1049l"
_MOUSE, _NO_MOUSE = "\x1b[?1000h\x1b[?1006h", "\x1b[?1006l\x1b[?1000l"
_ESC_S = 0.05  # after which an escape is the key and no sequence's beginning
_KEYS = {
    "A": "up",
    "B": "down",
    "C": "right",
    "D": "left",
    "H": "home",
    "F": "end",
    "1~": "home",
    "4~": "end",
    "5~": "page-up",
    "6~": "page-down",
    "7~": "home",
    "8~": "end",
}
_BYTES = {"\r": "enter", "\n": "enter", "\x7f": "backspace", "\x08": "backspace", "\x03": "ctrl-c", "\x1b": "esc"}
_SEQUENCE = re.compile(r"\x1b(?:O([A-Z])|\[<(\d+);(\d+);(\d+)([Mm])|\[([\d;]*[A-Za-z~]))")
_BEGINNING = re.compile(r"\x1b(?:O|\[[<\d;]*)?$")
_WHEEL = {64: "wheel-up", 65: "wheel-down"}
Key = tuple[str, tuple[int, int]]


def keys_of(text: str, *, is_all: bool = True) -> tuple[list[Key], str]:
    """Keys that were typed, and the rest that may be the beginning of one; unknown ones are left out.

    Args:
        is_all: nothing more comes: what begins a sequence is the escape key.
    """
    found: list[Key] = []
    at = 0
    while at < len(text):
        if match := _SEQUENCE.match(text, at):
            at = match.end()
            letter, button, x, y, kind, other = match.groups()
            if button is None:
                name = _KEYS.get(letter or other, "")
            else:
                name = _WHEEL.get(int(button), "click" if button == "0" and kind == "M" else "")
            if name:
                found.append((name, (int(x) - 1, int(y) - 1) if button is not None else (0, 0)))
        elif not is_all and _BEGINNING.match(text, at):
            return found, text[at:]
        else:
            character = text[at]
            name = _BYTES.get(character, character if character.isprintable() else "")
            if name:
                found.append((name, (0, 0)))
            at += 1
    return found, ""


class Terminal:
    """Where the screen is shown."""

    def __init__(self) -> None:
        self._written: list[str] = []
        self._descriptor = sys.stdin.fileno() if sys.stdin.isatty() else None
        self._settings: list[Any] = []
        self._rest = ""
        self._is_to_stop = False
        self._readable, self._writable = os.pipe()
        for end in (self._readable, self._writable):
            os.set_blocking(end, False)
        encoding = (getattr(sys.stdout, "encoding", "") or "").lower().replace("-", "")
        self.is_plain = not encoding.startswith("utf")
        self.has_colours = not os.environ.get("NO_COLOR")
        self.has_keys = self._descriptor is not None

    @contextlib.contextmanager
    def screen(self) -> Iterator[None]:
        """Show it within this block, also if it is stopped and goes on (Ctrl-Z and fg)."""
        before = {n: signal.getsignal(n) for n in (signal.SIGTSTP, signal.SIGWINCH)}
        self._enter()
        woken = signal.set_wakeup_fd(self._writable, warn_on_full_buffer=False)  # by those that other threads get, too
        try:
            signal.signal(signal.SIGWINCH, lambda *_: None)
            signal.signal(signal.SIGTSTP, self._stop_soon)
            yield
        finally:
            self._leave()
            signal.set_wakeup_fd(woken)
            for number, handler in before.items():
                signal.signal(number, handler)
            for end in (self._readable, self._writable):
                os.close(end)
            self._writable = -1

    def _enter(self) -> None:
        if self._descriptor is not None:
            import termios
            import tty

            self._settings = termios.tcgetattr(self._descriptor)
            tty.setcbreak(self._descriptor)
        self._write(_ENTER + (_MOUSE if self.has_keys else ""))

    def _leave(self) -> None:
        self._write((_NO_MOUSE if self.has_keys else "") + _LEAVE)
        self._written = []
        if self._descriptor is not None and self._settings:
            import termios

            termios.tcsetattr(self._descriptor, termios.TCSADRAIN, self._settings)

    def _stop_soon(self, number: int, frame: FrameType | None) -> None:
        self._is_to_stop = True

    def _stop(self) -> None:
        self._is_to_stop = False
        self._leave()
        signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGTSTP)  # and here it goes on
        signal.signal(signal.SIGTSTP, self._stop_soon)
        self._enter()

    def wake(self) -> None:
        """Let wait() return; from any thread."""
        with contextlib.suppress(OSError):  # it is awake already, or over
            os.write(self._writable, b"\0")

    def wait(self) -> list[Key]:
        """Until keys were typed, or wake() was called, or a signal came, such as that of another size."""
        sources = [self._readable, *([] if self._descriptor is None else [self._descriptor])]
        ready, _, _ = select.select(sources, [], [], _ESC_S if self._rest else None)
        if self._is_to_stop:
            self._stop()
        if self._readable in ready:
            with contextlib.suppress(BlockingIOError):
                os.read(self._readable, 4096)
        typed = ""
        if self._descriptor in ready and self._descriptor is not None:
            data = os.read(self._descriptor, 4096)
            if not data:  # the terminal is gone
                return [("ctrl-c", (0, 0))]
            typed = data.decode(errors="ignore")
        keys, self._rest = keys_of(self._rest + typed, is_all=not typed)
        return keys

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines; COLUMNS and LINES do not change when a window does."""
        with contextlib.suppress(OSError, ValueError):
            columns, lines = os.get_terminal_size(sys.stdout.fileno())
            if columns and lines:
                return columns, lines
        columns, lines = shutil.get_terminal_size()
        return columns, lines

    def show(self, lines: Sequence[Line], width: int) -> None:
        """Write the lines that are others than before."""
        texts = [line.ansi(width, colours=self.has_colours, plain=self.is_plain) for line in lines]
        old = self._written
        if len(old) != len(texts):
            old = []
        changed = [  # erased first: behind a text as wide as the terminal that would take its last character
            f"\x1b[{i};1H\x1b[K{text}"
            for i, text in enumerate(texts, 1)
            if i > len(old) or old[i - 1] != text
        ]  # fmt: skip
        if changed:
            self._write("".join(["" if old else "\x1b[2J", *changed]))
        self._written = texts

    def forget(self) -> None:
        """The terminal was resized: whatever was written may be gone."""
        self._written = []

    def _write(self, text: str) -> None:
        sys.stdout.write(text)
        sys.stdout.flush()
