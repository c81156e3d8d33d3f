"""A console in a thread, and something that asks it as a browser does."""

from __future__ import annotations

import contextlib
import html
import http.client
import re
import threading
from collections.abc import Iterator, Mapping
from typing import NamedTuple
from urllib.parse import urlencode, urlsplit

import pytest

pytest.importorskip("starlette")
pytest.importorskip("jinja2")

import rqsqs
from rqsqs.console import Console, ConsoleSettings
from rqsqs.gateway import Gateway, GatewaySettings
from rqsqs.gateway.serving import Server, ServingSettings, listen

PATIENCE_S = 60
Fields = Mapping[str, str | list[str]]


@contextlib.contextmanager
def running(served: ConsoleSettings | Gateway) -> Iterator[str]:
    """A console, or a gateway, on a free port; its address."""
    listener = listen("127.0.0.1", 0)
    app = Console(served) if isinstance(served, ConsoleSettings) else served
    server = Server(app, ServingSettings(shutdown_timeout=5))
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    try:
        yield f"http://localhost:{listener.getsockname()[1]}"
    finally:
        server.end()
        thread.join(PATIENCE_S)
        listener.close()
        assert not thread.is_alive()


class Page(NamedTuple):
    """An answer."""

    status: int
    headers: dict[str, str]
    html: str
    cookies: dict[str, str]

    @property
    def text(self) -> str:
        """What people read of it."""
        body = re.sub(r"<script.*?</script>|<[^>]*>", " ", self.html, flags=re.DOTALL)
        return " ".join(html.unescape(body).split())


class Browser:
    """Keeps cookies, follows no redirects unless told, and fills forms in."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.cookies: dict[str, str] = {}
        self.headers: dict[str, str] = {}

    def get(self, path: str, **headers: str) -> Page:
        return self.ask("GET", path, **headers)

    def post(self, path: str, fields: Fields | None = None, *, with_token: bool = True, **headers: str) -> Page:
        """Send a form; with the token that pages of this browser have."""
        if with_token and "rqsqs_token" not in self.cookies:
            self.get("/login")
        token: Fields = {"token": self.cookies["rqsqs_token"]} if with_token else {}
        body = urlencode({**token, **(fields or {})}, doseq=True).encode()
        headers = {"content-type": "application/x-www-form-urlencoded"} | headers
        return self.ask("POST", path, body, **headers)

    def do(self, path: str, fields: Fields | None = None) -> Page:
        """Send a form, and see the page that it leads to."""
        answer = self.post(path, fields)
        assert answer.status == 303, answer.text
        return self.get(answer.headers["location"])

    def log_in(self, key_id: str, secret: str, **fields: str) -> Page:
        """Log in with an access key."""
        return self.post("/login", {"key_id": key_id, "secret": secret, **fields})

    def ask(self, method: str, path: str, body: bytes | None = None, **headers: str) -> Page:
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=PATIENCE_S)
        try:
            if self.cookies:
                headers["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
            connection.request(method, path, body, self.headers | headers)
            answer = connection.getresponse()
            set_here = {}
            for name, value in answer.getheaders():
                if name.lower() == "set-cookie":
                    key, _, rest = value.partition("=")
                    set_here[key] = rest
                    self.cookies[key] = rest.partition(";")[0].strip('"')
                    if "max-age=0" in rest.lower():
                        del self.cookies[key]
            found = {name.lower(): value for name, value in answer.getheaders()}
            return Page(answer.status, found, answer.read().decode(), set_here)
        finally:
            connection.close()

    @contextlib.contextmanager
    def live(self, path: str) -> Iterator[Iterator[tuple[str, str]]]:
        """The events of an open page: names and texts."""
        connection = http.client.HTTPConnection(urlsplit(self.address).netloc, timeout=PATIENCE_S)
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        connection.request("GET", path, headers={"cookie": cookie} if cookie else {})
        answer = connection.getresponse()
        assert answer.status == 200

        def events() -> Iterator[tuple[str, str]]:
            name, data = "", []
            for line in answer:
                text = line.decode().rstrip("\n")
                if text.startswith("event: "):
                    name = text[7:]
                elif text.startswith("data: "):
                    data.append(text[6:])
                elif not text and name:
                    yield name, "\n".join(data)
                    name, data = "", []

        try:
            yield events()
        finally:
            connection.close()


@pytest.fixture
def connection(valkey_url: str, prefix: str) -> Iterator[rqsqs.Connection]:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        yield connection


@pytest.fixture
def browser(valkey_url: str, prefix: str) -> Iterator[Browser]:
    """A browser before a console that asks nobody who they are."""
    with running(ConsoleSettings(GatewaySettings(url=valkey_url, prefix=prefix))) as address:
        yield Browser(address)
