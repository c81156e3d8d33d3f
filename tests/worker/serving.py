"""Workers inside the test's process, on a real server, and what they did."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from types import TracebackType
from typing import Any, Self

import rqsqs
from rqsqs import Entry
from rqsqs.worker import Worker
from tests.clusters import client_of

TIMEOUT_S = 60.0


def until(is_so: Callable[[], Any], what: Callable[[], Any] = str, seconds: float = TIMEOUT_S) -> Any:
    """Wait until something is so; what it is then."""
    deadline = time.monotonic() + seconds
    while not (found := is_so()):
        assert time.monotonic() < deadline, what()
        time.sleep(0.01)
    return found


class Running:
    """A worker that runs in a thread until it is stopped."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        self.error: BaseException | None = None
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()
        until(lambda: worker.status()["state"] == "running" or not self.thread.is_alive())

    def _run(self) -> None:
        try:
            self.worker.run()
        except BaseException as e:
            self.error = e

    @property
    def consumer_id(self) -> str:
        found: str = self.worker.status()["consumer_id"]
        return found

    def ended(self, seconds: float = TIMEOUT_S) -> None:
        """Wait until it has ended by itself, without an error."""
        self.thread.join(seconds)
        assert not self.thread.is_alive(), "it still runs"
        if self.error is not None:
            raise self.error

    def stop(self) -> None:
        self.worker.stop()
        self.ended()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.thread.is_alive():
            self.worker.stop()
            if error is not None:
                self.worker.stop()
            self.ended()


class App:
    """A server with queues, and workers for them."""

    def __init__(self, url: str, prefix: str) -> None:
        self.url = url
        self.prefix = prefix
        self.connection = rqsqs.connect(url, prefix=prefix)
        self.stack = ExitStack()
        self.stack.callback(self.connection.close)

    def queue(self, name: str = "q", **settings: Any) -> rqsqs.Queue:
        """Create one."""
        return self.connection.create_queue(name, **settings)

    def worker(self, **settings: Any) -> Worker:
        """One whose beat is short."""
        return Worker(self.url, prefix=self.prefix, **{"heartbeat_interval": 0.2, **settings})

    def serve(self, handlers: dict[str, Callable[..., Any]] | Callable[..., Any], **settings: Any) -> Running:
        """Start a worker for functions by queue, or for one of the queue "q"; ended with the test."""
        options = {name: settings.pop(name) for name in ("batch", "timeout") if name in settings}
        worker = self.worker(**settings)
        for name, function in (handlers if isinstance(handlers, dict) else {"q": handlers}).items():
            worker.add(name, function, **options)
        return self.start(worker)

    def start(self, worker: Worker) -> Running:
        """Start a worker; ended with the test."""
        return self.stack.enter_context(Running(worker))

    def redis(self) -> Any:
        """A plain client."""
        return self.stack.enter_context(client_of(self.url))


def is_empty(queue: rqsqs.Queue) -> bool:
    """Is nothing in it: visible, in flight or delayed?"""
    counts = queue.counts()
    return (counts.visible, counts.in_flight, counts.delayed) == (0, 0, 0)


def send(queue: rqsqs.Queue, bodies: Sequence[Any], group: Callable[[Any], str] | None = None) -> None:
    """Send many; to a FIFO queue with ids of their own."""
    entries = [
        Entry(body, group=group(body) if group else None, deduplication_id=f"{n}" if group else None)
        for n, body in enumerate(bodies)
    ]
    for start in range(0, len(entries), 1000):
        queue.send_batch(entries[start : start + 1000])


@contextmanager
def released(*events: threading.Event) -> Iterator[None]:
    """Let blocked handlers go on in the end, whatever happens."""
    try:
        yield
    finally:
        for event in events:
            event.set()
