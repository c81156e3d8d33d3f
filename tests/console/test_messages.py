"""Messages in the console: listed and searched without being received, shown in full, sent, received, changed."""

from __future__ import annotations

import contextlib
import html
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import rqsqs
from rqsqs.console import Console, ConsoleSettings
from rqsqs.gateway import Gateway, GatewaySettings
from tests.console.conftest import Browser, Page, running
from tests.model.harness import client

HOSTILE = '"><script>alert(1)</script><img src=x onerror=alert(2)>\u202e\x1b[2J'
IDS = re.compile(r'id="m-([0-9a-f-]{36})"')


def ids(page: Page) -> list[str]:
    """The messages of a list."""
    return IDS.findall(page.html)


def fields(page: Page, name: str) -> list[str]:
    """The values of the fields of a name."""
    return [html.unescape(value) for value in re.findall(rf'name="{name}" value="([^"]*)"', page.html)]


def chosen(*messages: Any, name: str = "orders") -> dict[str, str | list[str]]:
    return {"id": [f"{m.message_id} " for m in messages], "name": name}


@pytest.fixture(params=["orders", "orders.fifo"], ids=["standard", "fifo"])
def queue(request: pytest.FixtureRequest, connection: rqsqs.Connection) -> rqsqs.Queue:
    return connection.create_queue(request.param, visibility_timeout=600)


@pytest.fixture
def orders(connection: rqsqs.Connection) -> rqsqs.Queue:
    return connection.create_queue("orders", visibility_timeout=600)


def send(queue: rqsqs.Queue, body: Any, **options: Any) -> rqsqs.SentMessage:
    if queue.is_fifo:
        options = {"group": "g", "deduplication_id": str(body)[:50]} | options
    return queue.send(body, **options)


def test_messages_are_listed_by_state_and_stay_as_they_are(browser: Browser, queue: rqsqs.Queue) -> None:
    first = send(queue, "first")
    queue.receive()
    later = send(queue, {"n": 1}, delay=900, group="other")
    visible = send(queue, "text of <b>it</b>", group="third")
    path = f"/queues/{queue.name}/messages"
    page = browser.get(path)
    assert ids(page) == [visible.message_id]
    assert "text of <b>it</b>" in page.text
    assert "Visible 1 In flight 1 Delayed 1" in page.text
    assert ids(browser.get(f"{path}?state=in_flight")) == [first.message_id]
    page = browser.get(f"{path}?state=delayed")
    assert ids(page) == [later.message_id]
    assert '{"n": 1}' in page.text
    assert "15 min" in page.text
    (message,) = queue.receive(max_messages=10)
    assert message.receive_count == 1


def test_a_long_list_comes_in_pages(browser: Browser, queue: rqsqs.Queue) -> None:
    sent = [send(queue, str(n)).message_id for n in range(120)]
    path, seen, pages = f"/queues/{queue.name}/messages", [], 0
    while path:
        page = browser.get(path)
        seen += ids(page)
        pages += 1
        following = re.search(r'rel="next" href="([^"]*)"', page.html)
        path = f"/queues/{queue.name}/messages{html.unescape(following[1])}" if following else ""
    assert seen == sent
    assert pages == 3


@pytest.mark.parametrize("name", ["orders", "orders.fifo"])
def test_the_newest_come_first_if_asked_for(browser: Browser, connection: rqsqs.Connection, name: str) -> None:
    queue = connection.create_queue(name)
    sent = [queue.send(str(n), **({"group": "g"} if queue.is_fifo else {})).message_id for n in range(70)]
    page = browser.get(f"/queues/{name}/messages?order=newest")
    following = re.search(r'rel="next" href="([^"]*)"', page.html)
    assert following
    more = browser.get(f"/queues/{name}/messages{html.unescape(following[1])}")
    assert ids(page) + ids(more) == sent[::-1]


def test_a_place_of_another_list_is_refused(browser: Browser, orders: rqsqs.Queue) -> None:
    page = browser.get("/queues/orders/messages?cursor=nonsense")
    assert page.status == 400
    assert "cursor must be" in page.text
    assert browser.get("/queues/orders/messages?group=g&place=visible~nonsense").status == 400
    assert browser.get("/queues/orders/messages?text=x&place=visible~nonsense").status == 400
    assert browser.get("/queues/orders/messages?older=soon").status == 400
    assert browser.get("/queues/orders/messages?receives=-1").status == 400


