"""When the server has no memory left, alarms are evaluated and tell it: then above all."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import redis

import rqsqs.aio
from rqsqs import Alarm, ServerOutOfMemory
from rqsqs._core.flows.metric_history import sample
from rqsqs.alarms.conditions import defaults
from rqsqs.alarms.running import AlarmRunner
from rqsqs.testing import VirtualClock
from tests.servers import Server

MINUTE = timedelta(minutes=1)


def test_alarms_go_off_while_the_server_is_full() -> None:
    async def main(url: str) -> None:
        clock = VirtualClock()
        clock.advance(60 - clock.now_us() / 1e6 % 60)
        async with rqsqs.aio.connect(url, clock=clock) as connection:
            run, space = connection.transport.run, connection.transport.space
            queue = await connection.create_queue("orders")
            await queue.send_batch(["x" * 1000] * 100)
            for alarm in defaults("orders", actions=["log:"]):
                await connection.alarms.put(alarm)
            runner = AlarmRunner(connection)

            async def a_minute() -> None:
                clock.advance(60)
                await run(sample(space))
                assert await run(runner.evaluator.turn()) is not None
                await runner.outbox.until_done()

            async def states() -> dict[str, str]:
                return {info.name: info.state.value for info in await connection.alarms.list()}

            await a_minute()
            assert set((await states()).values()) == {"OK"}
            with redis.Redis.from_url(url) as admin:
                admin.config_set("maxmemory", admin.info("memory")["used_memory"] - 20_000)
            try:
                await queue.send("y" * 1000)
            except ServerOutOfMemory:
                pass
            else:
                raise AssertionError("the server must be full")
            for _ in range(20):
                await a_minute()
            found = await states()
            assert found["server-memory"] == found["orders-old-messages"] == found["orders-no-consumer"] == "ALARM"
            history = await connection.alarms.history("server-memory")
            assert [event.data["actionState"] for event in history if event.kind == "Action"] == ["Succeeded"]
            told = [event async for event in connection.events(timedelta(hours=1), kind="alarm-changed")]
            assert "server-memory" in [event.detail["alarm"] for event in told if event.detail["change"] == "state"]
            await queue.purge()
            told = [event async for event in connection.events(timedelta(hours=1), kind="queue-purged")]
            assert len(told) == 1
            with_one_more = Alarm("more", metric_name="visible", queue="orders", threshold=1, comparison_operator=">")
            try:
                await connection.alarms.put(with_one_more)
            except ServerOutOfMemory:
                pass
            else:
                raise AssertionError("a full server must take no new alarms")

    with Server("valkey", maxmemory_policy="noeviction") as server:
        asyncio.run(main(server.url))
