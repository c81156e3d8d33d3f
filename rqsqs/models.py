"""What operations take and give: frozen data, no behaviour beyond reading it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["visible", "in_flight", "delayed"]


@dataclass(frozen=True, slots=True)
class Durability:
    """How safe a sent message has to be before a send returns, and, if wanted, a delete before a delete returns.

    A server acknowledges a write when it is in its memory. This asks for more, with WAIT or WAITAOF after the call, on
    the same connection: one more round trip, and the time that replicas and disks take.

    As text, where one is asked for (RQSQS_DURABILITY, for example): "replicas=1,aof,timeout=0.5,optional,deletes".

    Attributes:
        replicas: so many replicas have it, in their memory; with `aof` on their disks. 0 = none.
        aof: the append-only file of the server has it on disk (fsync), also with `appendfsync everysec` (Redis 7.2,
            Valkey 7.2).
        timeout: seconds to wait for that, 0.001 to 60.
        required: if it is not reached in time, raise DurabilityNotReached; else the call returns what was reached (a
            send in SentMessage.durability). Either way the message is stored. False = "optional".
        deletes: deletes, changes of visibility, and what a worker releases have to be as safe. A delete that a failover
            forgets lets the message come again.
    """

    __module__ = "rqsqs"

    replicas: int = 0
    aof: bool = False
    timeout: float = 1.0
    required: bool = True
    deletes: bool = False


@dataclass(frozen=True, slots=True)
class DurabilityResult:
    """How safe a sent message, or a delete, is, as far as the server told in time.

    Attributes:
        replicas: how many replicas have it (with Durability.aof: on disk).
        aof: the server has it on disk; None if that was not asked.
        is_enough: that is what was asked for.
        error: why the server could not tell, or "".
    """

    __module__ = "rqsqs"

    replicas: int
    aof: bool | None
    is_enough: bool
    error: str = ""


@dataclass(frozen=True, slots=True)
class FailedEntry:
    """The entry `index` of a batch was not done, because of `error`."""

    __module__ = "rqsqs"

    index: int
    error: Exception


@dataclass(frozen=True, slots=True)
class Counts:
    """Exact numbers of messages of a queue or group.

    Attributes:
        visible: can be received now (FIFO: including those behind a locked head).
        in_flight: received, not deleted, still invisible.
        delayed: not visible for the first time yet.
        oldest_sent_at_ms: when the oldest message was sent (epoch ms), or None if there is none.
    """

    __module__ = "rqsqs"

    visible: int = 0
    in_flight: int = 0
    delayed: int = 0
    oldest_sent_at_ms: int | None = None


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a worker could not finish a message.

    Attributes:
        type: name of the exception's class.
        message: its text.
        traceback: the last lines of it.
        worker: the consumer that had it, as `rqsqs consumers` names it.
        at_ms: when (epoch ms, by the worker's clock), if known.
        failures: how often the message had failed by then, since it was sent or redriven last. Receives that ended
            without any word, as those of a worker that died, are not among them.
        receives: how often it had been received by then.

    A message that came to its dead-letter queue without a word about its last receives has the type
    "ReceivedTooOften": its consumers died, or let the visibility timeout pass.
    """

    __module__ = "rqsqs"

    type: str
    message: str
    traceback: str
    worker: str
    at_ms: int | None
    failures: int
    receives: int


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a message that a worker could not finish is tried again: exponential backoff with full jitter.

    After the n-th failure a message stays invisible for a random time from 0 to min(cap, base * 2 ** (n - 1)) seconds
    (AWS Architecture Blog, "Exponential Backoff And Jitter"). At its last receive, by the max_receive_count of the
    queue's dead-letter queue, a message that fails goes there at once.

    Attributes:
        base: seconds, more than 0.
        cap: the longest delay in seconds; base at least.
        dead_letter: exceptions after which a message is not tried again but goes to the dead-letter queue at once
            (without one it is tried again after `cap` seconds).
        exceptions: policies of their own for some exceptions; of these only base and cap count.

    Exceptions are classes, or names: "ValueError", "requests.exceptions.Timeout". The class of the exception and its
    base classes are looked for in this order; the first one found decides.
    """

    __module__ = "rqsqs"

    base: float = 1.0
    cap: float = 300.0
    dead_letter: tuple[type[BaseException] | str, ...] = ()
    exceptions: Mapping[type[BaseException] | str, RetryPolicy] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class InFlight:
    """A message that a consumer has in hand. Time in epoch ms, by the consumer's clock."""

    __module__ = "rqsqs"

    message_id: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class Consumer:
    """A worker process that serves a queue, as its last heartbeat described it.

    Attributes:
        consumer_id: its name, HOST-PID-RANDOM.
        queue: which queue it serves.
        is_alive: its heartbeat has not lapsed. What a lost one held becomes visible by itself.
        state: "running", "draining" or "evicted"; "drain" and "evict" while the order was not obeyed yet; "lost" if its
            heartbeat has lapsed: it was killed, hangs, or cannot reach the server. After a minute it is not listed any
            more.
        started_at_ms: epoch ms, by its own clock.
        last_seen_at_ms: its last heartbeat (epoch ms, by the server's clock). One that holds messages has one with each
            `heartbeat_interval`, an idle one every 30 s.
        alive_until_ms: when it counts as lost without another heartbeat (epoch ms, by the server's clock).
        concurrency: how many messages (or batches) it handles at a time.
        in_flight: how many messages it has in hand.
        held: some of them, those it has longest first.
        succeeded: messages it finished.
        failed: messages it could not finish.
        statistics: what the connections with which it fetches and settles went through.
    """

    __module__ = "rqsqs"

    consumer_id: str
    queue: str
    is_alive: bool
    state: str
    host: str
    pid: int
    started_at_ms: int
    last_seen_at_ms: int
    alive_until_ms: int
    concurrency: int
    in_flight: int
    held: tuple[InFlight, ...]
    succeeded: int
    failed: int
    statistics: Statistics


