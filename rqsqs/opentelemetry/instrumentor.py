"""Switches telemetry on and off."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

from opentelemetry.metrics import MeterProvider
from opentelemetry.trace import TracerProvider

import rqsqs
from rqsqs import aio
from rqsqs._core import telemetry
from rqsqs._core.delivery import Delivery
from rqsqs._core.keys import QueueRef
from rqsqs._core.operation import Flow
from rqsqs.opentelemetry import processing, workers
from rqsqs.opentelemetry.native import NativeApi
from rqsqs.opentelemetry.requests import Requests
from rqsqs.opentelemetry.spans import Instruments, make_instruments

T = TypeVar("T")
_lock = threading.Lock()


class _Telemetry:
    """See rqsqs._core.telemetry.Telemetry."""

    def __init__(self, instruments: Instruments) -> None:
        self._instruments = instruments
        self._requests = Requests(instruments)
        self.native = NativeApi(
            instruments, [(rqsqs.Queue, rqsqs.Message, rqsqs.Sender), (aio.Queue, aio.Message, aio.Sender)]
        )

    def request(
        self, url: str, context: Any, action: str, params: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> Flow[dict[str, Any]]:
        return self._requests.run(url, context, action, params, headers)

    def fetch(
        self, url: str, q: QueueRef, finished: Sequence[Delivery], flow: Flow[list[Delivery]]
    ) -> Flow[list[Delivery]]:
        return workers.fetch(self._instruments, url, q, finished, flow)

    def settle(self, url: str, q: QueueRef, deliveries: Sequence[Delivery], flow: Flow[T]) -> Flow[T]:
        return workers.settle(self._instruments, url, q, deliveries, flow)

    def process(self, job: Any, handle: Callable[[], Any]) -> Any:
        return workers.process(self._instruments, job, handle)


def instrument(
    *,
    tracer_provider: TracerProvider | None = None,
    meter_provider: MeterProvider | None = None,
    in_trace_of_sender: bool = False,
    create_spans: bool = False,
) -> None:
    """Make spans and metrics from now on, in this process. Called again, it takes the new arguments.

    Args:
        tracer_provider: makes the spans; None = the global one.
        meter_provider: makes the metrics; None = the global one.
        in_trace_of_sender: a `process` span of one message is a child of the span that sent it. False = it begins or
            continues its own trace, with a link to that one, as conventions have it.
        create_spans: each message of a batch gets a `create` span of its own, to which handlers link; False = they
            link to the `send` span of the batch.
    """
    instruments = make_instruments(
        tracer_provider, meter_provider, in_trace_of_sender=in_trace_of_sender, create_spans=create_spans
    )
    with _lock:
        _switch_off()
        telemetry.current = _Telemetry(instruments)
        processing.default = instruments


def uninstrument() -> None:
    """Make none any more."""
    with _lock:
        _switch_off()


def _switch_off() -> None:
    if isinstance(telemetry.current, _Telemetry):
        telemetry.current.native.unwrap()
    telemetry.current = processing.default = None


class RqsqsInstrumentor:
    """What `opentelemetry-instrument` finds and switches on: the entry point `rqsqs`."""

    def instrument(self, **options: Any) -> None:
        """As instrument(); other options are for other instrumentors."""
        known = ("tracer_provider", "meter_provider", "in_trace_of_sender", "create_spans")
        instrument(**{name: options[name] for name in known if name in options})

    def uninstrument(self, **options: Any) -> None:
        """As uninstrument()."""
        uninstrument()
