"""URLs of several servers, and what clusters and Sentinels tell, without any server."""

from __future__ import annotations

import contextlib
import time
from typing import Any

import pytest
import redis.exceptions as rx

from rqsqs._io.connect import resolve
from rqsqs._io.counters import Counters
from rqsqs._io.directory import Directory, by_slot, directory_of, slot_of
from rqsqs._io.sync.pools import PooledConnection
from rqsqs._io.sync.routing import Router
from rqsqs._io.sync.servers import Node
from rqsqs._io.urls import Address, place_of, shown
from rqsqs.errors import AuthenticationFailed, UsageError

A, B, C = Address("a", 1), Address("b", 2), Address("c", 3)


@pytest.mark.parametrize(
    ("url", "kind", "seeds", "service", "db"),
    [
        ("redis+cluster://a:1,b:2", "cluster", (A, B), "", 0),
        ("redis+cluster://a", "cluster", (Address("a", 6379),), "", 0),
        ("redis+cluster://a:1,b:2/0", "cluster", (A, B), "", 0),
        ("rediss+cluster://[::1]:1,b:2,[fe80::2]", "cluster", (Address("::1", 1), B, Address("fe80::2", 6379)), "", 0),
        ("redis+cluster://u:p%40@a:1,b:2?socket_timeout=3", "cluster", (A, B), "", 0),
        ("redis+sentinel://a:1,b/mymaster", "sentinel", (A, Address("b", 26_379)), "mymaster", 0),
        ("redis+sentinel://:p@a:1/mymaster/3", "sentinel", (A,), "mymaster", 3),
    ],
)
def test_urls_of_several_servers(url: str, kind: str, seeds: tuple[Address, ...], service: str, db: int) -> None:
    assert resolve(url) == url
    place = place_of(url)
    assert place is not None
    assert (place.kind, place.seeds, place.service, place.db) == (kind, seeds, service, db)


def test_a_server_has_the_login_the_options_and_the_scheme_of_all() -> None:
    place = place_of("rediss+cluster://u:p%40@a:1,[::1]:2?socket_timeout=3")
    assert place is not None
    assert place.url(Address("::1", 7)) == "rediss://u:p%40@[::1]:7/0?socket_timeout=3"
    assert place_of("redis://a:1/0") is None


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("redis+cluster://", "it must name at least one host"),
        ("redis+cluster://a:1/2", "the database of a cluster must be 0"),
        ("redis+cluster://a:1?db=2", "the database of a cluster must be 0"),
        ("redis+cluster://:secret@a:x,b", "must be followed by HOST:PORT,HOST:PORT"),
        ("redis+cluster://:secret@a:70000", "with a PORT up to 65535"),
        ("redis+cluster://:secret@::1", "must be followed by HOST:PORT,HOST:PORT"),
        ("redis://:se#cret@a", "it must have no #"),
        ("redis://:se?cret@a", "percent-encoded"),
        ("redis://:se/cret@a", "percent-encoded"),
        ("redis://:[cret@a", "percent-encoded"),
        ("redis+sentinel://u:se:cret@a:1", "the name of the master, as in /mymaster"),
        ("redis+sentinel://a:1/mymaster/x", "the path must end with the number of a database"),
        ("redis+sentinel://a:1/mymaster/1/2", "the path must end with the number of a database"),
        ("redis-cluster://:secret@a:1", "a URL begins with redis://"),
    ],
)
def test_urls_that_are_refused(url: str, says: str) -> None:
    with pytest.raises(UsageError, match="cannot connect to") as refused:
        resolve(url)
    assert says in str(refused.value)
    assert "cret@" not in str(refused.value)


@pytest.mark.parametrize(
    ("url", "text"),
    [
        ("redis://:p@h:1/0", "redis://***@h:1/0"),
        ("redis://u:p:q@h:1/0", "redis://***@h:1/0"),
        ("redis+cluster://u:p@a:1,b:2", "redis+cluster://***@a:1,b:2"),
        ("redis://h:1/0?password=p&db=1", "redis://h:1/0?password=***&db=1"),
        (
            "redis+sentinel://a:1/m?db=1&sentinel_password=p&client_name=x@y",
            "redis+sentinel://***@***",
        ),
        ("redis://:s3#c@h:1/0", "redis://***@h:1/0"),
        ("redis://:a@b/s3c?@h:1/0", "redis://***@h:1/0"),
        ("u:s3c@h", "***@h"),
        ("redis://:s3cret", "redis://:***"),
        ("unix:///tmp/x.sock?db=1", "unix:///tmp/x.sock?db=1"),
    ],
)
def test_passwords_are_not_shown(url: str, text: str) -> None:
    assert shown(url) == text


def directory(url: str) -> Directory:
    place = place_of(url)
    assert place is not None
    return directory_of(place)


def test_the_login_of_a_master_is_not_told_to_sentinels() -> None:
    known = directory("redis+sentinel://u:p@a:1/mymaster/3?sentinel_username=watch&password=q&socket_timeout=2&db=4")
    settings = {"password": "x", "sentinel_password": "s", "credential_provider": object(), "protocol": 2}
    assert known.access(A, settings) == (
        "redis://a:1/0?socket_timeout=2",
        {"protocol": 2, "username": "watch", "password": "s"},
    )
    url, left = known.access(B, settings)
    assert url == "redis://u:p@b:2/3?password=q&socket_timeout=2&db=4"
    assert left.keys() == {"password", "credential_provider", "protocol"}


