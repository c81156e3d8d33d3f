"""The rules that `rqsqs acl` prints, on real servers: a role's work succeeds, and what it does not need is refused."""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import redis

pytest.importorskip("click")

import rqsqs
from rqsqs import aio
from rqsqs._core.operations.alarms import read_health, release_actions
from rqsqs.alarms.running import AlarmRunner
from rqsqs.cli.acl_rules import ROLES, rules
from rqsqs.metrics.sampling import Sampler
from rqsqs.testing import VirtualClock
from rqsqs.worker import Worker
from tests.servers import Server
from tests.worker.serving import Running, until


class Users:
    """Users of a server, each with the rules of a role."""

    def __init__(self, server: Server, prefix: str) -> None:
        self.server, self.prefix = server, prefix
        self.root = redis.Redis.from_url(server.url)

    def url(self, role: str, *queues: str) -> str:
        first, *rest = rules(role, self.prefix, queues)
        self.root.execute_command("ACL", "SETUSER", self.prefix, first, *rest, ">secret")
        return self.server.url.replace("://", f"://{self.prefix}:secret@")

    @contextlib.contextmanager
    def connect(self, role: str, *queues: str) -> Iterator[rqsqs.Connection]:
        with rqsqs.connect(self.url(role, *queues), prefix=self.prefix) as connection:
            yield connection


@pytest.fixture
def users(server: Server, prefix: str) -> Iterator[Users]:
    with rqsqs.connect(server.url, prefix=prefix) as owner:
        for suffix in ("", ".fifo"):
            owner.create_queue(f"dead{suffix}")
            owner.create_queue(f"orders{suffix}", dead_letter_queue=f"dead{suffix}", max_receive_count=1)
        owner.create_queue("other").send("x")
        owner.create_queue("wide", partitions=3)
    one = Users(server, prefix)
    yield one
    with contextlib.suppress(redis.RedisError):
        one.root.execute_command("ACL", "DELUSER", prefix)
    one.root.close()


def refused(call: Callable[..., Any], *args: Any, **options: Any) -> None:
    with pytest.raises(rqsqs.AuthenticationFailed, match="may not do this"):
        call(*args, **options)


def send(connection: rqsqs.Connection, *names: str) -> None:
    for name in names:
        options: dict[str, Any] = {"group": "g", "deduplication_id": "1"} if name.endswith(".fifo") else {}
        queue = connection.queue(name)
        queue.send("x", **options)
        if not options:
            queue.send_batch(["y", "z"])
            queue.send("later", delay=60)
            queue.send("once", deduplication_id="1")
            queue.send("of a group", group="g")


QUEUES = ("orders", "orders.fifo", "wide")


@pytest.mark.parametrize("only", [(), QUEUES], ids=["all queues", "three queues"])
def test_a_producer_sends(users: Users, only: tuple[str, ...]) -> None:
    with users.connect("producer", *only) as connection:
        send(connection, *QUEUES)
        refused(connection.queue("orders").receive)
        refused(connection.queue("orders").purge)
        refused(connection.delete_queue, "orders")
        if only:
            refused(connection.create_queue, "new")
            refused(connection.queue("other").send, "x")


@pytest.mark.parametrize("only", [(), (*QUEUES, "dead", "dead.fifo")], ids=["all queues", "its queues"])
def test_a_consumer_receives_extends_deletes_and_lets_dead_letters_go(users: Users, only: tuple[str, ...]) -> None:
    with rqsqs.connect(users.server.url, prefix=users.prefix) as owner:
        send(owner, *QUEUES)
    with users.connect("consumer", *only) as connection:
        for name in QUEUES:
            queue = connection.queue(name)
            (message,) = queue.receive(1, wait=1)
            message.change_visibility(100)
            message.delete()
        assert connection.queue("dead").receive(wait=0.05) == []
        for name in ("orders", "orders.fifo"):  # received too often: the next receive lets it go
            queue, dead = connection.queue(name), connection.queue(name.replace("orders", "dead"))
            with rqsqs.connect(users.server.url, prefix=users.prefix) as owner:
                send(owner, name) if name == "orders" else owner.queue(name).send("y", group="h", deduplication_id="2")
            for message in queue.receive(10):
                message.change_visibility(0)
            queue.receive(10)
            assert dead.receive(10)
        refused(connection.delete_queue, "orders")
        if only:
            refused(connection.create_queue, "new")
            refused(connection.queue("other").receive)


