"""Arguments and results of operations: frozen data without behaviour."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

State = Literal["visible", "in_flight", "delayed"]


@dataclass(frozen=True, slots=True)
class Durability:
    """How safe a message has to be before its send returns, and, if you wish, a delete before it returns.

    A server acknowledges a write when it is in its memory. This asks for more, with WAIT or WAITAOF after the call, on
    the same connection: one more round trip, and the time that replicas and disks take.

    As text (in RQSQS_DURABILITY, for example): "replicas=1,aof,timeout=0.5,optional,deletes".

    Attributes:
        replicas: how many replicas must have it, in their memory; with `aof` on their disks. 0 = none.
        aof: the server must have it on disk, in its append-only file (fsync), also with `appendfsync everysec` (Redis
            7.2, Valkey 7.2).
        timeout: seconds to wait for that, 0.001 to 60.
        required: raise DurabilityNotReached if it is not reached in time. False = "optional": the call returns the
            result (a send in SentMessage.durability). Either way the message is stored.
        deletes: deletes, changes of visibility and releases of workers must be as safe. If a failover forgets a delete,
            the message comes again.
    """

    __module__ = "rqsqs"

    replicas: int = 0
    aof: bool = False
    timeout: float = 1.0
    required: bool = True
    deletes: bool = False


@dataclass(frozen=True, slots=True)
class DurabilityResult:
    """How safe a sent message, or a delete, is, as far as the server said in time.

    Attributes:
        replicas: how many replicas have it (with Durability.aof: on disk).
        aof: the server has it on disk; None if the Durability does not ask for that.
        is_enough: it is as safe as the Durability asks for.
        error: why the server could not say, or "".
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
        failures: how often the message had failed by then, since it was sent or redriven last. Unreported receives,
            such as those of a worker that died, are not among them.
        receives: how often it had been received by then.

    If the last receives before the dead-letter queue were unreported, the type is "ReceivedTooOften": the consumers
    died, or let the visibility timeout pass.
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
    """A message that a consumer has. Time in epoch ms, by the consumer's clock."""

    __module__ = "rqsqs"

    message_id: str
    since_ms: int


@dataclass(frozen=True, slots=True)
class Consumer:
    """A worker process that serves a queue, as its last heartbeat described it.

    Attributes:
        consumer_id: its name, HOST-PID-RANDOM.
        queue: which queue it serves.
        is_alive: its heartbeat has not lapsed. The messages of a lost consumer become visible by themselves.
        state: "running", "draining" or "evicted"; "drain" or "evict" while it has not yet handled this command; "lost"
            if its heartbeat has lapsed: it was killed, hangs, or cannot reach the server. After a minute it is not
            listed any more.
        started_at_ms: epoch ms, by its own clock.
        last_seen_at_ms: its last heartbeat (epoch ms, by the server's clock). A consumer with messages has one every
            `heartbeat_interval`, an idle one every 30 s.
        alive_until_ms: when it counts as lost without another heartbeat (epoch ms, by the server's clock).
        concurrency: how many messages (or batches) it handles at a time.
        in_flight: how many messages it has.
        held: some of them, oldest first.
        succeeded: how many messages it has finished.
        failed: how many messages it could not finish.
        statistics: of the connections with which it receives and settles.
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
    """What happened to the connections of a process since they were opened. None of it ended their work.

    Attributes:
        connections_lost: connections that broke; the next call opened another one.
        repeated_calls: calls that were repeated because their answer was lost. They were done once.
        failovers: masters that another server replaced.
        wait_checks: how often a waiting receive checked that it waits at the right server: every 5 s, if another one
            can take over.
        broken_waits: waits at a server that was no master any more, or fell silent; they continued at another one.
    """

    __module__ = "rqsqs"

    connections_lost: int = 0
    repeated_calls: int = 0
    failovers: int = 0
    wait_checks: int = 0
    broken_waits: int = 0


@dataclass(frozen=True, slots=True)
class MoveTask:
    """A message move task. Status: RUNNING, COMPLETED, CANCELLING, CANCELLED, FAILED. Times in epoch ms.

    Attributes:
        to_move: up to how many messages it moves.
        cause: the cause of failure of the messages that it moves, None = any; as for Queue.redrive().
        dead_letter_source: the queue that they came from, None = any.
        is_chosen: its messages were named one by one.
        not_moved: of these, how many were not moved, by the reason: those of Redriven.failed, and "NotFound".
    """

    __module__ = "rqsqs"

    task_id: str
    source: str
    destination: str | None
    status: str
    moved: int
    to_move: int
    started_at_ms: int
    max_per_second: int | None = None
    failure_reason: str | None = None
    cause: str | None = None
    dead_letter_source: str | None = None
    is_chosen: bool = False
    not_moved: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Redriven:
    """The outcome of redrive_messages(), by message id.

    Attributes:
        moved: these are in the queue they came from, or in the destination, as new messages.
        not_found: the dead-letter queue does not have them: others moved or deleted them, or they were never there.
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
    """Everything that is stored about a queue.

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
