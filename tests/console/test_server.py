"""The page of the server: what the checks find, memory, copies, slow calls, and who works for all."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

import rqsqs
from rqsqs import _watched_files
from rqsqs._core.alarm_records import AlarmEvaluation
from rqsqs._core.operations.alarms import mark_evaluation
from rqsqs._core.operations.leases import take_lease
from rqsqs._io.directory import slot_of
from rqsqs._io.sync import clients
from rqsqs.console import ConsoleSettings
from rqsqs.console.examination import Examiner, SeenServers
from rqsqs.doctor.queues import judge
from rqsqs.gateway import GatewaySettings
from rqsqs.gateway.keys_editing import NewUser, add_key
from tests.clusters import Cluster
from tests.console.conftest import PATIENCE_S, Browser, Page, running
from tests.servers import Server

HOSTILE = "<i>\u202eme</i>"


@pytest.fixture
def own() -> Iterator[Server]:
    """A Valkey of this test alone, which notes every call as slow."""
    with Server("valkey", slowlog_log_slower_than=0, slowlog_max_len=100_000, maxmemory="64mb") as server:
        yield server


def examined(browser: Browser, path: str = "/server") -> Page:
    """The page when all has been looked at."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        page = browser.get(path)
        if "being examined" not in page.text:
            return page
        assert time.monotonic() < deadline
        time.sleep(0.05)


def note_no_more(server: Server) -> None:
    """The last slow calls are those before this."""
    with redis.Redis.from_url(server.url) as client:
        client.config_set("slowlog-log-slower-than", -1)


def before(url: str, prefix: str, **settings: bool) -> ConsoleSettings:
    return ConsoleSettings(GatewaySettings(url=url, prefix=prefix), **settings)


def test_what_doctor_finds_stands_there_with_advice(own: Server, prefix: str) -> None:
    with rqsqs.connect(own.url, prefix=prefix) as connection, running(before(own.url, prefix)) as address:
        connection.create_queue("dead").send("x")
        connection.create_queue("orders", dead_letter_queue="dead").pause()
        connection.alarms.put(
            rqsqs.Alarm("late", metric_name="visible", queue="orders", threshold=1, comparison_operator=">")
        )
        page = examined(Browser(address))
    assert page.status == 200
    assert "in memory only: the queues are gone when the server ends set appendonly to yes" in page.text
    assert "paused: orders rqsqs resume QUEUE lets them continue" in page.text
    assert "dead letters wait in dead (1)" in page.text
    assert "nobody evaluates 1 alarm" in page.text
    assert "the server is Valkey" in page.text
    assert "of 64 MiB" in page.text
    assert "No replica is known" in page.text
    assert "evaluates alarms nobody" in page.text
    assert "samples the history nobody" in page.text
    assert ">Server</a>" in page.html


