"""The actions of SQS, as boto3 and the gateway run them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.context import Context as TraceContext
from opentelemetry.trace import SpanKind

from rqsqs._core.delivery import OTEL, Delivery
from rqsqs._core.operation import Flow
from rqsqs.opentelemetry import spans
from rqsqs.opentelemetry.spans import BATCH_SIZE, MESSAGE_ID, QUEUE_URL, SQS, Instruments, Span
from rqsqs.sqs import Context, perform
from rqsqs.sqs.messages import RECEIVED, TRACE_CONTEXT

Params = Mapping[str, Any]


class Requests:
    """Runs actions with a span around those that are about messages."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._actions: dict[str, Callable[..., Flow[dict[str, Any]]]] = {
            "SendMessage": self._send,
            "SendMessageBatch": self._send_batch,
            "ReceiveMessage": self._receive,
            "DeleteMessage": self._settle,
            "DeleteMessageBatch": self._settle,
            "ChangeMessageVisibility": self._settle,
            "ChangeMessageVisibilityBatch": self._settle,
        }

    def run(
        self, url: str, context: Context, action: str, params: Params, headers: Mapping[str, str] | None
    ) -> Flow[dict[str, Any]]:
        """As telemetry.Telemetry.request()."""
        run = self._actions.get(action)
        if run is None:
            return (yield from perform(context, action, params))
        queue_url = params.get("QueueUrl") or ""

        def begin(name: str, **options: Any) -> Span:
            options["attributes"] = {QUEUE_URL: queue_url, **options.get("attributes", {})}
            queue = queue_url.rpartition("/")[2][:80] or "unknown"
            return Span(self._instruments, name, queue, system=SQS, url=url, context=_parent(headers), **options)

        return (yield from run(begin, context, action, params, headers))

    def _send(
        self, begin: Callable[..., Span], context: Context, action: str, params: Params, headers: Any
    ) -> Flow[dict[str, Any]]:
        with begin("send") as span:
            span.count(1)
            response = yield from perform(context, action, _with_context(params, span))
            span.note(MESSAGE_ID, response.get("MessageId"))
            return response

    def _send_batch(
        self, begin: Callable[..., Span], context: Context, action: str, params: Params, headers: Any
    ) -> Flow[dict[str, Any]]:
        creates = self._instruments.create_spans
        entries = params.get("Entries") or ()
        about = {BATCH_SIZE: len(entries)}
        with begin("send", kind=SpanKind.CLIENT if creates else None, attributes=about) as span:
            span.count(len(entries))
            sending = []
            for entry in entries:
                if not creates:
                    sending.append(_with_context(entry, span))
                    continue
                with begin("create") as created:
                    sending.append(_with_context(entry, created))
                span.span.add_link(created.span.get_span_context())
            response = yield from perform(context, action, {**params, "Entries": sending})
            _note_failures(span, response)
            return response

    def _receive(
        self, begin: Callable[..., Span], context: Context, action: str, params: Params, headers: Any
    ) -> Flow[dict[str, Any]]:
        deliveries: list[Delivery] = []
        asked = {**params, RECEIVED: deliveries}
        if headers is None:  # for process() and context_of(); those who call the gateway ask for themselves
            names = [*(params.get("MessageAttributeNames") or ())]
            wanted = {one for name in spans.fields() for one in (name, OTEL + name)}
            asked["MessageAttributeNames"] = [*names, *sorted(wanted - {*names})]
            system = [*(params.get("MessageSystemAttributeNames") or ())]
            asked["MessageSystemAttributeNames"] = [*system, "AWSTraceHeader"]
        began = Span.now()
        try:
            response = yield from perform(context, action, asked)
        except GeneratorExit:
            raise
        except BaseException as error:
            with begin("receive", began=began) as span:
                span.failed(error)
            raise
        if deliveries:
            about = {BATCH_SIZE: len(deliveries)}
            with begin("receive", began=began, links=spans.links_of(deliveries), attributes=about) as span:
                span.count(len(deliveries))
                span.note(MESSAGE_ID, deliveries[0].message_id if len(deliveries) == 1 else None)
        return response

    def _settle(
        self, begin: Callable[..., Span], context: Context, action: str, params: Params, headers: Any
    ) -> Flow[dict[str, Any]]:
        entries = params.get("Entries") if action.endswith("Batch") else [params]
        settled = [e for e in entries or () if action.startswith("Delete") or e.get("VisibilityTimeout") == 0]
        if not settled:  # a message that stays with who has it is not settled
            return (yield from perform(context, action, params))
        about = {BATCH_SIZE: len(settled)} if action.endswith("Batch") else {}
        with begin("settle", attributes=about) as span:
            response = yield from perform(context, action, params)
            _note_failures(span, response)
            return response


def _parent(headers: Mapping[str, str] | None) -> TraceContext | None:
    """What a request is a part of: what is at work here, else what its headers say. None = the former."""
    if headers is None or trace.get_current_span().get_span_context().is_valid:
        return None
    carrier = {name: headers[name.lower()] for name in spans.fields() | {"X-Amzn-Trace-Id"} if name.lower() in headers}
    return spans.context_in(carrier, contexts.get_current())


def _with_context(entry: Params, span: Span) -> Params:
    """A message with the context of a span, unless its sender gave it one."""
    attributes = entry.get("MessageAttributes") or {}
    if any(one in attributes for name in spans.fields() for one in (name, OTEL + name)):
        return entry
    carrier = span.carrier()
    return {**entry, TRACE_CONTEXT: carrier} if carrier else entry


def _note_failures(span: Span, response: dict[str, Any]) -> None:
    for failed in response.get("Failed", ()):
        span.failed(failed["Code"], failed.get("Message", ""))
        return