def test_a_consumer_waits_with_asyncio_too(users: Users) -> None:
    async def scenario() -> None:
        async with aio.connect(users.url("consumer"), prefix=users.prefix) as connection:
            waiting = [asyncio.create_task(connection.queue(name).receive(wait=30)) for name in ("orders", "wide")]
            await asyncio.sleep(0.05)
            with rqsqs.connect(users.server.url, prefix=users.prefix) as owner:
                owner.queue("orders").send("x")
                owner.queue("wide").send("y")
            assert [message.body for task in waiting for message in await task] == ["x", "y"]
            task = asyncio.create_task(connection.queue("orders").receive(wait=30))
            await asyncio.sleep(0.05)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(asyncio.wait_for(scenario(), 100))


def test_a_worker_works(users: Users) -> None:
    app = Worker(users.url("worker"), prefix=users.prefix)
    done: list[object] = []

    @app.handler("orders")
    def handle(message: rqsqs.Message) -> None:
        if message.body == "bad":
            raise ValueError("bad")
        done.append(message.body)

    with rqsqs.connect(users.server.url, prefix=users.prefix) as owner:
        for body in ("a", "bad", "b"):
            owner.queue("orders").send(body)
        running = Running(app)
        try:
            until(lambda: len(done) == 2, lambda: app.status())
            assert [each.body for each in owner.queue("dead").receive(10, wait=30)] == ["bad"]
            assert owner.queue("orders").consumers()
        finally:
            running.stop()


ALWAYS = rqsqs.Alarm(
    "always", metric_name="visible", queue="orders", threshold=0, comparison_operator=">=",
    treat_missing_data="breaching", alarm_actions=["arn:aws:sqs:us-east-1:000000000000:other"],
)  # fmt: skip


@pytest.mark.parametrize("role", ["evaluator", "worker", "gateway", "admin"])
def test_who_evaluates_may_do_so(users: Users, role: str, caplog: pytest.LogCaptureFixture) -> None:
    """Evaluate, follow events, act, and write the history of queues."""

    async def once(url: str) -> None:
        async with aio.connect(url, prefix=users.prefix) as connection:
            runner = AlarmRunner(connection)
            assert await connection.transport.run(runner.evaluator.turn()) is not None
            assert runner.evaluator.is_holder
            await runner.outbox.until_done()
            await connection.transport.run(release_actions(connection.transport.space, ["none"]))
            assert await connection.transport.run(Sampler(connection.transport.space).turn()) is not None

    with rqsqs.connect(users.server.url, prefix=users.prefix) as owner:
        owner.alarms.put(ALWAYS)
        owner.alarms.put(rqsqs.CompositeAlarm("both", "ALARM(always) OR OK(always)"))
        owner.event_rules.put(rqsqs.EventRule("new", kinds=["queue-created"], actions=["log:"]))
        owner.create_queue("new")
        owner.queue("other").purge()
        asyncio.run(asyncio.wait_for(once(users.url(role)), 100))
        assert owner.alarms.get("always").state.value == "ALARM"
        assert [event.summary for event in owner.event_rules.history("new")] == ["Successfully executed action log:"]
        assert [record.message for record in caplog.records if record.levelname == "ERROR"] == []
        assert [event.summary for event in owner.alarms.history("always") if event.kind == "Action"] == [
            f"Successfully executed action {ALWAYS.alarm_actions[0]}"
        ]
        assert owner.queue("other").counts().visible == 1


def test_an_exporter_sees_alarms_and_changes_none(users: Users) -> None:
    with users.connect("exporter") as connection:
        refused(connection.alarms.put, ALWAYS)
        assert connection.transport.run(read_health(connection.transport.space)).alarms == 0
        assert connection.alarms.list() == []


def test_an_exporter_reads_numbers_and_changes_nothing(users: Users) -> None:
    with users.connect("exporter") as connection:
        assert "orders" in [queue.name for queue in connection.queues()]
        queue = connection.queue("orders")
        assert queue.counts().visible == 0
        assert queue.info().name == "orders"
        assert queue.consumers() == []
        refused(queue.send, "x")
        refused(queue.receive)
        refused(queue.purge)
        client = redis.Redis.from_url(users.url("exporter"))
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.set(f"{users.prefix}:{{orders/0}}:orders:meta", "x")
        client.close()


