"""Several processes at once, and what happens when they or the server die."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from rqsqs._core import flows
from rqsqs._io.sync.runner import Transport
from rqsqs.limits import NATIVE
from tests.faults.conftest import Fleet, create, first_times_ascend, total
from tests.servers import KINDS, Kind, Server, find_binary


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_nothing_is_lost_or_doubled_between_processes(
    server_url: str, prefix: str, fleet: Fleet, transport_to: Callable[[str], Transport], name: str
) -> None:
    transport = transport_to(server_url)
    q = create(transport, name)
    for who in ("p1", "p2"):
        fleet.start("produce", server_url, prefix, name, who=who, count=200)
    for _ in range(3):
        fleet.start("consume", server_url, prefix, name)
    fleet.join()
    sent, got = fleet.bodies("sent"), fleet.bodies("got")
    assert len(sent) == 400
    assert Counter(got) == Counter(sent)
    assert Counter(fleet.bodies("deleted")) == Counter(sent)
    assert total(transport, q) == 0
    if q.is_fifo:
        # A message is told before it is deleted, and its successor cannot be received before that.
        for who in ("p1", "p2"):
            for group in range(3):
                assert [n for w, n in got if w == who and n % 3 == group] == list(range(group, 200, 3))


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_messages_of_a_killed_consumer_come_back_when_their_time_is_over(
    valkey_url: str, prefix: str, fleet: Fleet, transport_to: Callable[[str], Transport], name: str
) -> None:
    transport = transport_to(valkey_url)
    q = create(transport, name)
    fleet.start("produce", valkey_url, prefix, name, who="p", count=60).wait()
    holder = fleet.start("consume", valkey_url, prefix, name, hold=True, visibility_ms=1500, batch=10)
    fleet.wait_for("got", 20)
    holder.kill()
    holder.wait()
    held = set(fleet.bodies("got"))
    fleet.start("consume", valkey_url, prefix, name, patience=2.5, visibility_ms=30_000).wait()
    assert Counter(fleet.bodies("deleted")) == Counter(fleet.bodies("sent"))
    again = {tuple(line["body"]) for line in fleet.lines("got") if line["count"] == 2}
    assert again >= held, "handed out again, also what the dead one had no time to tell"
    assert total(transport, q) == 0
    assert first_times_ascend(fleet.bodies("got"), 3) or not q.is_fifo


@pytest.fixture(params=KINDS)
def durable(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Server]:
    kind: Kind = request.param
    if find_binary(kind) is None:
        pytest.skip(f"no {kind} server program here")
    folder = tmp_path / "data"
    folder.mkdir()
    with Server(kind, folder=folder, appendonly="yes", appendfsync="always") as server:
        yield server


@pytest.mark.parametrize("name", ["q", "q.fifo"])
def test_a_killed_server_loses_nothing_it_acknowledged(
    durable: Server, prefix: str, fleet: Fleet, transport_to: Callable[[str], Transport], name: str
) -> None:
    transport = transport_to(durable.url)
    q = create(transport, name, VisibilityTimeout="1")
    for who in ("p1", "p2"):
        fleet.start("produce", durable.url, prefix, name, who=who, count=300, pause=0.005)
    for _ in range(2):
        fleet.start("consume", durable.url, prefix, name, patience=2.0, batch=10)
    for acknowledged in (100, 350):
        fleet.wait_for("sent", acknowledged)
        durable.kill9()
        time.sleep(random.uniform(0, 0.2))
        durable.restart()
    fleet.join()
    sent, got = fleet.bodies("sent"), fleet.bodies("got")
    assert len(sent) == 600
    assert set(got) == set(sent)
    ends = {tuple(line["body"]): line["at"] for line in fleet.lines("deleted")}
    late = [line for line in fleet.lines("got") if line["at"] > ends.get(tuple(line["body"]), 1e12)]
    assert not late, "deleted and delivered again"
    assert total(transport, q) == 0
    if q.is_fifo:
        assert first_times_ascend(got, 3)


def test_a_process_that_forks_goes_on_in_both(
    valkey_url: str, prefix: str, fleet: Fleet, transport_to: Callable[[str], Transport]
) -> None:
    transport = transport_to(valkey_url)
    create(transport, "q")
    other = create(transport, "other")
    assert fleet.start("fork", valkey_url, prefix, "q").wait() == 0
    (thread,) = fleet.lines("thread")
    assert thread["bodies"] == ["for the thread"]
    left = [d.body for d in transport.run(flows.receive_messages(other, NATIVE, 1000, delete=True))]
    got = fleet.bodies("got") + [tuple(b) for b in left]
    assert Counter(got) == Counter((who, n) for who in ("parent", "child") for n in range(50))
    assert len({line["message_id"] for line in fleet.lines("got")}) == len(fleet.lines("got"))
