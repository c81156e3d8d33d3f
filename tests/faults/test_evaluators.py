"""Five evaluators that all believe that it is their turn, and are killed all the time: each transition happens once."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

import redis

import rqsqs
from rqsqs import Alarm, CompositeAlarm, QueueMetrics
from rqsqs._core.operation import Flow, Operation
from rqsqs._core.operations.alarms import read_history
from rqsqs._core.operations.metric_history import append
from tests.clusters import until
from tests.faults import evaluator
from tests.faults.conftest import CONTEXT

MINUTES, EVALUATORS, ALARMS = 90, 5, 12
MINUTE_US = 60_000_000


def test_no_transition_is_missed_and_none_is_made_twice(valkey_url: str, prefix: str) -> None:
    CONTEXT.set_forkserver_preload(["tests.faults.evaluator"])
    draw = random.Random(7)
    start_us = 1_700_000_040_000_000
    now_us = CONTEXT.Value("q", start_us, lock=False)
    clock = evaluator.SharedClock(now_us)
    kills = 0

    def start() -> object:
        process = CONTEXT.Process(target=evaluator.run, args=(valkey_url, prefix, now_us), daemon=True)
        process.start()
        return process

    with rqsqs.connect(valkey_url, prefix=prefix, clock=clock) as connection:
        queue = connection.create_queue("orders")
        created_ms = queue.info().created_at_ms
        put(connection)
        depths = [draw.randrange(ALARMS + 2) for _ in range(MINUTES)]
        processes = [start() for _ in range(EVALUATORS)]
        try:
            # What was before the first evaluation is not made up for
            until(lambda: connection.alarms.evaluation() is not None, "somebody evaluates")
            minute = 0
            while minute < MINUTES:
                for _ in range(draw.choice([1, 1, 1, 4])):  # several at once: these are made up for
                    minute += 1
                    if minute <= MINUTES:
                        at_ms = (start_us + minute * MINUTE_US) // 1000
                        sampled = QueueMetrics("orders", at_ms, created_ms, visible=depths[minute - 1])
                        assert connection.transport.run(append(queue._ref.home, sampled)).is_taken
                minute = min(minute, MINUTES)
                now_us.value = start_us + minute * MINUTE_US
                reached = now_us.value // MINUTE_US
                while (found := connection.alarms.evaluation()) is None or found.minute < reached:
                    if draw.random() < 0.2:
                        n = draw.randrange(EVALUATORS)
                        processes[n].kill()  # type: ignore[attr-defined]
                        processes[n].join()  # type: ignore[attr-defined]
                        processes[n] = start()
                        kills += 1
            check(connection, depths)
        finally:
            for process in processes:
                process.kill()  # type: ignore[attr-defined]
    assert kills > 10


def put(connection: rqsqs.Connection) -> None:
    for n in range(ALARMS):
        connection.alarms.put(
            Alarm(
                f"over {n:02}",
                metric_name="visible",
                queue="orders",
                threshold=n,
                comparison_operator=">",
                alarm_actions=["log:"],
                ok_actions=["log:", "log:"],
            )
        )
    rule = 'ALARM("over 03") AND NOT ALARM("over 07")'
    connection.alarms.put(CompositeAlarm("between", rule, alarm_actions=["log:"]))
    connection.alarms.put(CompositeAlarm("outside", "NOT ALARM(between)", ok_actions=["log:"]))


def check(connection: rqsqs.Connection, depths: list[int]) -> None:
    """What the states must have been, one by one."""
    rules: dict[str, tuple[Callable[[int], bool], str, int, int]] = {
        f"over {n:02}": (lambda depth, n=n: depth > n, "INSUFFICIENT_DATA", 1, 2)  # type: ignore[misc]
        for n in range(ALARMS)
    }
    rules["between"] = (lambda depth: 3 < depth <= 7, "OK", 1, 0)
    rules["outside"] = (lambda depth: not 3 < depth <= 7, "ALARM", 0, 1)
    actions = 0
    space = connection.transport.space
    for name, (is_alarm, before, on_alarm, on_ok) in rules.items():
        wanted = []
        for depth in depths:
            state = "ALARM" if is_alarm(depth) else "OK"
            if state != before:
                wanted.append(f"Alarm updated from {before} to {state}")
                actions += on_alarm if state == "ALARM" else on_ok
            before = state
        found: list[str] = []
        is_more = True
        while is_more:
            events, is_more = connection.transport.run(_one(read_history(space, name, len(found))))
            found += [event.summary for event in events]
        made = [summary for summary in reversed(found) if summary.startswith("Alarm updated")]
        if name in ("between", "outside"):  # when they were created
            made = made[1:]
        assert made == wanted, name
    assert _length(connection) == actions


def _one(operation: Operation) -> Flow[Any]:
    return (yield operation)


def _length(connection: rqsqs.Connection) -> int:
    with redis.Redis.from_url(connection.transport.url) as client:
        return int(client.hlen(connection.transport.space.alarms("outbox")[0]))
