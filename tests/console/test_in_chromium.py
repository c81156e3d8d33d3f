"""What users do in the console, in a real browser: at three sizes, light and dark, by keys alone, and with no scripts.

Each page that is opened on the way has no scrolling sideways, no error of the browser (its Content-Security-Policy
included) and, as far as axe can tell, nothing that shuts people out.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("playwright")
pytest.importorskip("axe_playwright_python")

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

import rqsqs
from rqsqs.console import ConsoleSettings, streams
from rqsqs.gateway import GatewaySettings
from rqsqs.gateway.keys_editing import NewUser, add_key
from rqsqs.worker import Worker
from tests.console.conftest import running
from tests.worker.serving import Running

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
SIZES = {"phone": (390, 844), "laptop": (1280, 800), "wide": (2560, 1440)}
PATIENCE_MS = 60_000
SOON = rqsqs.RetryPolicy(base=0.01, cap=0.01)
SHOTS = os.environ.get("RQSQS_SCREENSHOTS")  # a folder: the pictures of docs/console.md are made so
RULES = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="no chromium here"),
    pytest.mark.timeout(300),
]


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # no sandbox within the sandbox that CI is; there are no foreign pages here
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


class User:
    """Somebody before a browser."""

    def __init__(self, context: BrowserContext, address: str, name: str, *, asks_axe: bool) -> None:
        context.set_default_timeout(PATIENCE_MS)
        self.address, self.name, self._asks_axe = address, name, asks_axe
        self.page: Page = context.new_page()
        self.errors: list[str] = []
        self.looked_at: set[str] = set()
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def _note(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)

    def open(self, path: str) -> Page:
        self.page.goto(self.address + path)
        self.look()
        return self.page

    def look(self, shot: str = "") -> None:
        """Look at the page that is open, once for each kind of page."""
        assert self.errors == []
        page = self.page
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth"), f"{page.url} scrolls sideways"
        if shot and SHOTS:
            page.evaluate("scrollTo(0, 0)")
            page.screenshot(path=Path(SHOTS) / f"{shot}-{self.name}.png")
        kind = re.sub(r"[0-9a-f-]{36}|\?.*", "", page.url)
        if self._asks_axe and kind not in self.looked_at:
            self.looked_at.add(kind)
            found = Axe().run(page, options={"runOnly": RULES}).response["violations"]
            assert [(each["id"], [node["html"][:200] for node in each["nodes"]]) for each in found] == [], page.url

    def says(self, text: str) -> None:
        """Wait until the page says it."""
        expect(self.page.locator("main")).to_contain_text(text, timeout=PATIENCE_MS)

    def press(self, name: str) -> None:
        self.page.get_by_role("button", name=name, exact=True).first.click()
        self.look()


@pytest.fixture
def address(valkey_url: str, prefix: str) -> Iterator[str]:
    with running(ConsoleSettings(GatewaySettings(url=valkey_url, prefix=prefix))) as address:
        yield address


@pytest.fixture
def user(chromium: Browser, address: str) -> Iterator[Callable[..., User]]:
    """A user with a screen of some size, light or dark."""
    with ExitStack() as stack:

        def make(size: str = "laptop", scheme: Any = "light", **options: Any) -> User:
            width, height = SIZES[size]
            viewport: Any = {"width": width, "height": height}
            context = stack.enter_context(chromium.new_context(viewport=viewport, color_scheme=scheme, **options))
            scripts = options.get("java_script_enabled", True)
            return User(context, address, f"{size}-{scheme}", asks_axe=scripts and size != "wide")

        yield make


@contextmanager
def serving(url: str, prefix: str, handler: Callable[[rqsqs.Message], None]) -> Iterator[Running]:
    """A worker for the queue `orders`, within this process."""
    worker = Worker(url, prefix=prefix, heartbeat_interval=0.3)
    worker.add("orders", handler)
    with Running(worker) as one:
        yield one


def fails(message: rqsqs.Message) -> None:
    if "bad" in message.body:
        raise ValueError(f"no customer {message.body['bad']}")
    raise TimeoutError("the database did not answer")


@pytest.mark.parametrize(("size", "scheme"), [("phone", "dark"), ("laptop", "light"), ("wide", "dark")])
def test_what_became_of_a_message_is_told_when_it_is_gone(
    user: Callable[..., User], connection: rqsqs.Connection, size: str, scheme: str
) -> None:
    ann = user(size, scheme)
    dead = connection.create_queue("orders-dead", timeline=True)
    orders = connection.create_queue("orders", dead_letter_queue=dead, max_receive_count=1)
    page = ann.open("/queues/orders/settings")
    page.get_by_label("Timeline").fill("1048576")
    ann.press("Save")
    ann.says("Changed: Timeline.")
    sent = orders.send({"customer": 7})
    [message] = orders.receive()
    page = ann.open(f"/queues/orders/messages/{sent.message_id}")
    ann.says("received for the 1st time")
    message.change_visibility(0)
    orders.receive()  # finds that it was received too often
    ann.says("orders does not hold this message now")  # the page is open, and hears of it
    ann.says("dead-lettered: received too often, 1 receive")
    ann.look("timeline")
    page.get_by_role("region", name="Timeline").focus()  # which a keyboard can scroll
    [letter] = dead.receive()
    letter.delete()
    ann.open(f"/queues/orders-dead/messages?text={sent.message_id}")
    page.get_by_role("link", name="its timeline").click()
    ann.says("orders-dead does not hold this message now")
    expect(page.get_by_role("row")).to_have_count(7)
    ann.look()


@pytest.mark.parametrize(("size", "scheme"), [("phone", "dark"), ("laptop", "light"), ("wide", "dark")])
def test_from_a_queue_to_its_dead_letters_and_back(
    user: Callable[..., User], valkey_url: str, prefix: str, connection: rqsqs.Connection, size: str, scheme: str
) -> None:
    ann = user(size, scheme)
    page = ann.open("/")
    ann.says("There are no queues yet")
    page.get_by_text("Create a queue", exact=True).click()
    page.get_by_label("Name").fill("orders")
    ann.press("Create")
    ann.says("orders was created.")
    connection.create_queue("orders-dead")
    orders = connection.queue("orders")
    orders.configure(dead_letter_queue="orders-dead", max_receive_count=1, retry_policy=SOON)

    ann.open("/queues/orders/send")
    page.get_by_label("Body").fill('{"operation": "store", "key": "a", "value": "<script>alert(1)</script>"}')
    ann.press("Send")
    ann.says("Sent ")
    page = ann.open("/queues/orders/messages")
    ann.look("messages")
    page.locator("[data-rows] tbody a").first.click()
    ann.says("<script>alert(1)</script>")
    ann.look("message")

    ann.open("/queues/orders/receive")
    ann.press("Receive")
    page.get_by_label(re.compile("^Choose [0-9a-f]")).first.check()
    ann.press("Delete")
    assert sum(vars_of(orders.counts())) == 0

    for number in range(7):
        orders.send({"bad": number} if number < 4 else {"slow": number})
    with serving(valkey_url, prefix, fails) as worker:
        ann.open("/queues/orders-dead/dead-letters")
        ann.says("ValueError: no customer")
        ann.says("TimeoutError: the database did not answer")
        ann.says("7 messages")
        ann.look("dead-letters")
        page = ann.open("/consumers")
        ann.says(worker.consumer_id)
        ann.look("consumers")
        ann.press("Evict")
        ann.says("it does so with its next heartbeat")
    page = ann.open("/queues/orders-dead/dead-letters")
    page.get_by_role("row", name=re.compile("TimeoutError")).get_by_text("Redrive…").click()
    ann.look("redrive")
    ann.press("Redrive")
    ann.says("3")
    ann.open("/moves")
    ann.says("completed")
    ann.look("moves")
    assert (orders.counts().visible, connection.queue("orders-dead").counts().visible) == (3, 4)

    ann.open("/alarms")
    page.get_by_text("Set an alarm", exact=True).click()
    form = page.locator("form", has=page.get_by_label("Condition"))
    form.get_by_label("Name").fill("late")
    form.get_by_label("Condition").fill("visible > 2")
    form.get_by_label("Queue").fill("orders")
    form.get_by_role("button", name="Set").click()
    ann.says("late was set.")
    ann.press("Test ALARM")
    ann.says("late is ALARM until it is evaluated")
    ann.look("alarm")
    ann.open("/alarms")
    ann.look("alarms")
    ann.open("/events")
    ann.says("queue-created")
    ann.look("events")
    ann.open("/server")
    ann.says("the server is Valkey")
    ann.look("server")

    page = ann.open("/queues/orders")
    ann.look("queue")
    page.get_by_text("Purge or delete").click()
    page.get_by_label(re.compile("Type the name")).fill("orders")
    ann.press("Remove all messages")
    ann.says("orders was purged.")
    assert orders.counts().visible == 0
    ann.open("/")
    ann.look("queues")


def vars_of(counts: rqsqs.Counts) -> tuple[int, int, int]:
    return counts.visible, counts.in_flight, counts.delayed


def test_an_open_page_follows_what_happens(user: Callable[..., User], connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    ann = user()
    page = ann.open("/")
    expect(page.locator("#status")).to_have_text("live", timeout=PATIENCE_MS)
    visible = page.locator("#q-orders td").nth(1)
    for number in range(3):
        queue.send("x")
        expect(visible).to_have_text(str(number + 1), timeout=PATIENCE_MS)
    page.keyboard.press("Space")
    expect(page.locator("#status")).to_contain_text("Stopped")
    page.keyboard.press("Space")
    queue.send("x")
    expect(visible).to_have_text("4", timeout=PATIENCE_MS)
    assert ann.errors == []


def test_a_page_that_hears_nothing_says_so_and_asks_again(
    user: Callable[..., User], connection: rqsqs.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the console hangs, or a network is gone without a word."""
    monkeypatch.setattr("rqsqs.console.streams.BEAT_S", 1e9)
    connection.create_queue("orders")
    ann = user("phone")
    ann.page.clock.install()
    page = ann.open("/")
    status = page.locator("#status")
    expect(status).to_have_text("live", timeout=PATIENCE_MS)
    page.evaluate(
        """() => {
            window.said = [];
            const status = document.getElementById("status");
            new MutationObserver(() => said.push(status.textContent)).observe(status, { childList: true });
        }"""
    )
    page.clock.fast_forward(10_000)
    page.wait_for_function("said.some((text) => /^Not live: the console does not answer.*[0-9:]{8} UTC/.test(text))")
    expect(status).to_have_text("live", timeout=PATIENCE_MS)
    with page.expect_request("**/*live=1"):  # silent again, so asked again
        page.clock.fast_forward(10_000)
    assert ann.errors == []


