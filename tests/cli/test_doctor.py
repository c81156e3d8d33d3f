"""`rqsqs doctor`: servers with all sorts of illnesses."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

import redis

import rqsqs
from rqsqs._core.alarm_records import AlarmEvaluation
from rqsqs._core.operations.alarms import mark_evaluation, read_actions, settle_action
from rqsqs.doctor.alarms import check_alarms
from rqsqs.doctor.server import CHECKS, check_server
from rqsqs.doctor.server import Server as CheckedServer
from rqsqs.testing import VirtualClock
from tests.cli.tools import Run, records, wait_for
from tests.servers import Kind, Server, find_binary

Start = Callable[..., Server]


@pytest.fixture
def start() -> Iterator[Start]:
    """Start a server with options of its own."""
    started: list[Server] = []

    def start(kind: Kind = "valkey", **options: Any) -> Server:
        if find_binary(kind) is None:
            pytest.skip(f"no {kind} server program here")
        started.append(Server(kind, **options).start())
        return started[-1]

    yield start
    for server in started:
        server.stop()


def levels(run: Run, url: str, code: int = 0) -> dict[str, str]:
    """The worst level of each check."""
    found: dict[str, str] = {}
    for record in records(run("--url", url, "doctor", "--json", code=code)):
        assert set(record) == {"check", "level", "text", "advice"}
        ranks = ("ok", "skip", "warn", "fail")
        found[record["check"]] = max(found.get(record["check"], "ok"), record["level"], key=ranks.index)
    return found


def test_a_healthy_server_is_fit(run: Run, start: Start) -> None:
    server = start(appendonly="yes", appendfsync="always", maxmemory="256mb")
    with rqsqs.connect(server.url) as connection:
        connection.create_queue("dead")
        connection.create_queue("unrelated", dead_letter_queue="dead")
    found = levels(run, server.url)
    assert found == dict.fromkeys(CHECKS, "ok") | {
        "queues": "ok",
        "damage": "ok",
        "numbers": "ok",
        "alarms": "ok",
    }
    result = run("--url", server.url, "doctor")
    assert "ok    the server is Valkey" in result.stdout
    assert "appendfsync always: a crash costs nothing that was sent" in result.stdout
    assert result.stderr == f"checking {server.url}\n"


def test_redis_is_examined_as_well(run: Run, start: Start) -> None:
    assert "the server is Redis" in run("--url", start("redis").url, "doctor").stdout


def test_eviction_fails(run: Run, start: Start) -> None:
    server = start(maxmemory="256mb", maxmemory_policy="allkeys-lru")
    assert levels(run, server.url, code=1)["eviction"] == "fail"
    shown = run("--url", server.url, "doctor", code=1).stdout
    assert "fail  maxmemory-policy is allkeys-lru: full memory would cost messages\n" in shown
    assert "set maxmemory-policy to noeviction" in shown


def test_memory_that_is_almost_full_fails(run: Run, start: Start) -> None:
    server = start()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("maxmemory", client.info("memory")["used_memory"] + 20_000)
        assert levels(run, server.url, code=1)["memory"] == "fail"
        client.config_set("maxmemory", client.info("memory")["used_memory"] - 20_000)
        found = levels(run, server.url, code=1)
        assert (found["memory"], found["rights"]) == ("fail", "ok")


@pytest.mark.parametrize(
    ("options", "level", "part"),
    [
        ({}, "warn", "in memory only"),
        ({"save": "900 1"}, "warn", "snapshots only"),
        ({"appendonly": "yes", "appendfsync": "everysec"}, "ok", "the last second"),
        ({"appendonly": "yes", "appendfsync": "no"}, "warn", "a crash may cost seconds"),
    ],
)
def test_persistence_is_judged(run: Run, start: Start, options: dict[str, str], level: str, part: str) -> None:
    server = start(**options)
    found = records(run("--url", server.url, "doctor", "--json"))
    (finding,) = [record for record in found if record["check"] == "persistence"]
    assert finding["level"] == level
    assert part in finding["text"]


def test_a_replica_fails_and_the_primary_counts_it(run: Run, start: Start) -> None:
    primary = start(shutdown_timeout=0)
    replica = start(replicaof=f"127.0.0.1 {primary.port}")
    with redis.Redis.from_url(primary.url) as client:
        wait_for(lambda: client.info("replication")["connected_slaves"])
    shown = run("--url", primary.url, "doctor").stdout
    assert "warn  1 replica, and sends do not wait for it: a failover can cost messages that were acknowledged" in shown
    assert "durability=rqsqs.Durability(replicas=1)" in shown
    with rqsqs.connect(primary.url, durability=rqsqs.Durability(replicas=1, timeout=20)) as connection:
        connection.create_queue("orders").send("x")
    assert "ok    1 replica, for which sends have waited 1 time since" in run("--url", primary.url, "doctor").stdout
    shown = run("--url", replica.url, "doctor", code=1).stdout
    assert "this is a replica, which takes no writes" in shown
    assert f"connect to the primary, 127.0.0.1:{primary.port}" in shown


def test_a_user_without_rights_fails(run: Run, start: Start) -> None:
    server = start()
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", "weak", "on", ">secret", "~other:*", "+@all")
    result = run("--url", server.url.replace("redis://", "redis://weak:secret@"), "doctor", code=1)
    assert "fail  the user 'weak' may not do what queues need" in result.stdout
    assert "+evalsha" in result.stdout
    assert "secret" not in result.output


def test_a_managed_server_that_refuses_to_tell_is_examined_as_far_as_it_goes(run: Run, start: Start) -> None:
    server = start(appendonly="yes")
    with redis.Redis.from_url(server.url) as client:
        rights = ("-config", "-info", "-acl", "-script|exists")
        client.execute_command("ACL", "SETUSER", "tenant", "on", ">secret", "~*", "&*", "+@all", *rights)
    found = levels(run, server.url.replace("redis://", "redis://tenant:secret@"))
    assert found["rights"] == found["round trip"] == found["queues"] == "ok"
    for check in ("version", "eviction", "memory", "persistence", "scripts"):
        assert found[check] == "skip"


def test_the_rights_that_it_advises_are_enough(run: Run, start: Start) -> None:
    server = start()
    url = server.url.replace("redis://", "redis://narrow:secret@")
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", "narrow", "on", ">secret", "~rqsqs:*")
        failed = records(run("--url", url, "--prefix", "rqsqs", "doctor", "--json", code=1))
        advice = next(r["advice"] for r in failed if r["check"] == "rights")
        rights = advice.removeprefix("give it ").split()
        client.execute_command("ACL", "SETUSER", "narrow", "reset", "on", ">secret", *rights)
    result = run("--url", url, "--prefix", "rqsqs", "doctor")
    assert "ok    this user may load and run scripts" in result.stdout
    for arguments in (("create", "orders"), ("send", "orders", "x"), ("receive", "orders", "--wait", "1")):
        run("--url", url, "--prefix", "rqsqs", *arguments)
    run("--url", url, "--prefix", "rqsqs", "receive", "orders", "--wait", "0.1", code=4)


def test_wrong_password_and_no_server_are_exit_code_3(run: Run, start: Start) -> None:
    server = start()
    with redis.Redis.from_url(server.url) as client:
        client.config_set("requirepass", "secret")
    assert "password" in run("--url", server.url, "doctor", code=3).stderr
    result = run("--url", "redis://:hidden@localhost:1/0", "doctor", code=3)
    assert "no connection to redis://***@localhost:1/0" in result.stderr
    run("--url", "http://x", "doctor", code=2)


def test_errors_that_mean_trouble_are_told(run: Run, start: Start) -> None:
    server = start()
    with redis.Redis.from_url(server.url) as client:
        client.set("text", "x")
        with pytest.raises(redis.ResponseError):
            client.lpush("text", "y")
        run("--url", server.url, "receive", "nothing", code=1)  # an ordinary answer
    found = [r for r in records(run("--url", server.url, "doctor", "--json")) if r["check"] == "errors"]
    assert [(r["level"], r["text"]) for r in found] == [
        ("warn", "1 request refused with WRONGTYPE since the server started")
    ]


def test_queues_that_want_attention_are_named(run: Run, connection: rqsqs.Connection) -> None:
    dead = connection.create_queue("dead")
    queue = connection.create_queue("orders", dead_letter_queue=dead, max_receive_count=1)
    dead.send_batch(range(3))
    queue.pause()
    for i in range(7):
        connection.create_queue(f"plain-{i}")
    shown = run("doctor").stdout
    assert "warn  paused: orders\n" in shown
    assert "warn  dead letters wait in dead (3)\n" in shown
    assert "warn  without a dead-letter queue: plain-0, plain-1, plain-2, plain-3, plain-4 and 2 more\n" in shown


def test_an_old_server_and_a_wrong_clock() -> None:
    class Old:
        def info(self, *_: str) -> dict[str, Any]:
            return {"redis_version": "6.2.7"}

        def time(self) -> tuple[int, int]:
            return 1_750_000_000, 0

        def __getattr__(self, name: str) -> Any:
            raise redis.ResponseError(f"unknown command {name}")

    found = list(check_server(CheckedServer(Old(), "rqsqs")))  # type: ignore[arg-type]
    assert (found[0].level, found[0].text) == ("fail", "the server is Redis 6.2.7, too old")
    assert next(f for f in found if f.check == "clock").level == "warn"
    assert next(f for f in found if f.check == "memory").level == "skip"


def test_unix_sockets_and_embedded_servers_are_examined(run: Run, start: Start, tmp_path: Path) -> None:
    assert "the server is Valkey" in run("--url", start(unix_socket=True).url, "doctor").stdout
    assert "appendfsync always" in run("--url", f"embedded://{tmp_path}/q", "doctor").stdout


def test_alarms_that_nobody_evaluates_are_a_failure(valkey_url: str, prefix: str) -> None:
    def told(connection: rqsqs.Connection) -> list[tuple[str, str, str]]:
        return [(finding.check, finding.level, finding.text) for finding in check_alarms(connection)]

    clock = VirtualClock()
    with rqsqs.connect(valkey_url, prefix=prefix, clock=clock) as connection:
        space, run = connection.transport.space, connection.transport.run
        ((check, level, text),) = told(connection)
        assert (check, level) == ("alarms", "ok")
        assert text.startswith("no alarms")
        connection.alarms.put(
            rqsqs.Alarm("a", metric_name="visible", queue="q", threshold=1, comparison_operator=">",
                        alarm_actions=["log:"])
        )  # fmt: skip
        assert told(connection) == [("alarms", "fail", "nobody evaluates 1 alarm")]
        now_ms = clock.now_us() // 1000
        run(mark_evaluation(space, AlarmEvaluation(now_ms, 0.0, now_ms // 60_000, "me", 1, failed=1)))
        connection.alarms.set_state("a", "ALARM", "a test")
        assert [finding[:2] for finding in told(connection)] == [("alarms", "ok"), ("alarms", "warn")]
        clock.advance(200)
        late, overdue = told(connection)
        assert late == ("alarms", "fail", "nobody evaluates 1 alarm; me did last, 3 min ago")
        assert overdue[:2] == ("actions", "fail")
        now_ms = clock.now_us() // 1000
        run(mark_evaluation(space, AlarmEvaluation(now_ms, 0.0, now_ms // 60_000, "me", 1)))
        (entry,) = run(read_actions(space)).entries
        run(settle_action(space, entry, "failed", now_ms, None, now_ms + 5000))
        check, level, text = told(connection)[1]
        assert (check, level) == ("actions", "warn")
        assert text.startswith("actions of alarms fail, the last one ")
        assert text.endswith(" ago; 1 action to be tried again")
        run(settle_action(space, entry, "given_up", now_ms, None))
        check, level, text = told(connection)[1]
        assert (check, level) == ("actions", "warn")
        assert text.startswith("an action of an alarm failed and was given up ")
        clock.advance(86_400)
        now_ms = clock.now_us() // 1000
        run(mark_evaluation(space, AlarmEvaluation(now_ms, 0.0, now_ms // 60_000, "me", 1)))
        assert [finding[:2] for finding in told(connection)] == [("alarms", "ok")]
