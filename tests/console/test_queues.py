"""The list of queues, a queue, and what can be done there."""

from __future__ import annotations

import asyncio
import hashlib
import html
import re
import threading
import time
from contextlib import ExitStack
from typing import Any

import pytest
import redis

import rqsqs
from rqsqs.aio import Connection
from rqsqs.console import ConsoleSettings, streams
from rqsqs.console.hub import FRESH_S
from rqsqs.console.pages import queues
from rqsqs.console.pages.queues import PER_PAGE
from rqsqs.console.rendering import STATIC
from rqsqs.console.streams import TICK_S
from rqsqs.gateway import GatewaySettings
from tests.cli.tools import wait_for
from tests.console.conftest import Browser, running
from tests.servers import Server

HOSTILE = '"><script>alert(1)</script>'


def test_queues_are_listed_searched_and_sorted(browser: Browser, connection: rqsqs.Connection) -> None:
    for name, number in (("orders", 3), ("invoices", 5), ("emails.fifo", 0)):
        queue = connection.create_queue(name)
        for _ in range(number):
            queue.send("x")
    page = browser.get("/")
    assert page.status == 200
    assert page.text.index("emails.fifo") < page.text.index("invoices") < page.text.index("orders")
    page = browser.get("/?sort=visible")
    assert page.text.index("invoices") < page.text.index("orders") < page.text.index("emails.fifo")
    page = browser.get("/?q=ORD")
    assert "orders" in page.text
    assert "invoices" not in page.text
    assert "No queue is like this" in browser.get("/?q=nothing").text


@pytest.mark.parametrize("query", ["q", "sort", "page", "only", "reverse", "live2"])
def test_what_the_url_says_is_text(browser: Browser, connection: rqsqs.Connection, query: str) -> None:
    connection.create_queue("orders")
    page = browser.ask("GET", f"/?{query}=%22%3E%3Cscript%3Ealert(1)%3C/script%3E")
    assert page.status == 200
    assert HOSTILE not in page.html
    assert "<script>alert" not in page.html


def test_a_queue_is_created_purged_and_deleted(browser: Browser, connection: rqsqs.Connection) -> None:
    answer = browser.post("/queues", {"name": "orders", "fifo": "1"})
    queue = connection.queue("orders.fifo")
    queue.send("x", group="a")
    page = browser.get(answer.headers["location"])
    assert "orders.fifo was created." in page.text
    assert "visible 1" in page.text
    assert "type the name of the queue" in browser.post("/queues/orders.fifo/purge", {"name": "orders"}).text
    assert queue.counts().visible == 1
    assert "orders.fifo was purged." in browser.do("/queues/orders.fifo/purge", {"name": "orders.fifo"}).text
    assert queue.counts().visible == 0
    assert "orders.fifo was deleted." in browser.do("/queues/orders.fifo/delete", {"name": "orders.fifo"}).text
    assert not connection.exists("orders.fifo")
    assert browser.get("/queues/orders.fifo").status == 404


def test_what_is_refused_is_said(browser: Browser) -> None:
    page = browser.post("/queues", {"name": "a b"})
    assert page.status == 400
    assert "'a b'" in page.text
    assert browser.get("/nowhere").status == 404