def test_an_open_list_hears_what_comes(browser: Browser, orders: rqsqs.Queue) -> None:
    with browser.live("/queues/orders/messages?live=1") as events:
        assert "No message is visible" in next(events)[1]
        sent = orders.send("x")
        text = next(text for _, text in events if sent.message_id in text)
        assert "token" not in text


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("text=CUSTOMER-7", ["seven"]),
        ("text=address.city%3DBonn", ["object"]),
        ("text=colour%3Dred", ["attribute"]),
        ("group=second", ["object"]),
        ("text=customer&state=delayed", ["delayed"]),
        ("receives=1", ["seven"]),
        ("older=2h", []),
        ("text=nothing", []),
    ],
)
def test_messages_are_searched(browser: Browser, queue: rqsqs.Queue, query: str, found: list[str]) -> None:
    sent = {
        "seven": send(queue, "of customer-7", group="first"),
        "object": send(queue, {"address": {"city": "Bonn"}}, group="second"),
        "attribute": send(queue, "x", attributes={"colour": "red"}, group="third"),
        "delayed": send(queue, "customer-8", delay=900, group="fourth"),
    }
    (first,) = queue.receive()
    assert first.body == "of customer-7"
    page = browser.get(f"/queues/{queue.name}/messages?{query}")
    assert sorted(ids(page)) == sorted(sent[name].message_id for name in found)
    assert f"{len(found)} found" in page.text
    assert "That is all." in page.text


def test_a_message_is_found_by_its_id(browser: Browser, queue: rqsqs.Queue) -> None:
    for n in range(3):
        sent = send(queue, str(n), group=f"g{n}")
    page = browser.get(f"/queues/{queue.name}/messages?text={sent.message_id.upper()}")
    assert ids(page) == [sent.message_id]


def test_a_search_stops_when_it_has_found_enough_and_goes_on_there(browser: Browser, orders: rqsqs.Queue) -> None:
    sent = set()
    for at in range(0, 1_000, 500):
        sent |= {m.message_id for m in orders.send_batch([f"needle {n}" for n in range(at, at + 500)])}
    path, found = "/queues/orders/messages?text=needle&run=a", list[str]()
    while path:
        page = browser.get(path)
        if "looked at 0" not in page.text:
            found += [each for each in ids(page) if each not in found]
        following = re.search(r'href="([^"]*)">Continue', page.html)
        path = f"/queues/orders/messages{html.unescape(following[1])}" if following else ""
    assert set(found) == sent


