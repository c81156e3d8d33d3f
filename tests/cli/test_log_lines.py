"""The lines of a worker's log: one record is one line, whatever it holds, of a bounded length, and has its fields."""

from __future__ import annotations

import collections
import datetime
import enum
import gc
import json
import logging
import logging.handlers
import queue
import re
import sys
import threading
import uuid
import warnings
from collections.abc import Callable, Iterator
from decimal import Decimal
from typing import Any

import pytest

pytest.importorskip("click")

from rqsqs.cli import logs

HUGE = 5_000_000
LONGEST = 60_000  # characters of a line
FAKE = "x\n2030-01-01T00:00:00.000Z INFO 1 audit all is well\r\x85\u2028\x1b[31m\x9b\u202e"


class Broken:
    """Its author made mistakes."""

    def __str__(self) -> str:
        raise RuntimeError("no text")

    __repr__ = __str__


class BrokenError(Exception):
    __str__ = Broken.__str__
    __repr__ = Broken.__str__


class Colour(enum.IntEnum):
    RED = 1


class Log:
    """A logger with both formatters."""

    def __init__(self, name: str) -> None:
        self.logger = logging.Logger(name, logging.DEBUG)  # pytest's handlers are not among its own
        self.records: list[logging.LogRecord] = []
        handler = logging.Handler()
        handler.emit = self.records.append  # type: ignore[method-assign]
        self.logger.handlers = [handler]

    @property
    def text(self) -> str:
        """The last record as text."""
        return logs.TextFormatter().format(self.records[-1])

    @property
    def line(self) -> dict[str, Any]:
        """The last record as JSON, which is strict."""
        line = logs.JsonFormatter(lambda: "host-1").format(self.records[-1])
        assert line.isprintable() or line.replace("\u00a0", " ").isprintable()
        line.encode()
        found: dict[str, Any] = json.loads(line, parse_constant=pytest.fail)
        return found

    def is_bounded(self) -> bool:
        """Is the last record one, as text and as JSON?"""
        line = logs.JsonFormatter(lambda: None).format(self.records[-1])
        return len(self.text) < LONGEST and len(line) < LONGEST

    def failed(self, error: BaseException) -> dict[str, Any]:
        """Log an exception."""
        self.logger.error("failed", exc_info=error)
        assert self.is_bounded()
        return self.line


@pytest.fixture
def log(request: pytest.FixtureRequest) -> Log:
    return Log(f"app.{request.node.name}")


def raised(call: Callable[[], object]) -> BaseException:
    """The exception of a call."""
    try:
        call()
    except BaseException as error:
        return error
    raise AssertionError("it raised nothing")


def lines_of_its_own(text: str) -> list[str]:
    """The lines that look like the beginning of a record."""
    return [line for line in text.splitlines() if re.match(r"\d{4}-\d\d-\d\d", line)]


def test_a_line_has_time_level_and_logger(log: Log) -> None:
    log.logger.info("handled %d", 7)
    at = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
    assert re.fullmatch(rf"{at} INFO \d+ {re.escape(log.logger.name)} handled 7", log.text)
    line = log.line
    moment = datetime.datetime.fromisoformat(line.pop("at"))
    assert abs(moment.timestamp() - log.records[0].created) < 0.002
    assert line == {
        "level": "info",
        "pid": log.records[0].process,
        "logger": log.logger.name,
        "consumer": "host-1",
        "queue": None,
        "message_id": None,
        "message": "handled 7",
    }


@pytest.mark.parametrize("where", ["message", "argument", "error", "extra", "name", "thread", "stack"])
def test_nothing_begins_a_line_of_its_own(log: Log, where: str) -> None:
    given: dict[str, Any] = {}
    if where == "error":
        given["exc_info"] = raised(lambda: [][FAKE])  # type: ignore[call-overload]
        given["exc_info"].add_note(FAKE)
        given["exc_info"].__cause__ = ValueError(FAKE)
    if where == "extra":
        given["extra"] = {"order": FAKE, FAKE: 1}
    log.logger.name = FAKE if where == "name" else log.logger.name
    log.logger.warning(FAKE if where == "message" else "%s", *([] if where == "message" else [FAKE]), **given)
    if where == "stack":
        log.records[0].stack_info = FAKE
    text = log.text
    assert len(lines_of_its_own(text)) == 1
    assert not set(text) & set("\r\x85\u2028\x1b\x9b\u202e")
    assert "\\x1b[31m\\x9b\\u202e" in text
    assert FAKE in json.dumps(log.line, ensure_ascii=False) or FAKE in "".join(map(str, log.line.values()))


