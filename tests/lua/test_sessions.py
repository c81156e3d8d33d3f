"""Sessions of the console: they end when nobody uses them, at their latest time, and when somebody says so."""

from __future__ import annotations

import hashlib

from rqsqs._core.operations import sessions
from tests.lua.conftest import Engine

HOUR_MS = 3_600_000


def test_a_session_is_read_until_it_is_ended(engine: Engine) -> None:
    space = engine.transport.space
    assert engine.execute(sessions.read_session(space, "name")) is None
    engine.execute(sessions.put_session(space, "name", b'{"key": "a b"}', idle_ms=HOUR_MS, longest_ms=9 * HOUR_MS))
    assert engine.execute(sessions.read_session(space, "name")) == b'{"key": "a b"}'
    assert engine.execute(sessions.end_session(space, "name"))
    assert not engine.execute(sessions.end_session(space, "name"))
    assert engine.execute(sessions.read_session(space, "name", idle_ms=HOUR_MS)) is None


def test_the_server_does_not_know_the_name(engine: Engine) -> None:
    space = engine.transport.space
    engine.execute(sessions.put_session(space, "name", b"{}", idle_ms=HOUR_MS, longest_ms=HOUR_MS))
    keys = [key.decode() for key in engine.redis.keys(f"{space.prefix}:*session*")]
    assert keys == [f"{space.prefix}:{{sessions}}:{hashlib.sha256(b'name').hexdigest()}"]


def test_use_lets_it_last_longer_and_looks_do_not(engine: Engine) -> None:
    space = engine.transport.space
    engine.execute(sessions.put_session(space, "name", b"{}", idle_ms=HOUR_MS, longest_ms=9 * HOUR_MS))
    (key,) = sessions.read_session(space, "name").keys
    assert 0 < engine.redis.pttl(key) <= HOUR_MS
    engine.redis.pexpire(key, HOUR_MS // 2)
    engine.execute(sessions.read_session(space, "name"))
    assert engine.redis.pttl(key) <= HOUR_MS // 2
    engine.execute(sessions.read_session(space, "name", idle_ms=HOUR_MS))
    assert HOUR_MS // 2 < engine.redis.pttl(key) <= HOUR_MS


def test_it_ends_at_its_latest_time_however_it_is_used(engine: Engine) -> None:
    space = engine.transport.space
    engine.execute(sessions.put_session(space, "name", b"{}", idle_ms=HOUR_MS, longest_ms=2 * HOUR_MS))
    (key,) = sessions.read_session(space, "name").keys
    engine.clock.advance_ms(2 * HOUR_MS - 5_000)
    assert engine.execute(sessions.read_session(space, "name", idle_ms=HOUR_MS)) == b"{}"
    assert engine.redis.pttl(key) <= 5_000
    engine.redis.pexpire(key, HOUR_MS)
    engine.clock.advance_ms(5_000)
    assert engine.execute(sessions.read_session(space, "name", idle_ms=HOUR_MS)) is None
    assert not engine.redis.exists(key)
