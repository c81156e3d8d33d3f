"""What looks on while messages are sent, received, handled and settled, if it was switched on: rqsqs.opentelemetry.

Who has something to tell looks at `current`: boto3, the gateway and workers. The methods of the native API do not, as
each of their calls counts: they are wrapped while it is on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from rqsqs._core.delivery import Delivery
from rqsqs._core.keys import QueueRef
from rqsqs._core.operation import Flow

T = TypeVar("T")


class Telemetry(Protocol):
    """What looks on. Each flow is run by it as part of the one that it returns."""

    def request(
        self, url: str, context: Any, action: str, params: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> Flow[dict[str, Any]]:
        """Run an action of rqsqs.sqs.

        Args:
            url: of the server.
            context: a rqsqs.sqs.Context.
            headers: of the HTTP request, at the gateway; None = a client in this process.
        """
        ...

    def fetch(
        self, url: str, q: QueueRef, finished: Sequence[Delivery], flow: Flow[list[Delivery]]
    ) -> Flow[list[Delivery]]:
        """Run the flow of a worker that deletes what is finished and receives."""
        ...

    def settle(self, url: str, q: QueueRef, deliveries: Sequence[Delivery], flow: Flow[T]) -> Flow[T]:
        """Run the flow of a worker that deletes or releases messages."""
        ...

    def process(self, job: Any, handle: Callable[[], Any]) -> Any:
        """Call the handler of a worker for the messages of a rqsqs.worker.jobs.Job; that of a coroutine function gives
        a coroutine, and so does this."""
        ...


current: Telemetry | None = None
