"""The log of a process that runs for long: lines on stderr, each with the message that was being handled.

What is logged may quote others: no text begins a line of its own, holds a control character, or is as long as somebody
wants. docs/worker.md describes the fields.
"""

from __future__ import annotations

import json
import logging
import sys
import threading
from collections.abc import Callable, Collection, Mapping, Set
from datetime import UTC, datetime
from itertools import islice
from math import isfinite
from typing import Any

from rqsqs._text import printable_json, printable_lines, shortened
from rqsqs._tracebacks import formatted, name_of, text_of

LEVELS = ("debug", "info", "warning", "error")
# The most that a record has. Characters:
MESSAGE = 5_000  # of the message
TRACEBACK, PART = 12_000, 1_000  # of a traceback, and of each part of it, such as the exception's text
EXTRA, VALUE = 5_000, 2_000  # of all extra fields, and of one value
ITEMS, DEPTH = 100, 8  # items of an object, and levels in it
CONTEXT = ("queue", "message_id", "receive_count", "consumer_id", "rqsqs_fields")  # what LogFilter adds
STANDARD = frozenset([*logging.makeLogRecord({}).__dict__, "message", "asctime", "taskName", *CONTEXT])


def install(level: str, *, as_json: bool, consumer: Callable[[], str | None] = lambda: None) -> None:
    """Let everything that is logged in this process go to stderr, with warnings and what ends threads. `consumer` names
    the worker for lines that belong to no message."""
    from rqsqs.worker import LogFilter  # not for every command

    handler = Handler(sys.stderr)
    handler.addFilter(LogFilter())
    handler.setFormatter(JsonFormatter(consumer) if as_json else TextFormatter())
    root = logging.getLogger()
    for other in root.handlers[:]:
        if isinstance(other, Handler):
            root.removeHandler(other)
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.getLogger("rqsqs.server").setLevel(logging.NOTSET)
    if level == "debug":
        logging.getLogger("asyncio").setLevel(logging.INFO)
        logging.getLogger("watchfiles").setLevel(logging.INFO)
    logging.captureWarnings(True)
    threading.excepthook = _thread_ended
    sys.unraisablehook = _not_raised


def _thread_ended(args: threading.ExceptHookArgs) -> None:
    if not issubclass(args.exc_type, SystemExit):
        name = args.thread.name if args.thread is not None else "that has ended"
        logging.getLogger("python").error("an exception ended the thread %s", name, exc_info=args.exc_value)


def _not_raised(args: sys.UnraisableHookArgs) -> None:
    where = args.err_msg or "an exception was ignored"
    logging.getLogger("python").error("%s in %s", where, _repr(args.object), exc_info=args.exc_value)


class Handler(logging.StreamHandler[Any]):
    """To stderr. If that is closed, the process continues without a log."""

    def handleError(self, record: logging.LogRecord) -> None:
        """There is nowhere to tell it."""


class TextFormatter(logging.Formatter):
    """`2030-01-31T08:00:00.123Z INFO 4711 app [orders 0b0c...] what was said (extra=field)`, further lines indented."""

    def format(self, record: logging.LogRecord) -> str:
        """With queue and message, if it belongs to one and does not name it itself."""
        text, message_id = _message(record), _context(record, "message_id")
        if message_id is not None and str(message_id) not in text:
            text = f"[{_context(record, 'queue')} {message_id}] {text}"
        text = f"{_moment(record)} {record.levelname} {record.process} {record.name} {text}"
        if not _is_ours(record) and (extra := _extra(record, ())):
            text += f" ({', '.join(f'{name}={_inline(value)}' for name, value in extra.items())})"
        text = "\n".join(filter(None, (text, _traceback(record), _stack(record))))
        return "\n    ".join(printable_lines(text).split("\n"))