def test_who_evaluates_and_samples_is_named(own: Server, prefix: str) -> None:
    with rqsqs.connect(own.url, prefix=prefix) as connection, running(before(own.url, prefix)) as address:
        run, space = connection.transport.run, connection.transport.space
        now_ms = int(time.time() * 1000)
        run(mark_evaluation(space, AlarmEvaluation(now_ms, 0.0, now_ms // 60_000, HOSTILE, 0)))
        run(take_lease(space.sampler, HOSTILE + "2", 600_000))
        page = examined(Browser(address))
    shown = HOSTILE.replace("\u202e", "\\u202e")
    assert f"evaluates alarms {shown}" in page.text
    assert f"samples the history {shown}2" in page.text
    assert "<i>me" not in page.html
    assert "<i>\\u202e" not in page.html
    assert "\u202e" not in page.html


def test_slow_calls_are_named_without_what_was_in_them(own: Server, prefix: str) -> None:
    with redis.Redis.from_url(own.url) as client:
        client.execute_command("ACL", "SETUSER", HOSTILE, "on", ">pass-of-user", "~*", "&*", "+@all")
        client.set("secret-key", "secret-value")
    url = own.url.replace("redis://", "redis://%3Ci%3E%E2%80%AEme%3C%2Fi%3E:pass-of-user@")
    with rqsqs.connect(url, prefix=prefix) as connection, running(before(url, prefix)) as address:
        connection.create_queue("orders").send("secret-body", attributes={"secret-name": "secret-value"})
        note_no_more(own)
        page = examined(Browser(address))
        slow = page.html.partition(">Slow calls</h2>")[2]
        assert 'href="/queues/orders"' in slow
        assert "send_message" in slow
        assert "SCRIPT LOAD" in slow
        assert "secret" not in page.html
        assert "pass-of-user" not in page.html
        assert "\u202e" not in page.html
        assert "<i>me" not in page.html


def test_a_server_that_refuses_to_tell_is_asked_once(own: Server, prefix: str) -> None:
    with redis.Redis.from_url(own.url) as client:
        rights = ("-config", "-acl", "-slowlog", "-script|exists")
        client.execute_command("ACL", "SETUSER", "tenant", "on", ">secret", "~*", "&*", "+@all", *rights)
        url = own.url.replace("redis://", "redis://tenant:secret@")
        with running(before(url, prefix)) as address:
            page = examined(Browser(address))
            assert page.status == 200
            assert "This user of the server may not read slow calls" in page.text
            assert "whether there are snapshots is not told" in page.text
            assert "scripts cannot be seen" in page.text
        examiner = Examiner(GatewaySettings(url=url, prefix=prefix))

        def noperm() -> int:
            return int(client.info("errorstats")["errorstat_NOPERM"]["count"])  # type: ignore[index]

        began = noperm()
        first = examiner.servers()
        refused = noperm() - began
        assert refused > 3
        second = examiner.servers()
        assert noperm() == began + refused
        (told,) = [f.text for f in second.servers[0].findings if f.check == "errors"]
        (told_first,) = [f.text for f in first.servers[0].findings if f.check == "errors"]
        assert told == told_first  # of others' refusals, not of its own


def test_a_server_that_tells_nothing_has_a_page(own: Server, prefix: str) -> None:
    with redis.Redis.from_url(own.url) as client:
        rights = ("-info", "-config", "-acl", "-slowlog", "-script|exists", "-get", "-ping", "-time")
        client.execute_command("ACL", "SETUSER", "tenant", "on", ">secret", "~*", "&*", "+@all", *rights)
    with running(before(own.url.replace("redis://", "redis://tenant:secret@"), prefix)) as address:
        page = examined(Browser(address))
    assert page.status == 200
    assert "It tells nothing" in page.text
    assert "version cannot be seen" in page.text
    assert "secret" not in page.html


def test_a_server_that_is_not_there_has_a_page(prefix: str) -> None:
    with running(before("redis://:hidden@localhost:1/0", prefix)) as address:
        page = examined(Browser(address))
    assert page.status == 200
    assert "no connection to redis://***@localhost:1/0" in page.text
    assert "hidden@" not in page.html


def test_it_is_looked_at_once_a_minute_however_often_somebody_asks(own: Server, prefix: str) -> None:
    with running(before(own.url, prefix)) as address, redis.Redis.from_url(own.url) as client:
        browser = Browser(address)
        examined(browser)
        browser.do("/queues", {"name": "orders"})  # a change makes others be read again
        with browser.live("/server?live=1") as events:
            next(events)
            examined(Browser(address))
        counted = client.info("commandstats")
        assert counted["cmdstat_acl|whoami"]["calls"] == 1  # type: ignore[index]


def test_of_very_many_queues_those_are_looked_at_for_which_there_is_time(own: Server, prefix: str) -> None:
    with rqsqs.connect(own.url, prefix=prefix) as connection:
        for name in ("a", "b", "c", "d"):
            connection.create_queue(name).pause()
    now = iter(range(-2, 100))
    found = Examiner(GatewaySettings(url=own.url, prefix=prefix), clock=lambda: next(now)).queues("000000000000")
    levels = {finding.check: (finding.level, finding.text) for finding in judge(found.queues, is_cut=found.is_cut)}
    assert levels["queues"][0] == "skip"
    assert levels["queues"][1].startswith("the first 3 queues were looked at")
    assert levels["paused"] == ("warn", "paused: a, b, c")
    assert found.held[own.url].tags == ("a/0", "b/0", "c/0")


def test_nobody_waits_for_the_checks(own: Server, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, servers = threading.Event(), Examiner.servers

    def late(self: Examiner) -> SeenServers:
        assert go_on.wait(PATIENCE_S)
        return servers(self)

    monkeypatch.setattr(Examiner, "servers", late)
    with running(before(own.url, prefix)) as address:
        browser = Browser(address)
        try:
            assert "The server is being examined." in browser.get("/server").text
            assert browser.get("/").status == 200
            with browser.live("/server?live=1") as events:
                _, text = next(events)
                assert "being examined" in text
                go_on.set()
                assert any("the server is Valkey" in text for _, text in events)
        finally:
            go_on.set()


def test_a_read_only_console_writes_nothing_to_find_out_its_rights(own: Server, prefix: str) -> None:
    with running(before(own.url, prefix, is_read_only=True)) as address, redis.Redis.from_url(own.url) as client:
        page = examined(Browser(address))
        assert "may load and run scripts" not in page.text
        assert "cmdstat_blpop" not in client.info("commandstats")
    with running(before(own.url, prefix)) as address:
        assert "may load and run scripts" in examined(Browser(address)).text


def test_of_a_cluster_it_says_who_has_which_slots_and_partitions(prefix: str) -> None:
    with (
        Cluster(node_timeout=PATIENCE_S * 1000) as cluster,
        rqsqs.connect(cluster.url, prefix=prefix) as connection,
        running(before(cluster.url, prefix)) as address,
    ):
        queue = connection.create_queue("orders", partitions=6)
        queue.send("x")
        page = examined(Browser(address))
        masters = clients.masters(cluster.url)
        assert sum(last - first + 1 for master in masters for first, last in master.slots) == 16_384
        rows = page.html.partition('aria-label="Hash slots"')[2].partition("</table>")[0].split("<tr>")[2:]
        partitions = queue._ref.partitions
        assert len(rows) == len(masters) == 3
        assert len(partitions) == 6
        for row, master in zip(rows, masters, strict=True):
            assert f">{master.url}<" in row
            ((first, last),) = master.slots
            assert f"{first:,} to {last:,}" in row
            for partition in partitions:
                assert (partition.tag in row) == (first <= slot_of(partition.wakeups) <= last)
        assert page.text.count("online") == 3
        assert "(all 3 servers)" in page.text


def test_users_see_what_is_found_about_their_queues_and_other_accounts_no_server(
    own: Server, prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_watched_files, "LOOK_EVERY_S", 0)
    keys = tmp_path / "keys.toml"
    add_key(keys, "ann", NewUser(is_root=True))
    allowed = [{"Effect": "Allow", "Action": "rqsqs:DescribeServer", "Resource": "*"}]
    bob = add_key(keys, "bob", NewUser(statements=allowed))
    carl = add_key(keys, "carl", NewUser(account="111122223333", is_root=True))
    dora = add_key(keys, "dora", NewUser(statements=[{**allowed[0], "Action": "rqsqs:ListEvents"}]))
    arn = "arn:aws:sqs:us-east-1:000000000000:bills"
    eve = [*allowed, {"Effect": "Allow", "Action": "sqs:GetQueueAttributes", "Resource": arn}]
    eve_key = add_key(keys, "eve", NewUser(statements=eve))
    settings = ConsoleSettings(GatewaySettings(url=own.url, prefix=prefix, keys=keys))
    with rqsqs.connect(own.url, prefix=prefix) as connection, running(settings) as address:
        connection.create_queue("orders").pause()
        connection.create_queue("bills").pause()
        note_no_more(own)
        found = {}
        for name, key in (("bob", bob), ("carl", carl), ("dora", dora), ("eve", eve_key)):
            browser = Browser(address)
            assert browser.log_in(key.key_id, key.secret).status == 303
            found[name] = examined(browser)
        assert found["bob"].status == 200
        assert "the server is Valkey" in found["bob"].text
        assert "one that you may not see" in found["bob"].text
        assert "orders" not in found["bob"].text
        assert "0 queues that you may see" in found["bob"].text
        assert "paused: bills resume" in found["eve"].text.replace("rqsqs ", "")
        assert "1 queue that you may see" in found["eve"].text
        assert "orders" not in found["eve"].text
        assert found["carl"].status == 200
        assert "0 queues under the prefix" in found["carl"].text
        assert "Valkey" not in found["carl"].text
        assert "Slow calls" not in found["carl"].text
        assert "orders" not in found["carl"].text
        assert found["dora"].status == 403
        assert "rqsqs:describeserver" in found["dora"].text.lower()
