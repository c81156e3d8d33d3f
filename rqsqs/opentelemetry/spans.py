"""Spans and metrics by the semantic conventions for messaging, whose names are spelled here.

https://opentelemetry.io/docs/specs/semconv/messaging/: all of it is "Development" still, so no package with constants
is needed whose names move.
"""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote, urlsplit

from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.metrics import Meter, MeterProvider
from opentelemetry.trace import Link, SpanKind, Status, StatusCode, Tracer, TracerProvider

import rqsqs
from rqsqs._core.delivery import TRACE_FIELDS, TRACE_HEADER_FIELD, Delivery
from rqsqs._io.urls import place_of
from rqsqs.errors import RequestError, RqsqsError
from rqsqs.sqs import describe

log = logging.getLogger("rqsqs.opentelemetry")
MOST_LINKS = 128

NATIVE, SQS = "rqsqs", "aws_sqs"  # messaging.system

SYSTEM = "messaging.system"
OPERATION_NAME = "messaging.operation.name"
OPERATION_TYPE = "messaging.operation.type"
DESTINATION = "messaging.destination.name"
PARTITION = "messaging.destination.partition.id"
MESSAGE_ID = "messaging.message.id"
BATCH_SIZE = "messaging.batch.message_count"
CLIENT_ID = "messaging.client.id"
QUEUE_URL = "aws.sqs.queue.url"
ERROR_TYPE = "error.type"
SERVER_ADDRESS = "server.address"
SERVER_PORT = "server.port"
OF_METRICS = (SYSTEM, OPERATION_NAME, OPERATION_TYPE, DESTINATION, SERVER_ADDRESS, SERVER_PORT)

BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)

KINDS = {
    "create": SpanKind.PRODUCER,
    "send": SpanKind.PRODUCER,
    "receive": SpanKind.CLIENT,
    "process": SpanKind.CONSUMER,
    "settle": SpanKind.CLIENT,
}


class Instruments:
    """What spans and metrics are made with.

    Args:
        in_trace_of_sender: a process span is a child of the span that sent its message, instead of a link to it.
        create_spans: each message of a batch has a span of its own, which its handler links to.
    """

    def __init__(self, tracer: Tracer, meter: Meter, *, in_trace_of_sender: bool, create_spans: bool) -> None:
        self.tracer = tracer
        self.in_trace_of_sender = in_trace_of_sender
        self.create_spans = create_spans
        buckets: dict[str, Any] = {"unit": "s", "explicit_bucket_boundaries_advisory": BUCKETS_S}
        self.duration = meter.create_histogram(
            "messaging.client.operation.duration",
            description="Duration of messaging operation initiated by a producer or consumer client.",
            **buckets,
        )
        self.processing = meter.create_histogram(
            "messaging.process.duration", description="Duration of processing operation.", **buckets
        )
        self.sent = meter.create_counter(
            "messaging.client.sent.messages",
            unit="{message}",
            description="Number of messages producer attempted to send to the broker.",
        )
        self.consumed = meter.create_counter(
            "messaging.client.consumed.messages",
            unit="{message}",
            description="Number of messages that were delivered to the application.",
        )


def make_instruments(
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    *,
    in_trace_of_sender: bool = False,
    create_spans: bool = False,
) -> Instruments:
    """Instruments of some providers; None = the global ones."""
    tracer = trace.get_tracer("rqsqs", rqsqs.__version__, tracer_provider)
    meter = metrics.get_meter("rqsqs", rqsqs.__version__, meter_provider)
    return Instruments(tracer, meter, in_trace_of_sender=in_trace_of_sender, create_spans=create_spans)


