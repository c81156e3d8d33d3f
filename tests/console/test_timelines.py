"""The timeline of a message in the console: on its page, also when it is gone, and only what the reader may see."""

from __future__ import annotations

import time

import pytest

import rqsqs
from rqsqs._core import flows
from rqsqs._core.operations import Outcome
from rqsqs.models import Failure
from tests.console.conftest import PATIENCE_S, Browser
from tests.console.test_rights import LogIn, as_user
from tests.console.test_settings import filled_in

__all__ = ["as_user"]  # a fixture
HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>\u202e\x1b[2J'


def fail(message: rqsqs.Message, text: str, kind: str = "dead-letter") -> None:
    """As a worker does that could not finish it."""
    why = Failure("ValueError", text, "", f"box-1-{HOSTILE}", None, 1, 1)
    outcome = Outcome(message._delivery, kind, why, ("ValueError",), None, 0)
    message.queue._run(flows.release(message.queue._ref, [outcome]))


@pytest.fixture
def queues(connection: rqsqs.Connection) -> tuple[rqsqs.Queue, rqsqs.Queue]:
    dead = connection.create_queue("dead", timeline=True)
    return connection.create_queue("orders", timeline=True, dead_letter_queue=dead, max_receive_count=9), dead


def test_a_message_has_its_timeline_and_keeps_it_when_it_is_gone(
    browser: Browser, queues: tuple[rqsqs.Queue, rqsqs.Queue]
) -> None:
    orders, _ = queues
    sent = orders.send("x")
    path = f"/queues/orders/messages/{sent.message_id}"
    page = browser.get(path)
    assert "Timeline" in page.text
    assert "orders: sent by process" in page.text
    [message] = orders.receive()
    message.delete()
    end = time.monotonic() + PATIENCE_S
    while "orders does not hold" not in page.text and time.monotonic() < end:  # what was read is shown for a while
        page = browser.get(path)
    assert page.status == 200
    assert "orders does not hold this message now" in page.text
    assert page.text.index("orders: sent") < page.text.index("received for the 1st time") < page.text.index("deleted")
    missing = browser.get("/queues/orders/messages/0199c1a2-7f3e-7000-8000-0123456789ab")
    assert missing.status == 404
    assert browser.get("/queues/orders/messages/nonsense").status == 404
    search = browser.get(f"/queues/orders/messages?text={sent.message_id}")
    assert f'href="/queues/orders/messages/{sent.message_id}"' in search.html
    assert "its timeline" in search.text
    assert "its timeline" not in browser.get("/queues/orders/messages?text=nothing").text


def test_what_others_wrote_is_only_text(browser: Browser, queues: tuple[rqsqs.Queue, rqsqs.Queue]) -> None:
    orders, dead = queues
    sent = orders.send(HOSTILE)
    [message] = orders.receive()
    fail(message, HOSTILE)
    for name in (orders.name, dead.name):
        page = browser.get(f"/queues/{name}/messages/{sent.message_id}")
        assert page.status == 200
        assert "released: failed, not to be tried again" in page.text
        assert "ValueError: " in page.text
        assert "<script>alert" not in page.html
        assert "<img src=x" not in page.html
        assert "\u202e" not in page.html
        assert "\x1b" not in page.html
    page = browser.get(f"/queues/orders/messages/{sent.message_id}")
    assert "dead-lettered: as a worker said, 1 receive" in page.text
    assert "from orders to dead" in page.text


def test_only_queues_whose_messages_may_be_seen_are_followed(
    as_user: LogIn, queues: tuple[rqsqs.Queue, rqsqs.Queue]
) -> None:
    orders, dead = queues
    sent = orders.send("x")
    [message] = orders.receive()
    fail(message, "a secret of orders")
    dead.receive()
    both = as_user(("rqsqs:PeekMessages", "orders"), ("rqsqs:PeekMessages", "dead"))
    page = both.get(f"/queues/dead/messages/{sent.message_id}")
    assert page.text.count("received for the") == 2
    assert "orders : released" in page.text  # with a link
    one = as_user(("rqsqs:PeekMessages", "dead"))
    page = one.get(f"/queues/dead/messages/{sent.message_id}")
    assert page.text.count("received for the") == 1
    assert "released" not in page.text
    assert "orders: dead-lettered" in page.text
    assert 'href="/queues/orders' not in page.html
    other = as_user(("rqsqs:PeekMessages", "orders"))
    assert other.get(f"/queues/dead/messages/{sent.message_id}").status == 403
    page = other.get(f"/queues/orders/messages/{sent.message_id}")
    assert page.text.count("received for the") == 1


def test_it_is_switched_on_and_off(browser: Browser, connection: rqsqs.Connection) -> None:
    orders = connection.create_queue("orders")
    sent = orders.send("x")
    path = f"/queues/orders/messages/{sent.message_id}"
    assert "Timeline" not in browser.get(path).text
    form = filled_in(browser.get("/queues/orders/settings"))
    assert form["timeline"] == "0"
    page = browser.do("/queues/orders/settings", form | {"timeline": "65536"})
    assert "Changed: Timeline." in page.text
    assert orders.info().attributes["Timeline"] == "65536"
    assert "Nothing is recorded of this message" in browser.get(path).text
    form = filled_in(browser.get("/queues/orders/settings"))
    assert form["timeline"] == "65536"
    browser.do("/queues/orders/settings", form | {"timeline": "0"})
    assert "Timeline" not in orders.info().attributes
    refused = browser.post("/queues/orders/settings", form | {"timeline": "12", "was_timeline": "0"})
    assert "timeline must be True, False, or bytes from 16384 to 67108864, got 12" in refused.text
