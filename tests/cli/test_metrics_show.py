"""`rqsqs metrics QUEUE` and `metrics sample`."""

from __future__ import annotations

import csv
import io
import signal
import subprocess
import time
from dataclasses import replace
from datetime import datetime

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

import rqsqs
from rqsqs import Histogram, HistoryPoint, MetricStatistics, QueueMetrics
from rqsqs._core.operation import Operation
from rqsqs._core.operations import metric_history
from rqsqs.cli import charts
from rqsqs.cli.metrics_show import chart_of
from tests.cli.tools import COMMAND, Run, records, wait_for
from tests.model.harness import client

MINUTE_MS = 60_000


def create_older(connection: rqsqs.Connection, name: str) -> rqsqs.Queue:
    """A queue that was created two minutes ago: of its first minute there is no sample."""
    queue = connection.create_queue(name)
    created_us = time.time_ns() // 1000 - 120_000_000
    client(connection.transport.url).hset(queue._ref.home.keys("meta")[0], "created_us", created_us)
    return queue


def sampled_at(at_ms: int, append: Operation) -> Operation:
    """The same, appended at that time."""
    append.args = (str(at_ms * 1000), *append.args[1:])
    return append


@pytest.fixture
def orders(connection: rqsqs.Connection) -> rqsqs.Queue:
    """A queue with a history of twelve minutes, of which two are missing, up to the present minute."""
    queue = connection.create_queue("orders")
    home = queue._ref.home
    end_ms = time.time_ns() // 1_000_000 // MINUTE_MS * MINUTE_MS
    created_ms = end_ms - 12 * MINUTE_MS
    client(connection.transport.url).hset(home.keys("meta")[0], "created_us", created_ms * 1000)
    for minute in range(1, 13):
        if minute in (5, 6):
            continue
        numbers = QueueMetrics(
            "orders",
            created_ms + minute * MINUTE_MS,
            created_ms,
            sent=60 * minute,
            received=60 * minute,
            deleted=30 * minute,
            failed=2 * (minute > 9),
            visible=minute,
            oldest_age_s=minute * 5.0,
            dwell=Histogram((0,) * 10 + (60 * minute,)),
            consumers={"running": 2},
        )
        assert connection.transport.run(sampled_at(numbers.at_ms, metric_history.append(home, numbers))).is_taken
    return queue


def test_it_draws_what_a_queue_did(run: Run, orders: rqsqs.Queue) -> None:
    result = run("metrics", "orders", "--since", "12m")
    titles = [line for line in result.stdout.splitlines() if line[:1].isupper()]
    assert [title.partition("  ")[0] for title in titles] == [
        "VISIBLE messages", "IN, sent per second", "OUT, deleted per second", "OLDEST message", "DWELL TIME, 95 %",
        "FAILED",
    ]  # fmt: skip
    assert "highest 12" in titles[0]
    assert "highest 1" in titles[1]
    assert "2 in all" in titles[5]
    assert "95 %: 998 ms" in titles[4]
    assert max(map(len, result.stdout.splitlines())) <= 80
    grounds = [line.split("0 ")[1] for line in result.stdout.splitlines() if line.strip().startswith("0 ")]
    assert all("··" in ground for ground in grounds)
    assert result.stderr == ""


def test_one_metric_of_many(run: Run, orders: rqsqs.Queue) -> None:
    result = run("metrics", "--metric", "consumers_running", "orders", "--metric", "received")
    assert "CONSUMERS RUNNING  now" in result.stdout
    assert "RECEIVED per second" in result.stdout
    assert "VISIBLE" not in result.stdout
    result = run("metrics", "orders", "--metric", "sentt", code=2)
    assert "there is no metric 'sentt'; did you mean 'sent'?" in result.stderr


def test_each_point_for_programs(run: Run, orders: rqsqs.Queue) -> None:
    found = records(run("metrics", "orders", "--since", "12m", "--json"))
    points = {one["at"]: one for one in found}
    assert len(found) in (12, 13)
    assert datetime.fromisoformat(found[0]["at"]).timestamp() % 60 == 0
    assert found[-1]["at"].endswith("+00:00")
    full = [one for one in found if one["span_s"] == 60]
    assert {one["sent"] for one in full} == {60}
    assert {one["dwell_count"] for one in full} == {60}
    assert {(one["visible"], one["visible_min"], one["visible_max"]) for one in full} >= {(8, 8, 8), (12, 12, 12)}
    (behind,) = [one for one in found if one["span_s"] == 180]
    assert (behind["sent"], behind["visible"]) == (180, 7)
    gap = [one for one in found if one["sent"] is None]
    assert len(gap) >= 2
    assert gap[0]["visible"] is None
    written = list(csv.DictReader(io.StringIO(run("metrics", "orders", "--since", "12m", "--csv").stdout)))
    for row in written:
        assert row["at"] not in points or row["sent"] in ("", *(str(one["sent"]) for one in found))
    hours = records(run("metrics", "orders", "--since", "2h", "--period", "1h", "--metric", "sent", "--json"))
    assert sum(one["sent"] or 0 for one in hours) == 720
    assert set(hours[0]) == {"queue", "at", "period_s", "span_s", "sent"}


