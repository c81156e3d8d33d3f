"""What people do with messages, in a real browser: it has its own ideas about origins, forms and cookies."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("playwright")

from playwright import sync_api

import rqsqs
from tests.console.conftest import Browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PATIENCE_MS = 60_000
MIB = 1024 * 1024


@pytest.fixture(params=[True, False], ids=["with scripts", "without scripts"])
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[sync_api.Page]:
    """A page of Chromium; it ends without an error of scripts or of the Content-Security-Policy."""
    if CHROMIUM is None:
        pytest.skip("there is no Chromium")
    with sync_api.sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        page = chromium.new_page(base_url=browser.address, java_script_enabled=request.param)
        page.set_default_timeout(PATIENCE_MS)
        errors: list[str] = []
        page.on("console", lambda said: errors.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", lambda dialog: errors.append(f"a dialog: {dialog.message}"))
        yield page
        chromium.close()
    assert errors == []


def test_messages_are_sent_chosen_received_and_deleted(
    page: sync_api.Page, connection: rqsqs.Connection, request: pytest.FixtureRequest
) -> None:
    queue = connection.create_queue("orders", visibility_timeout=600)
    page.goto("/queues/orders/messages")
    page.get_by_role("link", name="Send a message").click()
    page.get_by_label("Body").fill("one\n<img src=x onerror=alert(1)>")
    page.get_by_role("button", name="Send", exact=True).click()
    page.locator(".told", has_text="Sent ").wait_for()
    (message,) = queue.peek()
    assert message.body == "one\n<img src=x onerror=alert(1)>"

    if "without" in request.node.name:
        queue.send("two")
        page.locator(f"#c-{message.message_id}").check()
    else:  # chosen with the keyboard; the choice outlives what the open page hears
        page.keyboard.press("j")
        page.keyboard.press("x")
        second = queue.send("two")
        page.locator(f"#m-{second.message_id}").wait_for()
    assert page.locator("tbody input:checked").count() == 1
    page.get_by_label("Visible in or at (UTC)").fill("2h")
    page.get_by_label("Visible in or at (UTC)").press("Enter")  # not what the first button does
    page.locator(".told", has_text="1 message rescheduled.").wait_for()
    assert [m.body for m in queue.peek(10, "delayed")] == [message.body]

    page.get_by_role("link", name="Receive").click()
    page.get_by_role("button", name="Receive").click()
    page.locator(".told", has_text="1 message received.").wait_for()
    page.locator("tbody input[type=checkbox]").check()
    page.get_by_label("Hold for").press("Enter")
    page.locator(".told", has_text="1 message held").wait_for()
    page.locator("tbody input[type=checkbox]").check()
    page.get_by_role("button", name="Delete").click()
    page.locator(".told", has_text="1 message deleted.").wait_for()
    assert queue.counts().in_flight == 0

    page.get_by_role("link", name=re.compile("Delayed")).click()
    page.locator("tbody th a").click()
    page.get_by_role("link", name="Hex").click()
    page.get_by_text("6f 6e 65 0a").wait_for()
    page.get_by_role("button", name="Remove").click()
    page.get_by_label("Type the name of the queue").fill(queue.name)
    page.get_by_label("Type the name of the queue").press("Enter")
    page.locator(".told", has_text="1 message removed.").wait_for()
    assert queue.counts() == rqsqs.Counts()


BODIES = {
    "json": {"orders": [{"n": n, "text": "é" * 90} for n in range(50_000)]},
    "xml": "<a>" + "<b c='1'>text</b>" * 600_000 + "</a>",
    "text": "a" + "lorem ipsum " * 870_000,
    "hex": bytes(range(256)) * 40_000,
}


@pytest.mark.parametrize(("page", "view"), [*((True, view) for view in BODIES), (False, "text")], indirect=["page"])
def test_a_body_of_ten_mebibytes_is_looked_at_and_saved(
    page: sync_api.Page, connection: rqsqs.Connection, view: str, tmp_path: Path
) -> None:
    """The page has the beginning of it, however it is shown, and stays small; the file has all of it."""
    body = BODIES[view]
    queue = connection.create_queue("orders", maximum_message_size=16 * MIB)
    message_id = queue.send(body).message_id
    page.goto("/queues/orders/messages")
    page.locator(f"#m-{message_id} a").first.click()
    page.get_by_role("heading", name=re.compile("body", re.IGNORECASE)).first.wait_for()
    for name in (view, "hex", "text"):
        page.goto(f"/queues/orders/messages/{message_id}?view={name}")
        assert len(page.content()) < MIB
        assert page.locator("pre.body").first.is_visible()
        assert not page.evaluate("document.documentElement.scrollWidth > innerWidth")
    with page.expect_download() as saving:
        page.get_by_role("link", name="Save the body").click()
    saved = tmp_path / "body"
    saving.value.save_as(saved)
    whole = saved.read_bytes()
    assert len(whole) > 10_000_000
    assert (json.loads(whole) if view == "json" else whole if view == "hex" else whole.decode()) == body
