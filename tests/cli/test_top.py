"""`rqsqs top`: into pipes, and live in a terminal."""

from __future__ import annotations

import json
import re
import signal
import subprocess

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

import rqsqs
from rqsqs.cli.top import Sampler, empty_in
from tests.cli.tools import COMMAND, Run, Terminal, records


def test_a_table_for_each_look_goes_into_a_pipe(run: Run, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders").send_batch(range(3))
    connection.create_queue("bills")
    lines = run("top", "--count", "2", "--interval", "100ms").stdout.splitlines()
    table = [re.split(r"\s{2,}", line) for line in lines[1:4]]
    assert table[0] == ["QUEUE", "VISIBLE", "IN FLIGHT", "DELAYED", "IN/s ≥", "OUT/s ≥", "OLDEST", "EMPTY IN"]
    assert [row[:4] for row in table[1:]] == [["bills", "0", "0", "0"], ["orders", "3", "0", "0"]]
    assert lines[4] == ""
    assert len(lines) == 9


def test_json_has_a_line_for_each_queue_and_look(run: Run, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders").send_batch(range(3))
    connection.create_queue("orders-2").pause()
    connection.create_queue("bills")
    result = run("top", "orders", "--count", "2", "-i", "0.1", "--json", "--sort", "visible")
    found = records(result)
    assert [(r["queue"], r["visible"], r["paused"]) for r in found] == [
        ("orders", 3, False), ("orders-2", 0, True), ("orders", 3, False), ("orders-2", 0, True)
    ]  # fmt: skip
    assert [r["change_per_s"] for r in found] == [None, None, 0, 0]
    assert found[0]["at"] < found[2]["at"]
    assert run("top", "x", "--count", "1", "--json").stdout == ""


def test_the_change_is_that_of_all_messages(connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    queue.send_batch(range(10))
    sampler = Sampler(connection, "", "name")
    (first,) = sampler.look()
    queue.receive(4)
    (second,) = sampler.look()
    queue.purge()
    queue.send_batch(range(5))
    (third,) = sampler.look()
    assert first["change_per_s"] is None
    assert second["change_per_s"] == 0
    assert empty_in(second) is None
    assert third["change_per_s"] < 0
    assert (third["in_per_s_at_least"], third["out_per_s_at_least"]) == (0, -third["change_per_s"])
    queue.send_batch(range(5))
    (fourth,) = sampler.look()
    assert (fourth["in_per_s_at_least"], fourth["out_per_s_at_least"]) == (fourth["change_per_s"], 0)
    assert fourth["in_per_s_at_least"] > 0
    assert (first["in_per_s_at_least"], first["out_per_s_at_least"]) == (None, None)
    assert empty_in(third) == pytest.approx(5 / -third["change_per_s"])


def test_every_order_sorts(run: Run, connection: rqsqs.Connection) -> None:
    connection.create_queue("few").send_batch(range(2))
    connection.create_queue("many").send_batch(range(5))
    for order in ("visible", "total"):
        found = records(run("top", "--sort", order, "--count", "1", "--json"))
        assert [r["queue"] for r in found] == ["many", "few"]
    for order in ("name", "in_flight", "delayed", "change", "oldest"):
        found = records(run("top", "--sort", order, "--count", "1", "--json"))
        assert [r["queue"] for r in found] == ["few", "many"]
    assert "not in the range: 0.1 s to 86400 s" in run("top", "--interval", "0.01", code=2).stderr


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("columns", [80, 200])
def test_it_is_live_in_a_terminal_until_q(connection: rqsqs.Connection, columns: int) -> None:
    queue = connection.create_queue("q" * 80)
    terminal = Terminal(columns, "top", "--interval", "0.2")
    terminal.read_until("q ends")
    queue.send_batch(range(321))
    terminal.read_until(" 321 ")
    terminal.press("q")
    assert terminal.end() == 0
    assert b"\x1b[?1049h" in terminal.raw  # it drew on a screen of its own,
    assert b"\x1b[?1049l" in terminal.raw  # and left it
    rows = [line for line in terminal.seen.splitlines() if " 321 " in line]
    assert max(map(len, rows)) <= columns


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_it_well(connection: rqsqs.Connection, number: signal.Signals) -> None:
    connection.create_queue("orders")
    terminal = Terminal(80, "top", "--interval", "0.2")
    terminal.read_until("q ends")
    terminal.process.send_signal(number)
    assert terminal.end() == 0
    assert b"\x1b[?1049l" in terminal.raw
    process = subprocess.Popen([*COMMAND, "top", "--json", "-i", "0.1"], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert json.loads(process.stdout.readline())["queue"] == "orders"
    process.send_signal(number)
    process.communicate(timeout=60)
    assert process.returncode == 0


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("moment", ["\x1b[?1049h", "QUEUE", "q ends"])
def test_ctrl_c_in_its_terminal_leaves_that_as_it_was(connection: rqsqs.Connection, moment: str) -> None:
    connection.create_queue("orders")
    terminal = Terminal(80, "top", "--interval", "0.2")
    before = terminal.settings()
    terminal.read_until(moment, escapes=True)
    terminal.press("\x03")
    assert terminal.end() == 0
    assert terminal.settings_at_end == before
    assert terminal.raw.count(b"\x1b[?1049h") == terminal.raw.count(b"\x1b[?1049l") == 1
    assert terminal.raw.rfind(b"\x1b[?25l") < terminal.raw.rfind(b"\x1b[?25h")  # the cursor
    assert "Traceback" not in terminal.seen


@pytest.mark.usefixtures("environment")
def test_many_queues_show_what_fits(connection: rqsqs.Connection) -> None:
    for i in range(40):
        connection.create_queue(f"queue-{i:02}")
    terminal = Terminal(80, "top", "--count", "1", lines=24)
    assert terminal.end() == 0
    assert "21 more; --sort and NAME_PREFIX choose which" in terminal.seen


@pytest.mark.parametrize("name", ["orders", "orders.fifo"])
def test_metrics_say_what_is_paused_and_what_takes_dead_letters(connection: rqsqs.Connection, name: str) -> None:
    dead = connection.create_queue(f"dead-{name}")
    queue = connection.create_queue(name, dead_letter_queue=dead, max_receive_count=3)
    queue.pause()
    found = {m.queue: (m.is_paused, m.is_dead_letter_queue) for m in connection.metrics()}
    assert found == {dead.name: (False, True), name: (True, False)}
    queue.resume()
    queue.configure(dead_letter_queue="")
    assert [(m.is_paused, m.is_dead_letter_queue) for m in connection.metrics()] == [(False, False)] * 2
