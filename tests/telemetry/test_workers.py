"""Spans and metrics of workers."""

from __future__ import annotations

import threading
from typing import Any

from opentelemetry import trace
from opentelemetry.trace import SpanKind, StatusCode

import rqsqs
from rqsqs.worker import Context
from tests.telemetry.recording import Recorder, linked
from tests.worker.serving import App, is_empty, until


def test_a_handler_runs_in_a_process_span_that_links_to_the_sender(recorder: Recorder, app: App) -> None:
    queue = app.queue()
    seen: list[Any] = []

    def handle(message: rqsqs.Message, context: Context) -> None:
        seen.append(trace.get_current_span().get_span_context())
        message.queue.send("follow-up") if message.body == "first" else None

    running = app.serve(handle)
    sent = queue.send("first")
    until(lambda: len(seen) == 2 and is_empty(queue))
    until(lambda: len(recorder.spans("process q")) == 2)
    first, second = sorted(recorder.spans("process q"), key=lambda span: span.start_time or 0)
    until(lambda: len(recorder.spans("send q")) == 2)
    sends = sorted(recorder.spans("send q"), key=lambda span: span.start_time or 0)  # the first may end later
    assert first.kind is SpanKind.CONSUMER
    assert [span.context for span in (first, second)] == seen
    assert [linked(span) for span in (first, second)] == [[span.context.span_id] for span in sends]
    assert sends[1].parent == first.context  # a handler continues the trace
    assert first.attributes["messaging.message.id"] == sent.message_id
    assert first.attributes["messaging.client.id"] == running.consumer_id
    expected = sorted(span.context.span_id for span in sends)
    for name in ("receive q", "settle q"):  # of one call or two
        until(lambda name=name: sorted(one for span in recorder.spans(name) for one in linked(span)) == expected)
    running.stop()
    assert sum(point.value for point in recorder.points("messaging.client.consumed.messages")) == 2


def test_a_settlement_does_not_last_until_the_next_message(recorder: Recorder, app: App) -> None:
    queue = app.queue()
    done = threading.Event()
    app.serve(lambda message: done.set() if message.body == "last" else None)
    queue.send("first")
    span = recorder.span("settle q")  # while the call that deleted it waits for more
    assert not done.is_set()
    assert span.attributes["messaging.batch.message_count"] == 1
    queue.send("last")
    assert done.wait(60)


def test_a_failure_is_told(recorder: Recorder, app: App) -> None:
    queue = app.queue(retry_policy=rqsqs.RetryPolicy(base=0.01, cap=0.01))
    failed = threading.Event()

    def handle(message: rqsqs.Message) -> None:
        if not failed.is_set():
            failed.set()
            raise ValueError("not now")

    app.serve(handle)
    queue.send("x")
    until(lambda: len(recorder.spans("process q")) == 2)
    first, second = recorder.spans("process q")
    assert (first.status.status_code, first.attributes["error.type"]) == (StatusCode.ERROR, "ValueError")
    assert first.events[0].attributes["exception.message"] == "not now"
    assert second.status.status_code is StatusCode.UNSET
    assert linked(first) == linked(second)
    points = recorder.points("messaging.process.duration")
    assert {(point.attributes.get("error.type"), point.count) for point in points} == {("ValueError", 1), (None, 1)}


def test_coroutines_and_batches(recorder: Recorder, app: App) -> None:
    app.queue("one")
    many = app.queue("many", retry_policy=rqsqs.RetryPolicy(base=60, cap=60))
    seen: list[Any] = []

    async def handle(message: Any) -> None:
        seen.append(trace.get_current_span().get_span_context())

    def handle_batch(messages: list[Any]) -> list[BaseException | None]:
        return [ValueError("this one") if message.body == "bad" else None for message in messages]

    app.connection.queue("one").send("x")
    many.send_batch(["good", "bad"])
    worker = app.worker()
    worker.add("one", handle)
    worker.add("many", handle_batch, batch=10)
    app.start(worker)
    assert recorder.span("process one").context == until(lambda: seen)[0]
    batch = recorder.span("process many")
    assert batch.attributes["messaging.batch.message_count"] == 2
    assert (batch.attributes["error.type"], batch.status.status_code) == ("ValueError", StatusCode.ERROR)
    assert len(batch.links) == 1  # both were sent by one call


def test_a_timeout_is_told(recorder: Recorder, app: App) -> None:
    app.queue(retry_policy=rqsqs.RetryPolicy(base=60, cap=60)).send("x")

    def handle(message: Any) -> None:
        while True:
            threading.Event().wait(0.01)

    running = app.serve(handle, timeout=0.1)
    assert recorder.span("process q").attributes["error.type"] == "rqsqs.worker.HandlerTimeout"
    running.stop()


def test_in_the_trace_of_the_sender(recorder: Recorder, app: App) -> None:
    recorder.instrument(in_trace_of_sender=True)
    app.queue().send("x")
    app.serve(lambda message: None)
    assert recorder.span("process q").parent.span_id == recorder.span("send q").context.span_id


def test_middleware_runs_inside_of_the_span(recorder: Recorder, app: App) -> None:
    app.queue().send("x")
    seen: list[Any] = []
    worker = app.worker()

    @worker.middleware
    def note(message: Any, call_next: Any) -> None:
        seen.append(trace.get_current_span().get_span_context())
        call_next(message)

    worker.add("q", lambda message: None)
    app.start(worker)
    assert recorder.span("process q").context == until(lambda: seen)[0]


def test_a_block_in_a_handler_is_no_second_span(recorder: Recorder, app: App) -> None:
    queue = app.queue()

    def handle(message: rqsqs.Message) -> None:
        with message:
            pass

    app.serve(handle)
    queue.send("x")
    until(lambda: is_empty(queue))
    recorder.span("process q")
    assert len(recorder.spans("settle q")) == 1


def test_what_a_handler_settles_itself_is_settled_once(recorder: Recorder, app: App) -> None:
    queue = app.queue()
    handled: list[int] = []

    def handle(message: rqsqs.Message) -> None:
        handled.append(message.receive_count)
        message.release() if len(handled) == 1 else message.delete()

    app.serve(handle)
    queue.send("x")
    until(lambda: len(recorder.spans("process q")) == 2 and is_empty(queue))
    assert [span.name for span in recorder.spans("settle q")] == ["settle q"] * 2
    parents = {span.parent.span_id for span in recorder.spans("settle q")}
    assert parents == {span.context.span_id for span in recorder.spans("process q")}


def test_it_can_be_switched_while_a_worker_is_running(recorder: Recorder, app: App) -> None:
    import rqsqs.opentelemetry

    queue = app.queue()
    app.serve(lambda message: None)
    for on in (True, False, True):
        recorder.instrument() if on else rqsqs.opentelemetry.uninstrument()
        recorder.clear()
        queue.send("x")
        until(lambda: is_empty(queue))
        if on:
            recorder.span("process q")
        else:
            assert recorder.spans("process q") == recorder.spans("send q") == []