def test_an_open_search_goes_on_by_itself(
    browser: Browser, orders: rqsqs.Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rqsqs.console.reading_messages.BUDGET_S", 0.001)  # a step each second
    for _ in range(2):
        orders.send_batch(["hay"] * 400)
    needle = orders.send("needle")
    with browser.live("/queues/orders/messages?text=needle&live=1") as events:
        assert needle.message_id not in next(events)[1]
        assert any(needle.message_id in text and "That is all" in text for _, text in events)


@pytest.mark.parametrize("body", [HOSTILE, {HOSTILE: [HOSTILE]}, HOSTILE.encode()], ids=["text", "object", "bytes"])
@pytest.mark.parametrize("view", ["", "json", "xml", "text", "hex"])
def test_a_message_is_only_ever_text(browser: Browser, orders: rqsqs.Queue, body: Any, view: str) -> None:
    attributes = {"a": HOSTILE}
    sent = orders.send(
        body, group=HOSTILE, deduplication_id=HOSTILE, attributes=attributes, trace_context={"t": HOSTILE}
    )
    paths = [f"/queues/orders/messages/{sent.message_id}?view={view}", f"/queues/orders/send?copy={sent.message_id}"]
    paths += [
        "/queues/orders/messages",
        "/queues/orders/messages?text=script",
        "/queues/orders/messages?text=%22%3E%3Cscript%3E",
    ]
    for path in paths:
        page = browser.get(path)
        assert page.status == 200
        assert "<script>alert" not in page.html
        assert "<img src=x" not in page.html
        assert "style=" not in page.html
        if "send" not in path:
            assert "\u202e" not in page.html
            assert "\x1b" not in page.html


@pytest.mark.parametrize(
    ("body", "view", "shown"),
    [
        ({"b": [1, {"c": None}]}, "", '{ "b": [ 1, { "c": null } ] }'),
        ('{"b":[1,2]}', "", '{ "b": [ 1, 2 ] }'),
        ('{"b":[1,2]}', "text", '{"b":[1,2]}'),
        ("<a><b x='1'>t &amp; u</b><c/></a>", "", "<a> <b x='1'>t &amp; u</b> <c/> </a>"),
        ("plain", "", "plain"),
        ("{broken", "json", "{broken"),
        (b"\x00\x01ab", "", "00000000 00 01 61 62 ..ab"),
        ("ab", "hex", "00000000 61 62 ab"),
        (b"readable", "", "readable"),
        ({1: b"x"}, "", "eA=="),
        ({float("inf"): float("nan")}, "", "NaN"),
    ],
)
def test_a_body_is_shown_as_what_it_is(browser: Browser, orders: rqsqs.Queue, body: Any, view: str, shown: str) -> None:
    sent = orders.send(body)
    page = browser.get(f"/queues/orders/messages/{sent.message_id}{'?view=' + view if view else ''}")
    found = re.search(r'<pre class="body" id="body"[^>]*>(.*?)</pre>', page.html, re.DOTALL)
    assert found
    assert shown in " ".join(html.unescape(found[1]).split())


def test_a_message_is_told_in_full(browser: Browser, connection: rqsqs.Connection) -> None:
    dead = connection.create_queue("orders-dead")
    queue = connection.create_queue("orders", dead_letter_queue="orders-dead", max_receive_count=1)
    sent = queue.send("x", attributes={"colour": "red", "n": 5, "raw": b"\x01"}, deduplication_id="d-1")
    queue.receive(visibility_timeout=0)
    assert not queue.receive()
    assert dead.counts().visible == 1
    page = browser.get(f"/queues/orders-dead/messages/{sent.message_id}")
    for text in ("state visible", "received 1 time", "came from orders", "d-1", "colour String red", "n Number 5"):
        assert text in page.text
    assert "ReceivedTooOften" in page.text
    assert browser.get(f"/queues/orders/messages/{sent.message_id}").status == 404
    assert browser.get("/queues/orders/messages/nonsense").status == 404


def test_a_body_is_saved_as_it_is_and_never_shown_by_the_browser(browser: Browser, orders: rqsqs.Queue) -> None:
    sent = orders.send("<script>alert(1)</script>")
    page = browser.get(f"/queues/orders/messages/{sent.message_id}/body")
    assert page.html == "<script>alert(1)</script>"
    assert page.headers["content-type"] == "application/octet-stream"
    assert page.headers["content-disposition"] == f'attachment; filename="{sent.message_id}.txt"'
    line = json.loads(browser.get(f"/queues/orders/messages/{sent.message_id}/line").html)
    assert line["body"] == "<script>alert(1)</script>"


def test_a_body_of_ten_mebibytes_breaks_no_page(browser: Browser, orders: rqsqs.Queue) -> None:
    orders.configure(maximum_message_size=12 * 1_048_576)
    for body in ("<x>" * 3_495_253, {"rows": ["<x>" * 100_000] * 33}):
        sent = orders.send(body)
        for path in (
            "",
            "?text=nowhere",
            f"/{sent.message_id}",
            f"/{sent.message_id}?view=xml",
            f"/{sent.message_id}?view=hex",
        ):
            page = browser.get(f"/queues/orders/messages{path}")
            assert page.status == 200
            assert len(page.html) < 600_000
        assert "This is the beginning" in page.text
        assert len(browser.get(f"/queues/orders/messages/{sent.message_id}/body").html) > 9_000_000
        orders.purge()


# What is done


def test_messages_are_rescheduled_made_visible_and_removed(browser: Browser, queue: rqsqs.Queue) -> None:
    one, two = send(queue, "one", delay=900), send(queue, "two", delay=900, group="h")
    path = f"/queues/{queue.name}"
    page = browser.get(f"{path}/messages?state=delayed")
    assert sorted(ids(page)) == sorted([one.message_id, two.message_id])
    ticked = [value for value in fields(page, "id") if value.startswith(two.message_id)]
    assert "1 message made visible." in browser.do(f"{path}/run-now", {"id": ticked, "state": "delayed"}).text
    assert [m.body for m in queue.peek(10)] == ["two"]
    at = (datetime.now(UTC) + timedelta(days=2)).strftime("%Y-%m-%dT%H:%M")
    assert "1 message rescheduled." in browser.do(f"{path}/reschedule", {**chosen(two), "due": at}).text
    (later,) = [m for m in queue.peek(10, "delayed") if m.body == "two"]
    assert later.visible_at is not None
    assert later.visible_at.strftime("%Y-%m-%dT%H:%M") == at
    assert "must be a duration" in browser.post(f"{path}/reschedule", {**chosen(two), "due": "soon"}).text
    asked = browser.post(f"{path}/cancel", {"id": chosen(one, two)["id"], "state": "delayed"})
    assert "Remove 2 messages" in asked.text
    assert one.message_id in asked.text
    assert fields(asked, "id") == chosen(one, two)["id"]
    assert "cannot be undone" in browser.post(f"{path}/cancel", chosen(one, name="other")).text
    assert queue.counts().delayed == 2
    assert "2 messages removed." in browser.do(f"{path}/cancel", chosen(one, two, name=queue.name)).text
    assert queue.counts() == rqsqs.Counts()
    assert "1 not there any more" in browser.do(f"{path}/cancel", chosen(one, name=queue.name)).text
    assert "choose at least one message" in browser.post(f"{path}/cancel").text


def test_what_is_in_flight_is_left_to_its_receiver(browser: Browser, queue: rqsqs.Queue) -> None:
    sent = send(queue, "x")
    queue.receive()
    waits = "wait until that is settled" in browser.get(f"/queues/{queue.name}/messages").text
    assert waits == queue.is_fifo  # what is visible there cannot be received now
    page = browser.do(f"/queues/{queue.name}/cancel", chosen(sent, name=queue.name))
    assert "0 messages removed, 1 in flight" in page.text
    assert queue.counts().in_flight == 1


@pytest.mark.parametrize(
    ("kind", "typed", "received"),
    [
        ("text", "two\r\nlines", "two\nlines"),
        ("text", '{"a": 1}', '{"a": 1}'),
        ("json", '{"a": [1, null]}', {"a": [1, None]}),
        ("base64", "AAEC\r\n/w==", b"\x00\x01\x02\xff"),
        ("text", HOSTILE, HOSTILE),
        ("text", "", ""),
    ],
)
def test_a_message_is_sent(browser: Browser, orders: rqsqs.Queue, kind: str, typed: str, received: Any) -> None:
    form: dict[str, str | list[str]] = {
        "body": typed,
        "kind": kind,
        "group": "g",
        "deduplication_id": "d",
        "attribute_name": ["colour", "n", "raw", ""],
        "attribute_type": ["text", "number", "base64", "text"],
        "attribute_value": ["red", "5", "AQ==", ""],
    }
    page = browser.do("/queues/orders/send", form)
    assert "Sent " in page.text
    (message,) = orders.receive()
    assert message.body == received
    assert (message.group, message.deduplication_id) == ("g", "d")
    assert message.attributes == {"colour": "red", "n": 5, "raw": b"\x01"}
    assert "Not stored again" in browser.do("/queues/orders/send", form).text


def test_a_message_is_sent_for_later(browser: Browser, orders: rqsqs.Queue) -> None:
    browser.do("/queues/orders/send", {"body": "x", "kind": "text", "due": "2h"})
    (message,) = orders.peek(1, "delayed")
    assert message.visible_at is not None
    assert timedelta(minutes=110) < message.visible_at - datetime.now(UTC) < timedelta(minutes=121)


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"kind": "json", "body": "{"}, "the body must be JSON"),
        ({"kind": "base64", "body": "%"}, "the body must be base64"),
        ({"due": "soon"}, "a time must be"),
        ({"attribute_value": "x"}, "an attribute must have a name"),
        ({"attribute_name": "n", "attribute_type": "number", "attribute_value": "x"}, "must be a number"),
        ({"group": "g" * 129}, "group must be"),
    ],
)
def test_what_was_typed_stays_when_it_is_refused(
    browser: Browser, orders: rqsqs.Queue, wrong: dict[str, str], said: str
) -> None:
    form = {"body": "typed <b>", "kind": "text", "attribute_name": "", "attribute_type": "text", "attribute_value": ""}
    page = browser.post("/queues/orders/send", form | wrong)
    assert page.status == 400
    assert said in page.text
    assert (form | wrong)["body"] in page.text
    assert orders.counts() == rqsqs.Counts()


