"""Scrapes: what they share, and what they say when the server does not answer."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import threading
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

pytest.importorskip("prometheus_client")

import rqsqs
import rqsqs.aio
from rqsqs._core.alarm_records import AlarmEvaluation, AlarmHealth
from rqsqs._core.keys import Keyspace
from rqsqs.errors import ServerError
from rqsqs.metric_models import QueueMetrics
from rqsqs.metrics import exporter
from rqsqs.metrics.exporter import MANY, Exporter, Scrape, in_loop, scrape_of
from rqsqs.metrics.exposition import OPENMETRICS, TEXT, Family
from rqsqs.metrics.listener import MOST_CONNECTIONS, Listener, Request, Response
from tests.clusters import ALL_ON_CLUSTER
from tests.metrics.test_prometheus import series

QUEUES = [QueueMetrics("orders", 1_790_000_000_000, 1_780_000_000_000, visible=3)]
BACKLOG = ("rqsqs_queue_messages", frozenset({("queue", "orders"), ("state", "visible")}))
UP = ("rqsqs_up", frozenset())


class Server:
    """What a test says of the server: answers with `queues` when `may_answer`, or fails."""

    def __init__(self, queues: list[QueueMetrics] = QUEUES) -> None:
        self.queues = queues
        self.error: Exception | None = None
        self.reads = 0
        self.may_answer = asyncio.Event()
        self.may_answer.set()

    async def __call__(self) -> list[QueueMetrics]:
        self.reads += 1
        await self.may_answer.wait()
        if self.error is not None:
            raise self.error
        return self.queues


def run(test: Callable[[Server, Exporter], Awaitable[None]], queues: list[QueueMetrics] = QUEUES) -> None:
    async def main() -> None:
        server = Server(queues)
        one = Exporter(server)
        try:
            await test(server, one)
        finally:
            await one.close()

    asyncio.run(main())


def found(response: Response) -> dict[Any, float]:
    """The series of a response."""
    assert response.status == 200
    body = response.body
    if response.headers.get("Content-Encoding") == "gzip":
        body = gzip.decompress(body)
    [format] = [each for each in (TEXT, OPENMETRICS) if each.content_type == response.content_type]
    return series(body.decode(), format)


@pytest.mark.parametrize("format", [TEXT, OPENMETRICS], ids=lambda format: format.name)
@pytest.mark.parametrize("is_gzipped", [False, True])
def test_a_scrape(format: Any, is_gzipped: bool) -> None:
    async def test(server: Server, one: Exporter) -> None:
        values = found(await one.answer(Scrape(format, is_gzipped=is_gzipped)))
        assert values[BACKLOG] == 3
        assert values[UP] == 1
        assert 0 <= values["rqsqs_scrape_duration_seconds", frozenset()] < 60
        assert [dict(labels).keys() for name, labels in values if name == "rqsqs_build_info"] == [{"version"}]

    run(test)


def test_scrapes_share_a_reading(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(exporter.time, "monotonic", lambda: now)

    async def test(server: Server, one: Exporter) -> None:
        nonlocal now
        server.may_answer.clear()
        scrapes = [asyncio.create_task(one.answer(Scrape(format))) for format in (TEXT, OPENMETRICS, TEXT)]
        while not server.reads:
            await asyncio.sleep(0)
        server.may_answer.set()
        assert [found(await scrape)[BACKLOG] for scrape in scrapes] == [3, 3, 3]
        now += 0.99
        await one.answer(Scrape(TEXT))
        assert server.reads == 1
        now += 0.02
        await one.answer(Scrape(TEXT))
        assert server.reads == 2

    run(test)


def test_a_server_that_fails_is_down_and_up_again(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(exporter, "SHARED_S", 0.0)

    async def test(server: Server, one: Exporter) -> None:
        server.error = ServerError("cannot reach the server")
        for _ in range(2):
            values = found(await one.answer(Scrape(TEXT)))
            assert values[UP] == 0
            assert {name for name, _ in values} == {"rqsqs_up", "rqsqs_build_info"}  # and nothing old
        assert [record.getMessage() for record in caplog.records] == [
            "rqsqs_up is 0 until this is mended: cannot reach the server"
        ]
        server.error = ZeroDivisionError("a bug")
        assert found(await one.answer(Scrape(TEXT)))[UP] == 0
        server.error = None
        assert found(await one.answer(Scrape(TEXT)))[BACKLOG] == 3

    run(test)


def test_a_server_that_hangs_is_down_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exporter, "SHARED_S", 0.0)

    async def test(server: Server, one: Exporter) -> None:
        server.may_answer.clear()
        assert found(await one.answer(Scrape(TEXT, within=0.01)))[UP] == 0
        assert found(await one.answer(Scrape(TEXT, within=0.01)))[UP] == 0
        assert server.reads == 1  # it is still asked, and not asked twice
        server.may_answer.set()
        assert found(await one.answer(Scrape(TEXT)))[UP] == 1

    run(test)


def test_a_reading_ends_by_itself(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(exporter, "MOST_S", 0.01)

    async def test(server: Server, one: Exporter) -> None:
        server.may_answer.clear()
        assert found(await one.answer(Scrape(TEXT, within=60)))[UP] == 0
        assert "did not answer within" in caplog.text

    run(test)


def test_histograms_of_many_queues_are_asked_for() -> None:
    def has_them(response: Response) -> bool:
        return any(name == "rqsqs_dwell_seconds_bucket" for name, _ in found(response))

    queues = [QueueMetrics(f"q{i}", 0, 0) for i in range(MANY + 1)]

    async def few(server: Server, one: Exporter) -> None:
        assert has_them(await one.answer(Scrape(TEXT)))
        assert not has_them(await one.answer(Scrape(TEXT, with_histograms=False)))

    async def many(server: Server, one: Exporter) -> None:
        assert not has_them(await one.answer(Scrape(TEXT)))
        assert has_them(await one.answer(Scrape(TEXT, with_histograms=True)))

    run(few, queues[:MANY])
    run(many, queues)


def test_writing_lets_the_loop_do_other_things() -> None:
    """Between any two things that the loop does, a hundred queues of one family are written at most."""

    async def test(server: Server, one: Exporter) -> None:
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        task = asyncio.create_task(other())
        await one.answer(Scrape(TEXT, with_histograms=True))
        task.cancel()
        assert turns > len(server.queues) / 100 * 20  # families

    run(test, [QueueMetrics(f"q{i}", 0, 0) for i in range(1000)])


def test_metrics_of_the_process_are_there_without_queues() -> None:
    family = Family("rqsqs_test", "counter", "A test.")

    async def main() -> None:
        values = found(await Exporter(None, lambda: [(family, [("", 5)])]).answer(Scrape(OPENMETRICS)))
        assert values["rqsqs_test_total", frozenset()] == 5
        assert UP not in values

    asyncio.run(main())


def test_queues_can_be_left_to_another_process() -> None:
    async def test(server: Server, one: Exporter) -> None:
        values = found(await one.answer(Scrape(TEXT, with_queues=False)))
        assert {name for name, _ in values} == {"rqsqs_build_info"}
        assert server.reads == 0

    run(test)


def test_what_a_request_asks() -> None:
    assert not scrape_of("queues=0", {}).with_queues
    assert scrape_of("", {}) == Scrape(TEXT, None, False, False, 8.0)
    asked = {
        "accept": "application/openmetrics-text",
        "accept-encoding": "gzip",
        "x-prometheus-scrape-timeout-seconds": "5",
    }
    assert scrape_of("histograms=1&created=1", asked) == Scrape(OPENMETRICS, True, True, True, 4.0)
    assert scrape_of("histograms=0", {}).with_histograms is False
    for text, within in (("60", 8.0), ("x", 8.0), ("-1", 8.0), ("nan", 8.0), ("0", 8.0), ("inf", 8.0)):
        assert scrape_of("", {"x-prometheus-scrape-timeout-seconds": text}).within == within
    with pytest.raises(ValueError, match="histograms must be 0 or 1, got 'yes'"):
        scrape_of("histograms=yes", {})


# The listener


@contextlib.contextmanager
def listening(respond: Callable[[Request], Response], host: str = "127.0.0.1") -> Iterator[Listener]:
    listener = Listener(respond, host)
    with listener.running():
        yield listener


def get(url: str, **headers: str) -> tuple[int, bytes]:
    request = urllib.request.Request(url, headers={name.replace("_", "-"): value for name, value in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def echo(request: Request) -> Response:
    return Response(200, "text/plain", repr((request.path, request.query)).encode())


def test_a_listener_hands_over_what_is_asked() -> None:
    with listening(echo) as listener:
        assert get(f"{listener.url}/metrics/?a=1&b") == (200, b"('/metrics', 'a=1&b')")


@pytest.mark.parametrize(
    ("host", "is_answered"),
    [
        ("localhost", True),
        ("LOCALHOST:9464", True),
        ("127.0.0.1:9464", True),
        ("127.1.2.3", True),
        ("[::1]:9464", True),
        ("rebound.example.com", False),
        ("192.168.1.1", False),
        ("localhost.example.com", False),
        ("localhost:9464, x", False),
    ],
)
def test_a_page_with_a_name_of_its_own_reads_nothing(host: str, is_answered: bool) -> None:
    with listening(echo) as listener:
        assert get(f"{listener.url}/metrics", Host=host)[0] == (200 if is_answered else 403)
    with listening(echo, "0.0.0.0") as listener:  # whose names nobody knows
        assert get(f"http://127.0.0.1:{listener.address[1]}/", Host=host)[0] == 200


def test_requests_beyond_the_limit_are_closed_and_later_ones_answered() -> None:
    hold, begun = threading.Event(), threading.Semaphore(0)

    def respond(request: Request) -> Response:
        begun.release()
        hold.wait()
        return Response(200, "text/plain", b"ok")

    with listening(respond) as listener:
        answers: list[tuple[int, bytes]] = []
        threads = [threading.Thread(target=lambda: answers.append(get(listener.url))) for _ in range(MOST_CONNECTIONS)]
        for thread in threads:
            thread.start()
        for _ in threads:
            assert begun.acquire(timeout=60)
        with pytest.raises((urllib.error.URLError, OSError)):
            get(listener.url)
        hold.set()
        for thread in threads:
            thread.join(60)
        assert answers == [(200, b"ok")] * MOST_CONNECTIONS
        assert get(listener.url) == (200, b"ok")


def test_requests_are_answered_by_a_loop() -> None:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    async def answer(query: str, headers: dict[str, str]) -> Response:
        assert asyncio.get_running_loop() is loop
        if query == "wrong":
            raise ValueError("it must be right")
        if query == "bug":
            raise ZeroDivisionError
        return Response(200, "text/plain", f"{query} {headers['accept']}".encode())

    with listening(in_loop(loop, answer)) as listener:
        assert get(f"{listener.url}/metrics?a", Accept="text/plain") == (200, b"a text/plain")
        assert get(f"{listener.url}/metrics?wrong") == (400, b"it must be right\n")
        assert get(f"{listener.url}/metrics?bug") == (500, b"the scrape failed: the log says why\n")
        assert get(f"{listener.url}/livez") == (200, b"ok\n")
        assert get(listener.url) == (404, b"there is nothing but /metrics and /livez\n")
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        assert get(f"{listener.url}/metrics?a") == (503, b"the process is ending, or has too much to do\n")


def test_alarms_that_nobody_evaluates_are_told_and_no_alarms_are_not() -> None:
    health: AlarmHealth | None = AlarmHealth(1_790_000_000_000, 2, 0, None, 3, 200.5, {"done": 5, "failed": 1})

    async def read_health() -> AlarmHealth | None:
        return health

    async def told() -> dict[str, float]:
        one = Exporter(Server(), read_health=read_health)
        values = found(await one.answer(Scrape(OPENMETRICS)))
        return {name: value for (name, _), value in values.items() if name.startswith("rqsqs_alarm")}

    async def main() -> None:
        nonlocal health
        never = await told()
        assert never["rqsqs_alarms"] == 2
        assert never["rqsqs_alarms_evaluation_age_seconds"] == float("inf")
        assert never["rqsqs_alarms_evaluated_timestamp_seconds"] == 0
        assert (never["rqsqs_alarm_actions_waiting"], never["rqsqs_alarm_actions_overdue_seconds"]) == (3, 200.5)
        assert never["rqsqs_alarm_action_attempts_total"] == 0  # the last one, given_up
        assert health is not None
        health = replace(health, evaluation=AlarmEvaluation(1_789_999_999_500, 0.5, 1, "me", 2, failed=1))
        lately = await told()
        assert lately["rqsqs_alarms_evaluation_age_seconds"] == 0.5
        assert lately["rqsqs_alarms_evaluated_timestamp_seconds"] == 1_789_999_999.5
        assert lately["rqsqs_alarms_not_evaluated"] == 1
        health = replace(health, alarms=0)
        assert await told() == {}
        health = None
        assert await told() == {}

    asyncio.run(main())


def test_the_alarms_of_a_server_are_told(valkey_url: str, prefix: str) -> None:
    async def main() -> None:
        async with rqsqs.aio.connect(valkey_url, prefix=prefix) as connection:
            await connection.create_queue("orders")
            one = Exporter(connection.metrics, read_health=exporter.health_reader(connection))
            assert ("rqsqs_alarms", frozenset()) not in found(await one.answer(Scrape(TEXT)))
            await connection.alarms.put(
                rqsqs.Alarm("a", metric_name="visible", queue="orders", threshold=1, comparison_operator=">")
            )
            one = Exporter(connection.metrics, read_health=exporter.health_reader(connection))
            assert found(await one.answer(Scrape(TEXT)))["rqsqs_alarms", frozenset()] == 1

    asyncio.run(main())


def test_the_memory_of_the_server_is_told_and_not_to_accounts_of_a_gateway(valkey_url: str, prefix: str) -> None:
    async def main() -> None:
        async with rqsqs.aio.connect(valkey_url, prefix=prefix) as connection:
            await connection.create_queue("orders")
            one = Exporter(connection.metrics, read_memory=exporter.memory_reader(connection))
            values = found(await one.answer(Scrape(TEXT)))
            used, limit, ratio = (
                values[f"rqsqs_server_memory_{name}", frozenset()]
                for name in ("used_bytes", "limit_bytes", "used_ratio")
            )
            assert 0 < used < limit
            if ALL_ON_CLUSTER:  # that of the fullest server
                assert ratio > used / limit - 1e-5
            else:
                assert ratio == pytest.approx(used / limit, abs=1e-5)
            space = connection.transport.space
            connection.transport.space = Keyspace(f"{prefix}/123456789012", format_of=space.prefix)
            assert exporter.memory_reader(connection) is None

    asyncio.run(main())
