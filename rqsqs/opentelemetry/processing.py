"""Spans of processing: of workers, of `with message:` blocks, and of process(), for consumers that rqsqs cannot see."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from opentelemetry import baggage as baggages
from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context

from rqsqs._core.delivery import OTEL, TRACE_HEADER_FIELD, Delivery
from rqsqs.opentelemetry import spans
from rqsqs.opentelemetry.spans import BATCH_SIZE, MESSAGE_ID, NATIVE, SQS, Instruments, Span

default: Instruments | None = None  # those of instrument(), while it is on; process() works without, too


def process_span(
    instruments: Instruments,
    queue: str,
    deliveries: Sequence[Delivery],
    *,
    partitions: int = 1,
    is_batch: bool = False,
    attributes: Mapping[str, Any] | None = None,
    url: str | None = None,
) -> Span:
    """A span of handling some messages, begun."""
    names = spans.fields()
    carriers = [spans.carrier_of(d, names) for d in deliveries]
    more = {**spans.partition_of(deliveries, partitions), **(attributes or {})}
    ids = [d.message_id for d in deliveries]
    return _begun(instruments, queue, carriers, ids, is_batch, NATIVE, url, more)


def _begun(
    instruments: Instruments,
    queue: str,
    carriers: Sequence[Mapping[str, str]],
    ids: Sequence[str],
    is_batch: bool,
    system: str,
    url: str | None,
    attributes: Mapping[str, Any],
) -> Span:
    context, baggage = contexts.get_current(), dict[str, object]()
    if len(carriers) == 1:
        sent = spans.context_in(carriers[0])
        baggage.update(baggages.get_all(sent))
    links = spans.links_in(carriers)
    if instruments.in_trace_of_sender and len(carriers) == 1 and links:
        context = trace.set_span_in_context(trace.get_current_span(sent), context)
        links = []
    for name, value in baggage.items():
        context = baggages.set_baggage(name, value, context)
    about = {**attributes, BATCH_SIZE: len(ids)} if is_batch else dict(attributes)
    if len(ids) == 1 and ids[0]:
        about[MESSAGE_ID] = ids[0]
    return Span(
        instruments,
        "process",
        queue,
        system=system,
        url=url,
        links=links,
        context=context,
        attributes=about,
    )


def context_of(message: Any) -> Context:
    """The context in which a message was sent, for code that makes spans of its own.

    Args:
        message: of the native API; or of boto3, a dict or the object of a resource, that was received with
            MessageAttributeNames=["traceparent", "tracestate"] or ["All"] (and AWSTraceHeader among the
            MessageSystemAttributeNames).

    Returns:
        A Context of OpenTelemetry; without a span if the message has none.
    """
    return spans.context_in(_carrier_of(message))


_of_global_providers = functools.cache(spans.make_instruments)


@contextlib.contextmanager
def inside(span: Span) -> Iterator[None]:
    """A block in which a span is the current one, and the baggage that came with the message is there."""
    token = contexts.attach(span.context)
    try:
        yield
    except Exception as error:
        span.span.record_exception(error)
        raise
    finally:
        contexts.detach(token)


@contextlib.contextmanager
def process(message: Any, *, queue: str | None = None) -> Iterator[trace.Span]:
    """A block that handles a message, or a list of them, as a span `process QUEUE`. Inside of it that is the current
    span. Workers, and `with message:` of the native API, do so by themselves once instrument() was called.

    Args:
        message: as for context_of(), or a list of such.
        queue: its name or URL; None = that of a message of the native API.

    Yields:
        The span.
    """
    messages = list(message) if isinstance(message, list | tuple) else [message]
    first = messages[0] if messages else None
    api_queue = getattr(first, "queue", None)
    named = queue or getattr(api_queue, "name", None) or getattr(first, "queue_url", None) or "unknown"
    is_native = hasattr(first, "_delivery")
    span = _begun(
        default or _of_global_providers(),
        named.rsplit("/", 1)[-1],
        [_carrier_of(m) for m in messages],
        [_id_of(m) for m in messages],
        isinstance(message, list | tuple),
        NATIVE if is_native else SQS,
        api_queue._connection.transport.url if is_native and api_queue is not None else None,
        {},
    )
    with span, inside(span):
        yield span.span


def _carrier_of(message: Any) -> dict[str, str]:
    delivery = getattr(message, "_delivery", None)
    if delivery is not None:
        found: dict[str, str] = delivery.trace_context(spans.fields())
        return found
    if isinstance(message, Mapping):
        attributes, system = message.get("MessageAttributes") or {}, message.get("Attributes") or {}
    else:
        attributes, system = (
            getattr(message, "message_attributes", None) or {},
            getattr(message, "attributes", None) or {},
        )
    carrier: dict[str, str] = {}
    if "AWSTraceHeader" in system:
        carrier[TRACE_HEADER_FIELD] = system["AWSTraceHeader"]
    for name in spans.fields():
        for one in (name, OTEL + name):
            text = (attributes.get(one) or {}).get("StringValue")
            if text:
                carrier[name] = text
                break
    return carrier


def _id_of(message: Any) -> str:
    found: str = message.get("MessageId", "") if isinstance(message, Mapping) else getattr(message, "message_id", "")
    return found