def test_a_file_is_sent_as_it_is(browser: Browser, orders: rqsqs.Queue) -> None:
    browser.get("/")
    data = b"\x00\xff\r\n" * 50_000

    def part(name: str, value: bytes, more: bytes = b"") -> bytes:
        head = b'--b\r\ncontent-disposition: form-data; name="' + name.encode() + b'"' + more + b"\r\n\r\n"
        return head + value + b"\r\n"

    body = part("token", browser.cookies["rqsqs_token"].encode()) + part("body", b"") + part("kind", b"base64")
    body += part("file", data, b'; filename="x.bin"') + b"--b--\r\n"
    kind = {"content-type": "multipart/form-data; boundary=b"}
    assert browser.ask("POST", "/queues/orders/send", body, **kind).status == 303
    (message,) = orders.receive()
    assert message.body == data


@pytest.mark.parametrize("body", ["text\n", {"a": [1, "x"]}, b"\x00\xff"], ids=["text", "object", "bytes"])
def test_a_copy_is_sent_from_the_form(browser: Browser, orders: rqsqs.Queue, body: Any) -> None:
    sent = orders.send(body, group="g", attributes={"n": 5, "raw": b"\x01", "t": "<x>"})
    page = browser.get(f"/queues/orders/send?copy={sent.message_id}")
    typed = re.search(r"<textarea[^>]*>\n(.*?)</textarea>", page.html, re.DOTALL)
    kind = re.search(r'<option value="(\w+)" selected>', page.html)
    assert typed
    assert kind
    form: dict[str, str | list[str]] = {
        "body": html.unescape(typed[1]),
        "kind": kind[1],
        "group": fields(page, "group"),
        "attribute_name": fields(page, "attribute_name"),
        "attribute_value": fields(page, "attribute_value"),
        "attribute_type": [
            re.findall(r'<option value="(\w+)" selected>', each)[0]
            for each in re.findall(r'<select name="attribute_type">(.*?)</select>', page.html, re.DOTALL)
        ],
    }
    browser.do("/queues/orders/send", form)
    first, second = orders.receive(max_messages=2)
    assert second.message_id != sent.message_id
    assert (first.body, first.group, first.attributes) == (second.body, second.group, second.attributes)


