"""Tools for tests of code that uses rqsqs: a clock that can be moved, and cleaning up.

The fixtures are in rqsqs.pytest_plugin.

clock = VirtualClock()
with rqsqs.connect("embedded://", clock=clock) as connection:
    orders = connection.create_queue("orders")
    orders.send("later", delay=900)
    clock.advance(900)
    assert orders.receive()
"""

from __future__ import annotations

import threading
import time
import weakref
from datetime import timedelta
from typing import Protocol

from rqsqs.checks import Seconds, milliseconds

__all__ = ["VirtualClock", "remove_keys"]

_LONGEST_MS = 100 * 365 * 86_400_000


class _Watcher(Protocol):
    def wake_waiters(self) -> None: ...


class VirtualClock:
    """A clock that goes on by itself like any other and can be put forward, never back.

    Every connection that was given it (`rqsqs.connect(url, clock=clock)`) decides by it about delays, visibility
    timeouts, retention, deduplication windows and waiting. Connections without it on the same server go by the
    server's clock, so keep them away from the same queues. Thread-safe.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._base_us = time.time_ns() // 1000 - time.monotonic_ns() // 1000
        self._watchers: weakref.WeakSet[_Watcher] = weakref.WeakSet()

    def now_us(self) -> int:
        """Microseconds since 1970."""
        return self._base_us + time.monotonic_ns() // 1000

    def now(self) -> float:
        """Seconds since 1970, as time.time() gives them."""
        return self.now_us() / 1_000_000

    def advance(self, seconds: Seconds | timedelta) -> None:
        """Put the clock forward; receives that wait look at once whether something has become visible.

        Scripts count in milliseconds and end no timeout too early. So that what began before is over afterwards, the
        clock comes to the next whole millisecond.

        Args:
            seconds: a number of seconds or a timedelta, 0 or more.

        Raises:
            InvalidParameterValue: `seconds` is no duration, or negative.
        """
        ms = milliseconds("seconds", seconds, _LONGEST_MS)
        with self._lock:
            self._base_us += ms * 1000 + -self.now_us() % 1000
            watchers = list(self._watchers)
        for watcher in watchers:
            watcher.wake_waiters()

    def watch(self, watcher: _Watcher) -> None:
        """Call `watcher.wake_waiters()` whenever the clock was put forward; connections do this by themselves."""
        with self._lock:
            self._watchers.add(watcher)

    def __repr__(self) -> str:
        return f"<rqsqs.testing.VirtualClock at {self.now():.3f}>"


def remove_keys(url: str, prefix: str) -> None:
    """Remove everything a test left behind.

    Args:
        url: what rqsqs.connect() was given.
        prefix: the prefix of the connection; all its keys are removed.
    """
    import redis
    from redis.connection import ConnectionPool, UnixDomainSocketConnection

    from rqsqs._io import connect, nodes

    settings, embedded_server = connect.settings_of(url, {})
    for one in nodes.master_urls(url):
        pool = connect.open_pool(one, settings, ConnectionPool, UnixDomainSocketConnection)
        server = redis.Redis(connection_pool=pool)
        batch = server.pipeline(transaction=False)
        for key in server.scan_iter(match=f"{prefix}:*", count=1000):
            batch.unlink(key)  # one by one: keys of a cluster are in many slots
            if len(batch) == 1000:
                batch.execute()
        batch.execute()
        pool.disconnect()
    if embedded_server is not None:
        embedded_server.release()
