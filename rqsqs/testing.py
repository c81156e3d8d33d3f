"""Tools for tests of code that uses rqsqs: an environment, a clock that can be moved, and cleaning up.

The fixtures are in rqsqs.pytest_plugin.

with environment():
    application.main()  # calls boto3.client("sqs"), rqsqs.connect() or Worker() as it always does

clock = VirtualClock()
with rqsqs.connect("embedded://", clock=clock) as connection:
    orders = connection.create_queue("orders")
    orders.send("later", delay=900)
    clock.advance(900)
    assert orders.receive()
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import secrets
import threading
import time
import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol

from rqsqs._arguments import Seconds, milliseconds
from rqsqs._not_copied import NotCopied

__all__ = ["Environment", "VirtualClock", "environment", "remove_keys"]

_LONGEST_MS = 100 * 365 * 86_400_000


class _Watcher(Protocol):
    def wake_waiters(self) -> None: ...


class VirtualClock(NotCopied):
    """A clock that runs like any other. You can move it forward, never back.

    Every connection that was given it (`rqsqs.connect(url, clock=clock)`) decides by it about delays, visibility
    timeouts, retention, deduplication windows and waiting. Connections without it on the same server go by the
    server's clock, so keep them away from the same queues. Thread-safe.
    """

    _instead = "give the same one to all connections of this process; another process needs one of its own"

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


@dataclass(frozen=True, slots=True)
class Environment:
    """Where the queues of a test are.

    Attributes:
        url: of the server.
        prefix: what all keys begin with.
    """

    url: str
    prefix: str


@contextlib.contextmanager
def environment(url: str = "embedded://", *, clock: VirtualClock | None = None) -> Iterator[Environment]:
    """Give the code inside queues of its own, however it gets at them; a context manager and a decorator of functions.

    RQSQS_URL, RQSQS_PREFIX and AWS_ENDPOINT_URL_SQS name them, for rqsqs.connect(), workers and child processes. SQS
    clients of this process are answered there as well, those that exist already included (rqsqs.boto3.patch), if
    boto3 is installed. At the end everything is as before, and the queues are removed.

    Args:
        url: of a server; by default one in memory that ends with the last connection to it.
        clock: the time of SQS clients; others go by that of the server.
    """
    from rqsqs import embedded

    with contextlib.ExitStack() as stack:
        if url == "embedded://":
            server = stack.enter_context(embedded.acquire(url))
            url = f"unix://{server.socket_path}"  # other processes can use it, too
        prefix = new_prefix()
        stack.callback(remove_keys, url, prefix)
        yield stack.enter_context(pointed_at(url, prefix, clock))


def new_prefix() -> str:
    """A prefix that no other test has."""
    return f"test-{secrets.token_hex(8)}"


@contextlib.contextmanager
def pointed_at(url: str, prefix: str, clock: VirtualClock | None = None) -> Iterator[Environment]:
    """Point environment variables and SQS clients at a server and prefix that are there already."""
    changed = {"RQSQS_URL": url, "RQSQS_PREFIX": prefix, "AWS_ENDPOINT_URL_SQS": url}
    before = {name: os.environ.get(name) for name in changed}
    os.environ.update(changed)
    try:
        with contextlib.ExitStack() as stack:
            if importlib.util.find_spec("boto3") is not None:
                from rqsqs.boto3 import patch

                options: dict[str, Any] = {} if clock is None else {"clock": clock}
                stack.enter_context(patch(url, prefix=prefix, **options))
            yield Environment(url, prefix)
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def remove_keys(url: str, prefix: str) -> None:
    """Remove everything a test left behind.

    Args:
        url: what rqsqs.connect() was given.
        prefix: the prefix of the connection; all its keys are removed.
    """
    import redis
    from redis.connection import ConnectionPool, UnixDomainSocketConnection

    from rqsqs._io import connect
    from rqsqs._io.sync import clients

    settings, embedded_server = connect.settings_of(url, {})
    for one in clients.master_urls(url):
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
