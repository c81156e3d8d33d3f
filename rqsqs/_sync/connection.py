# Made by tools/unasync.py from rqsqs/_async/connection.py: edit that, and run `make sync`.
"""Connections: a server, what its keys begin with, and what requests may ask for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Literal, Self, Unpack

from rqsqs import _arguments as arguments
from rqsqs import _settings
from rqsqs._arguments import Moment
from rqsqs._core import flows
from rqsqs._core.keys import Clock
from rqsqs._io import defaults
from rqsqs._io.urls import shown
from rqsqs._not_copied import NotCopied
from rqsqs._settings import QueueSettings
from rqsqs._sync.queue import Queue
from rqsqs.errors import QueueDoesNotExist, QueueNameExists, UsageError
from rqsqs.event_models import Event
from rqsqs.limits import Limits
from rqsqs.metric_models import QueueMetrics
from rqsqs.models import Durability, Statistics

if TYPE_CHECKING:
    from rqsqs._io.sync.runner import Transport
    from rqsqs._sync.alarms import Alarms
    from rqsqs._sync.event_rules import EventRules

PAGE = 1000  # names of queues in one call
_FORMS = "for asyncio there is `async with rqsqs.aio.connect(...) as connection:`"


class Connection(NotCopied):
    """A server with queues. Thread-safe; a forked child continues with connections of its own.

    Made by connect(). As a context manager it is closed at the end.
    """

    __module__ = "rqsqs"
    _instead = "pass the URL and the prefix instead; rqsqs.connect(url, prefix=prefix) makes another one"

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
        # redis-py takes longer to import than all the rest: when it is needed
        from rqsqs._io.sync.runner import Transport

        self.limits: Limits = _settings.limits_of(limits)
        self.durability: Durability | None = _settings.default_durability(durability)
        self.transport: Transport = Transport(url, defaults.prefix_of(prefix), _settings.clock_of(clock), **options)

    def create_queue(
        self, name: str, *, tags: Mapping[str, str] | None = None, **settings: Unpack[QueueSettings]
    ) -> Queue:
        """Create a queue, or find it if it exists with the same settings.

        Args:
            name: 1 to 80 letters, digits, `-` and `_`; `.fifo` at the end makes it a FIFO queue.
            visibility_timeout: seconds for which a received message is invisible to others, 0 to 10 years (30).
            delay: seconds until a sent message becomes visible, 0 to 10 years (0).
            retention: seconds after which a message is dropped, 1 second to 10 years (4 days).
            wait: seconds for which a receive waits when it does not say, 0 to 10 years (0).
            maximum_message_size: bytes of body and attributes, 1 byte to 256 MiB (1 MiB).
            dead_letter_queue: where messages go that were received too often: a queue of the same kind, or its name.
            max_receive_count: how often is not too often, 1 to 1000 (10).
            retry_policy: when workers try a message again that failed (after 1 s, 2 s, 4 s ... up to 5 minutes at
                most, a random part of that).
            partitions: parts of the queue that lie in different hash slots, and so on different masters of a cluster,
                1 to 64 (1). The more there are, the more the queue can carry; order and deduplication hold within a
                message group. configure() can raise it at any time. FIFO: needs the scope "messageGroup".
            metrics: "full" counts the bytes that are sent as well, as a FIFO queue always does; "basic" does not, which
                is the default. See Queue.metrics().
            timeline: whether the queue records what happens to each message, step by step; see Queue.timeline(). True =
                the newest steps, up to 1 MiB for each partition; or how many bytes, 16 KiB to 64 MiB. False, the
                default, costs nothing.
            content_based_deduplication: FIFO: messages without a deduplication id are compared by their body.
            deduplication_scope: FIFO: "queue", or "messageGroup": equal ids in different groups are no duplicates.
            deduplication_window: seconds for which a deduplication id is remembered, 60 seconds to 1 year (300).
            tags: names to text.

        Returns:
            The queue.

        Raises:
            QueueNameExists: a queue of this name has other settings.
            ResourceNotFound: the dead-letter queue does not exist.
            InvalidParameterValue, ServerError.
        """
        queue = self.queue(name)
        changes = _settings.attributes_of(name, settings, self.limits)
        given = {attribute: value for attribute, value in changes.items() if value is not None}
        named = None if tags is None else arguments.tags(tags)
        try:
            self.transport.run(flows.create_queue(queue._ref, given, self.limits, named))
        except QueueNameExists as error:
            raise _settings.with_way_out(error, settings) from None
        return queue

    def queue(self, name: str, *, durability: Durability | str | None = None) -> Queue:
        """A queue by name, without asking whether it exists.

        Args:
            name: 1 to 80 letters, digits, `-` and `_`; that of a FIFO queue ends in `.fifo`.
            durability: how safe messages sent with this object have to be, a Durability or its text; None = as the
                connection says.

        Returns:
            The queue.

        Raises:
            InvalidParameterValue.
        """
        return Queue(self, arguments.queue_name(name), durability)

    def exists(self, name: str) -> bool:
        """Is there a queue of this name?

        Args:
            name: of a queue.

        Returns:
            False if there is none.

        Raises:
            InvalidParameterValue, ServerError.
        """
        try:
            self.transport.run(flows.get_queue(self.transport.queue(arguments.queue_name(name)).home))
        except QueueDoesNotExist:
            return False
        return True

    def queues(self, prefix: str = "") -> Iterator[Queue]:
        """All queues, in order of names.

        Args:
            prefix: only those whose names begin with it.

        Yields:
            Each queue.

        Raises:
            InvalidParameterValue, ServerError.
        """
        after, prefix = "", arguments.text("prefix", prefix)
        while True:
            found = flows.list_queues(self.transport.space, prefix, after, PAGE)
            names: list[str] = self.transport.run(found)
            for name in names:
                yield Queue(self, name)
            if len(names) < PAGE:
                return
            after = names[-1]

    def metrics(self, prefix: str = "", *, queues: Iterable[str | Queue] | None = None) -> list[QueueMetrics]:
        """The metrics of all queues, or of those chosen: a round trip for every 50 of them. One that does not exist
        (any more), or is damaged, is left out.

        Args:
            prefix: only those whose names begin with it.
            queues: only these, queues or their names, in this order (all, in order of names).

        Returns:
            A QueueMetrics of each.

        Raises:
            InvalidParameterValue, ServerError.
        """
        if queues is None:
            names = [queue.name for queue in self.queues(prefix)]
        else:
            prefix = arguments.text("prefix", prefix)
            names = [name for name in arguments.names_of(queues) if name.startswith(prefix)]
        return self.transport.run(flows.metrics_of_those_there([self.transport.queue(name) for name in names]))

    @property
    def alarms(self) -> Alarms:
        """The alarms on the queues of this prefix."""
        from rqsqs._sync.alarms import Alarms  # few programs need them

        return Alarms(self.transport)

    @property
    def event_rules(self) -> EventRules:
        """The rules that say what is done when something happens to the queues of this prefix."""
        from rqsqs._sync.event_rules import EventRules  # few programs need them

        return EventRules(self.transport)

    def events(
        self,
        since: Moment | timedelta | None = None,
        until: Moment | None = None,
        *,
        queue: str | Queue | None = None,
        kind: str | Iterable[str] | None = None,
        who: str | None = None,
        follow: bool = False,
    ) -> Iterator[Event]:
        """What was done to queues, and happened to them: a round trip for every 100 events.

        Args:
            since: from when on: a datetime with time zone, epoch seconds, or a timedelta before now; None = all that is
                kept, two weeks at most.
            until: the end; None = there is none.
            queue: only those of this queue, or its name; it may be gone by now.
            kind: only those of this kind or these, for example "queue-deleted".
            who: only those of whose doer the API, name, address or account has this text in it.
            follow: wait for what happens next, until `until` or for ever.

        Yields:
            Each Event, the oldest first.

        Raises:
            InvalidParameterValue, ServerError.
        """
        from rqsqs._chosen_events import Chosen  # only if somebody needs it
        from rqsqs._core.flows.events import next_events

        chosen, is_followed = Chosen(since, until, queue, kind, who), arguments.flag("follow", follow)
        after, is_last = "", False
        while not is_last:
            page = self.transport.run(next_events(self.transport.space, after, chosen.since, is_followed))
            chosen.learn(page.now_ms)
            is_last = page.is_last and not (is_followed and not chosen.is_over(page.now_ms))
            for event in page.events:
                after = event.id
                if chosen.is_over(event.at_ms):
                    return
                if chosen.has(event):
                    yield event

    def delete_queue(self, name: str | Queue) -> None:
        """Delete a queue with everything in it.

        Args:
            name: a queue, or its name.

        Raises:
            QueueDoesNotExist.
        """
        self.transport.run(flows.delete_queue(self.transport.queue(arguments.name_of(name)), self.limits))

    def statistics(self) -> Statistics:
        """What the connections of this process to this URL, with these options, went through: counts that grow."""
        return self.transport.statistics()

    def close(self) -> None:
        """Give the connections up; idempotent."""
        self.transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    if not TYPE_CHECKING:  # type checkers see that these are not there

        def __await__(self):
            raise UsageError(f"rqsqs.connect() must not be awaited: {_FORMS}")

        def __aenter__(self):
            raise UsageError(f"rqsqs.connect() must be used with `with`, got `async with`: {_FORMS}")

        __aexit__ = __aenter__

    def __repr__(self) -> str:
        return f"<rqsqs.Connection {shown(self.transport.url)!r}>"


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

    Returns:
        The connection.

    Raises:
        UsageError: the URL has a scheme that is not known.
        EmbeddedServerUnavailable: there is no program for embedded://, or its folder cannot be used.
    """
    return Connection(url, prefix=prefix, limits=limits, clock=clock, durability=durability, **options)