def test_an_open_page_hears_what_changes(browser: Browser, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    for path in ("/?live=1", "/queues/orders?live=1"):
        with browser.live(path) as events:
            name, text = next(events)
            assert name == "live"
            assert "token" not in text
            queue.send("x")
            queue.send("x")
            wanted = f">{queue.counts().visible}<"
            assert any(wanted in text for _, text in events)


def test_a_page_is_kept_to_itself(browser: Browser) -> None:
    page = browser.get("/")
    policy = page.headers["content-security-policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    assert page.headers["x-frame-options"] == "DENY"
    assert page.headers["cache-control"] == "no-store"
    assert "style=" not in page.html


def test_other_sites_can_change_nothing(browser: Browser, connection: rqsqs.Connection) -> None:
    assert browser.post("/queues", {"name": "orders"}, with_token=False).status == 403
    browser.get("/")
    assert browser.post("/queues", {"name": "orders", "token": "x" * 43}).status == 403
    foreign = {"origin": "http://evil.example"}
    assert browser.post("/queues", {"name": "orders"}, **foreign).status == 403
    assert browser.post("/queues", {"name": "orders"}, **{"sec-fetch-site": "cross-site"}).status == 403
    assert browser.get("/", host="evil.example").status == 403
    assert not list(connection.queues())


def test_a_read_only_console_changes_nothing(valkey_url: str, prefix: str, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    settings = ConsoleSettings(GatewaySettings(url=valkey_url, prefix=prefix), is_read_only=True)
    with running(settings) as address:
        browser = Browser(address)
        assert 'method="post"' not in browser.get("/queues/orders").html.partition("<main")[2]
        assert browser.post("/queues", {"name": "other"}).status == 403
        assert browser.post("/queues/orders/delete", {"name": "orders"}).status == 403
        assert browser.do("/theme", {"theme": "dark"}).status == 200
    assert [queue.name for queue in connection.queues()] == ["orders"]


def test_changes_are_told_as_events(browser: Browser, connection: rqsqs.Connection) -> None:
    browser.do("/queues", {"name": "orders"})
    browser.do("/queues/orders/purge", {"name": "orders"})
    assert [(event.kind, event.who.api) for event in connection.events()] == [
        ("queue-created", "console"),
        ("queue-purged", "console"),
    ]


@pytest.mark.parametrize("many", [PER_PAGE, 10 * PER_PAGE])
def test_very_many_queues_are_there_at_once(
    browser: Browser, connection: rqsqs.Connection, monkeypatch: pytest.MonkeyPatch, many: int
) -> None:
    """The numbers of all of them take too long here; those of the rows do not."""
    monkeypatch.setattr(queues, "MANY", many)
    for number in range(PER_PAGE + 5):
        connection.create_queue(f"queue-{number:03}")
    connection.queue("queue-103").send("x")
    let_go = threading.Event()
    of_some = Connection.metrics

    async def metrics(self: Connection, prefix: str = "", *, queues: Any = None) -> list[rqsqs.QueueMetrics]:
        if len(queues) > PER_PAGE:
            while not let_go.is_set():
                await asyncio.sleep(0.01)
        return await of_some(self, prefix, queues=queues)

    monkeypatch.setattr(Connection, "metrics", metrics)
    page = browser.get("/?sort=visible&page=2")
    assert "are being read; until then these are all, in order of names." in page.text
    assert "queue-103 1 " in page.text
    assert "queue-000" not in page.text
    with browser.live("/?sort=visible&live=1") as events:
        assert "are being read" in next(events)[1]
        let_go.set()
        text = next(text for _, text in events if "are being read" not in text)
        assert text.index("queue-103") < text.index("queue-000")


def test_a_queue_without_numbers_is_listed(browser: Browser, connection: rqsqs.Connection, valkey_url: str) -> None:
    for name in ("broken", "orders"):
        connection.create_queue(name)
    with redis.Redis.from_url(valkey_url) as client:
        client.delete(*connection.transport.queue("broken").home.keys("meta"))
    page = browser.get("/")
    assert "broken Just created, just deleted, or damaged: there are no numbers." in page.text
    assert "broken" not in browser.get("/?only=problems").text


def test_columns_are_chosen_and_kept(browser: Browser, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders").send("x")

    def heads() -> list[str]:
        row = browser.get("/").html.partition("<thead>")[2].partition("</thead>")[0]
        return [html.unescape(text.strip()) for text in re.findall(r"(?:<a [^>]*>|<th[^>]*>)([^<>]+)</", row)]

    usual = heads()
    assert usual[:3] == ["Queue", "Last hour", "Visible"]
    assert "Change/s" not in usual
    browser.do("/columns", {"column": ["change", "visible", '"><script>']})
    assert heads() == ["Queue", "Visible", "Change/s"]
    with browser.live("/?live=1") as events:
        text = next(events)[1]
        assert "Change/s" in text
        assert "Oldest" not in text
    browser.do("/columns")
    assert heads() == ["Queue"]
    browser.do("/columns", {"usual": "1", "column": "visible"})
    assert heads() == usual
    browser.cookies["rqsqs_columns"] = "%22%3E<script>.visible"
    assert heads() == ["Queue", "Visible"]


def test_many_open_pages_are_one_reader_and_closed_ones_none(
    browser: Browser, connection: rqsqs.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = connection.create_queue("orders")
    reads: list[float] = []
    of_all = Connection.metrics

    async def metrics(self: Connection, prefix: str = "", **options: Any) -> list[rqsqs.QueueMetrics]:
        reads.append(time.monotonic())
        return await of_all(self, prefix, **options)

    monkeypatch.setattr(Connection, "metrics", metrics)
    with ExitStack() as stack:
        pages = [stack.enter_context(browser.live("/?live=1")) for _ in range(30)]
        for events in pages:
            next(events)
        began, before = time.monotonic(), len(reads)
        for _ in range(3):
            queue.send("x")
            visible = f">{queue.counts().visible}<"
            for events in pages:
                assert any(visible in text for _, text in events)
        assert len(reads) - before <= (time.monotonic() - began) / FRESH_S + 2
    wait_for(lambda: time.monotonic() - reads[-1] > 3 * TICK_S)


def test_static_files_are_few_and_those_of_others_as_they_made_them() -> None:
    vendored = {}
    for line in (STATIC.parent / "VENDORED.txt").read_text("utf-8").splitlines():
        if re.match(r"[0-9a-f]{64}  ", line):
            digest, name, _ = line.split(maxsplit=2)
            vendored[name] = digest
    sizes = {path.name: path.stat().st_size for path in STATIC.iterdir()}
    assert set(sizes) - set(vendored) == {"console.css", "console.js", "icon.svg"}
    for name, digest in vendored.items():
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == digest
    assert sum(sizes.values()) < 100_000


def test_an_open_page_says_when_the_server_does_not_answer() -> None:
    with Server("valkey") as server, running(ConsoleSettings(GatewaySettings(url=server.url))) as address:
        with rqsqs.connect(server.url) as connection:
            connection.create_queue("orders")
        browser = Browser(address)
        with browser.live("/queues/orders?live=1") as events:
            assert next(events)[0] == "live"
            server.freeze()
            try:
                page = browser.get("/")  # says so before the connection's own timeouts do
                assert page.status == 503
                assert "the server does not answer: nothing can be shown" in page.text
                assert next(each for each in events if each[0] == "failed") == ("failed", "the server does not answer")
            finally:
                server.thaw()
            assert "consumers" in next(text for name, text in events if name == "live")


def test_a_page_on_which_nothing_changes_hears_that_it_is_live(
    browser: Browser, connection: rqsqs.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "BEAT_S", 0.0)
    connection.create_queue("orders")
    with browser.live("/queues/orders?live=1") as events:
        assert next(name for name, _ in events if name != "live") == "beat"


def test_a_page_that_could_not_be_shown_can_be_tried_again(browser: Browser, connection: rqsqs.Connection) -> None:
    page = browser.get("/queues/later?span=day")
    assert page.status == 404
    again = re.search(r'href="([^"]*)">Try again', page.html)
    assert again is not None
    connection.create_queue("later")
    assert browser.get(f"/queues/later{html.unescape(again[1])}").status == 200
    assert "Try again" not in browser.post("/queues/none/pause").text  # a change is not repeated