def test_an_exception_of_5_mb_is_a_short_line(log: Log) -> None:
    line = log.failed(ValueError("x" * HUGE))
    assert line["error_type"] == "ValueError"
    assert line["error_message"].endswith("and 4,998,000 more characters")
    assert line["traceback"].startswith("ValueError: xxx")


@pytest.mark.parametrize("level", [logging.DEBUG, logging.ERROR])
def test_messages_arguments_and_fields_of_5_mb_are_short_lines(log: Log, level: int) -> None:
    nested: Any = ["x" * 1000]
    for _ in range(20):
        nested = [nested] * 50
    for message, args, extra in (
        ("x" * HUGE, (), {}),
        ("%s", ("x" * HUGE,), {}),
        ("\x1b" * HUGE, (), {}),
        ("m", (), {"body": "x" * HUGE, "other": "y" * HUGE, "rows": [["z" * 100] * 1000] * 1000}),
        ("m", (), {f"field{i}": "x" * 1000 for i in range(1000)}),
        ("m", (), {"x" * HUGE: 1, "nested": nested, "bytes": b"\xff" * HUGE}),
    ):
        log.logger.log(level, message, *args, extra=extra)
        assert len(log.text) < LONGEST
        assert len(json.dumps(log.line)) < 2 * LONGEST
    log.logger.info("m", extra={"items": list(range(1000)), "pairs": {str(i): i for i in range(1000)}})
    assert log.line["items"][-1] == "... and 900 more"
    assert log.line["pairs"]["..."] == "and 900 more"


def test_whatever_objects_extra_fields_are_the_line_is_json(log: Log) -> None:
    loop: dict[str, Any] = {}
    loop["self"] = loop
    number = uuid.uuid4()
    log.logger.info(
        "m",
        extra={
            "order": 4711,
            "loop": loop,
            "broken": Broken(),
            "broken_list": [Broken(), BrokenError()],
            "nan": [float("nan"), float("inf"), 1.5],
            "large": 10**5000,
            "surrogate": "\ud800",
            "number": number,
            "price": Decimal("1.10"),
            "day": datetime.date(2030, 1, 31),
            "data": b"\x00\xff",
            "colour": Colour.RED,
            "point": collections.namedtuple("Point", "x y")(1, 2),
            "error": ValueError("no"),
            "keys": {1: 2, None: 3, Broken(): 4},
            "class": Broken,
            "generator": iter("abc"),
            "nothing": None,
            "yes": True,
        },
    )
    line = log.line
    assert (line["order"], line["nothing"], line["yes"], line["colour"]) == (4711, None, True, 1)
    assert line["nan"] == ["nan", "inf", 1.5]
    assert line["surrogate"] == "\ud800"
    assert line["number"] == str(number)
    assert (line["price"], line["day"], line["point"]) == ("1.10", "2030-01-31", [1, 2])
    assert line["error"] == "ValueError: no"
    assert line["broken"] == line["broken_list"][0] == "<Broken without a text: str() raised RuntimeError>"
    assert "order=4711" in log.text
    assert "price=1.10" in log.text


def test_extra_fields_take_the_place_of_none_of_ours(log: Log) -> None:
    log.logger.error(
        "m",
        extra={"level": "mine", "at": 1, "queue": "mine", "error_type": "mine", "duration": 2},
        exc_info=KeyError(1),
    )
    line = log.line
    assert line["level"] == "error"
    assert line["error_type"] == "KeyError"
    assert [line[f"extra_{name}"] for name in ("level", "at", "error_type")] == ["mine", 1, "mine"]
    assert line["queue"] == "mine"  # no handler is running: there is none of ours
    assert line["duration"] == 2


def test_objects_that_cannot_be_shown_do_not_end_what_logs_them(log: Log) -> None:
    log.logger.info(Broken())
    assert log.line["message"].startswith("<Broken without a text")
    log.logger.info("%d", "x")
    assert log.line["message"] == "%d (its arguments do not fit: %d format: a real number is required, not str)"
    line = log.failed(raised(lambda: exec("raise error", {"error": BrokenError()})))
    assert line["error_message"].startswith("<BrokenError without a text")
    assert "BrokenError" in line["traceback"]
    assert "Traceback" in log.text

    class Odd(Exception):
        __cause__ = property(lambda self: 1 / 0)  # type: ignore[assignment]

    assert "Odd" in log.failed(Odd("x"))["traceback"]


def even(number: int) -> int:
    return odd(number + 1) + 1


