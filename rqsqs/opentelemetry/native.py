"""The methods of the native API, wrapped while telemetry is on: once for both variants.

An observer is a generator: it yields the arguments for the method, then gets its result, or its error.
"""

from __future__ import annotations

import contextlib
import functools
import inspect
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from typing import Any

from opentelemetry import context as contexts
from opentelemetry.trace import SpanKind

from rqsqs._arguments import Entry
from rqsqs._core.delivery import Delivery
from rqsqs.opentelemetry.processing import process_span
from rqsqs.opentelemetry.spans import BATCH_SIZE, MESSAGE_ID, Instruments, Span, links_of, partition_of

Observer = Generator[tuple[tuple[Any, ...], dict[str, Any]], Any, None]


class NativeApi:
    """Wraps and unwraps.

    Args:
        variants: the classes Queue, Message and Sender of each variant that is in use.
    """

    def __init__(self, instruments: Instruments, variants: Sequence[tuple[type, type, type]]) -> None:
        self._instruments = instruments
        self._originals: list[tuple[type, str, Any]] = []
        self._entered: dict[int, tuple[Span, Any]] = {}  # messages in whose `with` block somebody is
        observers = {
            "send": self._send,
            "send_batch": self._send_batch,
            "receive": self._receive,
            "delete": self._settle_one,
            "delete_batch": self._settle_batch,
            "delete_and_receive": self._delete_and_receive,
            "change_visibility_batch": self._release_batch,
            "_change_visibility": self._release,
        }
        for queue, message, sender in variants:
            for name, observer in observers.items():
                self._wrap(queue, name, observer)
            self._wrap(sender, "send", self._send_by_sender)
            self._wrap(message, "release", self._release_message)
            mark = "a" if "__aenter__" in vars(message) else ""
            self._wrap(message, f"__{mark}enter__", self._enter)
            self._wrap(message, f"__{mark}exit__", self._leave)

    def _wrap(self, owner: type, name: str, observer: Callable[..., Observer]) -> None:
        original = owner.__dict__[name]
        self._originals.append((owner, name, original))
        setattr(owner, name, observed(original, observer))

    def unwrap(self) -> None:
        """Leave the methods as they were."""
        for owner, name, original in self._originals:
            setattr(owner, name, original)
        self._originals.clear()

    def _span(self, name: str, queue: Any, **options: Any) -> Span:
        return Span(self._instruments, name, queue.name, url=queue._connection.transport.url, **options)

    # Send

    def _send(self, queue: Any, *args: Any, **options: Any) -> Observer:
        with self._span("send", queue) as span:
            span.count(1)
            sent = yield args, _with_context(options, span)
            span.note(MESSAGE_ID, sent.message_id)

    def _send_by_sender(self, sender: Any, *args: Any, **options: Any) -> Observer:
        return self._send(sender.queue, *args, **options)

    def _send_batch(self, queue: Any, *args: Any, **options: Any) -> Observer:
        creates = self._instruments.create_spans
        with self._span("send", queue, kind=SpanKind.CLIENT if creates else None) as span:
            taken: list[Any] = []
            if args:
                args = (self._entries(queue, args[0], span, taken), *args[1:])
            elif "messages" in options:
                options["messages"] = self._entries(queue, options["messages"], span, taken)
            try:
                yield args, options
            finally:
                span.count(len(taken))
                span.note(BATCH_SIZE, len(taken))

    def _entries(self, queue: Any, messages: Any, span: Span, taken: list[Any]) -> Any:
        """The messages of a batch, with their context; something else is left to who refuses it."""
        if isinstance(messages, (str, bytes, bytearray, Mapping)) or not isinstance(messages, Iterable):
            return messages
        return self._with_contexts(queue, messages, span, taken)

    def _with_contexts(self, queue: Any, messages: Iterable[Any], span: Span, taken: list[Any]) -> Iterator[Any]:
        shared = {} if self._instruments.create_spans else span.carrier()
        for message in messages:
            taken.append(message)
            body, options = (message.body, message.options) if isinstance(message, Entry) else (message, {})
            carrier = shared
            if self._instruments.create_spans:
                with self._span("create", queue) as created:
                    carrier = created.carrier()
                span.span.add_link(created.span.get_span_context())
            if carrier:
                given: Any = {"trace_context": carrier, **options}
                message = Entry(body, **given)
            yield message

    # Receive

    def _receive(self, queue: Any, *args: Any, **options: Any) -> Observer:
        began = Span.now()
        try:
            messages = yield args, options
        except BaseException as error:
            with self._span("receive", queue, began=began) as span:
                span.failed(error)
            raise
        self._received(queue, messages, began)

    def _received(self, queue: Any, messages: Sequence[Any], began: tuple[int, float]) -> None:
        if messages:  # a receive that ended with none is no span, else every idle consumer would fill traces
            deliveries = [m._delivery for m in messages]
            about = {BATCH_SIZE: len(messages), **partition_of(deliveries, len(queue._ref.partitions))}
            links = links_of(deliveries)
            with self._span("receive", queue, links=links, attributes=about, began=began) as span:
                span.count(len(messages))
                span.note(MESSAGE_ID, messages[0].message_id if len(messages) == 1 else None)

    # Settle

    def _settle_one(self, queue: Any, *args: Any, **options: Any) -> Observer:
        message = args[0] if args else options.get("message")
        with self._settling(queue, [message], is_batch=False):
            yield args, options

    def _settle_batch(self, queue: Any, *args: Any, **options: Any) -> Observer:
        args, options, messages = _listed(args, options, "messages")
        with self._settling(queue, messages):
            yield args, options

    def _delete_and_receive(self, queue: Any, *args: Any, **options: Any) -> Observer:
        args, options, finished = _listed(args, options, "finished")
        began = Span.now()
        if not finished:
            try:
                messages, _ = yield args, options
            except BaseException as error:
                with self._span("receive", queue, began=began) as span:
                    span.failed(error)
                raise
        else:
            with self._settling(queue, finished) as span:
                messages, failures = yield args, options
                if failures:
                    span.failed(failures[0].error)
        self._received(queue, messages, began)

    def _release(self, queue: Any, message: Any, ms: Any, *args: Any, **options: Any) -> Observer:
        if ms:  # it stays with who has it
            yield (message, ms, *args), options
        else:
            with self._settling(queue, [message], is_batch=False):
                yield (message, ms, *args), options

    def _release_batch(self, queue: Any, *args: Any, **options: Any) -> Observer:
        args, options, changes = _listed(args, options, "changes")
        given = [c[0] for c in changes if isinstance(c, tuple | list) and len(c) == 2 and not c[1]]
        if not given:
            yield args, options
        else:
            with self._settling(queue, given):
                yield args, options

    def _release_message(self, message: Any, *args: Any, **options: Any) -> Observer:
        delay = args[0] if args else options.get("delay", 0)
        if message._holder is None and not delay:  # _change_visibility() tells it
            yield args, options
        else:
            with self._settling(message.queue, [message], is_batch=False):
                yield args, options

    def _settling(self, queue: Any, messages: Sequence[Any], *, is_batch: bool = True) -> Span:
        deliveries = _deliveries(messages)
        span = self._span("settle", queue, links=links_of(deliveries))
        if is_batch:
            span.note(BATCH_SIZE, len(messages))
        if len(messages) == 1:
            span.note(MESSAGE_ID, getattr(messages[0], "message_id", None))
        return span

    # Process

    def _enter(self, message: Any) -> Observer:
        yield (), {}
        if message._holder is None and message._delivery.received_ms:
            span = process_span(self._instruments, message.queue.name, [message._delivery], url=_url_of(message))
            self._entered[id(message)] = span, contexts.attach(span.context)

    def _leave(self, message: Any, kind: Any, error: Any, traceback: Any) -> Observer:
        nothing: tuple[Any, Any] = (None, None)
        span, token = self._entered.pop(id(message), nothing)
        try:
            yield (kind, error, traceback), {}
        except BaseException as e:
            error = e
            raise
        finally:
            if span is not None:
                contexts.detach(token)
                if error is not None:
                    span.span.record_exception(error)
                    span.failed(error)
                span.end()