def test_the_console_receives_as_a_consumer(browser: Browser, queue: rqsqs.Queue) -> None:
    sent = [send(queue, f"m{n}", group=f"g{n}").message_id for n in range(4)]
    path = f"/queues/{queue.name}"
    page = browser.post(f"{path}/receive", {"number": "10", "hold": "10m"})
    assert sorted(ids(page)) == sorted(sent)
    assert queue.counts().in_flight == 4
    held = dict(zip(ids(page), fields(page, "held"), strict=True))
    page = browser.post(f"{path}/held/delete", {"held": list(held.values()), "chosen": held[sent[0]]})
    assert "1 message deleted." in page.text
    assert sorted(ids(page)) == sorted(sent[1:])
    left = fields(page, "held")
    page = browser.post(f"{path}/held/hold", {"held": left, "chosen": held[sent[1]], "hold": "2h"})
    assert "1 message held from now on." in page.text
    until = {m.message_id: m.visible_at for m in queue.peek(10, "in_flight")}
    at = until[sent[1]]
    assert at is not None
    assert at - datetime.now(UTC) > timedelta(minutes=110)
    page = browser.do(f"{path}/held/release", {"held": left, "chosen": left})
    assert "3 messages released." in page.text
    assert (queue.counts().visible, queue.counts().in_flight) == (3, 0)


def test_what_is_not_held_any_more_is_said(browser: Browser, queue: rqsqs.Queue) -> None:
    send(queue, "x")
    page = browser.post(f"/queues/{queue.name}/receive", {"number": "1", "hold": ""})
    (held,) = fields(page, "held")
    queue.purge()
    page = browser.do(f"/queues/{queue.name}/held/release", {"held": held, "chosen": held})
    assert "0 messages released. 1 not:" in page.text
    assert "There is no message" in browser.post(f"/queues/{queue.name}/receive", {"number": "1"}).text
    page = browser.do(f"/queues/{queue.name}/held/delete", {"held": "a b c", "chosen": "a b c"})
    assert "0 messages deleted. 1 not:" in page.text
    assert not list(queue._connection.events(kind="messages-changed"))[1:]