def test_columns_do_not_depend_on_what_happened(run: Run, orders: rqsqs.Queue, connection: rqsqs.Connection) -> None:
    connection.create_queue("new")
    (first, last) = (
        run("metrics", name, "--since", "12m", "--csv").stdout.splitlines()[0].split(",") for name in ("orders", "new")
    )
    assert [column for column in first if not column.startswith("consumers_")] == last
    assert {"visible_max", "oldest_age_s", "failed", "dwell_p95_s"} <= set(last)
    assert "noisy_groups" not in last  # only fair queues have some


def test_what_is_not_there_is_not_zero(run: Run, connection: rqsqs.Connection) -> None:
    create_older(connection, "empty")
    assert run("metrics", "sample", "--once").stdout == "took a sample of 1 queue\n"
    shown = run("metrics", "empty", "--since", "1h", "--metric", "oldest_age_s", "--metric", "noisy_groups").stdout
    assert "OLDEST message  now -  highest 0 ms" in shown
    assert "NOISY GROUPS  not measured" in shown
    end = datetime.strptime(shown.partition(" to ")[2][:16], "%Y-%m-%d %H:%M")
    assert end <= datetime.now()  # though the last period goes on


def test_a_queue_without_history_says_who_writes_it(run: Run, connection: rqsqs.Connection) -> None:
    connection.create_queue("new")
    result = run("metrics", "new", "--since", "3h")
    assert "rqsqs metrics sample" in result.stderr
    assert run("metrics", "none", code=1).stderr.startswith("rqsqs: the queue 'none' does not exist")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--since 5x", "'5x' is no time: write 90m, 3h or 7d, or 2030-01-31T08:00"),
        ("--since 15d", "the history goes two weeks back"),
        ("--period 90s", "a point takes whole minutes, got 90 s"),
        ("--since 1h --until 2h", "since must be before until, got a time 3600 s after it"),
        ("--since 2000-01-01T00:00 --json", "the history goes two weeks back"),
        ("--since 3", "'3' is no time: write 90m, 3h or 7d"),
        ("--since 4000000000", "since must be before until, got a time "),
        ("--period 15d", "'15d' is not in the range: 1m to 14d"),
        ("--csv --json", "--csv and --json do not go together: choose one"),
    ],
)
def test_what_cannot_be_asked(run: Run, orders: rqsqs.Queue, words: str, said: str) -> None:
    assert said in run("metrics", "orders", *words.split(), code=2).stderr


def test_a_queue_with_the_name_of_a_command(run: Run, connection: rqsqs.Connection) -> None:
    for name in ("sample", "other"):
        create_older(connection, name)
    assert run("metrics", "sample", "--once").stdout == "took a sample of 2 queues\n"
    assert run("metrics", "show", "sample", "--since", "1m").stdout.startswith("sample, ")
    assert "Usage: rqsqs metrics " in run("metrics", "--help").stdout
    assert run("metrics", "--url", connection.transport.url, "other", "--since", "1m").stdout.startswith("other, ")


def test_a_sample_tells_what_it_did(run: Run, connection: rqsqs.Connection) -> None:
    create_older(connection, "q")
    sampled = create_older(connection, "sampled")
    numbers = sampled.metrics()
    later = replace(numbers, at_ms=numbers.at_ms + 2 * MINUTE_MS)  # another minute may begin meanwhile
    appended = sampled_at(later.at_ms, metric_history.append(sampled._ref.home, later))
    assert connection.transport.run(appended).is_taken
    assert records(run("metrics", "sample", "--once", "--json")) == [{"sampled": 1, "left_out": 1, "failed": 0}]


def test_it_samples_until_it_is_stopped(environment: None, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("q")
    process = subprocess.Popen([*COMMAND, "metrics", "sample"], stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    with process:
        try:
            wait_for(lambda: not queue.history()[-1].is_gap and process.stderr.readline().startswith("samples all"))
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            process.kill()


def point(**numbers: float) -> HistoryPoint:
    metrics = {name: MetricStatistics(n, n, n, n, 1) for name, n in numbers.items()}
    return HistoryPoint(0, 60, 60 if numbers else 0, metrics)


def test_charts_tell_zero_from_a_gap() -> None:
    chart = chart_of([point(visible=n) for n in (0, 1, 12, 24)] + [point()], "visible")
    assert chart.lines(60) == [
        "      24    █",
        "           ▄█",
        "       0 _▁██·",
    ]
    assert chart_of([point(visible=0), point()], "visible").lines(60) == ["       0 _·"]


def test_columns_that_share_their_place_show_the_largest() -> None:
    assert charts.squeezed([1, 5, None, None, 3, None, 2], 4) == [5, None, 3, 2]
    assert charts.squeezed([1, 2], 4) == [1, 2]


def test_minutes_that_share_a_histogram_show_it() -> None:
    shared = HistoryPoint(0, 60, 60, point(received=3).metrics, Histogram((0, 6)))
    chart = chart_of([point(received=3), shared, point(received=0), point()], "dwell")
    assert chart.values == [shared.dwell.percentile(95), shared.dwell.percentile(95), 0.0, None]


def test_a_terminal_without_blocks_gets_plain_characters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(io.BytesIO(), encoding="ascii"))
    assert chart_of([point(visible=n) for n in (0, 24)] + [point()], "visible").lines(9)[-1] == "       0 _#?"


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (0.028, "0.028"),
        (3.14, "3.1"),
        (12.4, "12"),
        (999, "999"),
        (1234, "1.2k"),
        (45_678, "46k"),
        (3e6, "3.0M"),
    ],
)
def test_numbers_are_short(number: float, text: str) -> None:
    assert charts.in_short(number) == text