class Span:
    """One operation: its span, and what metrics say about it. As a context manager it ends with the block.

    Args:
        name: of the operation: send, receive, process or settle.
        url: of the server; None = unknown.
        attributes: of the span, beside the usual ones.
        began: when it began, if that was before: the time of Span.now().
    """

    def __init__(
        self,
        instruments: Instruments,
        name: str,
        queue: str,
        *,
        system: str = NATIVE,
        url: str | None = None,
        kind: SpanKind | None = None,
        links: Sequence[Link] = (),
        context: Context | None = None,
        attributes: Mapping[str, Any] | None = None,
        began: tuple[int, float] | None = None,
    ) -> None:
        self._instruments, self._name = instruments, name
        started, self._began = began or self.now()
        common = {SYSTEM: system, OPERATION_NAME: name, OPERATION_TYPE: name, DESTINATION: queue, **server_of(url)}
        self._common: dict[str, Any] = common
        self._error = ""
        self._count = 0
        self.span: trace.Span = instruments.tracer.start_span(
            f"{name} {queue}",
            context,
            KINDS[name] if kind is None else kind,
            {**common, **(attributes or {})},
            links,
            started,
        )
        self._has_ended = False
        self.context: Context = trace.set_span_in_context(self.span, context)  # in which its work is done

    @staticmethod
    def now() -> tuple[int, float]:
        """For spans that are made afterwards."""
        return time.time_ns(), time.perf_counter()

    def note(self, name: str, value: Any) -> None:
        """Set an attribute, unless the value is None."""
        if value is not None:
            self.span.set_attribute(name, value)

    def count(self, messages: int) -> None:
        """So many messages are sent or received."""
        self._count = messages

    def carrier(self) -> dict[str, str]:
        """The fields with which this span travels along with a message."""
        fields: dict[str, str] = {}
        propagate.inject(fields, self.context)
        return fields

    def failed(self, error: BaseException | str, text: str = "") -> None:
        """Tell that it failed, or a part of it."""
        self._error = error if isinstance(error, str) else error_type(error, self._common[SYSTEM])
        self.note(ERROR_TYPE, self._error)
        self.span.set_status(Status(StatusCode.ERROR, text or str(error)))

    def end(self) -> None:
        """Its time is over."""
        if self._has_ended:
            return
        self._has_ended = True
        seconds = time.perf_counter() - self._began
        about = {**self._common, ERROR_TYPE: self._error} if self._error else self._common
        instruments, context = self._instruments, self.context
        if self._name == "process":
            instruments.processing.record(seconds, about, context)
        elif self._name != "create":
            instruments.duration.record(seconds, about, context)
        if self._count and self._name in ("send", "receive"):
            counter = instruments.sent if self._name == "send" else instruments.consumed
            counter.add(self._count, about, context)
        self.span.end()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is not None and not isinstance(error, GeneratorExit):
            self.failed(error)
        self.end()


def error_type(error: BaseException, system: str = NATIVE) -> str:
    """How conventions name an error: by SQS's code, or its class."""
    if system == SQS and isinstance(error, RequestError):
        return describe(error).code
    kind = type(error)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


@functools.lru_cache(maxsize=1000)
def server_of(url: str | None) -> dict[str, Any]:
    """The attributes that name a server; of several, the first one of the URL."""
    if url is None or url.startswith("embedded:"):
        return {}
    place = place_of(url)
    if place is not None:
        return {SERVER_ADDRESS: place.seeds[0].host, SERVER_PORT: place.seeds[0].port}
    parts = urlsplit(url)
    if parts.scheme == "unix":
        return {SERVER_ADDRESS: unquote(parts.path)}
    return {SERVER_ADDRESS: parts.hostname or "localhost", SERVER_PORT: parts.port or 6379}


# The contexts of messages


def fields() -> set[str]:
    """The names of fields that messages may carry: W3C's, and those of the propagators in use."""
    return {*TRACE_FIELDS, *propagate.get_global_textmap().fields}


def context_in(carrier: Mapping[str, str], context: Context | None = None) -> Context:
    """The context that fields tell. That of AWSTraceHeader counts if there is no other, and the package
    opentelemetry-propagator-aws-xray is installed or its propagator in use."""
    found = context or Context()
    try:
        found = propagate.extract(carrier, found)
        if TRACE_HEADER_FIELD in carrier and not trace.get_current_span(found).get_span_context().is_valid:
            xray = _xray()
            if xray is not None:
                found = xray.extract(carrier, found)
    except Exception as error:  # anybody can have written it: a message must not fail for that
        log.debug("a trace context cannot be read: %s: %s", type(error).__name__, error)
    return found


@functools.cache
def _xray() -> Any:
    try:
        from opentelemetry.propagators.aws import AwsXRayPropagator
    except ImportError:
        return None
    return AwsXRayPropagator()


def link_in(carrier: Mapping[str, str]) -> Link | None:
    """A link to the span that fields tell, if they tell one."""
    found = trace.get_current_span(context_in(carrier)).get_span_context() if carrier else None
    return Link(found) if found is not None and found.is_valid else None


def carrier_of(delivery: Delivery, names: Collection[str]) -> dict[str, str]:
    """The fields that came with a message; none of one that cannot be read."""
    try:
        return delivery.trace_context(names) if delivery.damage is None else {}
    except RqsqsError:
        return {}


def links_of(deliveries: Sequence[Delivery]) -> list[Link]:
    """Links to the spans that sent messages, each once, up to as many as a span has by default."""
    names = fields()
    return links_in(carrier_of(d, names) for d in deliveries)


def links_in(carriers: Iterable[Mapping[str, str]]) -> list[Link]:
    """The same of their fields."""
    seen: set[tuple[tuple[str, str], ...]] = set()
    found: dict[int, Link] = {}
    for carrier in carriers:
        key = tuple(carrier.items())
        if key not in seen:
            seen.add(key)
            link = link_in(carrier)
            if link is not None:
                found.setdefault(link.context.span_id, link)
                if len(found) == MOST_LINKS:
                    break
    return list(found.values())


def partition_of(deliveries: Sequence[Delivery], partitions: int) -> dict[str, Any]:
    """The attribute that names the partition of messages, if the queue has several and they are of one."""
    tags = {d.partition.tag for d in deliveries}
    return {PARTITION: tags.pop()} if len(tags) == 1 and partitions > 1 else {}
