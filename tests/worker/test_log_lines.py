"""What the worker logs: which message it was, what happened, why and how fast, as fields and as text."""

from __future__ import annotations

import asyncio
import contextvars
import json
import logging
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rqsqs
from rqsqs.cli.logs import JsonFormatter, TextFormatter
from rqsqs.worker import DeadLetter, LogFilter
from tests.worker.serving import App, is_empty, until

own = logging.getLogger("app")
SOON = rqsqs.RetryPolicy(base=0.01, cap=0.02)
TEXT = "no such order: 4711\n2030-01-01T00:00:00.000Z INFO 1 audit all is well\x1b\u202e"
ALWAYS = {"at", "level", "pid", "logger", "consumer", "queue", "message_id", "message"}


class Journal(logging.Handler):
    """What was logged, as JSON lines and as text."""

    def __init__(self) -> None:
        super().__init__()
        self.addFilter(LogFilter())
        self.lines: list[dict[str, Any]] = []
        self.texts: list[str] = []
        self._formatters = JsonFormatter(lambda: "host-1"), TextFormatter()

    def emit(self, record: logging.LogRecord) -> None:
        line, text = (formatter.format(record) for formatter in self._formatters)
        self.lines.append(json.loads(line))
        self.texts.append(text)

    def of(self, message: str) -> dict[str, Any]:
        """The one line that says it."""
        (line,) = [line for line in self.lines if message in line["message"]]
        return line

    def text(self, message: str) -> str:
        """The same as text."""
        (text,) = [text for text in self.texts if message in text.partition("\n")[0]]
        return text


@pytest.fixture
def journal() -> Iterator[Journal]:
    handler = Journal()
    loggers = [logging.getLogger(name) for name in ("rqsqs.worker", "app")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.addHandler(handler)
        logger.setLevel(logging.DEBUG)
    yield handler
    for logger, level in zip(loggers, levels, strict=True):
        logger.removeHandler(handler)
        logger.setLevel(level)


def test_a_failure_says_which_message_why_and_how_fast(app: App, journal: Journal) -> None:
    dead = app.queue("dead")
    q = app.queue(dead_letter_queue=dead, max_receive_count=2, retry_policy=SOON)
    sent = q.send("x")

    def handle(message: Any) -> None:
        own.info("trying", extra={"order": 4711, "queue": "mine"})
        raise KeyError(TEXT)

    running = app.serve(handle)
    until(lambda: any("dead-letter" in line["message"] for line in journal.lines))
    lines = [line for line in journal.lines if sent.message_id in json.dumps(line)]
    levels = sorted((line["receive_count"], line["level"]) for line in lines)  # threads may overtake each other
    assert levels == [(1, "info"), (1, "info"), (1, "warning"), (2, "error"), (2, "info"), (2, "warning")]
    assert all((line["queue"], line["message_id"]) == ("q", sent.message_id) for line in lines)
    for line in lines:
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["at"])
        if line["logger"] == "app":
            assert (line["order"], line["extra_queue"], line["message"]) == (4711, "mine", "trying")
            assert line["consumer"] == running.consumer_id
            continue
        assert (line["error_type"], line["error_message"]) == ("KeyError", str(KeyError(TEXT)))
        assert 0 <= line["duration"] < 30
        assert line["message"].startswith(f"message {sent.message_id} of q ")
        assert ("traceback" in line) is (line["level"] != "info")
    assert 0 <= journal.of("is tried again")["retry_after"] <= 0.02
    frames = [
        line
        for line in journal.of("went to the dead-letter queue")["traceback"].splitlines()
        if line.startswith("  File")
    ]
    assert len(frames) == 1
    assert frames[0].endswith("in handle")
    for text in journal.texts:
        assert all(part.startswith("    ") for part in text.splitlines()[1:])
        assert not set(text) & set("\x1b\u202e")
    text = journal.text("went to the dead-letter queue")
    assert re.search(r"KeyError: .*no such order: 4711.* \(receive 2, \d+\.\d{3} s\)", text)
    assert f"[q {sent.message_id}] trying (order=4711, extra_queue=mine)" in "\n".join(journal.texts)


def test_each_message_has_a_line_at_debug(app: App, journal: Journal) -> None:
    q = app.queue()
    ids = {q.send(n).message_id for n in range(20)}
    app.serve(lambda message: None)
    until(lambda: is_empty(q))
    lines = [line for line in journal.lines if "was handled" in line["message"]]
    assert {line["message_id"] for line in lines} == ids
    assert len(lines) == 20
    assert all(line["level"] == "debug" and line["queue"] == "q" and line["duration"] >= 0 for line in lines)