@pytest.mark.parametrize("suffix", ["", ".fifo"])
def test_an_exporter_reads_metrics_also_of_what_it_may_not_drop(users: Users, suffix: str) -> None:
    clock, name = VirtualClock(), f"old{suffix}"
    with rqsqs.connect(users.server.url, prefix=users.prefix, clock=clock) as owner:
        queue = owner.create_queue(name, retention=60, visibility_timeout=20)
        for n in range(3):
            options = {"group": f"g{n}", "deduplication_id": f"{n}"} if suffix else {}
            queue.send("x", **options)
            queue.send("later", delay=5, **(options | {"deduplication_id": f"later {n}"} if suffix else {}))
        queue.receive(1)
        url = users.url("exporter")
        with rqsqs.connect(url, prefix=users.prefix, clock=clock) as exporter:
            for seconds, visible in (0, 2), (10, 5), (15, 6), (60, 6):
                clock.advance(seconds)
                before = snapshot(users.root, users.prefix)
                found = exporter.queue(name).metrics()
                assert (found.visible, found.sent, found.expired) == (visible, 6, 0)
                assert [m.visible for m in exporter.metrics("old")] == [visible]
                assert snapshot(users.root, users.prefix) == before
        found = queue.metrics()  # who may drop them does
        assert (found.visible, found.sent, found.expired) == (0, 6, 6)


