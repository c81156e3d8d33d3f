"""Five evaluators that all believe that it is their turn, and are killed all the time: each transition happens once,
and its actions are done under one idempotency key, also if the server fails over."""

from __future__ import annotations

import contextlib
import random
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis

import rqsqs
from rqsqs import Alarm, CompositeAlarm, QueueMetrics
from rqsqs._core.operation import Flow, Operation
from rqsqs._core.operations.alarms import read_history
from rqsqs._core.operations.metric_history import append
from rqsqs.errors import ServerError
from tests.clusters import Sentinels, until
from tests.faults import evaluator
from tests.faults.conftest import CONTEXT
from tests.faults.test_chaos import ALWAYS
from tests.faults.test_sentinels import fail_over

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
            assert check(connection, depths) == _length(connection)
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
                treat_missing_data="ignore",
                alarm_actions=["log:"],
                ok_actions=["log:", "log:"],
            )
        )
    rule = 'ALARM("over 03") AND NOT ALARM("over 07")'
    connection.alarms.put(CompositeAlarm("between", rule, alarm_actions=["log:"]))
    connection.alarms.put(CompositeAlarm("outside", "NOT ALARM(between)", ok_actions=["log:"]))


def wanted(depths: list[int]) -> dict[str, list[tuple[str, str, int]]]:
    """The transitions that must have been made, by alarm: the states before and after, and how many actions."""
    rules: dict[str, tuple[Callable[[int], bool], str, int, int]] = {
        f"over {n:02}": (lambda depth, n=n: depth > n, "INSUFFICIENT_DATA", 1, 2)  # type: ignore[misc]
        for n in range(ALARMS)
    }
    rules["between"] = (lambda depth: 3 < depth <= 7, "OK", 1, 0)
    rules["outside"] = (lambda depth: not 3 < depth <= 7, "ALARM", 0, 1)
    found: dict[str, list[tuple[str, str, int]]] = {}
    for name, (is_alarm, before, on_alarm, on_ok) in rules.items():
        found[name] = []
        for depth in depths:
            state = "ALARM" if is_alarm(depth) else "OK"
            if state != before:
                found[name].append((before, state, on_alarm if state == "ALARM" else on_ok))
            before = state
    return found


def check(connection: rqsqs.Connection, depths: list[int]) -> int:
    """Were these made, one by one? Returns how many actions they have."""
    space = connection.transport.space
    transitions = wanted(depths)
    for name, each in transitions.items():
        found: list[str] = []
        is_more = True
        while is_more:
            events, is_more = connection.transport.run(_one(read_history(space, name, len(found))))
            found += [event.summary for event in events]
        made = [summary for summary in reversed(found) if summary.startswith("Alarm updated")]
        if name in ("between", "outside"):  # when they were created
            made = made[1:]
        assert made == [f"Alarm updated from {before} to {state}" for before, state, _ in each], name
    return sum(actions for each in transitions.values() for _, _, actions in each)


