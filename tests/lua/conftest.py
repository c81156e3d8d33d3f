"""One engine on a real server, with a clock to turn."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis

from rqsqs._core import envelope, flows
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Flow, Operation
from rqsqs.limits import NATIVE, Limits
from tests.model.harness import InlineTransport, Lost, TurnedClock, client
from tests.servers import KINDS, Server, find_binary


class Engine:
    """Short names for what the tests do all the time."""

    def __init__(self, url: str, prefix: str, limits: Limits = NATIVE) -> None:
        self.url = url
        self.clock = TurnedClock()
        self.transport = InlineTransport(url, prefix, clock=self.clock)
        self.redis: redis.Redis = client(url)
        self.limits = limits

    def run(self, flow: Flow[Any]) -> Any:
        return self.transport.run(flow)

    def execute(self, operation: Any) -> Any:
        return self.transport.link.execute(operation)

    def lost(self, operation: Operation, *, has_arrived: bool = True) -> Lost:
        return Lost(self.transport.link, operation, has_arrived)

    def queue(self, name: str, dlq: str | None = None, max_receives: int = 1, **attributes: Any) -> QueueRef:
        """Create a queue."""
        q = self.transport.queue(name)
        if dlq is not None:
            attributes["RedrivePolicy"] = policy(dlq, max_receives)
        self.run(flows.create_queue(q, attributes, self.limits))
        return q

    def send(self, q: QueueRef, *bodies: Any, **options: Any) -> list[Any]:
        batch = [envelope.outgoing(body, **options) for body in bodies]
        return self.run(flows.send_messages(q, batch, self.limits))

    def receive(self, q: QueueRef, count: int = 10, visibility_ms: int | None = None, **options: Any) -> list[Any]:
        return self.run(flows.receive_messages(q, self.limits, count, visibility_ms, **options))

    def bodies(self, q: QueueRef, count: int = 10, visibility_ms: int | None = None) -> list[Any]:
        return [d.body for d in self.receive(q, count, visibility_ms)]

    def delete(self, q: QueueRef, *deliveries: Any) -> list[Any]:
        return self.run(flows.delete_messages(q, [d.receipt_handle for d in deliveries], self.limits))

    def counts(self, q: QueueRef) -> tuple[int, int, int]:
        c = self.run(flows.counts(q))
        return c.visible, c.in_flight, c.delayed

    def names(self, pattern: str = "*") -> list[str]:
        """Names without the prefix; not those of call slots, which end by themselves, nor the format or events."""
        prefix = self.transport.space.prefix + ":"
        found = [key.decode().removeprefix(prefix) for key in self.redis.scan_iter(prefix + pattern, count=1000)]
        return sorted(
            name for name in found if ":call:" not in name and not name.startswith(("{queues}:format", "{events}"))
        )

    def token(self, p: Partition) -> bool:
        """Is a wake token out?"""
        length = self.redis.llen(p.wakeups)
        assert length <= 1
        return length == 1


def policy(dlq: str, max_receives: int) -> str:
    arn = f"arn:aws:sqs:us-east-1:000000000000:{dlq}"
    return f'{{"deadLetterTargetArn":"{arn}","maxReceiveCount":{max_receives}}}'


@pytest.fixture
def engine_at(prefix: str) -> Iterator[Callable[..., Engine]]:
    """Makes engines on a server of the test's own choice."""
    made: list[Engine] = []

    def make(url: str, limits: Limits = NATIVE) -> Engine:
        made.append(Engine(url, prefix, limits))
        return made[-1]

    yield make
    for engine in made:
        engine.transport.close()


@pytest.fixture
def engine(server_url: str, engine_at: Callable[..., Engine]) -> Engine:
    return engine_at(server_url)


@pytest.fixture(params=["q", "q.fifo"], ids=["standard", "fifo"])
def name(request: pytest.FixtureRequest) -> str:
    """A queue name of either kind."""
    return str(request.param)


@pytest.fixture(scope="module", params=KINDS)
def small_server(request: pytest.FixtureRequest) -> Iterator[Server]:
    """One that stores nothing more when its memory is full."""
    if find_binary(request.param) is None:
        pytest.skip(f"no {request.param} server program here")
    with Server(request.param, maxmemory_policy="noeviction") as server:
        yield server
