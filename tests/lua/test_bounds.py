"""What one call does is bounded, whatever a client asks for: redis calls, and bytes beyond one message. Each script's
header says how many (BOUND); here the largest requests are made, and the server counts."""

from __future__ import annotations

import contextlib
import re

import pytest

from rqsqs._core import scripts
from rqsqs._core.keys import QueueRef
from tests.largest import LARGEST, MIB, SCENARIOS, Meter, attributes_of
from tests.lua.conftest import Engine

MOST_CALLS, MOST_BYTES = 2500, 4 * MIB


def bound_of(script: str) -> tuple[int, int]:
    text = (scripts._folder() / f"{script}.lua").read_text("utf-8")
    found = re.search(r"^BOUND  (\d+) calls, (\d+) (KiB|MiB)$", text.split("\n]]", 1)[0], re.MULTILINE)
    assert found, f"{script}: its header has no BOUND"
    return int(found[1]), int(found[2]) * (MIB if found[3] == "MiB" else 1024)


@pytest.fixture(params=[("q", False), ("q.fifo", False), ("q", True), ("q.fifo", True)],
                ids=["standard", "fifo", "standard with a timeline", "fifo with a timeline"])  # fmt: skip
def q(request: pytest.FixtureRequest, engine: Engine) -> QueueRef:
    name, has_timeline = request.param
    return engine.queue(name, **attributes_of(name), **({"Timeline": "65536"} if has_timeline else {}))


def is_of(script: str, is_fifo: bool) -> bool:
    """Is a script used for that kind of queue?"""
    if script.endswith("_fifo"):
        return is_fifo
    return not (is_fifo and (script + "_fifo" in scripts.names() or script == "browse_groups"))


@pytest.mark.either_server
@pytest.mark.parametrize("name", SCENARIOS)
def test_no_call_does_more_than_its_header_says(engine: Engine, q: QueueRef, name: str) -> None:
    covers, run = SCENARIOS[name]
    with contextlib.closing(Meter(engine)) as meter:
        run(engine, meter, q)
    for script in meter.calls:  # pytest -rA
        print(f"{script:32} {meter.calls[script]:6} {meter.bytes[script]:9}")
    assert {script for script in covers.split() if is_of(script, q.is_fifo)} <= set(meter.calls)
    over = {}
    for script, calls in meter.calls.items():
        most, most_bytes = bound_of(script)
        if calls > most or meter.bytes[script] > most_bytes + LARGEST:
            over[script] = calls, meter.bytes[script]
    assert not over


def test_every_script_is_measured_and_none_may_do_much() -> None:
    assert {script for covers, _ in SCENARIOS.values() for script in covers.split()} == set(scripts.names())
    for script in scripts.names():
        calls, size = bound_of(script)
        assert calls <= MOST_CALLS, script
        assert size <= MOST_BYTES, script
