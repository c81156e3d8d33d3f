"""What a worker process tells of itself: for its health port, and for programs that watch over it.

Nothing here is imported before somebody asks. How long messages were handled is counted in worker_queue.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from rqsqs.metric_models import Histogram
from rqsqs.models import Statistics

if TYPE_CHECKING:
    from rqsqs.worker.runtime import Runtime
    from rqsqs.worker.worker_queue import Durations, WorkerQueue


@dataclass(frozen=True, slots=True)
class Processing:
    """How long messages were handled: what the call of the handler took, its middleware included. Of a batch, each
    message counts once, with the time of the whole call; so does one that the handler settled itself.

    Attributes:
        times: of every message.
        seconds: their sum.
    """

    times: Histogram
    seconds: float


@dataclass(frozen=True, slots=True)
class WorkerQueueMetrics:
    """One queue that a worker process serves. Counts are those since the process began to serve.

    Attributes:
        queue: its name.
        state: as in Consumer.
        busy: slots that it has: calls of the handler that run or are about to.
        in_flight: messages in hand.
        prefetched: calls of a quick handler that wait in hand, beyond the slots.
        waiters: receives that wait for messages right now: 1 or 0.
        received: messages.
        reclaimed: messages received again about whose last receive nobody said anything: the worker that had them was
            killed, hung or lost the server; or another receiver let their visibility timeout pass, or released them.
        succeeded: messages that are deleted.
        failed: messages that failed.
        retried, dead_lettered: failed messages that are tried again, or went to the dead-letter queue.
        given_back: messages that were not begun, or not finished when the worker stopped.
        lost: messages that others got, or that were deleted, while they were in hand.
        processing: how long messages were handled, by outcome: "succeeded", "failed". Messages that were given back or
            lost are not in it.
    """

    queue: str
    state: str
    busy: int
    in_flight: int
    prefetched: int
    waiters: int
    received: int
    reclaimed: int
    succeeded: int
    failed: int
    retried: int
    dead_lettered: int
    given_back: int
    lost: int
    processing: Mapping[str, Processing]


@dataclass(frozen=True, slots=True)
class WorkerMetrics:
    """A worker process.

    Attributes:
        consumer_id: its name, as in Consumer.
        state: as in Worker.status().
        started_at_s: when it began to serve (epoch seconds, by its own clock).
        slots: how many messages (or batches) it handles at a time, its `concurrency`.
        busy: slots that are taken.
        heartbeats: rounds over all queues that went well.
        threads_restarted: how often one of its threads died and began anew.
        queues: one for each.
        statistics: of the connections with which it receives and settles.
    """

    consumer_id: str
    state: str
    started_at_s: float
    slots: int
    busy: int
    heartbeats: int
    threads_restarted: int
    queues: tuple[WorkerQueueMetrics, ...]
    statistics: Statistics


def snapshot(runtime: Runtime) -> WorkerMetrics:
    """A worker right now. The lock is held while numbers are copied, for some microseconds per queue."""
    with runtime.lock:
        queues = tuple([_of_queue(queue, runtime.executor.waiting(queue)) for queue in runtime.queues])
    return WorkerMetrics(
        consumer_id=runtime.consumer_id,
        state=runtime.state,
        started_at_s=runtime.started,
        slots=runtime.settings.concurrency,
        busy=sum([queue.busy for queue in queues]),
        heartbeats=runtime.heartbeat.beats,
        threads_restarted=sum([thread.deaths for thread in runtime.threads()]),
        queues=queues,
        statistics=runtime.statistics(),
    )


def _of_queue(queue: WorkerQueue, prefetched: int) -> WorkerQueueMetrics:
    return WorkerQueueMetrics(
        queue=queue.name,
        state=queue.shown_state,
        busy=queue.running,
        in_flight=len(queue.held),
        prefetched=prefetched,
        waiters=int(queue.waits),
        received=queue.received,
        reclaimed=queue.reclaimed,
        succeeded=queue.succeeded,
        failed=queue.failed,
        retried=queue.retried,
        dead_lettered=queue.dead_lettered,
        given_back=queue.given_back,
        lost=queue.lost,
        processing={outcome: _processing(durations) for outcome, durations in queue.handled.items()},
    )


def _processing(durations: Durations) -> Processing:
    counts = durations.counts
    used = max([power for power, n in enumerate(counts) if n], default=-1) + 1
    return Processing(Histogram(tuple(counts[:used])), durations.seconds)