class JsonFormatter(logging.Formatter):
    def __init__(self, consumer: Callable[[], str | None]) -> None:
        super().__init__()
        self._consumer = consumer

    def format(self, record: logging.LogRecord) -> str:
        told = record.__dict__ if _is_ours(record) else {}
        line: dict[str, Any] = {
            "at": _moment(record),
            "level": record.levelname.lower(),
            "pid": record.process,
            "logger": shortened(record.name, VALUE),
            "consumer": _context(record, "consumer_id") or self._consumer(),
            "queue": _context(record, "queue"),
            "message_id": _context(record, "message_id"),
            "message": _message(record),
        }
        if (count := _context(record, "receive_count")) is not None:
            line["receive_count"] = count
        error = _error(record)
        if error is not None:
            line["error_type"] = told.get("error_type") or name_of(type(error))
            line["error_message"] = told.get("error_message") or text_of(error, VALUE)
        line |= _extra(record, {*line, "traceback", "stack"})
        line |= {name: text for name, text in (("traceback", _traceback(record)), ("stack", _stack(record))) if text}
        return printable_json(json.dumps(line, ensure_ascii=False))


def _is_ours(record: logging.LogRecord) -> bool:
    """Does the worker itself say it? Then its text has the facts."""
    return record.name.startswith("rqsqs.")


def _moment(record: logging.LogRecord) -> str:
    return datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _context(record: logging.LogRecord, name: str) -> Any:
    """What LogFilter added; None if there is nothing."""
    value = record.__dict__.get(name, "-")
    return None if value == "-" else _Plain(VALUE).of(value)


def _message(record: logging.LogRecord) -> str:
    try:
        return shortened(record.getMessage(), MESSAGE)
    except Exception as error:  # a log line does not end a handler
        return f"{text_of(record.msg, MESSAGE)} (its arguments do not fit: {text_of(error, VALUE)})"


def _error(record: logging.LogRecord) -> BaseException | None:
    found = record.exc_info[1] if isinstance(record.exc_info, tuple) else None
    return found if isinstance(found, BaseException) else None


def _traceback(record: logging.LogRecord) -> str:
    error = _error(record)
    if error is None:  # but perhaps another process had one
        return shortened(record.exc_text or "", TRACEBACK)
    return formatted(error, TRACEBACK, PART)


def _stack(record: logging.LogRecord) -> str:
    return shortened(str(record.stack_info or ""), TRACEBACK)


def _extra(record: logging.LogRecord, taken: Collection[str]) -> dict[str, Any]:
    """What the line was logged with as `extra`, as JSON; a name that is taken becomes `extra_...`."""
    plain, found = _Plain(EXTRA), {}
    for name, value in list(record.__dict__.items()):
        if name in STANDARD or (name in taken and _is_ours(record)):
            continue
        name = shortened(name, VALUE)
        found[f"extra_{name}" if name in taken else name] = plain.of(value)
    return found


def _inline(value: Any) -> str:
    is_word = isinstance(value, str) and value and not any(c.isspace() or c in '"=,()' for c in value)
    return value if is_word else json.dumps(value, ensure_ascii=False)


def _repr(value: object) -> str:
    try:
        return shortened(repr(value), VALUE)
    except Exception:  # its author's matter
        return f"<{type(value).__name__}>"


class _Plain:
    """Makes JSON of any objects, up to about `room` characters."""

    def __init__(self, room: int) -> None:
        self._room = room

    def of(self, value: Any, depth: int = DEPTH) -> Any:
        """What json.dumps() writes without an error."""
        self._room -= 2
        if self._room < 0:
            return "..."
        try:
            return self._of(value, depth)
        except Exception as error:  # an object can break everything
            return f"<{type(value).__name__}: {type(error).__name__}>"

    def _of(self, value: Any, depth: int) -> Any:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int) and abs(value) < 1 << 64:
            return int(value)
        if isinstance(value, float) and isfinite(value):
            return float(value)
        if not depth and isinstance(value, (Mapping, list, tuple, Set)):  # its text would have no end
            return "..."
        if isinstance(value, Mapping):
            found = {self._text(text_of(k, VALUE)): self.of(v, depth - 1) for k, v in islice(value.items(), ITEMS)}
            return found | ({"...": f"and {len(value) - ITEMS:,} more"} if len(value) > ITEMS else {})
        if isinstance(value, (list, tuple, Set)):
            return [self.of(item, depth - 1) for item in islice(value, ITEMS)] + (
                [f"... and {len(value) - ITEMS:,} more"] if len(value) > ITEMS else []
            )
        if isinstance(value, BaseException):
            return self._text(f"{name_of(type(value))}: {text_of(value, VALUE)}")
        return self._text(text_of(value, VALUE))

    def _text(self, text: str) -> str:
        text = shortened(text, max(min(VALUE, self._room), 0))
        self._room -= len(text)
        return text
