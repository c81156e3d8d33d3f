"""The memory of the server: read of all masters, kept minute by minute, and looked at by alarms."""

from __future__ import annotations

import pytest

from rqsqs._core.flows import alarms, server_memory
from rqsqs._core.flows.metric_history import history, sample
from rqsqs._core.keys import PARTS, SLOTS, Keyspace, _slot
from rqsqs._core.operations.server_memory import Memory, append_memory
from rqsqs.alarm_models import Alarm
from rqsqs.alarms.evaluator import evaluate_all
from rqsqs.errors import InvalidParameterValue
from tests.clusters import ALL_ON_CLUSTER
from tests.lua.conftest import Engine

MINUTE_MS = 60_000


@pytest.fixture
def engine(engine: Engine) -> Engine:
    engine.clock.advance_ms(-engine.clock.ms % MINUTE_MS)
    return engine


def kept(engine: Engine) -> list[tuple[int, float]]:
    found = engine.run(server_memory.memory_history(engine.transport.space, 0, 2**60))
    return [(point.at_ms, point.metrics["memory_used_percent"].last) for point in found]


@pytest.mark.either_server
@pytest.mark.skipif(ALL_ON_CLUSTER, reason="it asks one server; see cluster/test_reading_metrics.py")
def test_it_is_what_the_server_says(engine: Engine) -> None:
    info = engine.redis.info("memory")
    found = engine.run(server_memory.memory(engine.transport.space))
    assert isinstance(found, Memory)
    assert found.limit == (info["maxmemory"] or info["total_system_memory"])
    assert 0.5 < found.used / info["used_memory"] < 2
    assert found.percent == pytest.approx(100 * found.used / found.limit)


def test_the_sampler_keeps_it_minute_by_minute(engine: Engine) -> None:
    space, start = engine.transport.space, engine.clock.ms
    for _ in range(3):
        engine.clock.advance_ms(MINUTE_MS)
        engine.run(sample(space))
        engine.run(sample(space))  # another sampler
    found = engine.run(server_memory.memory_history(space, start, start + 3 * MINUTE_MS))
    assert [point.at_ms for point in found] == [start, start + MINUTE_MS, start + 2 * MINUTE_MS]
    metrics = found[0].metrics
    assert set(metrics) == {"memory_used_percent", "memory_used_bytes", "memory_limit_bytes"}
    assert 0 < metrics["memory_used_bytes"].last < metrics["memory_limit_bytes"].last
    assert not found[0].is_gap


def test_a_clock_that_is_put_back_stops_nothing(engine: Engine) -> None:
    space = engine.transport.space
    assert engine.execute(append_memory(space, Memory(1024, 2048, 50)))
    engine.clock.advance_ms(-2 * MINUTE_MS)
    assert not engine.execute(append_memory(space, Memory(1024, 2048, 50)))
    engine.clock.advance_ms(-100 * MINUTE_MS)
    assert engine.execute(append_memory(space, Memory(1024, 2048, 75)))
    assert [percent for _, percent in kept(engine)] == [50, 75]


def test_rows_of_others_are_left_out(engine: Engine) -> None:
    engine.redis.rpush(engine.transport.space.memory, "no", b"\xff", "1 2 3", "1 2 3 x")
    engine.execute(append_memory(engine.transport.space, Memory(1024, 2048, 50)))
    assert [percent for _, percent in kept(engine)] == [50]


def test_an_account_of_a_gateway_has_none(engine: Engine) -> None:
    """The server is not theirs."""
    prefix = engine.transport.space.prefix
    account = Keyspace(f"{prefix}/123456789012", engine.clock, format_of=prefix)
    engine.clock.advance_ms(MINUTE_MS)
    engine.run(sample(account))
    assert not engine.redis.exists(account.memory)


def test_keys_are_everywhere_in_a_cluster() -> None:
    found = Keyspace("p").everywhere()
    slots = [_slot(key[key.index("{") + 1 : key.index("}")]) for key in found]
    assert sorted(slot * PARTS // SLOTS for slot in slots) == list(range(PARTS))


def test_an_alarm_looks_at_it(engine: Engine) -> None:
    space = engine.transport.space
    engine.queue("q")
    full = Alarm("full", metric_name="memory_used_percent", threshold=80, comparison_operator=">", evaluation_periods=3,
                 datapoints_to_alarm=2)  # fmt: skip
    engine.run(alarms.put(space, full))
    states = []
    for percent in (10, 90, 90, 20, 20):
        engine.clock.advance_ms(MINUTE_MS)
        engine.execute(append_memory(space, Memory(1024, 2048, percent)))
        engine.run(evaluate_all(space, "me"))
        states.append(engine.run(alarms.get(space, "full")).state.value)
    assert states == ["OK", "OK", "ALARM", "ALARM", "OK"]
    reason = engine.run(alarms.get(space, "full")).state.reason
    assert "were not greater than the threshold (80.0)" in reason


def test_it_is_of_no_queue() -> None:
    with pytest.raises(InvalidParameterValue, match="queue must be None for memory_used_percent"):
        Alarm("a", metric_name="memory_used_percent", queue="q", threshold=1, comparison_operator=">")
    with pytest.raises(InvalidParameterValue, match="did you mean 'memory_used_percent'"):
        Alarm("a", metric_name="memory_used_percents", threshold=1, comparison_operator=">")


def test_what_cannot_be_read_stops_no_sample(engine: Engine) -> None:
    q = engine.queue("q")
    engine.redis.set(engine.transport.space.memory, "not a list")
    engine.clock.advance_ms(2 * MINUTE_MS)
    assert engine.run(sample(engine.transport.space)).taken == 1
    assert engine.run(history(q, lambda now: (now - MINUTE_MS, now), 60))
