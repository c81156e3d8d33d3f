"""`rqsqs chaos`: what it tells, and that nothing of it stays."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from rqsqs.cli.chaos.trial import Trial
from rqsqs.cli.demo.show import Show
from tests.cli.tools import COMMAND, Run, records, wait_for
from tests.clusters import client_of
from tests.servers import Server

QUICK = ("--seconds", "1", "--every", "300ms", "--consumers", "2", "--no-freeze")


@pytest.fixture
def server() -> Iterator[Server]:
    """One that may be broken."""
    with Server("valkey") as server:
        yield server


def left_behind(url: str) -> dict[bytes, int]:
    """Keys and how long they live; those of deleted queues a minute, -1 is for ever."""
    with client_of(url) as client:
        return {key: client.ttl(key) for key in client.scan_iter("chaos-*")}


@pytest.mark.parametrize("kind", [(), ("--fifo", "--partitions", "2")])
def test_it_tells_what_happened_and_leaves_nothing(run: Run, valkey_url: str, kind: tuple[str, ...]) -> None:
    result = run("chaos", *QUICK, *kind, "--json")
    (found,) = records(result)
    assert found["broken"] == {}
    assert found["sent"] == found["delivered"] > 0
    assert found["faults"] >= 1
    assert found["left_in_the_queue"] == found["stored_twice"] == found["outcome_unknown"] == 0
    assert "was killed with SIGKILL and replaced" in result.stderr
    assert "every promise was kept" in result.stderr
    assert -1 not in left_behind(valkey_url).values()


def test_a_broken_promise_is_exit_code_1(run: Run, server: Server) -> None:
    flush = f'"{sys.executable}" -c "import redis; redis.Redis.from_url(\'{server.url}\').flushall()"'
    result = run("--url", server.url, "chaos", *QUICK, "--rate", "1000", "--no-kill", "--fault", flush, code=1)
    assert "acknowledged and never delivered" in result.stderr or "and gone" in result.stderr
    assert "every promise was kept" not in result.stderr
    assert "was run" in result.stderr


def test_what_is_asked_for_safety_is_waited_for(run: Run, server: Server) -> None:
    """The server has no replica: nothing is acknowledged, and all is delivered."""
    safe = ("--durability", "replicas=1,timeout=0.01,deletes")
    (found,) = records(run("--url", server.url, "chaos", *QUICK, *safe, "--no-kill", "--json"))
    assert found["broken"] == {}
    assert found["sent"] == 0
    assert found["outcome_unknown"] == found["delivered"] > 0
    assert found["calls_that_failed"] >= 2 * found["delivered"]


def test_a_wrong_call_and_no_server_have_their_exit_codes(run: Run) -> None:
    run("chaos", "--seconds", "soon", code=2)
    assert "got 'safe' in 'safe'" in run("chaos", "--durability", "safe", code=2).stderr
    run("--url", "redis://localhost:1/0", "chaos", "--seconds", "1", code=3)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into /proc")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interruption_leaves_no_process_and_no_keys(valkey_url: str, number: signal.Signals) -> None:
    command = [*COMMAND, "--url", valkey_url, "chaos", "--every", "200ms"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    wait_for(lambda: len(children.read_text().split()) == 6)
    wait_for(lambda: -1 in left_behind(valkey_url).values())
    started = children.read_text().split()
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.endswith("rqsqs: interrupted\n")
    assert not [pid for pid in started if Path(f"/proc/{pid}").exists()]
    assert -1 not in left_behind(valkey_url).values()


def start_for_chaos(url: str, prefix: str, stack: ExitStack) -> None:
    stack.enter_context(Trial(url, prefix=prefix)).run()


def start_for_the_demo(url: str, prefix: str, stack: ExitStack) -> None:
    Show(url, url, prefix, 1000, stack, quiet=True).start_workers()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("start", [start_for_chaos, start_for_the_demo])
def test_a_process_that_is_being_started_is_ended_too(
    valkey_url: str,
    prefix: str,
    monkeypatch: pytest.MonkeyPatch,
    start: Callable[[str, str, ExitStack], None],
    number: signal.Signals,
) -> None:
    started: list[subprocess.Popen[bytes]] = []

    class Interrupted(subprocess.Popen[bytes]):
        """The signal comes when the process runs, and its starter does not have it yet."""

        def __init__(self, *args: Any, **options: Any) -> None:
            super().__init__(*args, **options)
            started.append(self)
            signal.raise_signal(number)

    monkeypatch.setattr(subprocess, "Popen", Interrupted)
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt), ExitStack() as stack:
            start(valkey_url, prefix, stack)
        assert [process.returncode is not None for process in started] == [True]
        assert signal.getsignal(signal.SIGINT) is signal.getsignal(signal.SIGTERM) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGTERM, before)
        for process in started:
            process.kill()
            process.wait()
