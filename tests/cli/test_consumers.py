"""`rqsqs consumers`: what it shows of workers, and orders to them."""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

import rqsqs
from rqsqs._core import flows
from rqsqs.worker import Worker
from tests.cli.tools import Run, in_terminal, records, wait_for


def ago(seconds: float) -> int:
    return round((time.time() - seconds) * 1000)


def held() -> list[list[Any]]:
    return [["0b0c-oldest", ago(900)], ["0b0c-next", ago(600)]]


def beat(queue: rqsqs.Queue, name: str, life_ms: int = 60_000, **says: Any) -> None:
    """Let a worker show itself."""
    description = {
        "state": "running",
        "host": "web-1",
        "pid": 4711,
        "started": ago(7200),
        "concurrency": 10,
        "in_flight": 0,
        "held": [],
        "succeeded": 1234,
        "failed": 5,
        "statistics": {"connections_lost": 3},
    }
    queue._run(flows.beat(queue._ref, (), 0, name, description | says, life_ms))


def without_time(line: str) -> str:
    """A line of the table without how long ago the worker was seen."""
    return re.sub(r"(draining|running) \d+ m?s ", r"\1 SEEN ", " ".join(line.split()))


@pytest.fixture
def orders(connection: rqsqs.Connection) -> rqsqs.Queue:
    return connection.create_queue("orders")


@pytest.fixture
def mails(connection: rqsqs.Connection) -> rqsqs.Queue:
    return connection.create_queue("mails")


def test_without_workers_there_is_nothing(run: Run, orders: rqsqs.Queue) -> None:
    assert run("consumers", code=4).stderr == "no consumers here\n"
    assert run("consumers", "orders", code=4).stderr == "no consumers of orders\n"
    assert run("consumers", "nothing", code=1).stderr == "rqsqs: the queue 'nothing' does not exist\n"


def test_the_table_tells_what_each_of_them_does(run: Run, orders: rqsqs.Queue, mails: rqsqs.Queue) -> None:
    beat(orders, "web-1-4711-a", in_flight=2, held=held())
    beat(mails, "web-1-4711-a", state="draining")
    lines = run("consumers").stdout.splitlines()
    assert lines[0].split("  ")[0] == "CONSUMER"
    cells = [without_time(line) for line in lines[1:]]
    assert cells == [
        "web-1-4711-a mails draining SEEN 2 h 10 0 - 1,234 5 web-1 4711 -",
        "web-1-4711-a orders running SEEN 2 h 10 2 15 min 1,234 5 web-1 4711 0b0c-oldest",
    ]
    assert len(run("consumers", "orders").stdout.splitlines()) == 2
    listed = run("consumers", "ls", "orders").stdout.splitlines()
    assert [without_time(line) for line in listed[1:]] == cells[1:]


def test_the_lost_come_last_and_all_tell_when_they_were_seen(run: Run, orders: rqsqs.Queue) -> None:
    beat(orders, "a", life_ms=-10)
    beat(orders, "b")
    found = records(run("consumers", "--json"))
    assert [(r["consumer"], r["state"]) for r in found] == [("b", "running"), ("a", "lost")]
    assert all(abs(datetime.fromisoformat(r["last_seen_at"]).timestamp() - time.time()) < 30 for r in found)
    assert re.search(r"(?m)^a  orders  lost, 0 in flight, last seen \d+ m?s ago$", run("consumers", "--held").stdout)
    result = run("consumers", "drain", "a", code=1)
    assert result.stderr == "rqsqs: a is lost: what it held becomes visible by itself\n"


def test_json(run: Run, orders: rqsqs.Queue) -> None:
    beat(orders, "a", in_flight=2, held=held())
    (record,) = records(run("consumers", "--json"))
    assert {name: record[name] for name in ("consumer", "queue", "state", "order", "host", "pid", "concurrency")} == {
        "consumer": "a",
        "queue": "orders",
        "state": "running",
        "order": None,
        "host": "web-1",
        "pid": 4711,
        "concurrency": 10,
    }
    assert (record["in_flight"], record["succeeded"], record["failed"]) == (2, 1234, 5)
    assert record["statistics"] == {
        "connections_lost": 3,
        "repeated_calls": 0,
        "failovers": 0,
        "wait_checks": 0,
        "broken_waits": 0,
    }
    assert record["oldest_message_id"] == "0b0c-oldest"
    assert "held" not in record
    (record,) = records(run("consumers", "--held", "orders", "--json"))
    assert [held["message_id"] for held in record["held"]] == ["0b0c-oldest", "0b0c-next"]


def test_what_they_hold_is_listed(run: Run, orders: rqsqs.Queue) -> None:
    beat(orders, "a", in_flight=7, held=held())
    lines = run("consumers", "--held").stdout.splitlines()
    assert lines[0] == "a  orders  running, 7 in flight"
    assert lines[1].startswith("  0b0c-oldest  15 min  since ")
    assert lines[3] == "  and 5 more that it did not name"


