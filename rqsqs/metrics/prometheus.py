"""Metrics of queues as text for Prometheus (docs/metrics.md).

Written by hand, family by family: for a thousand queues prometheus-client's writer takes twenty times as long. The one
label that names something is `queue`: messages, groups and consumers come and go, and each would be a series for ever.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate, chain, repeat

from rqsqs.metric_models import Histogram, QueueMetrics

from .exposition import Family, Format

Value = Callable[[QueueMetrics], float | None]

PAGE = 100  # queues that are written at once
BUCKETS = 22  # up to 2^21 ms, 35 minutes; what took longer is in +Inf
BOUNDS = [str(2**power / 1000) for power in range(BUCKETS)]
_MIDDLES = [0.0005, *[0.75 * 2**power / 1000 for power in range(1, 64)]]

_of = operator.attrgetter


def _gauge(name: str, help: str, value: str) -> tuple[Family, list[tuple[str, Value]]]:
    return Family(name, "gauge", help), [("", _of(value))]


def _counter(name: str, help: str, value: str) -> tuple[Family, list[tuple[str, Value]]]:
    return Family(name, "counter", f"{help}, since the queue was created."), [("", _of(value))]


def _states(label: str, **values: str) -> list[tuple[str, Value]]:
    return [(f',{label}="{state}"', _of(value)) for state, value in values.items()]


def _nth(index: int) -> Value:
    return lambda metrics: metrics.redelivered[index]


# Each family, and what is behind the label `queue` of its samples, with the value. None leaves a sample out.
GAUGES: list[tuple[Family, list[tuple[str, Value]]]] = [
    (
        Family("rqsqs_queue_messages", "gauge", "Messages in a queue, by state."),
        _states("state", visible="visible", in_flight="in_flight", delayed="delayed"),
    ),
    _gauge(
        "rqsqs_queue_oldest_message_age_seconds",
        "Age of the oldest message that waits or is in flight, as ApproximateAgeOfOldestMessage counts it.",
        "oldest_age_s",
    ),
    (
        Family("rqsqs_queue_created_timestamp_seconds", "gauge", "When the queue was created, Unix time."),
        [("", lambda metrics: metrics.created_at_ms / 1000)],
    ),
    (
        Family("rqsqs_queue_paused", "gauge", "Whether the queue is paused."),
        [("", lambda metrics: int(metrics.is_paused))],
    ),
    (
        Family("rqsqs_queue_takes_dead_letters", "gauge", "Whether another queue sends its dead letters here."),
        [("", lambda metrics: int(metrics.is_dead_letter_queue))],
    ),
    _gauge("rqsqs_queue_groups_in_flight", "Message groups with messages in flight.", "groups_in_flight"),
    _gauge("rqsqs_queue_noisy_groups", "Message groups that have much more than their share.", "noisy_groups"),
    (
        Family("rqsqs_queue_quiet_messages", "gauge", "Messages in a queue without those of noisy groups, by state."),
        _states(
            "state",
            visible="visible_in_quiet_groups",
            in_flight="in_flight_in_quiet_groups",
            delayed="delayed_in_quiet_groups",
        ),
    ),
    _gauge(
        "rqsqs_queue_quiet_oldest_message_age_seconds",
        "Age of the oldest message of a group that is not noisy.",
        "oldest_age_in_quiet_groups_s",
    ),
    _gauge("rqsqs_waiting_receives", "Receives that wait for messages right now.", "waiters"),
]
COUNTERS: list[tuple[Family, list[tuple[str, Value]]]] = [
    _counter("rqsqs_messages_sent", "Messages sent, without duplicates, moved ones and dead letters", "sent"),
    _counter("rqsqs_messages_received", "Messages handed out, each time counted", "received"),
    _counter("rqsqs_messages_deleted", "Messages deleted", "deleted"),
    (
        Family(
            "rqsqs_messages_redelivered",
            "counter",
            "Messages handed out again, by the number of the receive, since the queue was created.",
        ),
        [(f',receive="{nth}"', _nth(index)) for index, nth in enumerate(("second", "third", "later"))],
    ),
    _counter("rqsqs_messages_dead_lettered", "Messages that went to the dead-letter queue", "dead_lettered"),
    _counter("rqsqs_dead_letters", "Messages that came as dead letters", "dead_letters"),
    _counter("rqsqs_messages_expired", "Messages dropped at the end of their retention", "expired"),
    _counter("rqsqs_messages_purged", "Messages that purges removed", "purged"),
    _counter("rqsqs_messages_cancelled", "Messages that were cancelled", "cancelled"),
    _counter("rqsqs_messages_deduplicated", "Sends that were duplicates", "deduplicated"),
    (
        Family(
            "rqsqs_messages_redriven",
            "counter",
            "Messages that moves took out of the queue and brought, since the queue was created.",
        ),
        _states("direction", out="redriven_out", **{"in": "redriven_in"}),
    ),
    _counter("rqsqs_messages_failed", "Messages that workers could not finish, each time counted", "failed"),
    _counter("rqsqs_messages_reclaimed", "Messages that workers got again as nobody had settled them", "reclaimed"),
    _counter("rqsqs_messages_damaged", "Messages that could not be handed out as their record was gone", "damaged"),
    _counter("rqsqs_sent_bytes", "Bytes of the messages sent, as they are stored", "sent_bytes"),
    _counter("rqsqs_empty_receives", "Receives that found nothing", "empty_receives"),
]
_SUM = "Counted by powers of two of a millisecond; the sum is from the middles of the buckets."
DWELL = Family(
    "rqsqs_dwell_seconds", "histogram", f"How long messages waited from when they were visible to their receive. {_SUM}"
)
PROCESSING = Family("rqsqs_processing_seconds", "histogram", f"How long workers handled messages. {_SUM}")
HISTOGRAMS: list[tuple[Family, Callable[[QueueMetrics], Histogram]]] = [
    (DWELL, _of("dwell")),
    (PROCESSING, _of("processing")),
]
CONSUMERS = Family("rqsqs_consumers", "gauge", "Workers that serve a queue, by state.")


def write(
    queues: Sequence[QueueMetrics], format: Format, *, with_histograms: bool = True, with_created: bool = False
) -> Iterator[str]:
    """The text of all queues, in parts that are made quickly.

    Args:
        queues: in any order; each name once.
        format: of the text.
        with_histograms: about 25 lines of each queue more.
        with_created: in OpenMetrics, a sample `_created` beside each counter and histogram.
    """
    with_created = with_created and format.is_openmetrics
    pages = [queues[at : at + PAGE] for at in range(0, len(queues), PAGE)]
    for family, samples in GAUGES:
        yield from _headed(family, format, (_samples(family, samples, page) for page in pages))
    yield from _headed(CONSUMERS, format, (_consumers(page) for page in pages))
    for family, samples in COUNTERS:
        yield from _headed(family, format, (_samples(family, samples, page, with_created) for page in pages))
    if with_histograms:
        for family, value in HISTOGRAMS:
            yield from _headed(family, format, (_histograms(family, value, page, with_created) for page in pages))


def _headed(family: Family, format: Format, parts: Iterator[str]) -> Iterator[str]:
    """The head of a family before its first part that is not empty."""
    head = family.head(format)
    for part in parts:
        if part:
            yield head + part
            head = ""


def _samples(
    family: Family, samples: list[tuple[str, Value]], page: Sequence[QueueMetrics], with_created: bool = False
) -> str:
    lines = []
    for metrics in page:
        for more, of in samples:
            value = of(metrics)
            if value is not None:
                lines.append(f'{family.sample}{{queue="{metrics.queue}"{more}}} {value}\n')
                if with_created:
                    lines.append(_created(family, metrics, more))
    return "".join(lines)


def _created(family: Family, metrics: QueueMetrics, more: str = "") -> str:
    return f'{family.name}_created{{queue="{metrics.queue}"{more}}} {metrics.created_at_ms / 1000}\n'


def _consumers(page: Sequence[QueueMetrics]) -> str:
    return "".join(
        [
            f'{CONSUMERS.sample}{{queue="{metrics.queue}",state="{state}"}} {count}\n'
            for metrics in page
            for state, count in metrics.consumers.items()
        ]
    )


def _histograms(
    family: Family, value: Callable[[QueueMetrics], Histogram], page: Sequence[QueueMetrics], with_created: bool
) -> str:
    lines = []
    for metrics in page:
        counts = value(metrics).counts
        if not counts and family is PROCESSING:
            continue  # no worker reported any
        head = f'{family.name}_bucket{{queue="{metrics.queue}",le="'
        up_to = accumulate(chain(counts[:BUCKETS], repeat(0)))
        lines += [f'{head}{bound}"}} {count}\n' for bound, count in zip(BOUNDS, up_to, strict=False)]
        total, seconds = sum(counts), sum(map(operator.mul, counts, _MIDDLES))
        labels = f'{{queue="{metrics.queue}"}}'
        lines.append(
            f'{head}+Inf"}} {total}\n{family.name}_count{labels} {total}\n{family.name}_sum{labels} {seconds}\n'
        )
        if with_created:
            lines.append(_created(family, metrics))
    return "".join(lines)
