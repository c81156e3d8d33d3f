"""Actions are done beside the evaluation: a slow target, a failure and a process that dies stop nobody else."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import rqsqs.aio
from rqsqs import Alarm
from rqsqs._core.operations.alarms import claim_actions, read_actions, read_health
from rqsqs.alarms import outbox as outboxes
from rqsqs.alarms import running
from rqsqs.alarms.actions import Actions, ActionsConfig, ActionsFile, ActionsFileInvalid
from rqsqs.alarms.evaluator import Evaluator
from rqsqs.alarms.outbox import Outbox
from rqsqs.alarms.running import AlarmRunner
from rqsqs.errors import AuthenticationFailed, ServerTimeout
from tests.model.harness import client

PATIENCE_S = 60
QUEUE = "arn:aws:sqs:us-east-1:000000000000:"
Send = Callable[[str, str], Awaitable[None]]


class Queues:
    """Stands for all queues: send() is told the queue and the idempotency key."""

    def __init__(self, send: Send) -> None:
        self.now, self.most, self.sent = Counter[str](), Counter[str](), Counter[str]()
        self._send = send

    def open(self, target: Any) -> Any:
        async def send(body: str, *, deduplication_id: str, **_: object) -> SimpleNamespace:
            self.now[target.queue] += 1
            self.most[target.queue] = max(self.most[target.queue], self.now[target.queue])
            self.most["all"] = max(self.most["all"], self.now.total())
            try:
                await self._send(target.queue, deduplication_id)
            finally:
                self.now[target.queue] -= 1
            self.sent[target.queue] += 1
            return SimpleNamespace(message_id="id", is_duplicate=False)

        return SimpleNamespace(send=send)


async def put(connection: rqsqs.aio.Connection, count: int, *targets: str) -> None:
    """Let alarms go off."""
    for target in targets:
        if target.startswith(QUEUE):
            await connection.create_queue(target.removeprefix(QUEUE))
    for n in range(count):
        await connection.alarms.put(
            Alarm(f"late {n}", metric_name="visible", queue="q", threshold=1, comparison_operator=">",
                  alarm_actions=targets)
        )  # fmt: skip
        await connection.alarms.set_state(f"late {n}", "ALARM", "a test")


async def until(what: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not await what():
            await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def serving(outbox: Outbox) -> Any:
    task = asyncio.create_task(outbox.run(lambda: True))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


def test_a_slow_target_and_a_broken_one_stop_no_other(valkey_url: str, prefix: str) -> None:
    async def main() -> None:
        hangs = asyncio.Event()

        async def send(queue: str, key: str) -> None:
            await (hangs.wait() if queue == "slow" else asyncio.sleep(0))
            if queue == "broken":
                raise RuntimeError("a mistake")

        queues = Queues(send)
        async with rqsqs.aio.connect(valkey_url, prefix=prefix) as connection:
            await put(connection, 30, QUEUE + "slow", QUEUE + "broken", QUEUE + "fast")
            outbox = Outbox(connection.transport, Actions(ActionsConfig(concurrency=4), open_queue=queues.open))

            async def fast_ones_are_done() -> bool:
                return queues.sent["fast"] == 30

            async def all_are_done() -> bool:
                found = await connection.transport.run(read_health(connection.transport.space))
                return bool(found.counts.get("done") == 60)

            async with serving(outbox):
                await until(fast_ones_are_done)
                assert queues.sent["slow"] == 0
                hangs.set()
                await until(all_are_done)
            assert (queues.most["slow"], queues.most["all"]) == (2, 4)
            found = await connection.transport.run(read_health(connection.transport.space))
            assert found.counts["failed"] >= 30
            assert found.waiting == 30

    asyncio.run(main())


def test_more_than_one_target_may_have_is_left_to_others(
    valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many for one that hangs that they would take all there is room for."""
    monkeypatch.setattr(outboxes, "MOST_HELD", 12)
    monkeypatch.setattr(outboxes, "MOST_OF_PLACE", 6)

    async def main() -> None:
        async def send(queue: str, key: str) -> None:
            if queue == "slow":
                await asyncio.Event().wait()

        queues = Queues(send)
        async with rqsqs.aio.connect(valkey_url, prefix=prefix) as connection:
            await put(connection, 40, QUEUE + "slow")
            await connection.create_queue("fast")
            await connection.alarms.put(
                Alarm("last", metric_name="visible", queue="q", threshold=1, comparison_operator=">",
                      alarm_actions=[QUEUE + "fast"])
            )  # fmt: skip
            await connection.alarms.set_state("last", "ALARM", "a test")
            monkeypatch.setattr(outboxes, "DRAIN_S", 0.05)
            outbox = Outbox(connection.transport, Actions(ActionsConfig(concurrency=4), open_queue=queues.open))

            async def it_is_done() -> bool:
                return queues.sent["fast"] == 1

            async with serving(outbox):
                await until(it_is_done)

    asyncio.run(main())