def observed(original: Any, observer: Callable[..., Observer]) -> Any:
    """A method with an observer around it."""
    if inspect.iscoroutinefunction(original):

        @functools.wraps(original)
        async def method(self: Any, *args: Any, **kwargs: Any) -> Any:
            watching = observer(self, *args, **kwargs)
            args, kwargs = next(watching)
            try:
                result = await original(self, *args, **kwargs)
            except BaseException as error:
                _throw(watching, error)
                raise
            return _told(watching, result)

        return method

    @functools.wraps(original)
    def sync_method(self: Any, *args: Any, **kwargs: Any) -> Any:
        watching = observer(self, *args, **kwargs)
        args, kwargs = next(watching)
        try:
            result = original(self, *args, **kwargs)
        except BaseException as error:
            _throw(watching, error)
            raise
        return _told(watching, result)

    return sync_method


def _throw(watching: Observer, error: BaseException) -> None:
    try:
        watching.throw(error)
    except BaseException as raised:
        if raised is not error and not isinstance(raised, StopIteration):
            raise


def _told(watching: Observer, result: Any) -> Any:
    with contextlib.suppress(StopIteration):
        watching.send(result)
    return result


def _with_context(options: dict[str, Any], span: Span) -> dict[str, Any]:
    if options.get("trace_context") is None:
        carrier = span.carrier()
        if carrier:
            return {**options, "trace_context": carrier}
    return options


def _listed(
    args: tuple[Any, ...], options: dict[str, Any], name: str
) -> tuple[tuple[Any, ...], dict[str, Any], list[Any]]:
    """The arguments with a batch that can be gone through twice, and that."""
    values = args[0] if args else options.get(name)
    if isinstance(values, (str, bytes, bytearray, Mapping)) or not isinstance(values, Iterable):
        return args, options, []
    found = list(values)
    return ((found, *args[1:]), options, found) if args else (args, {**options, name: found}, found)


def _deliveries(messages: Sequence[Any]) -> list[Delivery]:
    found = [getattr(m, "_delivery", None) for m in messages]
    return [d for d in found if d is not None]


def _url_of(message: Any) -> str:
    url: str = message.queue._connection.transport.url
    return url
