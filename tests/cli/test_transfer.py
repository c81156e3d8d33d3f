"""Files of messages: export, import, send --file."""

from __future__ import annotations

import io
import json
import re
import stat
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

import rqsqs
from rqsqs._core import envelope, flows
from tests.cli.tools import Run, Terminal, records


def test_a_queue_is_copied_with_everything_that_counts(run: Run, connection: rqsqs.Connection, tmp_path: Path) -> None:
    queue, copy = connection.create_queue("orders"), connection.create_queue("copy", delay=60)
    queue.send("in flight")
    queue.receive()
    queue.send("text", attributes={"n": 1.5, "b": b"\x00", "t": "x"}, group="a")
    queue.send({"data": b"\x00", 7: float("inf")}, deduplication_id="1")
    queue.send(b"\xff")
    queue.send([1, {"a": None}])
    later = queue.send("later", delay=3600)
    path = tmp_path / "orders.jsonl"
    assert run("export", "orders", str(path)).stderr == f"exported 6 messages of orders to {path}\n"
    assert queue.counts().visible == 4
    assert run("import", "copy", str(path)).stderr == "imported 6 messages to copy\n"
    found = {repr(m.body): m for m in copy.peek(10)}
    assert set(found) == {
        "'in flight'", "'text'", "b'\\xff'", "{'data': b'\\x00', 7: inf}", "[1, {'a': None}]"
    }  # fmt: skip
    assert found["'text'"].attributes == {"n": 1.5, "b": b"\x00", "t": "x"}
    assert found["'text'"].group == "a"
    assert found["{'data': b'\\x00', 7: inf}"].deduplication_id == "1"
    (delayed,) = copy.peek(state="delayed")
    (original,) = queue.peek(state="delayed")
    assert original.message_id == later.message_id
    assert delayed.visible_at == original.visible_at
    assert "imported 5 messages to copy, 1 more were duplicates" in run("import", "copy", str(path)).stderr


def test_trace_contexts_are_copied_and_shown(run: Run, connection: rqsqs.Connection, tmp_path: Path) -> None:
    queue, copy = connection.create_queue("orders"), connection.create_queue("copy")
    trace = "0af7651916cd43dd8448eb211c80319c"
    traceparent = f"00-{trace}-b7ad6b7169203331-01"
    queue.send("ours", trace_context={"traceparent": traceparent})
    queue.send("of an SQS client", attributes={"traceparent": traceparent})
    queue.send("odd", trace_context={"traceparent": "x\x1b[31m"})
    header = envelope.outgoing("aws", trace_header="Root=1-0-0")
    connection.transport.run(flows.send_messages(queue._ref, [header], queue.limits))
    path = tmp_path / "orders.jsonl"
    run("export", "orders", str(path))
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line.get("trace_context") for line in lines] == [
        {"traceparent": traceparent}, None, {"traceparent": "x\x1b[31m"}, {"X-Amzn-Trace-Id": "Root=1-0-0"}
    ]  # fmt: skip
    run("import", "copy", str(path))
    ours, theirs, _, aws = copy.peek(10)
    assert (ours.trace_context, ours.attributes) == ({"traceparent": traceparent}, {})
    assert theirs.attributes == {"traceparent": traceparent}
    assert aws._delivery.trace_header == "Root=1-0-0"
    shown = run("peek", "copy", "--max", "10").stdout
    assert shown.count(f", trace {trace}") == 2
    assert "\x1b" not in shown


def test_the_order_of_a_fifo_queue_stays(run: Run, connection: rqsqs.Connection, tmp_path: Path) -> None:
    queue, copy = connection.create_queue("a.fifo"), connection.create_queue("b.fifo")
    for i in range(600):
        queue.send(i, group=f"g{i % 7}", deduplication_id=str(i), delay=3600 if i % 50 == 20 else None)
    queue.receive(3)
    printed = run("export", "a.fifo").stdout
    lines = printed.splitlines()
    assert len(lines) == 600
    assert run("import", "b.fifo", "-", input=printed).stderr == "imported 600 messages to b.fifo\n"

    def in_order(queue: rqsqs.Queue) -> dict[str | None, list[Any]]:
        found: dict[str | None, list[Any]] = {}
        every = [m for state in ("visible", "in_flight", "delayed") for m in queue.peek(1000, state)]  # type: ignore[arg-type]
        for message in sorted(every, key=lambda m: m.sequence_number or ""):
            found.setdefault(message.group, []).append(message.body)
        return found

    assert in_order(copy) == in_order(queue)
    assert copy.counts().delayed == queue.counts().delayed
    result = run("import", "b.fifo", "-", input=printed)
    assert result.stderr == "imported 0 messages to b.fifo, 600 more were duplicates\n"