def test_two_processes_do_each_action_once(valkey_url: str, prefix: str) -> None:
    async def main() -> None:
        done = Counter[str]()

        async def send(queue: str, key: str) -> None:
            done[key] += 1
            await asyncio.sleep(0.001)

        async with rqsqs.aio.connect(valkey_url, prefix=prefix) as connection:
            await put(connection, 40, QUEUE + "a", QUEUE + "b")
            actions = Actions(open_queue=Queues(send).open)
            both = [Outbox(connection.transport, actions) for _ in range(2)]

            async def nothing_waits() -> bool:
                found = await connection.transport.run(read_health(connection.transport.space))
                return bool(found.waiting == 0)

            async with serving(both[0]), serving(both[1]):
                await until(nothing_waits)
        assert len(done) == 80
        assert set(done.values()) == {1}

    asyncio.run(main())


def test_what_was_not_done_at_the_end_is_given_back(
    valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outboxes, "DRAIN_S", 0.5)

    async def main() -> None:
        begun = asyncio.Event()

        async def send(queue: str, key: str) -> None:
            begun.set()
            await asyncio.Event().wait()

        async with rqsqs.aio.connect(valkey_url, prefix=prefix) as connection:
            await put(connection, 6, QUEUE + "slow")
            actions = Actions(ActionsConfig(concurrency=4), open_queue=Queues(send).open)
            async with serving(Outbox(connection.transport, actions)):
                await begun.wait()
            due = await connection.transport.run(read_actions(connection.transport.space))
            assert len(due.entries) == 6
            assert {entry.attempts for entry in due.entries} == {0}

    asyncio.run(main())


def test_what_nobody_can_read_hides_nothing(valkey_url: str, prefix: str, caplog: pytest.LogCaptureFixture) -> None:
    """More of it than is read at once, and it was due first."""

    async def main() -> None:
        async def send(queue: str, key: str) -> None: ...

        queues = Queues(send)
        async with rqsqs.aio.connect(valkey_url, prefix=prefix) as connection:
            await put(connection, 1, QUEUE + "a")
            outbox, due = connection.transport.space.alarms("outbox outbox_due")
            with client(valkey_url) as redis:
                redis.hset(outbox, mapping={f"x{n}": "{}" for n in range(30)})
                redis.zadd(due, {f"x{n}": 1 for n in range(30)} | {f"no entry {n}": 1 for n in range(30)})
                await Outbox(connection.transport, Actions(open_queue=queues.open)).until_done()
                assert queues.sent["a"] == 1
                assert redis.zcard(due) == 30
        assert "cannot be read" in caplog.text

    asyncio.run(main())