@dataclass(frozen=True, slots=True)
class Statistics:
    """What the connections of a process went through since they were opened. Everything went on after it.

    Attributes:
        connections_lost: connections that broke; the next call opened another one.
        repeated_calls: calls that were repeated because their answer was lost. They were done once.
        failovers: masters in whose place another server was found.
        wait_checks: how often a waiting receive made sure that it waits at the right server: every 5 s, where another
            one can take over.
        broken_waits: waits that were broken off because their server was no master any more, or fell silent.
    """

    __module__ = "rqsqs"

    connections_lost: int = 0
    repeated_calls: int = 0
    failovers: int = 0
    wait_checks: int = 0
    broken_waits: int = 0


@dataclass(frozen=True, slots=True)
class MoveTask:
    """A message move task. Status: RUNNING, COMPLETED, CANCELLING, CANCELLED, FAILED. Times in epoch ms."""

    __module__ = "rqsqs"

    task_id: str
    source: str
    destination: str | None
    status: str
    moved: int
    to_move: int | None
    started_at_ms: int
    max_per_second: int | None = None
    failure_reason: str | None = None


@dataclass(frozen=True, slots=True)
class Redriven:
    """What became of the messages that redrive_messages() was given, by message id.

    Attributes:
        moved: these are in the queue they came from, or in the destination, as new messages.
        not_found: the dead-letter queue does not hold them: moved or deleted by others, or never there.
        failed: these stay where they are: id -> "NotVisible" (in flight or delayed; FIFO: or behind such a one),
            "CouldNotDetermineMessageSource" (sent there, came from nowhere), "AWS.SimpleQueueService.NonExistentQueue"
            (the queue it came from does not exist), or "Cancelled".
    """

    __module__ = "rqsqs"

    moved: tuple[str, ...]
    not_found: tuple[str, ...]
    failed: dict[str, str]


@dataclass(frozen=True, slots=True)
class QueueInfo:
    """Everything stored about a queue.

    Attributes:
        attributes: settable attributes under SQS's names, as strings (seconds, bytes, "true"/"false").
        created_at_ms: epoch ms.
        modified_at_ms: epoch ms.
    """

    __module__ = "rqsqs"

    name: str
    attributes: dict[str, str] = field(default_factory=dict)
    created_at_ms: int = 0
    modified_at_ms: int = 0
    is_paused: bool = False
