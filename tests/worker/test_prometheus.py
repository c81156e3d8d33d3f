"""What workers tell Prometheus at the port of their health checks."""

from __future__ import annotations

import dataclasses
import gzip
import os
import signal
import urllib.request

import pytest

pytest.importorskip("prometheus_client")

import rqsqs
from rqsqs.metric_models import Histogram
from rqsqs.metrics import workers
from rqsqs.metrics.exposition import OPENMETRICS, TEXT, Format
from rqsqs.models import Statistics
from rqsqs.worker.metrics import Processing, WorkerMetrics, WorkerQueueMetrics
from tests.metrics.test_prometheus import Series, series
from tests.worker.conftest import Start
from tests.worker.programs import Program, wait_for

pytestmark = pytest.mark.timeout(120)
EVERYTHING = WorkerMetrics(
    consumer_id="host-1-a",
    state="running",
    started_at_s=1_790_000_000.5,
    slots=10,
    busy=3,
    heartbeats=4,
    threads_restarted=5,
    queues=(
        WorkerQueueMetrics(
            queue="orders",
            state="running",
            busy=6,
            in_flight=7,
            prefetched=21,
            waiters=1,
            received=8,
            reclaimed=9,
            succeeded=10,
            failed=11,
            retried=12,
            dead_lettered=13,
            given_back=14,
            lost=15,
            processing={"succeeded": Processing(Histogram((1, 0, 2, *[0] * 30, 4)), 12.5)},
        ),
    ),
    statistics=Statistics(16, 17, 18, 19, 20),
)


def told(metrics: WorkerMetrics | None = EVERYTHING, **status: object) -> workers.Processes:
    return {1: {"is_ready": True, "metrics": None if metrics is None else dataclasses.asdict(metrics), **status}}


def read(processes: workers.Processes, format: Format = OPENMETRICS) -> Series:
    answer = workers.response(processes, "", {"accept": format.name, "accept-encoding": "gzip"})
    assert (answer.status, answer.content_type) == (200, format.content_type)
    return series(gzip.decompress(answer.body).decode(), format)


def value(found: Series, name: str, **labels: str) -> float | None:
    return found.get((name, frozenset({"process": "1", **labels}.items())))


@pytest.mark.parametrize("format", [TEXT, OPENMETRICS], ids=lambda format: format.name)
def test_every_value_is_read_back(format: Format) -> None:
    found = read(told(), format)
    assert {name: value(found, f"rqsqs_worker_{name}") for name in (
        "ready", "start_time_seconds", "slots", "heartbeats_total", "thread_restarts_total", "connections_lost_total",
        "repeated_calls_total", "failovers_total", "wait_checks_total", "broken_waits_total",
    )} == {
        "ready": 1, "start_time_seconds": 1_790_000_000.5, "slots": 10, "heartbeats_total": 4,
        "thread_restarts_total": 5, "connections_lost_total": 16, "repeated_calls_total": 17, "failovers_total": 18,
        "wait_checks_total": 19, "broken_waits_total": 20,
    }  # fmt: skip
    of_queue = {"busy": 6, "in_flight": 7, "prefetched": 21}
    counts = ("received", "reclaimed", "succeeded", "failed", "retried", "dead_lettered", "given_back", "lost")
    of_queue |= {f"messages_{name}_total": 8 + n for n, name in enumerate(counts)}
    assert {name: value(found, f"rqsqs_worker_{name}", queue="orders") for name in of_queue} == of_queue
    name, labels = "rqsqs_worker_processing_seconds", {"queue": "orders", "outcome": "succeeded"}
    buckets = {bound: value(found, f"{name}_bucket", le=bound, **labels) for bound in ("0.001", "0.004", "+Inf")}
    assert buckets == {"0.001": 1, "0.004": 3, "+Inf": 7}
    assert value(found, f"{name}_count", **labels) == 7
    assert value(found, f"{name}_sum", **labels) == 12.5


def test_every_number_of_a_worker_is_written() -> None:
    """A field that comes is not forgotten."""
    elsewhere = {"busy", "waiters"}  # the sum of those of queues; what the server tells
    written = {name for _, name in workers.OF_QUEUES} | elsewhere | {"queue", "state", "processing"}
    assert {field.name for field in dataclasses.fields(WorkerQueueMetrics)} == written
    before = workers.response(told(), "", {}).body
    for field in dataclasses.fields(WorkerMetrics):
        if isinstance(given := getattr(EVERYTHING, field.name), int | float):
            other = dataclasses.replace(EVERYTHING, **{field.name: given + 1})
            assert (workers.response(told(other), "", {}).body != before) is (field.name not in elsewhere), field.name


def test_processes_that_do_not_serve_are_not_ready_and_no_more() -> None:
    found = read({1: {}, 2: {"is_ready": True, "metrics": None}})
    assert {name for name, _ in found} == {"rqsqs_build_info", "rqsqs_worker_ready"}
    assert value(found, "rqsqs_worker_ready") == 0
    assert found["rqsqs_worker_ready", frozenset({("process", "2")})] == 1


def test_a_scrape_that_cannot_be_understood() -> None:
    answer = workers.response(told(), "histograms=x", {})
    assert (answer.status, answer.body) == (400, b"histograms must be 0 or 1, got 'x'\n")


def scraped(program: Program) -> Series:
    with urllib.request.urlopen(f"http://127.0.0.1:{program.port}/metrics", timeout=60) as answer:
        return series(answer.read().decode(), TEXT)


def test_a_worker_is_scraped(start: Start, orders: rqsqs.Queue) -> None:
    program = start("app", "--health-port", "0")
    program.ready()
    orders.send("a")
    program.has("got-a")
    found = wait_for(
        lambda: value(now := scraped(program), "rqsqs_worker_messages_succeeded_total", queue=orders.name) and now
    )
    assert value(found, "rqsqs_worker_ready") == 1
    assert value(found, "rqsqs_worker_messages_received_total", queue=orders.name) == 1
    labels = {"queue": orders.name, "outcome": "succeeded"}
    assert value(found, "rqsqs_worker_processing_seconds_count", **labels) == 1


def test_all_processes_of_a_supervisor_are_scraped(start: Start, orders: rqsqs.Queue) -> None:
    program = start("app", "--processes", "2", "--health-port", "0")
    program.ready()
    orders.send_batch([f"m{n}" for n in range(20)])

    def succeeded() -> dict[str, float]:
        return {dict(labels)["process"]: n for (name, labels), n in scraped(program).items()
                if name == "rqsqs_worker_messages_succeeded_total"}  # fmt: skip

    # Where a heartbeat is late, both handle a message.
    wait_for(lambda: sum(succeeded().values()) >= 20, lambda: f"{succeeded()}\n{program.log}")
    assert "metrics" not in program.ready()["processes"][0]  # which people read
    first, second = program.children()
    kept = succeeded()["2"]
    os.kill(first, signal.SIGKILL)
    wait_for(lambda: program.ready() and first not in program.children())
    wait_for(lambda: succeeded().get("1") == 0)
    assert succeeded()["2"] >= kept
    assert second in program.children()
