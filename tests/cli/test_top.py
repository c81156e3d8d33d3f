"""`rqsqs top`: into pipes, and live in a terminal."""

from __future__ import annotations

import json
import re
import signal
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

import rqsqs
from rqsqs.inspection.looks import ORDERS, Looker
from tests.cli.tools import COMMAND, Run, Terminal, die_of, let_a_millisecond_pass, records
from tests.servers import Server


def test_a_table_for_each_look_goes_into_a_pipe(run: Run, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders").send_batch(range(3))
    connection.create_queue("bills")
    lines = run("top", "--count", "2", "--interval", "100ms").stdout.splitlines()
    table = [re.split(r"\s{2,}", line) for line in lines[1:4]]
    assert table[0] == [
        *("QUEUE", "VISIBLE", "IN FLIGHT", "DELAYED", "OLDEST", "IN/s", "OUT/s", "FAIL/s", "CONSUMERS", "EMPTY IN")
    ]
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
    assert [r["in_per_s"] for r in found] == [None, None, 0, 0]
    assert [r["per_s"]["sent"] for r in found] == [None, None, 0, 0]
    assert [r["sent"] for r in found] == [3, 0, 3, 0]
    assert found[0]["at"] < found[2]["at"]
    assert run("top", "x", "--count", "1", "--json").stdout == ""


def test_rates_are_exact_even_if_all_that_came_left(connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders", dead_letter_queue=connection.create_queue("dead"), max_receive_count=1)
    looker = Looker(connection.metrics)
    looker.look()
    queue.send_batch(range(10))
    for message in queue.receive(7):
        queue.delete(message)
    queue.receive(2, visibility_timeout=0)
    assert len(queue.receive(10)) == 1  # two are dead now
    let_a_millisecond_pass(queue)
    dead, orders = looker.look()
    assert (orders.queue, dead.queue) == ("orders", "dead")
    span = orders.span_s
    assert span is not None
    assert [round(rate * span) for rate in (orders.in_per_s, orders.out_per_s, orders.failures_per_s)] == [10, 9, 2]
    assert orders.change_per_s == pytest.approx(orders.in_per_s - orders.out_per_s)
    assert round(dead.in_per_s * dead.span_s) == dead.depth == 2


def test_every_order_sorts(run: Run, connection: rqsqs.Connection) -> None:
    connection.create_queue("few").send_batch(range(2))
    connection.create_queue("many").send_batch(range(5))
    for order in ORDERS.keys() - {"oldest"}:  # of which one is read later than the other
        found = records(run("top", "--sort", order, "--count", "1", "--json"))
        assert [r["queue"] for r in found] == (["many", "few"] if order in ("visible", "total") else ["few", "many"])
    assert "not in the range: 100ms to 1d" in run("top", "--interval", "0.01", code=2).stderr


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(("columns", "lines"), [(80, 24), (140, 40)])
def test_it_is_live_in_a_terminal_until_q(connection: rqsqs.Connection, columns: int, lines: int) -> None:
    queue = connection.create_queue("q" * 80)
    terminal = Terminal(columns, "top", "--interval", "0.2", lines=lines)
    terminal.wait_for_row("q ends")
    queue.send_batch(range(321))
    row = terminal.wait_for_row("^  q+….* 321 ")
    assert len(terminal.rows) == lines
    assert max(map(len, terminal.rows)) <= columns
    assert len(row) > columns - 30
    terminal.wait_for_row("every 0.2 s$")  # to the last column
    terminal.press("q")
    assert terminal.end() == 0
    assert b"\x1b[?1049h" in terminal.raw  # it drew on a screen of its own,
    assert b"\x1b[?1049l" in terminal.raw  # and left it


@pytest.mark.usefixtures("environment")
def test_keys_filter_sort_open_and_pause(connection: rqsqs.Connection) -> None:
    for i in range(1, 31):
        connection.create_queue(f"queue-{i:02}").send_batch(range(i))
    dead = connection.create_queue("orders-dead")
    orders = connection.create_queue("orders", dead_letter_queue=dead)
    die_of(orders, 3, "ValueError", "no address\x1b[35m of 17")
    terminal = Terminal(80, "top", "--interval", "0.2")
    terminal.wait_for_row("^! 3 dead letters: orders-dead 3$")
    terminal.press("s")
    terminal.wait_for_row("▾VISIBLE")
    terminal.press("/dead\r")
    terminal.wait_for_row("^1 of 32 queues  /dead")
    terminal.press("\x1b")
    terminal.wait_for_row("^32 queues")
    terminal.press("/orders\r\x1b[B\r")  # the second one
    terminal.wait_for_row("^orders  standard")
    terminal.wait_for_row(r"^ +3  ValueError: no address\\x1b\[35m of 17$")
    terminal.press("p")
    terminal.wait_for_row("PAUSED: p goes on")
    terminal.press("\x1b")
    terminal.wait_for_row("^ +QUEUE")
    terminal.press("p")
    orders.send_batch(range(9))
    terminal.wait_for_row("^  orders .* 9 ")
    terminal.press("?")
    terminal.wait_for_row("filter as you type")
    terminal.press("qq")
    assert terminal.end() == 0


@pytest.mark.usefixtures("environment")
def test_the_screen_follows_the_size_of_its_window(connection: rqsqs.Connection) -> None:
    for i in range(60):
        connection.create_queue(f"queue-{i:02}")
    terminal = Terminal(140, "top", "--interval", "60", lines=40)
    terminal.wait_for_row("CONSUMERS")
    terminal.raw = b""
    terminal.resize(50, 12)
    terminal.wait_for_row("q ends")
    assert len(terminal.rows) == 12
    assert max(map(len, terminal.rows)) <= 50
    assert "CONSUMERS" not in "".join(terminal.rows)
    terminal.press("G")
    terminal.wait_for_row("queue-59")
    terminal.press("q")
    assert terminal.end() == 0


@pytest.mark.usefixtures("environment")
def test_without_colours_nothing_is_coloured(connection: rqsqs.Connection) -> None:
    dead = connection.create_queue("dead")
    die_of(connection.create_queue("orders", dead_letter_queue=dead), 2, "ValueError", "")
    for variable, is_coloured in (("", True), ("1", False)):
        terminal = Terminal(80, "top", "--count", "1", NO_COLOR=variable)
        assert terminal.end() == 0
        assert ("31m" in terminal.raw.decode()) is is_coloured
        assert "! 2 dead letters: dead 2" in terminal.seen


@pytest.mark.usefixtures("environment")
def test_a_terminal_that_knows_ascii_only_gets_nothing_else(connection: rqsqs.Connection) -> None:
    connection.create_queue("q" * 80).send_batch(range(5))
    terminal = Terminal(80, "top", "--count", "2", "-i", "0.1", PYTHONIOENCODING="ascii")
    assert terminal.end() == 0
    assert terminal.raw.isascii()
    assert "\\u" not in terminal.seen
    assert "vQUEUE" in terminal.seen or "QUEUEv" in terminal.seen


def test_a_server_that_is_gone_is_told_of_until_it_is_back(tmp_path: Path) -> None:
    with Server("valkey", folder=tmp_path, appendonly="yes", appendfsync="always") as server:
        with rqsqs.connect(server.url) as connection:
            connection.create_queue("orders").send_batch(range(5))
        terminal = Terminal(140, "top", "--interval", "0.2", "--url", server.url)
        terminal.wait_for_row("^  orders .* 5 ")
        server.kill9()
        terminal.wait_for_row(r"^no answer at \d\d:\d\d:\d\d, these numbers are of ")
        terminal.wait_for_row("^  orders .* 5 ")
        terminal.press("\r")  # keys go on
        terminal.wait_for_row("^orders  standard")
        terminal.press("\x1b")
        server.restart()
        with rqsqs.connect(server.url) as connection:
            connection.queue("orders").send_batch(range(2))
        terminal.wait_for_row("^  orders .* 7 ")
        assert "no answer" not in "".join(terminal.rows)
        terminal.press("q")
        assert terminal.end() == 0


@pytest.mark.usefixtures("environment")
def test_it_does_not_begin_without_a_server() -> None:
    terminal = Terminal(80, "top", "--url", "redis://127.0.0.1:1/0")
    assert terminal.end() == 3
    assert "127.0.0.1:1" in terminal.seen
    assert "\x1b[?1049h" not in terminal.raw.decode()


@pytest.mark.usefixtures("environment")
def test_ctrl_z_gives_the_terminal_back_for_a_while(connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    terminal = Terminal(80, "top", "--interval", "60")
    before = terminal.settings()
    terminal.wait_for_row("q ends")
    terminal.raw = b""
    terminal.process.send_signal(signal.SIGTSTP)  # which does not stop it, as no shell could let it go on
    terminal.read_until("\x1b[?1049h", escapes=True)
    assert terminal.raw.index(b"\x1b[?1049l") < terminal.raw.index(b"\x1b[?1049h")
    terminal.wait_for_row("^  orders ")
    terminal.press("q")
    assert terminal.end() == 0
    assert terminal.settings_at_end == before


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
@pytest.mark.parametrize("moment", ["\x1b[?1049h", "QUEUE", " ends"])
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