def test_messages_of_a_batch_are_told_one_by_one(app: App, journal: Journal) -> None:
    q = app.queue(retry_policy=rqsqs.RetryPolicy(base=60, cap=60))
    sent = [s.message_id for s in q.send_batch([*range(14)])]  # type: ignore[union-attr]
    seen: list[int] = []

    def handle(messages: Any) -> Any:
        own.info("a batch")
        seen.extend(m.body for m in messages)
        return [ValueError("odd") if m.body % 2 else None for m in messages]

    app.serve(handle, batch=20, concurrency=1)
    until(lambda: len(seen) == 14 and sum("tried again" in line["message"] for line in journal.lines) == 7)
    until(lambda: sum("was handled" in line["message"] for line in journal.lines) == 7)
    assert {line["message_id"] for line in journal.lines if "was handled" in line["message"]} == set(sent[::2])
    assert {line["message_id"] for line in journal.lines if " failed: " in line["message"]} == set(sent[1::2])
    if len(starts := [line for line in journal.lines if line["message"] == "a batch"]) == 1:
        assert starts[0]["message_id"] == ",".join([*sent[:10], "+4"])
        assert "receive_count" not in starts[0]


def test_lines_of_tasks_and_threads_of_a_handler_name_its_message(app: App, journal: Journal) -> None:
    q = app.queue()
    ids = {q.send(n).message_id for n in range(5)}

    async def child(n: int) -> None:
        await asyncio.sleep(0.01)
        own.info("child of %d", n)

    async def handle(message: Any) -> None:
        other = threading.Thread(target=contextvars.copy_context().run, args=(own.info, "thread of %d", message.body))
        other.start()
        await asyncio.gather(child(message.body), asyncio.to_thread(own.info, "helper of %d", message.body))
        other.join()
        asyncio.create_task(child(message.body + 100))  # noqa: RUF006 - the loop goes on

    app.serve(handle)
    until(lambda: is_empty(q) and sum("child of 1" in line["message"] for line in journal.lines) == 6)
    for word in ("child", "thread", "helper"):
        found = [line for line in journal.lines if line["message"].startswith(word)]
        assert {line["message_id"] for line in found} == ids
        assert all(line["queue"] == "q" and line["receive_count"] == 1 for line in found)


def test_tracebacks_have_the_frames_of_handlers_alone(app: App, journal: Journal) -> None:
    q = app.queue("q", retry_policy=rqsqs.RetryPolicy(base=60, cap=60))
    coroutines = app.queue("coroutines", retry_policy=rqsqs.RetryPolicy(base=60, cap=60))

    def fail(message: Any) -> None:
        try:
            1 / 0  # noqa: B018
        except ZeroDivisionError as error:
            raise ExceptionGroup("two", [ValueError("one"), error]) from error

    async def wait(message: Any) -> None:
        if message.body == "slow":
            await asyncio.sleep(60)
        await asyncio.sleep(0)
        fail(message)

    worker = app.worker()
    worker.add("q", fail)
    worker.add("coroutines", wait, timeout=0.2)
    q.send("a")
    coroutines.send("b")
    coroutines.send("slow")
    app.start(worker)
    until(lambda: sum(" failed: " in line["message"] for line in journal.lines) == 3)
    for line in journal.lines:
        if " failed: " in line["message"]:
            assert "rqsqs/worker" not in line["traceback"]
            assert "HandlerTimeout" in line["traceback"] or "ZeroDivisionError: division by zero" in line["traceback"]
    assert "await asyncio.sleep(60)" in journal.of("HandlerTimeout")["traceback"]


def test_the_start_says_where_it_serves_what(app: App, journal: Journal) -> None:
    app.queue()
    app.queue("mails")
    worker = app.worker(concurrency=7)
    worker.add("q", lambda message: None)
    worker.add("mails", lambda message: None)
    running = app.start(worker)
    line = journal.of(" serves ")
    assert line["message"].startswith(f"{running.consumer_id} serves q, mails at {line['server']} with 7 slots, rqsqs ")
    assert (line["queues"], line["slots"], line["version"]) == (["q", "mails"], 7, rqsqs.__version__)
    assert line["server"].startswith(("redis://127.0.0.1:", "redis+cluster://127.0.0.1:"))


def test_the_fields_are_the_documented_ones(app: App, journal: Journal) -> None:
    docs = (Path(__file__).parents[2] / "docs" / "worker.md").read_text()
    table = docs.partition("| field ")[2].partition("\n\n")[0]
    documented = set(re.findall(r"`(\w+)`", "\n".join(row.split("|")[1] for row in table.splitlines()[2:])))
    dead = app.queue("dead")
    q = app.queue(dead_letter_queue=dead, max_receive_count=2, retry_policy=SOON)

    def handle(message: Any) -> None:
        if message.body == "dead":
            raise DeadLetter("never")
        if message.body == "once" and not message.failures:
            own.info("here", stack_info=True)
            raise ValueError

    q.send_batch(["dead", "once", "fine"])
    app.serve(handle)
    until(lambda: is_empty(q) and any("dead-letter queue" in line["message"] for line in journal.lines))
    used = {name for line in journal.lines for name in line}
    assert used == documented
    assert all(set(line) >= ALWAYS for line in journal.lines)