def test_enter_in_a_field_does_nothing_that_cannot_be_undone(
    user: Callable[..., User], connection: rqsqs.Connection
) -> None:
    queue = connection.create_queue("orders")
    queue.send("x")
    ann = user()
    page = ann.open("/queues/orders")
    page.get_by_text("Purge or delete").click()
    page.get_by_label("Type the name of the queue").fill("orders")
    page.get_by_label("Type the name of the queue").press("Enter")
    page = ann.open("/queues/orders/policy")
    page.get_by_label("Policy (JSON)").fill('{"Version": "2012-10-17", "Statement": []}')
    page.get_by_label("Who").press("Enter")
    page.wait_for_url("**/policy/try")
    assert queue.counts().visible == 1
    assert list(connection.events(kind="policy-changed")) == []


def test_the_number_of_messages_is_in_view_on_a_phone(user: Callable[..., User], connection: rqsqs.Connection) -> None:
    connection.create_queue("orders-of-customers-dead")
    page = user("phone").open("/")
    box = page.get_by_role("columnheader", name="Visible").bounding_box()
    assert box is not None
    assert box["x"] + box["width"] <= SIZES["phone"][0]


def test_by_keys_alone(user: Callable[..., User], connection: rqsqs.Connection) -> None:
    for name in ("invoices", "orders", "orders-dead"):
        connection.create_queue(name)
    connection.queue("orders-dead").send("x")
    ann = user()
    page = ann.open("/")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).not_to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type("ord")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile(r"q=ord$"))
    page.keyboard.press("ArrowDown")
    page.keyboard.press("j")
    expect(page.locator("tr.at")).to_contain_text("orders-dead")
    page.keyboard.press("Enter")
    page.wait_for_url("**/queues/orders-dead")
    page.get_by_role("link", name="Messages", exact=True).focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/messages**")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_url(re.compile("/messages/[0-9a-f-]{36}"))
    page.keyboard.press("u")
    page.wait_for_url(re.compile("/messages(\\?.*)?$"))
    page.keyboard.press("Control+k")
    expect(page.locator("#search")).to_be_focused()


