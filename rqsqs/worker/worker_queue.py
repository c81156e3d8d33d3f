"""One queue that a worker serves: the messages that it holds of it, and where they stand."""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rqsqs._base_message import BaseMessage
from rqsqs._core.delivery import Delivery
from rqsqs._core.keys import QueueRef
from rqsqs._core.operations import Outcome
from rqsqs.worker.handlers import Handler

if TYPE_CHECKING:
    from rqsqs import aio
    from rqsqs._sync.queue import Queue
    from rqsqs.worker.jobs import Job


QUICK_S = 0.001  # handlers that take no longer are quick
AHEAD_S = 0.05  # that what is taken ahead may take altogether
LAST = 31  # the last bucket of durations: 2^30 ms and more


class Durations:
    """How long handlers took, of each message that they handled: counts by powers of two of milliseconds, as in
    rqsqs.Histogram, and their sum. Changed under the runtime's lock only."""

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        self.counts = [0] * (LAST + 1)
        self.seconds = 0.0


class WorkerQueue:
    """Changed under the runtime's lock only, but for `held`, which the heartbeat copies."""

    def __init__(self, handler: Handler, ref: QueueRef, message: type[BaseMessage], queue: Queue | aio.Queue) -> None:
        self.handler = handler
        self.ref = ref
        self.name = ref.name
        self.message: Any = message  # the class of the messages that the handler gets, and
        self.api_queue = queue  # the queue that they belong to
        self.is_open = True  # it fetches
        self.state = "running"
        # messages
        self.held: dict[Delivery, Job] = {}  # everything that was received and is not settled
        self.waiting: deque[Job] = deque()  # jobs without a slot: taken ahead, or a FIFO batch that had to be divided
        self.finished: list[Delivery] = []  # messages to be deleted
        self.outcomes: list[Outcome] = []  # outcomes of messages to be released
        self.succeeded = 0
        self.failed = 0
        self.received = 0
        self.reclaimed = 0  # received messages about whose receive before nobody said anything
        self.retried = 0  # failed ones that are tried again
        self.dead_lettered = 0  # failed ones that went to the dead-letter queue
        self.given_back = 0  # messages that are visible again at once, uncounted
        self.lost = 0  # messages that others have now, or nobody
        self.calls = 0  # calls of the handler that have ended
        self.told = 0  # that many of them are in the last description that was sent
        self.handled = {"succeeded": Durations(), "failed": Durations()}  # by outcome
        # slots
        self.running = 0  # slots that jobs have
        self.reserved = 0  # slots kept for the messages that a fetch is about to bring
        self.served = 0.0  # slots that it was given since the start, divided by its weight
        self.seconds = 0.01  # about how long a call of its handler takes
        self.is_measured = False  # that was measured: a call has ended
        self.bursts = 0  # calls, or runs of calls by one thread, that have ended
        self.burst_at = 0.0  # when a thread was given the last burst (monotonic)
        self.watched = (0, 0)  # bursts when the watch looked last, and how often it saw that number in a row
        # calls
        self.is_fetching = False  # a fetch is on its way
        self.is_settling = False  # a settlement is on its way
        self.is_backlogged = False  # its last fetch did not have to wait
        self.is_full = True  # its last fetch brought as many messages as it asked for
        self.fetched_at = 0.0  # when the last fetch ended (monotonic)
        self.paused_until = 0.0  # when the pause after an error ends (monotonic)
        self.errors = 0  # failed calls in a row
        self.rests_until = 0.0  # it receives nothing until then: a newer version has to handle the next message
        self.rests = 0  # such rests in a row

    @property
    def shown_state(self) -> str:
        return "resting" if self.rests and self.state == "running" else self.state

    @property
    def is_quick(self) -> bool:
        """Does it take messages ahead, as its handler is known to be quick? Not of a FIFO queue, whose groups would
        wait for them."""
        return self.is_measured and self.seconds <= QUICK_S and not self.ref.is_fifo

    def ahead(self, most: int) -> int:
        """How many calls may wait in hand, beyond those that have slots. What is there already may stay somewhat longer
        than the handler counts as quick, lest it goes to and fro."""
        return min(int(AHEAD_S / self.seconds), most // self.handler.size) if self.seconds <= 2 * QUICK_S else 0

    @property
    def waits(self) -> bool:
        """Does a fetch wait for messages?"""
        return self.is_fetching and not self.is_backlogged

    @property
    def has_news(self) -> bool:
        """Is there anything that a heartbeat has to look after, or to tell?"""
        return bool(self.held) or self.calls != self.told

    def note(self, outcome: str, seconds: float, messages: int) -> None:
        """With the lock: a call of the handler ended that way for so many messages."""
        self.calls += 1
        durations = self.handled[outcome]
        power = min(int(seconds * 1000).bit_length(), LAST) if seconds >= 0.001 else 0
        durations.counts[power] += messages
        durations.seconds += seconds * messages

    def counted(self) -> dict[str, int]:
        """What heartbeats tell for metrics, by the fields of `stats` (lua/lib/counting.lua)."""
        found = {"reclaimed": self.reclaimed}
        for outcome, durations in self.handled.items():
            found |= {f"{outcome[0]}{power}": n for power, n in enumerate(durations.counts) if n}
        return found

    def portions(self, got: Sequence[Delivery]) -> list[list[Delivery]]:
        """The messages of each call of the handler. Those of a FIFO group stay together."""
        size = self.handler.batch
        if size <= 1:
            return [[d] for d in got]
        if not self.ref.is_fifo:
            return [list(got[i : i + size]) for i in range(0, len(got), size)]
        groups: dict[str, list[Delivery]] = {}
        for d in got:
            groups.setdefault(d.group_name, []).append(d)
        portions: list[list[Delivery]] = []
        for group in groups.values():
            if not portions or len(portions[-1]) + len(group) > size:
                portions.append([])
            portions[-1] += group
        return portions
