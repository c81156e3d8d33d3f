"""Servers, networks and consumers that break under load, and what everybody was told holds nevertheless.

RQSQS_CHAOS_SECONDS=600 RQSQS_FAILOVERS=50 python -m pytest tests/faults/test_chaos.py -s      10 minutes each
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

import rqsqs
from rqsqs import aio
from rqsqs.cli.chaos.history import Event, Verdict
from rqsqs.cli.chaos.trial import Fault, Trial
from tests.clusters import Cluster, home_of, until
from tests.faults import report
from tests.proxy import Proxy
from tests.servers import KINDS, Kind, Server, find_binary

SECONDS = float(os.environ.get("RQSQS_CHAOS_SECONDS", "2"))
IS_LONG = "RQSQS_CHAOS_SECONDS" in os.environ
FAILOVERS = int(os.environ.get("RQSQS_FAILOVERS", "2"))
ALWAYS = {"appendonly": "yes", "appendfsync": "always"}
RESUMED_S = 3.0  # from the announcement of a new master until everybody works with it
# What replication, which is asynchronous, and a server that forgets admit. Never: another order, or what nobody sent.
FORGOTTEN = {
    "acknowledged and never delivered",
    "delivered, not deleted, and gone",
    "delivered after its delete was acknowledged",
    "delivered again before its visibility timeout was over",
    "stored twice",
    "with two consumers at a time",
}

rather_fifo = pytest.mark.parametrize(
    "is_fifo", [False, True] if IS_LONG else [True], ids=["standard", "fifo"] if IS_LONG else ["fifo"]
)
pytestmark = pytest.mark.timeout(90 + 3 * SECONDS + 20 * FAILOVERS)


@pytest.fixture(params=[False, True], ids=["standard", "fifo"])
def is_fifo(request: pytest.FixtureRequest) -> bool:
    return bool(request.param)


class Broken:
    """Breaks things, and notes when: from, to (monotonic)."""

    def __init__(self, name: str, act: Callable[[], Any]) -> None:
        self.name = name
        self.act = act
        self.times: list[tuple[float, float]] = []

    def __call__(self, trial: Trial) -> str:
        began = time.monotonic()
        self.act()
        self.times.append((began, time.monotonic()))
        return self.name


def run(
    url: str, faults: list[Fault], every_s: float = 1.0, *, seconds: float = SECONDS, **options: Any
) -> tuple[Verdict, list[Event]]:
    """A trial to its end; prints its figures."""
    settings: dict[str, Any] = {"consumers": 3, "visibility_s": 0.8, "rate": 200, **options}
    with Trial(url, seconds, say=lambda _: None, **settings) as trial:
        verdict = trial.run(faults, every_s)
        assert trial.left == 0, f"{trial.left} could not be received any more"
        assert trial.faults or not faults
        counted = {name: len(found) for name, found in verdict.broken.items()}
        print(
            f"\n{trial.queue}: {len(trial.faults)} faults, {verdict.sent} sent, {verdict.unknown} unknown, "
            f"{verdict.redelivered} redelivered, {verdict.errors} calls failed, "
            f"longest pause {verdict.longest_pause_s:.2f} s, {counted or 'nothing broken'}"
        )
        report.note_verdict(verdict, len(trial.faults), seconds)
        assert verdict.sent > 20
        return verdict, trial.events()


def succeeded(events: list[Event], *kinds: str, since: float, to: float) -> int:
    """Calls of these kinds that began and succeeded within a time."""
    return sum(e.kind in kinds and e.began > since and e.ended < to for e in events)


def check_all_go_on(events: list[Event], announced: list[tuple[float, float]]) -> None:
    """After each failover (death, announcement of the new master) every process succeeds soon, and is the same."""
    good = [e for e in events if e.kind in ("sent", "received", "deleted")]
    late = []
    for died, at in announced:
        for name in {e.by for e in good}:
            late.append(min(e.ended for e in good if e.by == name and e.ended > at) - at)
        print(f"announced after {at - died:.2f} s, everybody at work {max(late[-5:]):.2f} s later")
    assert announced
    print(f"{len(announced)} failovers, at most {max(late):.2f} s")
    report.note(late=late)
    assert len({e.by for e in good}) == 5, "no process was replaced"
    assert max(late) <= RESUMED_S


# A server


@pytest.fixture(params=KINDS)
def make_server(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Server]]:
    """Starts servers of either kind; in short runs only Valkey breaks."""
    kind: Kind = request.param
    if find_binary(kind) is None or (kind == "redis" and not IS_LONG):
        pytest.skip(f"{kind} takes part in long runs, if it is there")
    with contextlib.ExitStack() as stack:
        yield lambda **options: stack.enter_context(Server(kind, folder=tmp_path, **options))


def crash(server: Server) -> None:
    server.kill9()
    server.restart()


def test_a_killed_server_that_writes_always_breaks_no_promise(
    make_server: Callable[..., Server], is_fifo: bool
) -> None:
    server = make_server(**ALWAYS)
    verdict, _ = run(server.url, [Broken("SIGKILL", lambda: crash(server))], is_fifo=is_fifo)
    assert not verdict.broken


def test_a_killed_server_that_writes_every_second_forgets_seconds_at_most(make_server: Callable[..., Server]) -> None:
    """What a process has written its operating system keeps; but while the disk is busy with the last fsync the server
    answers before it writes, for up to two seconds."""
    server = make_server(appendonly="yes", appendfsync="everysec")
    fault = Broken("SIGKILL", lambda: crash(server))
    verdict, events = run(server.url, [fault], is_fifo=True)
    assert set(verdict.broken) <= FORGOTTEN
    lost = set(verdict.lost)
    for event in events:
        if event.kind == "sent" and event.number in lost:
            assert any(since - 2.5 < event.ended < to for since, to in fault.times)


@rather_fifo
def test_a_power_failure_costs_what_was_not_yet_on_disk(make_server: Callable[..., Server], is_fifo: bool) -> None:
    """Of the append-only file the last half second is missing."""
    server = make_server(appendonly="yes", appendfsync="everysec", auto_aof_rewrite_percentage=0)
    cuts: list[tuple[float, float]] = []

    def lose_power() -> None:
        (file,) = server.folder.glob("appendonlydir/*.incr.aof")
        length, at = file.stat().st_size, time.monotonic()
        time.sleep(0.5)
        server.kill9()
        cuts.append((at, time.monotonic()))
        os.truncate(file, length)
        server.restart()

    verdict, events = run(server.url, [Broken("power failure", lose_power)], 1.0, is_fifo=is_fifo)
    assert set(verdict.broken) <= FORGOTTEN
    lost = set(verdict.lost)
    for event in events:
        if event.kind == "sent" and event.number in lost:
            assert any(at <= event.ended <= dead for at, dead in cuts), "acknowledged, written, and lost"


@rather_fifo
def test_a_server_without_persistence_forgets_what_it_had_and_nothing_later(
    make_server: Callable[..., Server], is_fifo: bool, prefix: str
) -> None:
    server = make_server()
    name = "chaos.fifo" if is_fifo else "chaos"

    def forget() -> None:
        crash(server)
        with rqsqs.connect(server.url, prefix=prefix) as connection:
            connection.create_queue(name)

    fault = Broken("SIGKILL without persistence", forget)
    verdict, events = run(server.url, [fault], 1.5, is_fifo=is_fifo, prefix=prefix, consumers=1, work_s=0.15)
    assert set(verdict.broken) <= FORGOTTEN
    last = fault.times[-1][1]
    lost = set(verdict.lost)
    assert lost, "consumers were slow: there was a backlog"
    assert all(e.ended <= last for e in events if e.kind == "sent" and e.number in lost)


@rather_fifo
def test_a_frozen_server_breaks_no_promise(make_server: Callable[..., Server], is_fifo: bool) -> None:
    server = make_server()

    def freeze() -> None:
        server.freeze()
        time.sleep(1.2)
        server.thaw()

    options = {"socket_timeout": 0.4}
    verdict, _ = run(server.url, [Broken("SIGSTOP", freeze)], is_fifo=is_fifo, options=options)
    assert not verdict.broken
    assert verdict.errors


@rather_fifo
def test_forgotten_scripts_break_no_promise(make_server: Callable[..., Server], is_fifo: bool) -> None:
    server = make_server()
    with redis.Redis.from_url(server.url) as client:
        verdict, _ = run(server.url, [Broken("SCRIPT FLUSH", client.script_flush)], 0.1, is_fifo=is_fifo)
    assert not verdict.broken
    assert not verdict.errors


def test_a_full_server_refuses_sends_and_lets_consumers_go_on(
    make_server: Callable[..., Server], is_fifo: bool
) -> None:
    server = make_server(maxmemory_policy="noeviction")
    times: list[tuple[float, float]] = []
    with redis.Redis.from_url(server.url) as client:

        def fill(trial: Trial) -> str:
            def have(*kinds: str, since: float) -> bool:
                events = trial.events()
                return all(succeeded(events, kind, since=since, to=math.inf) for kind in kinds)

            until(lambda: backlog(trial.events()) > 30, "consumers have something to do")
            client.config_set("maxmemory", "1mb")
            since = time.monotonic()
            until(lambda: have("error", "received", "deleted", since=since), "sends are refused and consumers go on")
            times.append((since, time.monotonic()))
            client.config_set("maxmemory", "0")
            until(lambda: have("sent", since=times[-1][1]), "sends succeed again")
            return "full memory"

        verdict, events = run(server.url, [fill], is_fifo=is_fifo, consumers=1, work_s=0.1)
    assert not verdict.broken
    assert not any(succeeded(events, "sent", since=since, to=to) for since, to in times)
    refused = [e for e in events if e.kind == "error"]
    assert all("has reached its maxmemory and stored nothing" in e.text for e in refused)


def backlog(events: list[Event]) -> int:
    """How many messages were sent and not received, about."""
    kinds = Counter(e.kind for e in events)
    return kinds["sent"] - kinds["received"]


# The network


def test_a_bad_network_breaks_no_promise(make_server: Callable[..., Server], is_fifo: bool) -> None:
    server = make_server()
    with Proxy(server.url) as proxy:

        def switch(name: str, on: Any, off: Any, seconds: float) -> Callable[[], None]:
            def act() -> None:
                setattr(proxy, name, on)
                proxy.cut() if name == "is_closed" else None
                time.sleep(seconds)
                setattr(proxy, name, off)

            return act

        faults: list[Fault] = [
            Broken("connections cut", proxy.cut),
            Broken("replies lost", lambda: proxy.lose_replies(7)),
            Broken("replies late", switch("delay_s", 0.1, 0.0, 0.4)),
            Broken("nothing comes through", switch("is_silent", True, False, 0.6)),
            Broken("nobody can connect", switch("is_closed", True, False, 0.7)),
        ]
        options = {"socket_timeout": 0.4}
        verdict, _ = run(proxy.url, faults, 0.3, seconds=max(SECONDS, 3.5), is_fifo=is_fifo, options=options)
        assert not verdict.broken
        assert proxy.lost
        assert verdict.errors


def test_a_send_whose_answer_was_lost_is_repeated_and_stored_once(valkey_url: str, prefix: str) -> None:
    with Proxy(valkey_url) as proxy, rqsqs.connect(proxy.url, prefix=prefix) as connection:
        plain, fifo = connection.create_queue("q"), connection.create_queue("q.fifo")
        for queue in (plain, fifo):  # the server knows the scripts
            queue.send("first", group="g", deduplication_id="0")
            queue.receive(delete=True)
        plain.send("first")
        plain.receive(delete=True)
        proxy.lose_replies(1)
        plain.send("x")
        assert plain.counts().visible == 1
        proxy.lose_replies(1)
        fifo.send("x", group="g", deduplication_id="1")
        assert fifo.counts().visible == 1


def test_a_thousand_clients_that_lose_their_connections_come_back(tmp_path: Path, prefix: str) -> None:
    clients = 1000

    async def serve(connection: aio.Connection, got: list[Any]) -> None:
        queue = connection.queue("crowd")
        while True:
            try:
                for message in await queue.receive(wait=60):
                    await message.delete()
                    got.append(message.body)
                    return
            except rqsqs.ServerError:
                await asyncio.sleep(0.05)

    async def crowd(server: Server) -> None:
        got: list[Any] = []

        async def all_wait() -> float:
            began = time.monotonic()
            with redis.Redis.from_url(server.url) as client:
                while True:
                    blocked: Any = client.info("clients")
                    if blocked["blocked_clients"] >= clients:
                        return time.monotonic() - began
                    assert time.monotonic() < began + 60, blocked
                    await asyncio.sleep(0.05)

        async with contextlib.AsyncExitStack() as stack:
            connections = [
                await stack.enter_async_context(aio.connect(server.url, prefix=prefix, client_name=f"c{n}"))
                for n in range(clients)
            ]
            queue = await connections[0].create_queue("crowd")
            tasks = [asyncio.create_task(serve(connection, got)) for connection in connections]
            first = await all_wait()
            with redis.Redis.from_url(server.url) as client:
                client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            cut = await all_wait()
            await asyncio.to_thread(crash, server)
            again = await all_wait()
            await queue.send_batch(range(clients))
            began = time.monotonic()
            await asyncio.wait_for(asyncio.gather(*tasks), 60)
            spent = time.monotonic() - began
            assert sorted(got) == list(range(clients))
            assert await queue.counts() == rqsqs.Counts()
        print(
            f"\n{clients} clients: connected in {first:.1f} s, after a cut in {cut:.1f} s, after a restart in "
            f"{again:.1f} s; each has had a message after {spent:.1f} s"
        )

    with Server(folder=tmp_path, **ALWAYS) as server:
        asyncio.run(crowd(server))


# Consumers


def test_killed_and_frozen_consumers_break_no_promise(valkey_url: str, is_fifo: bool) -> None:
    faults: list[Fault] = [Trial.kill_consumer, Trial.freeze_consumer]
    verdict, _ = run(valkey_url, faults, 0.3, is_fifo=is_fifo, work_s=0.05)
    assert not verdict.broken
    assert not verdict.errors


# Clusters


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with Cluster(**ALWAYS) as cluster:
        yield cluster


def in_step(cluster: Cluster) -> None:
    """Until every master has its replica again."""
    roles = []
    for server in cluster.servers:
        with cluster.client(server) as client:
            found = client.info("replication")
            assert found["role"] == "master" or found["master_link_status"] == "up"
            roles.append(found["role"])
    assert roles.count("master") == len(cluster.masters)


def is_in_step(cluster: Cluster) -> bool:
    with contextlib.suppress(AssertionError):
        in_step(cluster)
        return True
    return False


def test_after_the_death_of_a_master_all_go_on_with_its_replica(cluster: Cluster, is_fifo: bool) -> None:
    """Without a restart of anybody, and soon. What the dead one had not passed on is lost: replication is
    asynchronous."""
    key = "{chaos.fifo/0}" if is_fifo else "{chaos/0}"
    announced: list[tuple[float, float]] = []

    def fail_over() -> None:
        died = time.monotonic()
        killed = cluster.kill_master(key)
        cluster.await_failover(key, killed)
        announced.append((died, time.monotonic()))
        time.sleep(0.5)
        killed.restart()
        until(lambda: is_in_step(cluster), "all are in step")

    seconds = 4.0 * FAILOVERS  # about
    faults: list[Fault] = [Broken("SIGKILL of the master", fail_over)]
    verdict, events = run(cluster.url, faults, 0.5, seconds=seconds, is_fifo=is_fifo)
    assert set(verdict.broken) <= FORGOTTEN
    check_all_go_on(events, announced)


@pytest.mark.parametrize(
    ("durability", "is_fifo"),
    [("replicas=1,timeout=2,deletes", False), ("replicas=1,timeout=2,deletes", True), ("", False)],
    ids=["standard", "fifo", "standard-without"],
)
def test_what_a_replica_has_survives_its_master(cluster: Cluster, durability: str, is_fifo: bool) -> None:
    """Each master has one replica. It is cut off for a while, and then the master dies: what was sent and deleted
    meanwhile is lost, but nobody was told that it was done."""
    deaths = 0
    keys = list({cluster.owner(home_of(f"q{n}")): home_of(f"q{n}") for n in range(50)}.values())  # of each master one

    def fail_over() -> None:
        nonlocal deaths
        key = keys[deaths % len(keys)]
        master = cluster.owner(key)
        (replica,) = [server for server in cluster.servers if cluster.replicates(server, master)]
        deaths += 1
        with cluster.client(master) as client:
            replica.freeze()
            client.client_kill_filter(_type="replica")
            time.sleep(0.6)
        master.kill9()
        replica.thaw()
        cluster.await_failover(key, master)
        time.sleep(0.5)
        master.restart()
        until(lambda: is_in_step(cluster), "all are in step")

    fault = Broken("a replica is cut off, and its master killed", fail_over)
    options: dict[str, Any] = {
        "partitions": 6,
        "producers": 6,
        "rate": 400,
        "durability": durability,
        "is_fifo": is_fifo,
    }
    verdict, events = run(cluster.url, [fault], 0.5, seconds=4.0 * FAILOVERS, **options)
    if not durability:
        assert verdict.lost or verdict.risen, "the trial tells whether something is lost"
        return
    acknowledged = {event.number for event in events if event.kind == "sent"}
    assert not verdict.lost
    assert not verdict.risen
    assert not set(verdict.vanished) & acknowledged
    # Receives are forgotten nevertheless, and sends that nobody was told of, which are repeated.
    assert set(verdict.broken) <= FORGOTTEN


def test_the_death_of_a_replica_is_not_noticed(cluster: Cluster) -> None:
    def kill_replica() -> None:
        for server in cluster.servers:
            with cluster.client(server) as client:
                is_replica = client.info("replication")["role"] != "master"
            if is_replica:
                server.kill9()
                time.sleep(0.5)
                server.restart()
                break
        until(lambda: is_in_step(cluster), "all are in step")

    verdict, _ = run(cluster.url, [Broken("SIGKILL of a replica", kill_replica)], is_fifo=True)
    assert not verdict.broken
    assert not verdict.errors


@rather_fifo
def test_a_whole_cluster_that_writes_always_comes_back_with_everything(cluster: Cluster, is_fifo: bool) -> None:
    def kill_all() -> None:
        masters = []
        for server in cluster.servers:
            with cluster.client(server) as client:
                if client.info("replication")["role"] == "master":
                    masters.append(server)
        for server in cluster.servers:
            assert server.process is not None
            server.process.kill()
        for server in sorted(cluster.servers, key=lambda s: s not in masters):
            server.kill9()
            server.restart()
        until(lambda: is_in_step(cluster), "all are in step")

    verdict, _ = run(cluster.url, [Broken("SIGKILL of all", kill_all)], is_fifo=is_fifo)
    assert not verdict.broken
