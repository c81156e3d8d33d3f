"""Sessions of the console: they end when nobody uses them, at their latest time, and when somebody says so."""

from __future__ import annotations

from rqsqs._core.operations import sessions
from tests.lua.conftest import Engine

HOUR_MS = 3_600_000
NAME = sessions.digest_of("name")


def test_a_session_is_read_until_it_is_ended(engine: Engine) -> None:
    space = engine.transport.space
    assert engine.execute(sessions.read_session(space, NAME)) is None
    engine.execute(sessions.put_session(space, NAME, b'{"key": "a b"}', idle_ms=HOUR_MS, longest_ms=9 * HOUR_MS))
    assert engine.execute(sessions.read_session(space, NAME)) == b'{"key": "a b"}'
    assert engine.execute(sessions.end_session(space, NAME))
    assert not engine.execute(sessions.end_session(space, NAME))
    assert engine.execute(sessions.read_session(space, NAME, idle_ms=HOUR_MS)) is None


def test_the_server_knows_a_digest_and_a_list_of_them(engine: Engine) -> None:
    space = engine.transport.space
    engine.execute(sessions.put_session(space, NAME, b"{}", idle_ms=HOUR_MS, longest_ms=HOUR_MS))
    keys = [key.decode() for key in engine.redis.scan_iter(f"{space.prefix}:*session*")]
    assert sorted(keys) == [f"{space.prefix}:{{sessions}}", f"{space.prefix}:{{sessions}}:{NAME}"]


def test_use_lets_it_last_longer_and_looks_do_not(engine: Engine) -> None:
    space = engine.transport.space
    engine.execute(sessions.put_session(space, NAME, b"{}", idle_ms=HOUR_MS, longest_ms=9 * HOUR_MS))
    key = sessions.read_session(space, NAME).keys[0]
    assert 0 < engine.redis.pttl(key) <= HOUR_MS
    engine.redis.pexpire(key, HOUR_MS // 2)
    engine.execute(sessions.read_session(space, NAME))
    assert engine.redis.pttl(key) <= HOUR_MS // 2
    engine.execute(sessions.read_session(space, NAME, idle_ms=HOUR_MS))
    assert HOUR_MS // 2 < engine.redis.pttl(key) <= HOUR_MS


def test_it_ends_at_its_latest_time_however_it_is_used(engine: Engine) -> None:
    space = engine.transport.space
    engine.execute(sessions.put_session(space, NAME, b"{}", idle_ms=HOUR_MS, longest_ms=2 * HOUR_MS))
    key = sessions.read_session(space, NAME).keys[0]
    engine.clock.advance_ms(2 * HOUR_MS - 5_000)
    assert engine.execute(sessions.read_session(space, NAME, idle_ms=HOUR_MS)) == b"{}"
    assert engine.redis.pttl(key) <= 5_000
    engine.redis.pexpire(key, HOUR_MS)
    engine.clock.advance_ms(5_000)
    assert engine.execute(sessions.read_session(space, NAME, idle_ms=HOUR_MS)) is None
    assert not engine.redis.exists(key)


def test_sessions_are_listed_the_one_used_last_first(engine: Engine) -> None:
    space = engine.transport.space
    for n in range(5):
        engine.execute(sessions.put_session(space, f"d{n}", b"%d" % n, idle_ms=HOUR_MS, longest_ms=9 * HOUR_MS))
        engine.clock.advance_ms(10)
    engine.execute(sessions.read_session(space, "d1", idle_ms=HOUR_MS))
    engine.execute(sessions.read_session(space, "d2"))  # a look is no use
    engine.execute(sessions.end_session(space, "d3"))
    engine.redis.delete(sessions.read_session(space, "d0").keys[0])  # its time was over
    found, following = engine.execute(sessions.list_sessions(space, 0))
    assert [(each.digest, each.about) for each in found] == [("d1", b"1"), ("d4", b"4"), ("d2", b"2")]
    assert following is None
    assert [found[i].used_at_ms - found[2].used_at_ms for i in range(3)] == [30, 20, 0]
    assert engine.redis.zcard(space.sessions) == 3
    pages, offset = [], 0
    while offset is not None:
        some, offset = engine.execute(sessions.list_sessions(space, offset, 1))
        pages += [each.digest for each in some]
    assert pages == ["d1", "d4", "d2"]


def test_what_nobody_can_use_any_more_leaves_the_list(engine: Engine) -> None:
    space = engine.transport.space
    engine.execute(sessions.put_session(space, "old", b"", idle_ms=HOUR_MS, longest_ms=9 * HOUR_MS))
    engine.clock.advance_ms(9 * HOUR_MS + 1)
    engine.execute(sessions.put_session(space, "new", b"", idle_ms=HOUR_MS, longest_ms=9 * HOUR_MS))
    assert engine.redis.zrange(space.sessions, 0, -1) == [b"new"]


def test_logins_are_throttled_and_admitted_again(engine: Engine) -> None:
    space = engine.transport.space
    both = {"address": sessions.Bucket(10, 3), "key": sessions.Bucket(1, 5)}

    def admitted(tries: dict[str, sessions.Bucket], times: int) -> int:
        return sum([engine.execute(sessions.admit_login(space, tries)) for _ in range(times)])

    assert admitted(both, 10) == 3
    assert admitted({"other": both["address"], "key": both["key"]}, 10) == 2  # what was refused counts for neither
    assert admitted({"other": both["address"]}, 10) == 1
    engine.clock.advance_ms(9_999)
    assert admitted(both, 5) == 0
    engine.clock.advance_ms(1)
    assert admitted(both, 5) == 1
    engine.clock.advance_ms(60_000)
    assert admitted(both, 10) == 3
    for name in ("address", "key"):
        assert 0 < engine.redis.pttl(space.login(sessions.digest_of(name))) <= 30_000
