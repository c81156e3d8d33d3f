"""Who is let in, for how long, and what a session opens."""

from __future__ import annotations

import http.client
import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

import rqsqs
from rqsqs.console import Console, ConsoleSettings, sessions, streams
from rqsqs.gateway import Gateway, GatewaySettings
from rqsqs.gateway.keys import read
from rqsqs.gateway.keys_editing import NewUser, add_key, disable_key
from tests.cli.tools import wait_for
from tests.clusters import client_of
from tests.console.conftest import Browser, Page, running

pytestmark = pytest.mark.usefixtures("connection")
HOSTILE = '"><script>alert(1)</script>'


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    return tmp_path / "keys.toml"


@pytest.fixture
def root(keys: Path) -> tuple[str, str]:
    """The access key of somebody who may do everything."""
    made = add_key(keys, "ann", NewUser(is_root=True))
    return made.key_id, made.secret


@pytest.fixture
def browser(valkey_url: str, prefix: str, keys: Path, root: tuple[str, str]) -> Iterator[Browser]:
    """A browser before a console that asks people who they are."""
    with running(ConsoleSettings(GatewaySettings(url=valkey_url, prefix=prefix, keys=keys))) as address:
        yield Browser(address)


def log_in(browser: Browser, key: tuple[str, str], **fields: str) -> Page:
    return browser.log_in(*key, **fields)


def test_who_is_not_logged_in_sees_the_login_and_then_the_page(
    browser: Browser, root: tuple[str, str], connection: rqsqs.Connection
) -> None:
    connection.create_queue("orders")
    answer = browser.get("/queues/orders?span=1d")
    assert answer.status == 303
    assert answer.headers["location"] == f"/login?next={quote('/queues/orders?span=1d', safe='')}"
    page = browser.get(answer.headers["location"])
    assert page.status == 200
    assert "orders" not in page.text
    answer = log_in(browser, root, next="/queues/orders?span=1d")
    assert answer.status == 303
    assert answer.headers["location"] == "/queues/orders?span=1d"
    page = browser.get(answer.headers["location"])
    assert page.status == 200
    assert "ann Log out" in page.text


