"""What workers do: fetch, call handlers, settle."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from rqsqs._core.delivery import Delivery
from rqsqs._core.keys import QueueRef
from rqsqs._core.operation import Flow
from rqsqs.opentelemetry.processing import inside, process_span
from rqsqs.opentelemetry.spans import BATCH_SIZE, CLIENT_ID, MESSAGE_ID, Instruments, Span, links_of, partition_of

T = TypeVar("T")


def fetch(
    instruments: Instruments, url: str, q: QueueRef, finished: Sequence[Delivery], flow: Flow[list[Delivery]]
) -> Flow[list[Delivery]]:
    """As telemetry.Telemetry.fetch(). The settle span ends with the first call, before the wait for more."""
    began = Span.now()
    settling = _settling(instruments, url, q, list(finished)) if finished else None
    try:
        step = next(flow)
        while True:
            try:
                result = yield step
            except BaseException as error:
                if settling is not None and not isinstance(error, GeneratorExit):
                    settling.failed(error)
                step = flow.throw(error)
            else:
                if settling is not None:
                    settling.end()
                    settling = None
                step = flow.send(result)
    except StopIteration as end:
        received: list[Delivery] = end.value
    finally:
        if settling is not None:
            settling.end()
    if received:
        about = {BATCH_SIZE: len(received), **partition_of(received, len(q.partitions))}
        with Span(
            instruments, "receive", q.name, url=url, links=links_of(received), attributes=about, began=began
        ) as span:
            span.count(len(received))
            span.note(MESSAGE_ID, received[0].message_id if len(received) == 1 else None)
    return received


def settle(instruments: Instruments, url: str, q: QueueRef, deliveries: Sequence[Delivery], flow: Flow[T]) -> Flow[T]:
    """As telemetry.Telemetry.settle()."""
    with _settling(instruments, url, q, deliveries):
        return (yield from flow)


def _settling(instruments: Instruments, url: str, q: QueueRef, deliveries: Sequence[Delivery]) -> Span:
    about = {BATCH_SIZE: len(deliveries), **partition_of(deliveries, len(q.partitions))}
    span = Span(instruments, "settle", q.name, url=url, links=links_of(deliveries), attributes=about)
    span.note(MESSAGE_ID, deliveries[0].message_id if len(deliveries) == 1 else None)
    return span


def process(instruments: Instruments, job: Any, handle: Callable[[], Any]) -> Any:
    """As telemetry.Telemetry.process()."""
    run = _process_async if job.queue.handler.is_coroutine else _process
    return run(_processing(instruments, job), job, handle)


def _processing(instruments: Instruments, job: Any) -> Span:
    queue = job.queue
    return process_span(
        instruments,
        queue.name,
        job.deliveries,
        partitions=len(queue.ref.partitions),
        is_batch=bool(queue.handler.batch),
        attributes={CLIENT_ID: job.host.consumer_id},
        url=queue.api_queue._connection.transport.url,
    )


def _process(span: Span, job: Any, handle: Callable[[], Any]) -> Any:
    with span, inside(span):
        result = handle()
        _note_failures(span, job, result)
        return result


async def _process_async(span: Span, job: Any, handle: Callable[[], Any]) -> Any:
    with span, inside(span):
        result = await handle()
        _note_failures(span, job, result)
        return result


def _note_failures(span: Span, job: Any, result: Any) -> None:
    """Messages of a batch can fail without an exception that is raised."""
    errors = [*(result if isinstance(result, list | tuple) else ()), *(job.by_hand or {}).values()]
    errors = [error for error in errors if isinstance(error, BaseException)]
    for error in errors:
        span.span.record_exception(error)
    if errors:
        span.failed(errors[0])