def test_an_admin_does_everything_and_is_no_root_of_the_server(users: Users) -> None:
    with users.connect("admin") as connection:
        queue = connection.create_queue("new")
        queue.send("x")
        queue.configure(visibility_timeout=5)
        queue.purge()
        queue.pause()
        queue.resume()
        connection.delete_queue("new")
    client = redis.Redis.from_url(users.url("admin"))
    for command in (("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "SET", "save", ""), ("SHUTDOWN",), ("ACL", "LIST"),
                    ("GET", "foreign"), ("REPLICAOF", "NO", "ONE")):  # fmt: skip
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.execute_command(*command)
    assert client.info("server")
    client.close()


def test_a_gateway_serves_every_account(users: Users) -> None:
    from rqsqs._io.sync.runner import Transport
    from rqsqs.sqs import Context, perform

    url = users.url("gateway")
    for account, prefix in (("000000000000", users.prefix), ("111111111111", f"{users.prefix}/111111111111")):
        transport = Transport(url, prefix)
        context = Context(transport.space, account=account)

        def run(action: str, **params: Any) -> Any:
            return transport.run(perform(context, action, params))  # noqa: B023 - called right here

        queue = run("CreateQueue", QueueName="new", tags={"a": "b"})["QueueUrl"]
        run("SendMessage", QueueUrl=queue, MessageBody="x")
        handle = run("ReceiveMessage", QueueUrl=queue)["Messages"][0]["ReceiptHandle"]
        run("ChangeMessageVisibility", QueueUrl=queue, ReceiptHandle=handle, VisibilityTimeout=5)
        run("DeleteMessage", QueueUrl=queue, ReceiptHandle=handle)
        run("AddPermission", QueueUrl=queue, Label="l", AWSAccountIds=["222222222222"], Actions=["SendMessage"])
        run("SetQueueAttributes", QueueUrl=queue, Attributes={"DelaySeconds": "1"})
        run("GetQueueAttributes", QueueUrl=queue, AttributeNames=["All"])
        run("ListQueues", QueueNamePrefix="n")
        run("PurgeQueue", QueueUrl=queue)
        run("DeleteQueue", QueueUrl=queue)
        transport.close()


def snapshot(client: redis.Redis, prefix: str) -> dict[bytes, bytes | None]:
    """Everything under a prefix."""
    return {key: client.dump(key) for key in client.scan_iter(f"{prefix}:*")}


CALLS: dict[str, Callable[[rqsqs.Queue, rqsqs.Connection], object]] = {
    "receive": lambda queue, _: queue.receive(),
    "delete": lambda queue, _: queue.delete(HANDLES[queue.name]),
    "change visibility": lambda queue, _: queue.change_visibility(HANDLES[queue.name], 5),
    "cancel": lambda queue, _: queue.cancel(LATER[queue.name]),
    "reschedule": lambda queue, _: queue.reschedule(LATER[queue.name], delay=100),
    "purge": lambda queue, _: queue.purge(),
    "pause": lambda queue, _: queue.pause(),
    "pause a group": lambda queue, _: queue.pause("g"),
    "configure": lambda queue, _: queue.configure(visibility_timeout=5),
    "tag": lambda queue, _: queue.tag({"a": "b"}),
    "counts": lambda queue, _: queue.counts(),
    "delete queue": lambda queue, connection: connection.delete_queue(queue.name),
    "send": lambda queue, _: queue.send("x", **({"group": "g", "deduplication_id": "9"} if queue.is_fifo else {})),
}
HANDLES: dict[str, str] = {}
LATER: dict[str, str] = {}


@pytest.mark.parametrize("role", ["producer", "consumer", "worker", "exporter"])
@pytest.mark.parametrize("name", ["busy", "busy.fifo"])
def test_what_is_refused_changes_nothing(users: Users, role: str, name: str) -> None:
    """A script that a role may not run to its end must not do half of it."""
    options = {"group": "g"} if name.endswith(".fifo") else {}

    def refill(owner: rqsqs.Connection) -> None:
        if owner.exists(name):
            owner.delete_queue(name)
        queue = owner.create_queue(name)
        for n in range(3):
            queue.send(f"{n}", **options, **({"deduplication_id": str(n)} if options else {}))
        HANDLES[name] = queue.receive(1)[0].receipt_handle
        LATER[name] = queue.send(
            "later", delay=60, **options, **({"deduplication_id": "l"} if options else {})
        ).message_id

    with rqsqs.connect(users.server.url, prefix=users.prefix) as owner, users.connect(role) as connection:
        connection.exists(name)
        refusals = set()
        for what, call in CALLS.items():
            refill(owner)
            before = snapshot(users.root, users.prefix)
            try:
                call(connection.queue(name), connection)
            except rqsqs.AuthenticationFailed:
                refusals.add(what)
                assert snapshot(users.root, users.prefix) == before, what
    assert "delete queue" in refusals
    assert ("send" in refusals) is (role == "exporter")
    assert ("receive" in refusals) is (role in ("producer", "exporter"))


SET_META = "return redis.call('HSET', KEYS[1], 'VisibilityTimeout', '1')"
REMOVE = "return redis.call('UNLINK', KEYS[1])"
INFO = "return redis.call('INFO')"
POWER: dict[str, dict[str, bool]] = {  # what no program of the role does, and whether a script of its user's own can
    "producer": {SET_META: True, REMOVE: True, INFO: False, "return redis.call('LPOP', KEYS[1])": False},
    "consumer": {SET_META: True, REMOVE: True, "return redis.call('FLUSHALL')": False},
    "worker": {SET_META: True, REMOVE: True, "return redis.call('KEYS', '*')": False},
    "evaluator": {SET_META: True, REMOVE: True, "return redis.call('FLUSHALL')": False},
    "exporter": {"return redis.call('HGETALL', KEYS[1])": True, INFO: True, SET_META: False, REMOVE: False},
    "gateway": {SET_META: True, REMOVE: True, INFO: True, "return redis.call('CONFIG', 'GET', 'save')": False},
    "admin": {SET_META: True, REMOVE: True, "return redis.call('CONFIG', 'SET', 'save', '')": False},
}


@pytest.mark.parametrize("role", ROLES)
def test_the_power_that_is_left(users: Users, role: str) -> None:
    """Docs list it: whoever may load scripts can do with its keys whatever its commands allow."""
    client = redis.Redis.from_url(users.url(role))
    for script, may in POWER[role].items():
        sha = client.script_load(script)
        key = f"{users.prefix}:{{other/0}}:other:{'nothing' if script == REMOVE else 'meta'}"
        with (
            contextlib.nullcontext()
            if may
            else pytest.raises(
                redis.exceptions.ResponseError, match=r"can't run|can't access|not allowed|permission|ACL"
            )
        ):
            client.evalsha(sha, 1, key)
    with pytest.raises(redis.exceptions.ResponseError):
        client.evalsha(client.script_load("return redis.call('GET', KEYS[1])"), 1, "foreign")
    client.close()


def test_every_role_has_its_rules_in_both_forms() -> None:
    from click.testing import CliRunner

    from rqsqs.cli.program import program

    for role in ROLES:
        shown = CliRunner().invoke(program, ["acl", role, "--prefix", "p", "--json"], standalone_mode=False)
        record = json.loads(shown.stdout)
        assert record["rules"] == rules(role, "p")
        assert record["power"]


def test_docs_list_the_power_that_each_role_leaves() -> None:
    page = (Path(__file__).parents[2] / "docs" / "authorization.md").read_text("utf-8")
    listed = dict(re.findall(r"^\| `(\w+)` \| [^|]* \| (.*?) \|$", page, re.MULTILINE))
    assert listed == {name: role.power for name, role in ROLES.items()}
