"""Requests that are large, slow, many, or odd."""

from __future__ import annotations

import http.client
import socket
from urllib.parse import urlencode, urlsplit

import pytest

import rqsqs
from rqsqs.console import Console, ConsoleSettings, app, forms, streams
from rqsqs.gateway import GatewaySettings
from tests.console.conftest import PATIENCE_S, Browser, running


@pytest.mark.parametrize("path", ["/theme", "/queues", "/queues/orders/purge", "/queues/orders/policy", "/alarms"])
def test_a_form_is_no_larger_than_people_type(browser: Browser, connection: rqsqs.Connection, path: str) -> None:
    queue = connection.create_queue("orders")
    queue.send("x")
    answer = browser.post(path, {"name": "orders", "more": "x" * app.LARGEST_FORM})
    assert answer.status == 413
    assert "this form is too large: nothing was changed" in answer.text
    assert queue.counts().visible == 1
    assert browser.get("/").status == 200


def test_many_files_and_fields_are_no_larger_together(
    valkey_url: str, prefix: str, connection: rqsqs.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Console, "largest_part", 300_000)
    queue = connection.create_queue("orders")
    with running(ConsoleSettings(GatewaySettings(url=valkey_url, prefix=prefix))) as address:
        browser = Browser(address)
        assert browser.get("/queues/orders/send").status == 200
        token, end = browser.cookies["rqsqs_token"], "--x--\r\n"
        parts = [f'--x\r\ncontent-disposition: form-data; name="token"\r\n\r\n{token}\r\n']
        parts += [f'--x\r\ncontent-disposition: form-data; name="f{n}"\r\n\r\n{"y" * 290_000}\r\n' for n in range(6)]
        kind = "multipart/form-data; boundary=x"
        answer = browser.ask("POST", "/queues/orders/send", "".join([*parts, end]).encode(), **{"content-type": kind})
        assert answer.status == 413
    assert queue.counts().visible == 0


def test_thousands_of_fields_are_refused(browser: Browser, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders").send("x")
    answer = browser.post("/queues/orders/purge", {"name": "orders", "more": ["x"] * 5_000})
    assert answer.status in (400, 413)
    assert connection.queue("orders").counts().visible == 1


@pytest.mark.parametrize(("path", "limit"), [("/theme", "FORM_S"), ("/login", "STRANGER_S")])
def test_a_form_that_does_not_come_is_not_waited_for(
    browser: Browser, monkeypatch: pytest.MonkeyPatch, path: str, limit: str
) -> None:
    monkeypatch.setattr(app, limit, 0.05)
    connection = http.client.HTTPConnection(urlsplit(browser.address).netloc, timeout=PATIENCE_S)
    connection.putrequest("POST", path)
    connection.putheader("content-type", "application/x-www-form-urlencoded")
    connection.putheader("content-length", "1000")
    connection.endheaders(b"theme=da")
    assert connection.getresponse().status == 408
    connection.close()


def test_forms_that_are_read_at_once_have_an_end(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(forms, "MOST_HELD", 500_000)
    browser.get("/")
    where = urlsplit(browser.address)
    fields = urlencode({"token": browser.cookies["rqsqs_token"], "more": "x" * 300_000}).encode()
    head = f"POST /theme HTTP/1.1\r\nhost: {where.netloc}\r\ncontent-type: application/x-www-form-urlencoded\r\n"
    head += f"cookie: rqsqs_token={browser.cookies['rqsqs_token']}\r\n"
    with socket.create_connection((where.hostname, where.port), timeout=PATIENCE_S) as other:
        other.sendall(f"{head}content-length: {len(fields) + 1}\r\n\r\n".encode() + fields)
        while (answer := browser.post("/theme", {"more": "x" * 300_000})).status == 303:
            pass  # the other one was not read yet
        assert answer.status == 503
        other.sendall(b"x")
        assert b" 303 " in other.recv(65_536)
    assert browser.post("/theme", {"more": "x" * 300_000}).status == 303


def test_a_page_that_does_not_live_has_no_stream(browser: Browser, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    for path in ("/queues/orders/send", "/queues/orders/receive", "/login"):
        page = browser.get(f"{path}?live=1")
        assert not page.headers["content-type"].startswith("text/event-stream"), path


def test_no_text_is_a_field_of_an_event() -> None:
    said = streams.event("live", "one\r\revent: ended\r\ndata: x\n\nid: 7\u2028")
    lines = said.replace("\r\n", "\n").replace("\r", "\n").split("\n")
    assert lines[0] == "event: live"
    assert lines[-2:] == ["", ""]
    assert all(line.startswith("data: ") for line in lines[1:-2])
