"""What worker processes tell Prometheus of themselves, at the port of their health checks.

Each process is a series of its own, by its number below a supervisor (`process`, else 1), so that one that is replaced
begins anew without the others. Queues as such are not told here: else each worker would read all of them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import fields
from itertools import accumulate, chain, repeat
from typing import Any

import rqsqs
from rqsqs.models import Statistics

from .exporter import BUILD, Samples, gzipped, in_words, scrape_of
from .exposition import END, Family, labels
from .listener import Response
from .prometheus import BOUNDS

READY = Family("rqsqs_worker_ready", "gauge", "Whether the process is ready, as /readyz judges it.")
STARTED = Family("rqsqs_worker_start_time_seconds", "gauge", "When the process began to serve, Unix time.")
SLOTS = Family("rqsqs_worker_slots", "gauge", "How many messages, or batches, the process handles at a time.")
HEARTBEATS = Family("rqsqs_worker_heartbeats", "counter", "Heartbeats that the server answered.")
RESTARTS = Family("rqsqs_worker_thread_restarts", "counter", "Threads that died and began anew.")
OF_QUEUES: list[tuple[Family, str]] = [
    (Family("rqsqs_worker_busy", "gauge", "Slots that handle messages of a queue."), "busy"),
    (Family("rqsqs_worker_in_flight", "gauge", "Messages of a queue that the process has."), "in_flight"),
    (Family("rqsqs_worker_prefetched", "gauge", "Calls of a quick handler that wait beyond the slots."), "prefetched"),
    *[
        (Family(f"rqsqs_worker_messages_{name}", "counter", help), name)
        for name, help in (
            ("received", "Messages received."),
            ("reclaimed", "Messages received again though nobody had settled them."),
            ("succeeded", "Messages that were handled and deleted."),
            ("failed", "Messages that failed."),
            ("retried", "Messages that failed and are tried again."),
            ("dead_lettered", "Messages that failed and went to the dead-letter queue."),
            ("given_back", "Messages that were not begun or not finished when the worker stopped."),
            ("lost", "Messages that others got, or that were deleted, while the process had them."),
        )
    ],
]
PROCESSING = Family(
    "rqsqs_worker_processing_seconds",
    "histogram",
    "How long messages were handled, by outcome. Counted by powers of two of a millisecond; the sum is exact.",
)
CONNECTIONS = [
    (Family(f"rqsqs_worker_{field.name}", "counter", f"As {field.name} of rqsqs.Statistics."), field.name)
    for field in fields(Statistics)
]

Processes = Mapping[int, Mapping[str, Any]]  # by number: the status, and `metrics`, a WorkerMetrics as a dict


def response(processes: Processes, query: str, headers: Mapping[str, str]) -> Response:
    """Answer a scrape.

    Args:
        processes: what they told last.
        query: of its URL.
        headers: with names in lower case.
    """
    try:
        scrape = scrape_of(query, headers)
    except ValueError as error:
        return in_words(400, str(error))
    parts = [family.written(scrape.format, samples) for family, samples in _samples(processes)]
    body = "".join([*parts, END if scrape.format.is_openmetrics else ""]).encode()
    return gzipped(scrape, body) if scrape.is_gzipped else Response(200, scrape.format.content_type, body)


def _samples(processes: Processes) -> Iterator[Samples]:
    yield BUILD, [(labels(version=rqsqs.__version__), 1)]
    yield READY, [(labels(process=str(n)), int(bool(status.get("is_ready")))) for n, status in processes.items()]
    told = [(str(n), status["metrics"]) for n, status in processes.items() if status.get("metrics")]
    for family, name in (
        (STARTED, "started_at_s"),
        (SLOTS, "slots"),
        (HEARTBEATS, "heartbeats"),
        (RESTARTS, "threads_restarted"),
    ):
        yield family, [(labels(process=n), metrics[name]) for n, metrics in told]
    for family, name in CONNECTIONS:
        yield family, [(labels(process=n), metrics["statistics"][name]) for n, metrics in told]
    queues = [(n, queue) for n, metrics in told for queue in metrics["queues"]]
    for family, name in OF_QUEUES:
        yield family, [(labels(process=n, queue=queue["queue"]), queue[name]) for n, queue in queues]
    yield PROCESSING, list(chain.from_iterable([_processing(n, queue) for n, queue in queues]))


def _processing(process: str, queue: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    for outcome, found in queue["processing"].items():
        given = {"process": process, "queue": queue["queue"], "outcome": outcome}
        counts = found["times"]["counts"]
        up_to = accumulate(chain(counts[: len(BOUNDS)], repeat(0)))
        for bound, count in zip(BOUNDS, up_to, strict=False):
            yield f"_bucket{labels(**given, le=bound)}", count
        yield f"_bucket{labels(**given, le='+Inf')}", sum(counts)
        yield f"_count{labels(**given)}", sum(counts)
        yield f"_sum{labels(**given)}", found["seconds"]
