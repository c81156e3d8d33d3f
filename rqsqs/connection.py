"""The native sync face: connections."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Literal, Self

from rqsqs import calls, checks
from rqsqs._core import flows
from rqsqs._core.keys import Clock
from rqsqs._io import defaults
from rqsqs.checks import Seconds
from rqsqs.errors import UsageError
from rqsqs.limits import Limits
from rqsqs.models import Durability, RetryPolicy, Statistics
from rqsqs.queue import Queue

if TYPE_CHECKING:
    from rqsqs._io.sync import Transport


_FOR_ASYNCIO = "for asyncio there is `async with rqsqs.aio.connect(...) as connection:`"


class Connection:
    """A server with queues. Thread-safe; a forked child goes on with connections of its own.

    Made by connect(). As a context manager it is closed at the end.
    """

    __module__ = "rqsqs"

    def __init__(
        self,
        url: str | None = None,
        *,
        prefix: str | None = None,
        limits: Literal["native", "aws"] | Limits = "native",
        clock: Clock | None = None,
        durability: Durability | str | None = None,
        **options: Any,
    ) -> None:
        from rqsqs._io import sync  # redis-py takes longer to import than all the rest: when it is needed

        self.limits: Limits = calls.limits_of(limits)
        self.durability: Durability | None = checks.default_durability(durability)
        self.transport: Transport = sync.Transport(url, defaults.prefix_of(prefix), calls.clock_of(clock), **options)

    def create_queue(
        self,
        name: str,
        *,
        visibility_timeout: Seconds | None = None,
        delay: Seconds | None = None,
        retention: Seconds | None = None,
        wait: Seconds | None = None,
        maximum_message_size: int | None = None,
        dead_letter_queue: str | calls.Named | None = None,
        max_receive_count: int | None = None,
        retry_policy: RetryPolicy | None = None,
        partitions: int | None = None,
        content_based_deduplication: bool | None = None,
        deduplication_scope: str | None = None,
        deduplication_window: Seconds | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Queue:
        """Create a queue, or find it if it exists with the same settings.

        Args:
            name: 1 to 80 letters, digits, `-` and `_`; `.fifo` at the end makes it a FIFO queue.
            visibility_timeout: seconds for which a received message is invisible to others (30).
            delay: seconds until a sent message becomes visible (0).
            retention: seconds after which a message is dropped (4 days).
            wait: seconds for which a receive waits when it does not say (0).
            maximum_message_size: bytes of body and attributes (1 MiB); up to 256 MiB.
            dead_letter_queue: where messages go that were received too often.
            max_receive_count: how often is not too often, 1 to 1000 (10).
            retry_policy: when workers try a message again that failed (after 1 s, 2 s, 4 s ... up to 5 minutes at
                most, a random part of that).
            partitions: parts of the queue that lie in different hash slots, and so on different masters of a cluster,
                1 to 64 (1). The more there are, the more the queue can carry; order and deduplication hold within a
                message group. configure() can raise it at any time. FIFO: needs the scope "messageGroup".
            content_based_deduplication: FIFO: messages without a deduplication id are compared by their body.
            deduplication_scope: FIFO: "queue", or "messageGroup" to tell equal ids of different groups apart.
            deduplication_window: seconds for which a deduplication id is remembered (300); 60 at least.
            tags: names to text.

        Raises:
            QueueNameExists: a queue of this name has other settings.
            ResourceNotFound: the dead-letter queue does not exist.
            InvalidParameterValue, ServerError.
        """
        settings = {key: value for key, value in locals().items() if key in calls.SETTINGS}
        queue = self.queue(name)
        self.transport.run(calls.create_queue(self.transport.queue(queue.name), self.limits, settings, tags))
        return queue

    def queue(self, name: str, *, durability: Durability | str | None = None) -> Queue:
        """A queue by name, without asking whether it exists.

        Args:
            durability: how safe messages sent with this object have to be, a Durability or its text; None = as the
                connection says.
        """
        return Queue(self, checks.queue_name(name), durability)

    def exists(self, name: str) -> bool:
        """Is there a queue of this name?"""
        return self.transport.run(calls.exists(self.transport.queue(checks.queue_name(name))))

    def queues(self, prefix: str = "") -> Iterator[Queue]:
        """All queues whose names begin with `prefix`, in order of names."""
        after = ""
        while True:
            names = self.transport.run(calls.list_queues(self.transport.space, prefix, after))
            for name in names:
                yield Queue(self, name)
            if len(names) < 1000:
                return
            after = names[-1]

    def delete_queue(self, name: str | Queue) -> None:
        """Delete a queue with everything in it.

        Raises:
            QueueDoesNotExist.
        """
        self.transport.run(flows.delete_queue(self.transport.queue(calls.name_of(name)), self.limits))

    def statistics(self) -> Statistics:
        """What the connections of this process to this URL, with these options, went through: counts that grow."""
        return self.transport.link.counters.statistics()

    def close(self) -> None:
        """Give the connections up; idempotent."""
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    if not TYPE_CHECKING:  # type checkers see that these are not there

        def __aenter__(self):
            raise UsageError(f"rqsqs.connect() must be used with `with`, got `async with`: {_FOR_ASYNCIO}")

        def __await__(self):
            raise UsageError(f"rqsqs.connect() must not be awaited: {_FOR_ASYNCIO}")

        __aexit__ = __aenter__

    def __repr__(self) -> str:
        return f"<rqsqs.Connection {self.transport.link.where!r}>"


def connect(
    url: str | None = None,
    *,
    prefix: str | None = None,
    limits: Literal["native", "aws"] | Limits = "native",
    clock: Clock | None = None,
    durability: Durability | str | None = None,
    **options: Any,
) -> Connection:
    """Connect to a server. The first command opens the first connection.

    Args:
        url: redis://, rediss://, unix://, redis+cluster://HOST:PORT,HOST:PORT or
            redis+sentinel://HOST:PORT,HOST:PORT/SERVICE/DB; or, for a server that comes along, embedded://~,
            embedded:///some/folder or embedded:// (in memory). None = the environment variable RQSQS_URL, else
            redis://localhost:6379/0.
        prefix: what all keys begin with; connections with different prefixes do not see each other's queues. None =
            the environment variable RQSQS_PREFIX, else rqsqs.
        limits: "native", or "aws" for exactly what SQS allows.
        clock: tests only: an object whose now_us() the server shall believe; see rqsqs.testing.
        durability: how safe sent messages have to be before a send returns, a Durability or its text; None = as the
            environment variable RQSQS_DURABILITY says, else in the server's memory. See Durability.
        options: for redis-py's connections, for example socket_timeout (seconds).

    Raises:
        UsageError: the URL has a scheme that is not known.
        EmbeddedServerUnavailable: there is no program for embedded://, or its folder cannot be used.
    """
    return Connection(url, prefix=prefix, limits=limits, clock=clock, durability=durability, **options)