def odd(number: int) -> int:
    return even(number + 1) + 1


def test_recursion_is_shown_from_both_ends(log: Log) -> None:
    line = log.failed(raised(lambda: even(0)))
    assert line["error_type"] == "RecursionError"
    assert "in raised\n" in line["traceback"]
    assert "characters left out" in line["traceback"]
    assert line["traceback"].rpartition("\n")[2].startswith("RecursionError: maximum recursion depth exceeded")


def test_a_chain_without_end_is_bounded(log: Log) -> None:
    first = last = ValueError("first")
    for number in range(3000):
        error = ValueError(f"number {number}")
        last.__context__ = error
        last = error
    last.__context__ = first  # a circle
    assert "first" in log.failed(first)["traceback"]


def test_chained_exceptions_groups_notes_and_syntax_errors_are_kept(log: Log) -> None:
    def chained() -> None:
        try:
            int("seven")
        except ValueError as error:
            raise KeyError("no number") from error

    shown = log.failed(raised(chained))["traceback"]
    assert "invalid literal for int()" in shown
    assert "was the direct cause of the following exception" in shown
    assert shown.endswith("KeyError: 'no number'")
    group = ExceptionGroup("all", [raised(chained), TypeError("b" * HUGE)])  # type: ignore[list-item]
    group.add_note("see also")
    shown = log.failed(group)["traceback"]
    assert "ExceptionGroup: all (2 sub-exceptions)" in shown
    assert "see also" in shown
    assert "KeyError: 'no number'" in shown
    shown = log.failed(raised(lambda: compile("def f(:\n" + "#" * HUGE, "made.py", "exec")))["traceback"]
    assert 'File "made.py", line 1\n    def f(:\n          ^\n' in shown
    many = ExceptionGroup("many", [ValueError("x" * 10_000) for _ in range(1000)])
    assert "many (1000 sub-exceptions)" in log.failed(many)["traceback"]


def test_a_record_from_another_process_keeps_its_traceback(log: Log) -> None:
    log.logger.error("m", exc_info=raised(lambda: 1 // 0))
    sent: queue.SimpleQueue[Any] = queue.SimpleQueue()
    logging.handlers.QueueHandler(sent).handle(log.records.pop())
    log.records.append(sent.get())
    assert "ZeroDivisionError" in log.text
    assert log.line["message"].startswith("m")


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """Install the log and give what it has written since the last look."""
    root, shown = logging.getLogger(), sys.stderr
    before, level, show = root.handlers[:], root.level, warnings.showwarning
    hooks = threading.excepthook, sys.unraisablehook

    class Written(list[str]):
        def write(self, text: str) -> None:
            self.append(text)

        def flush(self) -> None:
            """Nothing is held back."""

    written = Written()

    def install(**given: Any) -> list[str]:
        monkeypatch.setattr(sys, "stderr", written)
        logs.install("debug", **given)
        monkeypatch.setattr(sys, "stderr", shown)
        return written

    try:
        yield install
    finally:
        logging.captureWarnings(False)
        warnings.showwarning = show
        threading.excepthook, sys.unraisablehook = hooks
        root.handlers[:] = before
        root.setLevel(level)


def test_warnings_and_what_ends_threads_are_log_lines(installed: Callable[..., list[str]]) -> None:
    written = installed(as_json=True)

    def end() -> None:
        raise ValueError(FAKE)

    thread = threading.Thread(target=end, name="mine")
    thread.start()
    thread.join()
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(False)
        logging.captureWarnings(True)
        warnings.warn(FAKE, UserWarning, stacklevel=1)
        logging.captureWarnings(False)

    class Ending:
        def __del__(self) -> None:
            raise KeyError(FAKE)

    Ending()
    gc.collect()
    lines = [json.loads(line) for line in "".join(written).splitlines()]
    assert [line["logger"] for line in lines] == ["python", "py.warnings", "python"]
    assert [line.get("error_type") for line in lines] == ["ValueError", None, "KeyError"]
    assert lines[0]["message"] == "an exception ended the thread mine"
    assert "UserWarning: x" in lines[1]["message"]


def test_a_closed_stderr_ends_nothing(installed: Callable[..., list[str]]) -> None:
    installed(as_json=False)
    (handler,) = [h for h in logging.getLogger().handlers if isinstance(h, logs.Handler)]

    class Closed:
        def write(self, text: str) -> None:
            raise ValueError("I/O operation on closed file")

        flush = write

    handler.stream = Closed()
    logging.getLogger("app").error("m")