@pytest.mark.parametrize("order", ["drain", "evict"])
def test_orders_go_to_all_queues_or_to_some(run: Run, orders: rqsqs.Queue, mails: rqsqs.Queue, order: str) -> None:
    for queue in (orders, mails):
        beat(queue, "a")
        beat(queue, "b")
    assert run("consumers", order, "a").stderr == f"told a to {order}: mails, orders\n"
    assert run("consumers", order, "b", "--queue", "mails").stderr == f"told b to {order}: mails\n"
    found = {(r["consumer"], r["queue"]): r["order"] for r in records(run("consumers", "--json"))}
    assert found == {("a", "mails"): order, ("a", "orders"): order, ("b", "mails"): order, ("b", "orders"): None}
    shown = run("consumers", "mails").stdout
    assert shown.count("to drain" if order == "drain" else "to be evicted") == 2


def test_an_order_to_nobody(run: Run, orders: rqsqs.Queue) -> None:
    beat(orders, "a")
    result = run("consumers", "drain", "a", "b", "--json", code=1)
    assert records(result) == [{"consumer": "a", "order": "drain", "queues": ["orders"]}]
    assert result.stderr == "rqsqs: b does not serve any queue here\n"
    assert run("consumers", "drain", "b", "-q", "orders", code=1).stderr == "rqsqs: b does not serve orders\n"
    assert "Missing argument 'CONSUMER...'" in run("consumers", "drain", code=2).stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("consumers", "--json", "drain", "a"),
        ("consumers", "--prefix", "PREFIX", "drain", "a"),
        ("consumers", "--prefix=PREFIX", "drain", "a"),
        ("--json", "consumers", "drain", "a"),
        ("consumers", "drain", "--url", "URL", "a"),
    ],
)
def test_common_options_may_stand_anywhere(
    run: Run, orders: rqsqs.Queue, arguments: tuple[str, ...], prefix: str, valkey_url: str
) -> None:
    beat(orders, "a")
    run(*(word.replace("PREFIX", prefix).replace("URL", valkey_url) for word in arguments))
    assert records(run("consumers", "--json"))[0]["order"] == "drain"


def test_a_queue_named_like_a_command(run: Run, connection: rqsqs.Connection) -> None:
    beat(connection.create_queue("drain"), "a")
    assert records(run("consumers", "ls", "drain", "--json"))[0]["queue"] == "drain"


@pytest.fixture
def busy(connection: rqsqs.Connection, valkey_url: str, prefix: str) -> Iterator[Callable[[], None]]:
    """A worker that serves orders and mails and handles a message of each until the function is called."""
    worker = Worker(valkey_url, prefix=prefix, heartbeat_interval=0.1, shutdown_timeout=0.1)
    go = threading.Event()
    for name in ("orders", "mails"):
        worker.add(name, lambda message: go.wait())
        connection.create_queue(name).send("x")
    thread = threading.Thread(target=worker.run, daemon=True)
    thread.start()
    queues = [connection.queue(name) for name in ("orders", "mails")]
    wait_for(lambda: all(any(c.in_flight for c in queue.consumers()) for queue in queues))
    yield go.set
    go.set()
    worker.stop()
    thread.join(60)


def test_wait_returns_when_a_drained_worker_is_done(
    run: Run, connection: rqsqs.Connection, busy: Callable[[], None]
) -> None:
    orders = connection.queue("orders")
    name = orders.consumers()[0].consumer_id
    ended: list[str] = []

    def order() -> None:
        ended.append(run("consumers", "drain", name, "--queue", "orders", "--wait").stderr)

    waiting = threading.Thread(target=order, daemon=True)
    waiting.start()
    wait_for(lambda: orders.consumers()[0].state == "draining")
    assert not ended
    assert orders.counts().in_flight == 1
    busy()
    waiting.join(60)
    assert ended == [f"told {name} to drain: orders\n{name} has done so: orders\n"]
    assert orders.counts().in_flight == 0
    assert connection.queue("mails").consumers()[0].state == "running"


def test_wait_returns_when_an_evicted_worker_is_gone(
    run: Run, connection: rqsqs.Connection, busy: Callable[[], None]
) -> None:
    name = connection.queue("orders").consumers()[0].consumer_id
    result = run("consumers", "evict", name, "--wait", "--json")
    assert json.loads(result.stdout) == {"consumer": name, "order": "evict", "queues": ["mails", "orders"]}
    for queue in ("orders", "mails"):
        assert connection.queue(queue).counts().visible == 1
    run("consumers", code=4)


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("columns", [80, 200])
def test_tables_fit_the_terminal(columns: int, orders: rqsqs.Queue) -> None:
    name = "ip-10-0-12-34.internal-12345-a1b2c3"
    beat(orders, name, in_flight=2, held=held())
    for arguments in (("consumers",), ("consumers", "--held")):
        seen = in_terminal(columns, *arguments)
        lines = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", seen).splitlines()
        assert max(map(len, lines)) <= columns
    assert name in lines[0]


def test_its_help_names_the_commands(run: Run) -> None:
    assert "drain" in run("consumers", "--help").stdout
    assert "--held" in run("consumers", "ls", "--help").stdout