def test_messages_without_deduplication_id_can_go_to_any_fifo_queue(run: Run, connection: rqsqs.Connection) -> None:
    queue, copy = connection.create_queue("a.fifo", content_based_deduplication=True), connection.create_queue("b.fifo")
    queue.send("x", group="g")
    printed = run("export", "a.fifo").stdout
    run("import", "b.fifo", "-", input=printed)
    assert "1 more were duplicates" in run("import", "b.fifo", "-", input=printed).stderr
    assert [m.body for m in copy.peek(10)] == ["x"]


def test_a_message_that_was_written_twice_is_sent_once(run: Run, connection: rqsqs.Connection) -> None:
    queue, copy = connection.create_queue("orders"), connection.create_queue("copy")
    queue.send("moves", delay=3600)
    before = run("export", "orders").stdout
    queue.reschedule(queue.peek(state="delayed")[0], delay=0)
    after = run("export", "orders").stdout
    assert run("import", "copy", "-", input=before + after + '{"body": 1}\n{"body": 1}\n').stderr == (
        "imported 3 messages to copy\n"
    )
    assert sorted(map(str, (m.body for m in copy.peek(10)))) == ["1", "1", "moves"]


def test_states_are_chosen(run: Run, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    queue.send("a")
    queue.send("b", delay=60)
    assert [r["body"] for r in records(run("export", "orders", "--state", "delayed"))] == ["b"]
    assert [r["state"] for r in records(run("export", "orders"))] == ["delayed", "visible"]
    assert run("export", "orders", "--state", "in_flight", code=4).stdout == ""


def test_a_file_appears_when_it_is_complete(
    run: Run, connection: rqsqs.Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection.create_queue("orders").send("x")
    path = tmp_path / "orders.jsonl"
    path.write_text("what was there\n")
    path.chmod(0o640)
    run("export", "nothing", str(path), code=1)
    monkeypatch.setattr("rqsqs.cli.transfer.record_of", lambda *_: 1 / 0)
    with pytest.raises(AssertionError, match="ZeroDivisionError"):
        run("export", "orders", str(path))
    assert path.read_text() == "what was there\n"
    assert list(tmp_path.iterdir()) == [path]
    monkeypatch.undo()
    monkeypatch.setenv("RQSQS_URL", connection.transport.url)
    monkeypatch.setenv("RQSQS_PREFIX", connection.transport.space.prefix)
    assert records(run("export", "orders", str(path), "--json")) == [
        {"queue": "orders", "file": str(path), "messages": 1}
    ]
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    assert json.loads(path.read_text())["body"] == "x"
    assert "No such file or directory" in run("export", "orders", str(tmp_path / "no" / "file"), code=1).stderr


def test_nothing_of_a_wrong_file_is_imported(run: Run, connection: rqsqs.Connection, tmp_path: Path) -> None:
    queue = connection.create_queue("orders")
    path = tmp_path / "orders.jsonl"
    path.write_text("\n".join([*['{"body": 1}'] * 1000, '{"body": 1, "dealy": 2}']))
    result = run("import", "orders", str(path), code=2)
    assert "line 1001: the fields of a message must be body" in result.stderr
    assert queue.counts().visible == 0
    for line, part in (
        ('{"body_msgpack": "?"}', "not base64"),
        ("[]", "a message is an object"),
        ('{"body": 1, "body_base64": ""}', "one of them"),
    ):
        assert part in run("import", "orders", "-", input=line, code=2).stderr
    run("import", "orders", "-", input="", code=4)
    run("import", "nothing", str(path), code=1)
    assert "No such file" in run("import", "orders", str(tmp_path / "no"), code=1).stderr


class Endless(io.RawIOBase):
    """A file that begins anew whenever it is over, and counts what was read of it."""

    def __init__(self, text: bytes) -> None:
        self._text = text
        self.count = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        some = (self._text * (len(buffer) // len(self._text) + 2))[self.count % len(self._text) :][: len(buffer)]
        buffer[:] = some
        self.count += len(some)
        return len(some)


@pytest.mark.parametrize(
    ("text", "arguments", "said", "most"),
    [
        (b"y\n", "import orders -", "line 1: this is not JSON", 2**17),
        (b"\0", "import orders -", "line 1 must have at most 73,728 bytes, got more", 2**17),
        (b"\n", "import orders -", "a file must have at most 1,000 lines, got more: import it in parts", 2**17),
        (b'{"body": 1}\n', "import orders -", "at most 1,000 lines, got more: import it in parts", 2**17),
        (b" ", "send orders --file -", "line 1 must have at most 73,728 bytes, got more", 2**17),
        (b"a", "send orders -", "the body must have at most 268,435,456 bytes, stdin has more", 2**28 + 2**17),
        (b"a", "delete orders -", "line 1 must have at most 65,536 bytes, got more", 2**17),
        (b"a", "release orders -", "line 1 must have at most 65,536 bytes, got more", 2**17),
    ],
)
def test_what_never_ends_is_refused(
    run: Run,
    connection: rqsqs.Connection,
    monkeypatch: pytest.MonkeyPatch,
    text: bytes,
    arguments: str,
    said: str,
    most: int,
) -> None:
    monkeypatch.setattr("rqsqs.cli.transfer.MOST_LINES", 1000)
    queue = connection.create_queue("orders", maximum_message_size=1024)
    source = Endless(text)
    assert said in run(*arguments.split(), code=2, input=io.BufferedReader(source)).stderr
    assert source.count <= most
    assert queue.counts().visible == 0


@pytest.mark.parametrize("arguments", ["import orders /dev/zero", "send orders --file /dev/zero"])
def test_a_device_that_never_ends_is_refused(run: Run, connection: rqsqs.Connection, arguments: str) -> None:
    connection.create_queue("orders")
    assert "line 1 must have at most 8,454,144 bytes, got more" in run(*arguments.split(), code=2).stderr


def test_the_largest_message_can_be_copied(run: Run, connection: rqsqs.Connection) -> None:
    queue, copy = (connection.create_queue(name, maximum_message_size=5000) for name in ("orders", "copy"))
    queue.send({"\x01" * 490: ["\x02" * 4000, b"\x03"]})  # all of it escaped, and exact besides
    printed = run("export", "orders").stdout
    assert len(printed) > 6 * 4500
    run("import", "copy", "-", input=printed)
    assert copy.peek()[0].body == queue.peek()[0].body


def test_a_message_that_is_too_large_fails_alone(run: Run, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders", maximum_message_size=1024)
    lines = [json.dumps({"body": body}) for body in ("a", "x" * 2000, "b")]
    result = run("import", "orders", "-", input="\n".join(lines), code=1)
    assert "line 2: a message must have at most" in result.stderr
    assert "imported 2 messages to orders, 1 failed" in result.stderr
    assert queue.counts().visible == 2


def test_what_was_sent_before_an_error_is_said(run: Run, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    lines = ['{"body": 1}'] * 200 + ["nonsense"]
    result = run("send", "orders", "--file", "-", input="\n".join(lines), code=2)
    assert result.stderr.startswith("sent 200 messages to orders before this:\nrqsqs: line 201: this is not JSON")


@pytest.mark.usefixtures("environment")
def test_progress_is_shown_in_a_terminal(connection: rqsqs.Connection, tmp_path: Path) -> None:
    queue = connection.create_queue("orders")
    path = tmp_path / "messages.jsonl"
    path.write_text('{"body": 1}\n' * 3000)
    for arguments, word in (
        (("send", "orders", "--file", str(path)), "sending"),
        (("export", "orders", str(path)), "exporting"),
        (("import", "orders", str(path)), "sending"),
    ):
        terminal = Terminal(80, *arguments)
        assert terminal.end() == 0
        assert re.search(rf"{word} .*/3000.*", terminal.seen)
        assert re.search(r"\d/s", terminal.seen)
        assert re.search(r"(sent|exported|imported) 3,000 messages ", terminal.seen)
    assert queue.counts().visible == 6000
