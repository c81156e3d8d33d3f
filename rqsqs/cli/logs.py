"""The log of a process that runs for long: lines on stderr, each with the message that was being handled."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime

LEVELS = ("debug", "info", "warning", "error")


def install(level: str, *, as_json: bool, consumer: Callable[[], str | None] = lambda: None) -> None:
    """Let everything that is logged in this process go to stderr.

    Args:
        level: one of LEVELS.
        as_json: one JSON object a line.
        consumer: the name of the worker, for lines that belong to no message.
    """
    from rqsqs.worker import LogFilter  # not for every command

    handler = logging.StreamHandler(sys.stderr)
    handler.addFilter(LogFilter())
    handler.setFormatter(JsonFormatter(consumer) if as_json else TextFormatter())
    root = logging.getLogger()
    for other in root.handlers[:]:
        if getattr(other, "is_rqsqs", False):
            root.removeHandler(other)
    handler.is_rqsqs = True  # type: ignore[attr-defined]
    root.addHandler(handler)
    root.setLevel(level.upper())
    logging.getLogger("rqsqs.server").setLevel(logging.NOTSET)
    if level == "debug":
        logging.getLogger("asyncio").setLevel(logging.INFO)
        logging.getLogger("watchfiles").setLevel(logging.INFO)


class TextFormatter(logging.Formatter):
    """`2030-01-31 08:00:00,123 INFO 4711 app [orders 0b0c...] what was said`."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(process)d %(name)s %(about)s%(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """With queue and message if there are any."""
        fields = record.__dict__
        fields["about"] = "" if fields["queue"] == "-" else f"[{fields['queue']} {fields['message_id']}] "
        return super().format(record)


class JsonFormatter(logging.Formatter):
    """One object a line: at, level, pid, logger, consumer, queue, message_id, message, and perhaps traceback."""

    def __init__(self, consumer: Callable[[], str | None]) -> None:
        super().__init__()
        self._consumer = consumer

    def format(self, record: logging.LogRecord) -> str:
        """A line."""
        about = {name: None if (value := record.__dict__[name]) == "-" else value for name in ("queue", "message_id")}
        consumer = record.__dict__["consumer_id"]
        line = {
            "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "pid": record.process,
            "logger": record.name,
            "consumer": self._consumer() if consumer == "-" else consumer,
            **about,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return json.dumps(line, ensure_ascii=False, default=str)