def test_what_is_done_with_messages_is_told_as_events(
    browser: Browser, orders: rqsqs.Queue, connection: rqsqs.Connection
) -> None:
    browser.do("/queues/orders/send", {"body": "secret", "kind": "text"})
    (sent,) = orders.peek()
    browser.do("/queues/orders/reschedule", {**chosen(sent), "due": "2h"})
    browser.do("/queues/orders/run-now", chosen(sent))
    page = browser.post("/queues/orders/receive", {"number": "1"})
    (held,) = fields(page, "held")
    browser.post("/queues/orders/held/hold", {"held": held, "chosen": held, "hold": "5m"})
    browser.do("/queues/orders/held/release", {"held": held, "chosen": held})
    browser.do("/queues/orders/cancel", chosen(sent))
    browser.do("/queues/orders/cancel", chosen(sent))  # is gone
    found = list(connection.events(kind="messages-changed", queue="orders"))
    changes = ["sent", "rescheduled", "made visible", "received", "held", "released", "removed"]
    assert [event.detail["change"] for event in found] == changes
    assert {(event.who.api, event.detail["count"], *event.detail["messages"]) for event in found} == {
        ("console", 1, sent.message_id)
    }
    assert "secret" not in str(found)


def test_a_read_only_console_offers_no_change_and_makes_none(orders: rqsqs.Queue, valkey_url: str, prefix: str) -> None:
    sent = orders.send("x")
    settings = ConsoleSettings(GatewaySettings(url=valkey_url, prefix=prefix), is_read_only=True)
    with running(settings) as address:
        browser = Browser(address)
        for path in ("", "?text=x", f"/{sent.message_id}"):
            page = browser.get(f"/queues/orders/messages{path}")
            assert sent.message_id in page.text
            assert 'method="post"' not in page.html.partition("<main")[2]
            assert "checkbox" not in page.html
        for form in ("send", "receive"):
            assert 'method="post"' not in browser.get(f"/queues/orders/{form}").html.partition("<main")[2]
        for action in (
            "cancel",
            "run-now",
            "reschedule",
            "send",
            "receive",
            "held/delete",
            "held/release",
            "held/hold",
        ):
            assert browser.post(f"/queues/orders/{action}", {**chosen(sent), "body": "y"}).status == 403
    assert [m.receive_count for m in orders.peek(10)] == [0]


def test_it_works_below_a_path_of_the_gateway(
    orders: rqsqs.Queue, valkey_url: str, prefix: str, connection: rqsqs.Connection
) -> None:
    settings = GatewaySettings(url=valkey_url, prefix=prefix)
    with running(Gateway(settings, mounted={"/console": Console(ConsoleSettings(settings))})) as address:
        browser = Browser(address)
        page = browser.get("/console/queues/orders/send")
        (token,) = set(fields(page, "token"))
        assert 'action="/console/queues/orders/send"' in page.html
        answer = browser.post("/console/queues/orders/send", {"body": "x", "kind": "text", "token": token})
        assert answer.headers["location"] == "/console/queues/orders/messages"
        page = browser.get(answer.headers["location"])
        assert "Sent " in page.text
        (message_id,) = ids(page)
        page = browser.get(f"/console/queues/orders/messages/{message_id}")
        for url in re.findall(r'(?:href|action|formaction)="(/[^"]*)"', page.html):
            assert url.startswith("/console/")


def test_what_cannot_be_read_is_shown_as_that(
    browser: Browser, orders: rqsqs.Queue, valkey_url: str, prefix: str
) -> None:
    good, bad = orders.send("good"), orders.send("bad")
    with contextlib.closing(client(valkey_url)) as server:
        server.lset(f"{prefix}:{{orders/0}}:orders:ready", 3, b"\xc1nonsense")
    page = browser.get("/queues/orders/messages")
    assert ids(page) == [good.message_id, bad.message_id]
    assert "damaged: its record" in page.text
    page = browser.get(f"/queues/orders/messages/{bad.message_id}")
    assert "This message cannot be read" in page.text
    assert "c1 6e 6f 6e 73" in page.text
    assert ids(browser.get(f"/queues/orders/messages?text={bad.message_id}")) == [bad.message_id]