def slots(*ranges: tuple[int, int, Any, int]) -> list[Any]:
    return [[first, last, [host, port, b"id", []], [b"replica", 9, b"id", []]] for first, last, host, port in ranges]


def test_a_cluster_tells_who_has_a_slot() -> None:
    known = directory("redis+cluster://a:1,b:2")
    key = "x:{orders/0}:orders:meta"
    slot = slot_of(key)
    assert known.owner(key) is None
    assert known.learn(A, slots((0, slot, b"", 1), (slot + 1, 16_383, b"c", 3)))
    assert known.owner(key) == A  # a host that is not told is that of the server asked
    assert known.masters() == [A, C]
    assert known.addresses() == [A, C, B]
    known.moved(key, rx.MovedError(f"{slot} c:3"), "a")
    assert known.owner(key) == C
    known.moved(key, rx.MovedError(f"{slot} :5"), "h")
    assert known.owner(key) == Address("h", 5)
    known.moved(key, rx.MovedError(f"{slot} ::1:6"), "h")
    assert known.owner(key) == Address("::1", 6)
    known.learn(B, slots((0, 16_383, None, 1)))
    assert known.masters() == [Address("b", 1)]
    known.learn(B, slots((0, 16_383, b"?", 4)))
    assert known.masters() == [Address("b", 4)]


def test_slots_without_a_master_are_down() -> None:
    known = directory("redis+cluster://a:1")
    assert not known.learn(A, [])
    assert known.masters() == []
    assert known.learn(A, slots((0, 10, b"a", 1)))
    assert known.owner("x:{orders/0}:orders:meta") is None
    assert isinstance(known.error, rx.ClusterDownError)


def asked(known: Directory, *replies: Any) -> list[Address]:
    """Whom a directory asks until it has got these replies, and then one that is of use."""
    steps = known.refresh()
    found = [next(steps)]
    with contextlib.suppress(StopIteration):
        for reply in replies:
            found.append(steps.send(reply))
    return found


def test_everybody_is_asked_in_turn_and_the_silent_last() -> None:
    known = directory("redis+cluster://a:1,b:2,c:3")
    assert asked(known, rx.ConnectionError("gone"), slots((0, 16_383, b"b", 2))) == [A, B]
    assert asked(known, slots((0, 16_383, b"d", 4))) == [C]
    gone = [rx.ConnectionError("gone")] * 4
    assert asked(known, *gone) == [Address("d", 4), B, C, A]


def test_nobody_else_is_asked_when_the_time_is_over() -> None:
    known = directory("redis+cluster://a:1,b:2")
    steps = known.refresh(until=time.monotonic() - 1)
    assert next(steps) == A
    with pytest.raises(StopIteration):
        steps.send(rx.ConnectionError("gone"))


def test_what_is_wrong_with_the_url_outweighs_who_is_silent() -> None:
    known = directory("redis+cluster://a:1,b:2")
    gone = rx.ConnectionError("gone")
    asked(known, rx.ResponseError("This instance has cluster support disabled"), gone)
    assert isinstance(known.error, UsageError)
    assert "a:1 is no cluster" in str(known.error)
    no_rights = rx.NoPermissionError("this user has no permissions to run the 'cluster|slots' command")
    asked(known, no_rights, no_rights)
    assert isinstance(known.error, AuthenticationFailed)
    asked(known, gone, gone)
    assert isinstance(known.error, rx.ConnectionError)
    assert "none of a:1, b:2 answers; a:1: gone" in str(known.error)


def test_a_sentinel_tells_the_master() -> None:
    known = directory("redis+sentinel://a:1,b:2/mymaster")
    assert known.question == ("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")
    assert not known.learn(A, None)
    assert "knows no master 'mymaster'" in str(known.error)
    assert known.learn(B, [b"c", b"3"])
    assert known.owner("any") == C
    assert set(asked(known, rx.ConnectionError())) == {A, B}
    assert known.addresses() == [C, A, B]


def test_keys_of_one_slot_go_together() -> None:
    assert by_slot(["{a}x", "{b}x", "{a}y"]) == [("{a}x", "{a}y"), ("{b}x",)]


def test_connections_to_a_server_that_has_gone_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    class Connection:
        is_open, is_sent, ask = True, False, None

        def disconnect(self) -> None:
            self.is_open = False

    router = Router("redis+cluster://a:1", {}, Counters())
    router.directory.learn(A, slots((0, 100, b"a", 1), (101, 16_383, b"c", 3)))
    node, resting, busy = router.at(C), Connection(), Connection()
    node.calls.give(PooledConnection(resting, node.calls))
    monkeypatch.setattr(Node, "ask", lambda *_, **__: slots((0, 16_383, b"a", 1)))
    router.refresh(0)
    assert router.nodes.keys() == {A}
    node.calls.give(PooledConnection(busy, node.calls))
    assert not resting.is_open
    assert not busy.is_open