def test_with_no_scripts(user: Callable[..., User], connection: rqsqs.Connection) -> None:
    ann = user("laptop", "light", java_script_enabled=False)
    page = ann.page
    page.goto(ann.address)
    page.get_by_text("Create a queue", exact=True).click()
    page.get_by_label("Name").fill("orders")
    page.get_by_role("button", name="Create").click()
    ann.says("orders was created.")
    page.goto(f"{ann.address}/queues/orders/send")
    page.get_by_label("Body").fill("hello")
    page.get_by_role("button", name="Send", exact=True).click()
    page.goto(f"{ann.address}/queues/orders/messages")
    ann.says("hello")
    page.goto(f"{ann.address}/queues/orders")
    page.get_by_text("Purge or delete").click()
    page.get_by_label(re.compile("Type the name")).fill("orders")
    page.get_by_role("button", name="Remove all messages", exact=True).click()
    ann.says("orders was purged.")
    page.get_by_text("Purge or delete").click()
    page.get_by_label(re.compile("Type the name")).fill("orders")
    page.get_by_role("button", name="Delete the queue").click()
    ann.says("orders was deleted.")
    assert not connection.exists("orders")
    assert ann.errors == []


def test_a_page_says_why_it_may_not_be_live(
    chromium: Browser,
    valkey_url: str,
    prefix: str,
    tmp_path: Path,
    connection: rqsqs.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(streams, "MOST_STREAMS", 0)
    keys = tmp_path / "keys.toml"
    key = add_key(keys, "ann", NewUser(is_root=True))
    settings = ConsoleSettings(GatewaySettings(url=valkey_url, prefix=prefix, keys=keys))
    with running(settings) as address, chromium.new_context() as context:
        page = context.new_page()
        page.goto(f"{address}/login")
        page.locator("input[name=key_id]").fill(key.key_id)
        page.locator("input[name=secret]").fill(str(key.secret))
        page.locator("main button").click()
        wanted = "Not live: too many pages are open with this access key"
        expect(page.locator("#status")).to_contain_text(wanted, timeout=PATIENCE_MS)