def test_an_outcome_is_stored_when_the_server_answers_again(
    valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As at a failover: else the action would be done again."""

    async def main() -> None:
        async def send(queue: str, key: str) -> None: ...

        queues = Queues(send)
        async with rqsqs.aio.connect(valkey_url, prefix=prefix) as connection:
            await put(connection, 1, QUEUE + "a")
            transport = connection.transport
            run, lost = transport.run, 2

            async def failing(step: Any) -> Any:
                nonlocal lost
                if getattr(step, "script", "") == "settle_alarm_action" and lost:
                    lost -= 1
                    raise ServerTimeout("away")
                return await run(step)

            monkeypatch.setattr(transport, "run", failing)
            await Outbox(transport, Actions(open_queue=queues.open)).until_done()
            assert (lost, queues.sent["a"]) == (0, 1)
            assert (await run(read_health(transport.space))).waiting == 0

    asyncio.run(main())


def test_evaluation_goes_on_while_actions_hang(valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        turns = begun = 0

        async def hang(self: Actions, pending: object) -> Any:
            nonlocal begun
            begun += 1
            await asyncio.Event().wait()

        monkeypatch.setattr(Actions, "run", hang)
        monkeypatch.setattr(outboxes, "DRAIN_S", 0.05)
        async with rqsqs.aio.connect(valkey_url, prefix=prefix) as connection:
            await put(connection, 1, "log:")
            runner = AlarmRunner(connection)
            turn = runner.evaluator.turn

            def counted() -> Any:
                nonlocal turns
                turns += 1
                return turn()

            monkeypatch.setattr(runner.evaluator, "turn", counted)
            monkeypatch.setattr(runner.evaluator, "delay", lambda: 0.01)
            running = asyncio.create_task(runner.run())

            async def many_turns_after_it_began() -> bool:
                return begun == 1 and turns > 20

            await until(many_turns_after_it_began)
            running.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await running

    asyncio.run(main())


def test_who_ends_lets_another_one_evaluate_at_once(
    valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lease is longer than all of this takes; so it is given back."""
    monkeypatch.setattr(Evaluator, "delay", lambda _: 0.05)

    async def main() -> None:
        async with rqsqs.aio.connect(valkey_url, prefix=prefix) as connection:
            names = []
            for _ in range(2):
                runner = AlarmRunner(connection)
                running = asyncio.create_task(runner.run())

                async def it_holds(runner: AlarmRunner = runner) -> bool:
                    return runner.evaluator.is_holder

                await until(it_holds)
                names.append(runner.evaluator.name)
                running.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await running
            assert len(set(names)) == 2

    asyncio.run(main())


def test_who_may_not_evaluate_tries_again_later(
    valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """A password was changed, and rights are given again."""
    monkeypatch.setattr(running, "REFUSED_S", 0.01)

    async def main() -> None:
        async with rqsqs.aio.connect(valkey_url, prefix=prefix) as connection:
            runner, refused = AlarmRunner(connection), 3
            turn = runner.evaluator.turn

            def sometimes() -> Any:
                nonlocal refused
                refused -= 1
                if refused >= 0:
                    raise AuthenticationFailed("wrong password")
                return turn()

            monkeypatch.setattr(runner.evaluator, "turn", sometimes)
            with pytest.raises(AuthenticationFailed):
                await runner.run(gives_up=True)
            task = asyncio.create_task(runner.run())

            async def it_evaluates() -> bool:
                return runner.evaluator.is_holder

            await until(it_evaluates)
            task.cancel()
            await asyncio.wait([task])
            assert [record.getMessage() for record in caplog.records] == ["alarms were not evaluated: wrong password"]

    asyncio.run(main())


def test_who_claimed_an_action_and_died_leaves_it_to_others(valkey_url: str, prefix: str) -> None:
    async def main() -> None:
        async def send(queue: str, key: str) -> None: ...

        queues = Queues(send)
        async with rqsqs.aio.connect(valkey_url, prefix=prefix) as connection:
            await put(connection, 1, QUEUE + "a")
            space, run = connection.transport.space, connection.transport.run
            (entry,) = (await run(read_actions(space))).entries
            assert await run(claim_actions(space, [(entry.id, 300)])) == [True]
            outbox = Outbox(connection.transport, Actions(open_queue=queues.open))
            await outbox.until_done()
            assert queues.sent["a"] == 0

            async def it_is_done() -> bool:
                await outbox.until_done()
                return queues.sent["a"] == 1

            await until(it_is_done)

    asyncio.run(main())


def test_the_actions_file_is_read_again_when_it_changes(
    valkey_url: str, prefix: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    now = 0.0
    path, secret = tmp_path / "actions.toml", tmp_path / "secret"
    topic = "arn:aws:sns:us-east-1:000000000000:ops"
    host = f'[[webhooks]]\nhost = "hooks.example.com"\nsecret_file = "{secret}"\n'
    with pytest.raises(ActionsFileInvalid):
        ActionsFile(path)
    secret.write_text("a" * 32)
    secret.chmod(0o600)
    path.write_text(host)
    file = ActionsFile(path, clock=lambda: now)

    async def main() -> None:
        nonlocal now

        async def send(queue: str, key: str) -> None: ...

        queues = Queues(send)
        async with rqsqs.aio.connect(valkey_url, prefix=prefix) as connection:
            outbox = Outbox(connection.transport, Actions(open_queue=queues.open), file.current)
            path.write_text(f'{host}[topics]\n"{topic}" = "{QUEUE}a"\n')
            now = 2.0
            await put(connection, 1, topic)
            await outbox.until_done()
            assert queues.sent["a"] == 1
            path.write_text("broken")
            now = 4.0
            await connection.alarms.set_state("late 0", "OK", "a test")
            await connection.alarms.set_state("late 0", "ALARM", "a test")
            await outbox.until_done()
            assert queues.sent["a"] == 2
            assert "stays in force" in caplog.text

    asyncio.run(main())
    path.write_text(host)
    secret.write_text("b" * 32)
    os.utime(secret, ns=(1, 1))
    now = 6.0
    assert file.current().webhooks["hooks.example.com"].secret == b"b" * 32
