"""Workers and what they hold; groups and who blocks them; pause and resume."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from urllib.parse import quote

import pytest

import rqsqs
from rqsqs.console import ConsoleSettings
from rqsqs.gateway import GatewaySettings
from rqsqs.worker import Worker
from tests.cli.tools import wait_for
from tests.console.conftest import PATIENCE_S, Browser, running
from tests.worker.serving import Running

HOSTILE = '"><b>x</b> \x1b[31m \u202e'


@pytest.fixture
def emails(connection: rqsqs.Connection) -> rqsqs.Queue:
    return connection.create_queue("emails.fifo", visibility_timeout=300)


@pytest.fixture
def worker(valkey_url: str, prefix: str, emails: rqsqs.Queue) -> Iterator[Running]:
    """It serves a queue, and holds the first message of it for as long as the test takes."""
    worker = Worker(valkey_url, prefix=prefix, concurrency=1, heartbeat_interval=0.1, shutdown_timeout=0.1)
    is_over = threading.Event()
    worker.add(emails.name, lambda message: is_over.wait(PATIENCE_S))
    with Running(worker) as running_worker:
        yield running_worker
        is_over.set()


def holding(queue: rqsqs.Queue) -> rqsqs.Consumer:
    """The worker of a queue, when it has a message."""
    wait_for(lambda: any(consumer.held for consumer in queue.consumers()))
    return queue.consumers()[0]


def test_workers_are_listed_with_what_they_hold(browser: Browser, emails: rqsqs.Queue, worker: Running) -> None:
    sent = emails.send("x", group="a")
    consumer = holding(emails)
    for path in ("/consumers", "/queues/emails.fifo/consumers"):
        page = browser.get(path)
        assert consumer.consumer_id in page.text
        assert sent.message_id in page.text
        assert "consumers 1 lost 0 slots 1 in flight 1" in page.text
        with browser.live(f"{path}?live=1") as events:
            assert consumer.consumer_id in next(events)[1]
    assert browser.get("/queues/nothing/consumers").status == 404


def test_a_group_shows_what_blocks_it_and_who_has_that(browser: Browser, emails: rqsqs.Queue, worker: Running) -> None:
    sent = emails.send("x", group="customer-7")
    emails.send("y", group="customer-7")
    consumer = holding(emails)
    page = browser.get("/queues/emails.fifo/groups")
    assert re.search(rf"customer-7 2 {sent.message_id} {consumer.consumer_id} 1 in ", page.text)
    emails.send("z", group="customer-8", delay=500)
    page = browser.get("/queues/emails.fifo/groups?show=all")
    assert re.search(rf"customer-7 2 {sent.message_id} is in flight, visible again in ", page.text)
    assert re.search(r"customer-8 1 the first is delayed by \d+ min", page.text)
    with browser.live("/queues/emails.fifo/groups?live=1") as events:
        name, text = next(events)
        assert name == "live"
        assert "token" not in text


@pytest.mark.parametrize("command", ["drain", "evict"])
def test_workers_get_commands(
    browser: Browser, connection: rqsqs.Connection, emails: rqsqs.Queue, worker: Running, command: str
) -> None:
    emails.send("x", group="a")
    consumer = holding(emails)
    page = browser.do(f"/queues/emails.fifo/consumers/{command}", {"consumer": consumer.consumer_id, "of": "all"})
    assert f"{consumer.consumer_id} was told to" in page.text
    wait_for(lambda: all(each.state in ("draining", "evicted") for each in emails.consumers()))
    if command == "evict":
        wait_for(lambda: emails.counts().visible == 1)
    (event,) = connection.events(kind="worker-commanded")
    assert (event.who.api, event.detail) == ("console", {"worker": consumer.consumer_id, "command": command})
    answer = browser.post(f"/queues/emails.fifo/consumers/{command}", {"consumer": HOSTILE})
    assert answer.status == 400
    assert "<b>" not in answer.html


def test_groups_are_paused_and_resumed(browser: Browser, emails: rqsqs.Queue) -> None:
    for group in ("a", HOSTILE):
        emails.send("x", group=group)
    page = browser.get("/queues/emails.fifo/groups?show=all")
    assert "<b>" not in page.html
    assert "\x1b" not in page.html
    for group in ("a", HOSTILE):
        page = browser.do("/queues/emails.fifo/groups/pause", {"group": quote(group)})
        assert "is paused: nothing of it is handed out." in page.text
        assert "<b>" not in page.html
    assert not emails.receive(2)
    assert browser.get("/queues/emails.fifo/groups?show=paused").text.count("Resume") == 3  # and that of the form
    page = browser.do("/queues/emails.fifo/groups/resume", {"group": quote(HOSTILE)})
    assert "was resumed." in page.text
    assert [message.group for message in emails.receive(2)] == [HOSTILE]
    assert "paused" in browser.do("/queues/emails.fifo/groups/pause", {"typed": "later"}).text
    assert browser.post("/queues/emails.fifo/groups/pause", {"typed": ""}).status == 400
    assert browser.post("/queues/emails.fifo/groups/pause", {"group": "x" * 129}).status == 400
    assert browser.get("/queues/emails.fifo/groups?show=all&at=nonsense").status == 400


@pytest.mark.parametrize("name", ["thumbs", "thumbs.fifo"])
def test_groups_come_page_by_page(browser: Browser, connection: rqsqs.Connection, name: str) -> None:
    queue = connection.create_queue(name, deduplication_scope="messageGroup" if name == "thumbs.fifo" else None)
    if name == "thumbs.fifo":
        queue.configure(partitions=2)
    for number in range(230):
        queue.send("x", group=f"tenant-{number:03}")
    path, seen = f"/queues/{name}/groups?show=all", set()
    for _ in range(10):
        page = browser.get(path)
        seen |= set(re.findall(r"tenant-\d\d\d", page.text))
        following = re.search(r'rel="next" href="([^"]*)"', page.html)
        if following is None:
            break
        path = f"/queues/{name}/groups{following[1].replace('&amp;', '&')}"
    assert len(seen) == 230


def test_a_queue_is_paused_and_resumed(browser: Browser, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    queue.send("x")
    assert "orders is paused" in browser.do("/queues/orders/pause").text
    assert not queue.receive()
    assert "Paused: nothing is handed out." in browser.get("/queues/orders").text
    assert "orders was resumed." in browser.do("/queues/orders/resume").text
    assert queue.receive()
    assert [event.kind for event in connection.events()][-2:] == ["queue-paused", "queue-resumed"]


def test_a_read_only_console_gives_no_commands(
    valkey_url: str, prefix: str, emails: rqsqs.Queue, worker: Running
) -> None:
    emails.send("x", group="a")
    consumer = holding(emails)
    settings = ConsoleSettings(GatewaySettings(url=valkey_url, prefix=prefix), is_read_only=True)
    with running(settings) as address:
        browser = Browser(address)
        for path in (
            "/consumers",
            "/queues/emails.fifo/consumers",
            "/queues/emails.fifo/groups",
            "/queues/emails.fifo",
        ):
            assert "<button" not in browser.get(path).html.partition("<main")[2].partition("</main")[0]
        for path in ("consumers/evict", "groups/pause", "pause"):
            answer = browser.post(f"/queues/emails.fifo/{path}", {"consumer": consumer.consumer_id, "group": "a"})
            assert answer.status == 403
    assert emails.consumers()[0].state == "running"