def test_the_cookie_is_for_the_console_alone(browser: Browser, root: tuple[str, str]) -> None:
    answer = log_in(browser, root)
    cookie = answer.cookies["rqsqs_session"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie
    assert root[1] not in cookie
    assert root[0] not in cookie


def test_a_cookie_of_tls_is_secure(valkey_url: str, prefix: str, keys: Path, root: tuple[str, str]) -> None:
    gateway = GatewaySettings(url=valkey_url, prefix=prefix, keys=keys, trusted_proxies=("127.0.0.1",))
    with running(ConsoleSettings(gateway)) as address:
        browser = Browser(address)
        browser.headers = {"x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.1"}
        answer = log_in(browser, root)
        assert answer.status == 303
        assert "Secure" in answer.cookies["rqsqs_session"]
        assert browser.get("/").status == 200


@pytest.mark.parametrize(
    ("proxies", "headers"),
    [
        ((), {"x-forwarded-proto": "https"}),  # anybody can say so
        ((), {"x-forwarded-for": "192.0.2.1"}),
        ((), {"x-real-ip": "192.0.2.1"}),
        ((), {"host": "console.example"}),
        (("127.0.0.1",), {"x-forwarded-for": "192.0.2.1", "x-forwarded-proto": "http"}),
    ],
)
def test_off_this_machine_people_log_in_over_tls_only(
    valkey_url: str,
    prefix: str,
    keys: Path,
    root: tuple[str, str],
    proxies: tuple[str, ...],
    headers: dict[str, str],
) -> None:
    gateway = GatewaySettings(url=valkey_url, prefix=prefix, keys=keys, trusted_proxies=proxies)
    with running(ConsoleSettings(gateway)) as address:
        browser = Browser(address)
        log_in(browser, root)
        assert browser.get("/").status == 200
        browser.headers = headers
        assert browser.get("/").status == 403
        answer = browser.post("/login", {"key_id": root[0], "secret": root[1]})
        assert answer.status == 403
        assert "--trusted-proxy" in answer.text
        assert "rqsqs_session" not in answer.cookies


@pytest.mark.parametrize("wrong", ["secret", "key", "both", "empty", "hostile"])
def test_a_wrong_key_is_refused_and_nobody_is_told_what_is_wrong(
    browser: Browser, root: tuple[str, str], wrong: str
) -> None:
    key, secret = root
    key = {"key": "AKIANOBODY", "both": "AKIANOBODY", "empty": "", "hostile": HOSTILE}.get(wrong, key)
    secret = {"secret": secret + "x", "both": "1234-5678", "empty": "", "hostile": HOSTILE}.get(wrong, secret)
    page = log_in(browser, (key, secret))
    assert page.status == 403
    assert "there is no active access key with this id and secret" in page.text
    assert "rqsqs_session" not in page.cookies
    assert "<script>alert" not in page.html
    assert not secret or secret not in page.html
    assert browser.get("/").status == 303


@pytest.mark.parametrize("what", ["address", "key"])
def test_guesses_are_throttled(
    valkey_url: str, prefix: str, keys: Path, root: tuple[str, str], what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = {"address": ("LOGINS_PER_S", "LOGINS_AT_ONCE"), "key": ("GUESSES_PER_S", "GUESSES_AT_ONCE")}
    per_s, at_once = names[what]
    monkeypatch.setattr(sessions, per_s, 1e-6)
    monkeypatch.setattr(sessions, at_once, 3)
    settings = ConsoleSettings(GatewaySettings(url=valkey_url, prefix=prefix, keys=keys))
    with running(settings) as address, running(settings) as other_process:
        for each in (address, other_process, address):
            assert log_in(Browser(each), (root[0], "guess")).status == 403
        browser = Browser(other_process)
        page = log_in(browser, root)
        assert page.status == 429
        assert page.headers["retry-after"]
        assert browser.get("/").status == 303
        other = log_in(browser, ("AKIAOTHER", "guess"))
        assert other.status == (429 if what == "address" else 403)


def test_a_damaged_session_is_none(browser: Browser, root: tuple[str, str], valkey_url: str, prefix: str) -> None:
    with client_of(valkey_url) as client:
        for about in ("[]", "{", '{"key": [], "mark": 5}', '"x"', ""):
            log_in(browser, root)
            (key,) = client.scan_iter(f"{prefix}:{{sessions}}:*")
            client.set(key, f"99999999999999 {about}", keepttl=True)
            assert browser.get("/").status == 303
            client.delete(key)
        log_in(browser, root)
        (key,) = client.scan_iter(f"{prefix}:{{sessions}}:*")
        client.set(key, "x")
        assert browser.get("/").status == 303


def test_guesses_that_go_on_are_an_event(valkey_url: str, prefix: str, keys: Path, root: tuple[str, str]) -> None:
    with running(ConsoleSettings(GatewaySettings(url=valkey_url, prefix=prefix, keys=keys))) as address:
        for _ in range(5):
            assert log_in(Browser(address), (root[0], "guess")).status == 403
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        (event,) = [event for event in connection.events() if event.kind == "access-denied"]
    assert event.who.name == root[0]
    assert event.detail["action"] == "Login"
    assert event.detail["count"] == 5


def test_logging_out_ends_the_session(browser: Browser, root: tuple[str, str]) -> None:
    log_in(browser, root)
    stolen = dict(browser.cookies)
    assert browser.post("/logout", with_token=False).status == 403
    assert browser.get("/").status == 200
    answer = browser.post("/logout")
    assert answer.headers["location"] == "/login"
    assert browser.get("/").status == 303
    browser.cookies = stolen
    assert browser.get("/").status == 303


def test_logging_out_ends_the_session_for_open_pages_as_well(
    browser: Browser, root: tuple[str, str], connection: rqsqs.Connection
) -> None:
    log_in(browser, root)
    stolen = dict(browser.cookies)
    with browser.live("/?live=1") as events:
        assert next(events)[0] == "live"
        browser.post("/logout")
        browser.cookies = stolen
        assert "event: ended" in browser.get("/?live=1").html
        assert browser.post("/queues?live=1", {"name": "orders"}).headers["location"] == "/login"
        assert [name for name, _ in events][-1] == "ended"
    assert not list(connection.queues())


def test_logging_in_again_ends_the_session_before(browser: Browser, root: tuple[str, str]) -> None:
    log_in(browser, root)
    before = browser.cookies["rqsqs_session"]
    log_in(browser, root)
    assert browser.get("/").status == 200
    browser.cookies["rqsqs_session"] = before
    assert browser.get("/").status == 303


def test_one_key_keeps_not_all_streams_to_itself(
    browser: Browser, root: tuple[str, str], keys: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_STREAMS", 2)
    log_in(browser, root)
    with browser.live("/?live=1") as first:
        next(first)
        with browser.live("/alarms?live=1") as second:
            next(second)
            page = browser.get("/events?live=1")
            assert page.status == 429
            assert "too many pages are open" in page.text
            assert browser.get("/events").status == 200
        wait_for(lambda: is_live(browser, "/events?live=1"))


def is_live(browser: Browser, path: str) -> bool:
    """Whether a page can be open; it is closed at once."""
    connection = http.client.HTTPConnection(urlsplit(browser.address).netloc, timeout=60)
    cookie = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    connection.request("GET", path, headers={"cookie": cookie})
    status = connection.getresponse().status
    connection.close()
    return status == 200


def test_a_stranger_gets_no_stream(browser: Browser) -> None:
    page = browser.get("/login?live=1")
    assert page.headers["content-type"].startswith("text/html")
    assert "event: ended" in browser.get("/?live=1").html


def test_where_it_is_mounted_no_redirect_names_a_host_or_a_scheme(valkey_url: str, prefix: str) -> None:
    settings = GatewaySettings(url=valkey_url, prefix=prefix)
    with running(Gateway(settings, mounted={"/console": Console(ConsoleSettings(settings))})) as address:
        assert Browser(address).get("/console").headers["location"] == "/console/"
        for path in ("/console//evil.example/", "/console/queues/orders/", "/console/login/"):
            answer = Browser(address).get(path)
            assert answer.status == 404
            assert "location" not in answer.headers


def test_names_of_sessions_that_are_made_up_take_no_room(
    valkey_url: str, prefix: str, keys: Path, root: tuple[str, str]
) -> None:
    settings = GatewaySettings(url=valkey_url, prefix=prefix, keys=keys)
    console = Console(ConsoleSettings(settings))
    with running(Gateway(settings, mounted={"/console": console})) as address:
        browser = Browser(address)
        for n in range(5):
            browser.cookies["rqsqs_session"] = f"made-up-{n}"
            assert "event: ended" in browser.get("/console/?live=1").html
        assert not console.hub._reads


@pytest.mark.parametrize("how", ["disabled", "removed", "another secret"])
def test_a_session_ends_with_its_key(browser: Browser, keys: Path, root: tuple[str, str], how: str) -> None:
    log_in(browser, root)
    assert browser.get("/").status == 200
    with browser.live("/?live=1") as events:
        assert next(events)[0] == "live"
        if how == "disabled":
            disable_key(keys, root[0])
        elif how == "removed":
            keys.write_text(keys.read_text().replace(root[0], "AKIAOTHER"))
        else:
            keys.write_text(keys.read_text().replace(root[1], "x" * 40))
            assert read(keys).active
        assert [name for name, _ in events][-1] == "ended"
    assert browser.get("/").status == 303


def test_a_session_ends_when_nobody_uses_it(
    browser: Browser, root: tuple[str, str], valkey_url: str, prefix: str
) -> None:
    log_in(browser, root)
    with client_of(valkey_url) as client:
        (key,) = client.scan_iter(f"{prefix}:{{sessions}}:*")
        client.pexpire(key, 60_000)
        with browser.live("/?live=1") as events:
            next(events)
        assert client.pttl(key) <= 60_000  # an open page is no use
        browser.get("/")
        assert 60_000 < client.pttl(key) <= sessions.IDLE_S * 1000
        client.pexpire(key, 1)
        while client.exists(key):
            pass
    assert browser.get("/").status == 303


def test_sessions_count_in_every_process(
    browser: Browser, valkey_url: str, prefix: str, keys: Path, root: tuple[str, str]
) -> None:
    log_in(browser, root)
    with running(ConsoleSettings(GatewaySettings(url=valkey_url, prefix=prefix, keys=keys))) as address:
        other = Browser(address)
        other.cookies = dict(browser.cookies)
        assert other.get("/").status == 200
        other.post("/logout")
    assert browser.get("/").status == 303


def test_the_login_gives_another_token(browser: Browser, root: tuple[str, str]) -> None:
    browser.get("/login")
    before = browser.cookies["rqsqs_token"]
    log_in(browser, root)
    assert browser.cookies["rqsqs_token"] != before
    assert browser.post("/queues", {"name": "orders", "token": before}, with_token=False).status == 403


def test_other_sites_can_log_nobody_in(browser: Browser, root: tuple[str, str]) -> None:
    fields = {"key_id": root[0], "secret": root[1]}
    assert browser.post("/login", fields, with_token=False).status == 403
    browser.get("/login")
    assert browser.post("/login", fields, origin="http://evil.example").status == 403
    assert browser.post("/login", fields, **{"sec-fetch-site": "cross-site"}).status == 403
    assert "rqsqs_session" not in browser.cookies


@pytest.mark.parametrize(
    "after",
    ["//evil.example", "/\\evil.example", "https://evil.example", "evil.example", "/%0d%0aset-cookie:a=b", "/\r\nx: y"],
)
def test_a_login_leads_to_no_other_site(browser: Browser, root: tuple[str, str], after: str) -> None:
    answer = log_in(browser, root, next=after)
    assert answer.status == 303
    assert re.fullmatch(r"/[\w.%:=-]*", answer.headers["location"])
    assert "evil" not in answer.headers["location"].partition("/")[0]
    assert not answer.headers["location"].startswith("//")
    assert "x" not in answer.headers


def test_a_form_of_an_ended_session_changes_nothing(
    browser: Browser, root: tuple[str, str], connection: rqsqs.Connection
) -> None:
    log_in(browser, root)
    del browser.cookies["rqsqs_session"]
    answer = browser.post("/queues", {"name": "orders"})
    assert answer.headers["location"] == "/login"
    assert not list(connection.queues())


def test_static_files_need_no_login(browser: Browser) -> None:
    page = browser.get("/login")
    for url in re.findall(r'(?:href|src)="(/static/[^"]+)"', page.html):
        assert browser.get(url).status == 200


def test_a_stranger_sends_no_large_form(browser: Browser, root: tuple[str, str]) -> None:
    browser.get("/login")
    assert log_in(browser, root, more="x" * 20_000).status == 413
    connection = http.client.HTTPConnection(urlsplit(browser.address).netloc, timeout=60)
    headers = {"content-type": "application/x-www-form-urlencoded"}
    connection.request("POST", "/login", iter([b"key_id=x&", b"secret=y"]), headers, encode_chunked=True)
    assert connection.getresponse().status == 413
    connection.close()
    assert log_in(browser, root).status == 303