@pytest.mark.timeout(300)
def test_a_failover_misses_nothing_and_makes_no_other_action_of_a_transition(tmp_path: Path, prefix: str) -> None:
    """Replication is asynchronous, so the new master may have forgotten transitions and what was done: it is made
    again, and the actions have the idempotency keys that they had."""
    CONTEXT.set_forkserver_preload(["tests.faults.evaluator"])
    draw = random.Random(11)
    start_us = 1_700_000_040_000_000
    now_us = CONTEXT.Value("q", start_us, lock=False)
    noted = tmp_path / "noted"
    noted.touch()
    minutes, failovers = 40, {8, 20, 32}
    depths = [draw.randrange(ALARMS + 2) for _ in range(minutes)]
    kills = 0

    def start(url: str) -> Any:
        process = CONTEXT.Process(target=evaluator.run_and_act, args=(url, prefix, now_us, str(noted)), daemon=True)
        process.start()
        return process

    with Sentinels(down_after=60_000, **ALWAYS) as sentinels:  # no failover but ours, however busy the machine is

        def replicated() -> None:
            with redis.Redis(port=sentinels.known(), socket_timeout=60) as client:
                client.set("marker", "x")
                assert client.wait(1, 30_000) == 1

        def last_sample() -> bytes:
            with redis.Redis(port=sentinels.known(), socket_timeout=60) as client:
                return client.get(*queue._ref.home.keys("history_last")) or b""

        with rqsqs.connect(sentinels.url, prefix=prefix, clock=evaluator.SharedClock(now_us)) as connection:
            queue = connection.create_queue("orders")
            created_ms = queue.info().created_at_ms
            put(connection)
            processes = [start(sentinels.url) for _ in range(EVALUATORS)]
            try:
                until(lambda: connection.alarms.evaluation() is not None, "somebody evaluates")
                for minute, depth in enumerate(depths, 1):
                    at_ms = (start_us + minute * MINUTE_US) // 1000
                    sampled = QueueMetrics("orders", at_ms, created_ms, visible=depth)
                    known = last_sample()
                    while last_sample() == known:  # what is lost may be a transition, and no sample
                        connection.transport.run(append(queue._ref.home, sampled))
                        replicated()
                    if minute in failovers:
                        cut_replication(sentinels.known())
                    before = noted.stat().st_size
                    now_us.value = start_us + minute * MINUTE_US
                    if minute in failovers:  # in the middle of it, when something was done that will be forgotten
                        until(lambda size=before: noted.stat().st_size > size, "an action was done")
                        time.sleep(draw.uniform(0, 0.02))
                        set_down_after(sentinels, 1500)
                        fail_over(sentinels)
                        set_down_after(sentinels, 60_000)
                    while not is_evaluated(connection, now_us.value // MINUTE_US):
                        if draw.random() < 0.1:
                            n = draw.randrange(EVALUATORS)
                            processes[n].kill()
                            processes[n].join()
                            processes[n] = start(sentinels.url)
                            kills += 1
                # What those who were killed had claimed falls due
                now_us.value += 5 * MINUTE_US
                until(lambda: _length(connection, sentinels.known()) == 0, "all actions are done", 60)
                actions = check(connection, depths)
            finally:
                for process in processes:
                    process.kill()
    lines = [tuple(line.split("\t")) for line in noted.read_text().splitlines()]
    done = Counter((name, state) for _, name, state in set(lines))
    assert done - Counter(_actions_of(wanted(depths))) == Counter(), lines
    assert done == _actions_of(wanted(depths))
    assert len({id for id, _, _ in lines}) == done.total() == actions
    assert len(lines) > actions, "nothing was forgotten, so nothing was tried"
    assert kills > 3


def _actions_of(transitions: dict[str, list[tuple[str, str, int]]]) -> dict[tuple[str, str], int]:
    found = Counter[tuple[str, str]]()
    for name, each in transitions.items():
        for _, state, actions in each:
            found[name, state] += actions
    return {key: number for key, number in found.items() if number}


def set_down_after(sentinels: Sentinels, milliseconds: int) -> None:
    for port in sentinels.ports:
        with redis.Redis(port=port, socket_timeout=10) as client:
            client.execute_command("SENTINEL", "SET", "mymaster", "down-after-milliseconds", milliseconds)


def cut_replication(port: int) -> None:
    """Let a master go on without its replica, which cannot come back."""
    with redis.Redis(port=port) as client:
        client.config_set("requirepass", "nobody knows")
        client.execute_command("CLIENT", "KILL", "TYPE", "replica")


def is_evaluated(connection: rqsqs.Connection, minute: int) -> bool:
    with contextlib.suppress(ServerError):
        found = connection.alarms.evaluation()
        if found is not None and found.minute >= minute:
            assert found.failed == 0, found
            return True
    return False


def _one(operation: Operation) -> Flow[Any]:
    return (yield operation)


def _length(connection: rqsqs.Connection, port: int | None = None) -> int:
    """How many actions wait."""
    url = connection.transport.url if port is None else f"redis://127.0.0.1:{port}"
    with redis.Redis.from_url(url) as client:
        return int(client.hlen(connection.transport.space.alarms("outbox")[0]))
