"""Metrics of queues: frozen data."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Histogram:
    """How long something took, of every single case: counts by powers of two of milliseconds.

    Attributes:
        counts: how many took less than 1 ms, then less than 2, 4, 8 ... ms and at least half of that.
    """

    __module__ = "rqsqs"

    counts: tuple[int, ...] = ()

    @property
    def total(self) -> int:
        """How many cases there are."""
        return sum(self.counts)

    def __add__(self, other: Histogram) -> Histogram:
        if not other.counts:
            return self
        pairs = itertools.zip_longest(self.counts, other.counts, fillvalue=0)
        return Histogram(tuple([a + b for a, b in pairs]))

    def __sub__(self, other: Histogram) -> Histogram:
        pairs = itertools.zip_longest(self.counts, other.counts, fillvalue=0)
        return Histogram(tuple([a - b for a, b in pairs]))

    def percentile(self, percent: float) -> float | None:
        """Seconds which that many per cent of the cases took at most; None without any.

        Args:
            percent: 0 to 100. Within a power of two the cases count as spread evenly.
        """
        if not 0 <= percent <= 100:
            raise ValueError(f"percent must be 0 to 100, got {percent!r}")
        wanted = self.total * percent / 100
        if not self.total:
            return None
        for power, count in enumerate(self.counts):
            if count and wanted <= count:
                low, high = (2.0 ** (power - 1) if power else 0.0), 2.0**power
                return (low + (high - low) * wanted / count) / 1000
            wanted -= count
        return 2.0 ** (len(self.counts) - 1) / 1000


@dataclass(frozen=True, slots=True)
class QueueMetrics:
    """What is in a queue, and what happened to it since it was created: exact, and all of one instant (a queue of
    several partitions: of one instant of each).

    Counts grow for as long as the queue exists; of two metrics with the same `created_at_ms` the differences are what
    happened between. The numbers of AWS/SQS are here under the names of this library; see cloudwatch().

    Attributes:
        queue: its name.
        at_ms: when, epoch ms by the server's clock.
        created_at_ms: when the queue was created, epoch ms.
        is_paused: as in QueueInfo.
        is_dead_letter_queue: another queue sends its dead letters here.
        visible, in_flight, delayed: messages that are there, as in Counts.
        oldest_sent_at_ms: as in Counts.
        oldest_age_s: age in seconds of the oldest message that is there, as ApproximateAgeOfOldestMessage counts it:
            since it was sent, a dead letter since it came, one scheduled more than 15 minutes ahead since it was due;
            without those of standard queues that were received three times or more. None if there is none.
        groups_in_flight: message groups with messages in flight, as far as those are up to 2,000 in a partition; None =
            a standard queue.
        noisy_groups: message groups with at least 10 messages visible or in flight, and more than twice as many as the
            other groups that have some do on average; None = no fair queue.
        visible_in_quiet_groups, in_flight_in_quiet_groups, delayed_in_quiet_groups: messages without those of noisy
            groups; None = no fair queue.
        oldest_age_in_quiet_groups_s: None = no fair queue, or no such message.
        sent: messages that were sent, without duplicates, moved ones and dead letters.
        received: messages that were handed out, each time counted.
        deleted: messages that were deleted, each once.
        empty_receives: receives that found nothing.
        deduplicated: sends that were duplicates.
        sent_bytes: of the messages sent, as they are stored; None = not counted (a standard queue without
            metrics="full").
        redelivered: messages that were handed out for the second time, for the third, and more often, in one delivery
            cycle.
        dead_lettered: messages that went to the dead-letter queue.
        dead_letters: messages that came as dead letters.
        expired: messages dropped at the end of their retention.
        purged: messages that purges removed.
        cancelled: messages that were cancelled.
        redriven_out, redriven_in: messages that moves took out, and brought.
        reclaimed: messages that workers received again about whose last receive nobody said anything: the worker that
            had them was killed, hung or lost the server; or another receiver let their visibility timeout pass, or
            released them.
        failed: messages that workers could not finish, each time counted.
        damaged: messages that could not be handed out as their record was gone.
        dwell: how long messages waited to be received for the first time, from when they were visible.
        processing: how long workers handled messages that were finished or failed: what the call of the handler took.
            Of a batch, each message counts with the time of the whole call. Workers tell it, `reclaimed` and `failed`
            with their heartbeats; what one that is killed did since its last heartbeat is not told.
        consumers: how many consumers there are by state (see Consumer).
        waiters: receives of consumers that wait for messages, as their last heartbeats told. Other receives that wait
            are known to nobody but their process.
    """

    __module__ = "rqsqs"

    queue: str
    at_ms: int
    created_at_ms: int
    is_paused: bool = False
    is_dead_letter_queue: bool = False
    visible: int = 0
    in_flight: int = 0
    delayed: int = 0
    oldest_sent_at_ms: int | None = None
    oldest_age_s: float | None = None
    groups_in_flight: int | None = None
    noisy_groups: int | None = None
    visible_in_quiet_groups: int | None = None
    in_flight_in_quiet_groups: int | None = None
    delayed_in_quiet_groups: int | None = None
    oldest_age_in_quiet_groups_s: float | None = None
    sent: int = 0
    received: int = 0
    deleted: int = 0
    empty_receives: int = 0
    deduplicated: int = 0
    sent_bytes: int | None = None
    redelivered: tuple[int, int, int] = (0, 0, 0)
    dead_lettered: int = 0
    dead_letters: int = 0
    expired: int = 0
    purged: int = 0
    cancelled: int = 0
    redriven_out: int = 0
    redriven_in: int = 0
    reclaimed: int = 0
    failed: int = 0
    damaged: int = 0
    dwell: Histogram = field(default_factory=Histogram)
    processing: Histogram = field(default_factory=Histogram)
    consumers: dict[str, int] = field(default_factory=dict)
    waiters: int = 0

    def cloudwatch(self) -> dict[str, float]:
        """The metrics of AWS/SQS under their names there, as far as the queue has them.

        Counts are those since the queue was created. Source: the SQS developer guide, "Available CloudWatch metrics".
        """
        values = {name: getattr(self, attribute) for name, attribute in CLOUDWATCH.items()}
        return {name: value for name, value in values.items() if value is not None}


@dataclass(frozen=True, slots=True)
class MetricStatistics:
    """A metric during a period. There is one sample for each minute: what was counted in it, or what was there at its
    end.

    Attributes:
        sum, minimum, maximum: of the samples.
        last: the last one.
        sample_count: how many there are; at least one.
    """

    __module__ = "rqsqs"

    sum: float
    minimum: float
    maximum: float
    last: float
    sample_count: int

    @property
    def average(self) -> float:
        """Of the samples."""
        return self.sum / self.sample_count


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """What happened in a queue during a period.

    Attributes:
        at_ms: when the period began, epoch ms.
        period_s: how long it is.
        span_s: for which time its samples tell what happened: about the period, less if samples are missing, and more
            if the first sample behind a gap is in it.
        metrics: a MetricStatistics by the name of each attribute of QueueMetrics that is a number, `redelivered` and
            `redelivered_2` to `redelivered_4`, and `consumers_STATE`. What was not measured is left out.
        dwell: how long messages that were received for the first time had waited. In older history a few minutes may
            share one: the last one of these has it.
        processing: how long workers handled messages.
    """

    __module__ = "rqsqs"

    at_ms: int
    period_s: int
    span_s: float = 0.0
    metrics: dict[str, MetricStatistics] = field(default_factory=dict)
    dwell: Histogram = field(default_factory=Histogram)
    processing: Histogram = field(default_factory=Histogram)

    @property
    def is_gap(self) -> bool:
        """Was nothing measured in the period?"""
        return not self.metrics

    def rate(self, metric: str) -> float | None:
        """How much a count grew per second; None if that was not measured.

        Args:
            metric: such as "sent".
        """
        found = self.metrics.get(metric)
        return None if found is None or not self.span_s else found.sum / self.span_s


# The metrics of AWS/SQS -> what they are called here
CLOUDWATCH = {
    "ApproximateAgeOfOldestMessage": "oldest_age_s",
    "ApproximateNumberOfMessagesVisible": "visible",
    "ApproximateNumberOfMessagesNotVisible": "in_flight",
    "ApproximateNumberOfMessagesDelayed": "delayed",
    "ApproximateNumberOfGroupsWithInflightMessages": "groups_in_flight",
    "NumberOfMessagesSent": "sent",
    "NumberOfMessagesReceived": "received",
    "NumberOfMessagesDeleted": "deleted",
    "NumberOfEmptyReceives": "empty_receives",
    "NumberOfDeduplicatedSentMessages": "deduplicated",
    "SentMessageSize": "sent_bytes",
    "ApproximateNumberOfNoisyGroups": "noisy_groups",
    "ApproximateNumberOfMessagesVisibleInQuietGroups": "visible_in_quiet_groups",
    "ApproximateNumberOfMessagesNotVisibleInQuietGroups": "in_flight_in_quiet_groups",
    "ApproximateNumberOfMessagesDelayedInQuietGroups": "delayed_in_quiet_groups",
    "ApproximateAgeOfOldestMessageInQuietGroups": "oldest_age_in_quiet_groups_s",
}
