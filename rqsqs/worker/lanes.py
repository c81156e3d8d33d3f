"""One queue that a worker serves: what it holds of it, and where that stands."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rqsqs._base_message import BaseMessage
from rqsqs._core.keys import QueueRef
from rqsqs._core.operations import Outcome
from rqsqs._core.records import Delivery
from rqsqs.worker.handlers import Handler
from rqsqs.worker.jobs import Job

if TYPE_CHECKING:
    from rqsqs import aio
    from rqsqs._sync.queue import Queue


class Lane:
    """Changed under the runtime's lock only, but for `held`, which the heartbeat copies."""

    def __init__(self, handler: Handler, ref: QueueRef, message: type[BaseMessage], queue: Queue | aio.Queue) -> None:
        self.handler = handler
        self.ref = ref
        self.message: Any = message  # the class of the messages that the handler gets
        self.queue = queue  # and their queue
        self.held: dict[Delivery, Job] = {}  # everything that was received and is not settled
        self.finished: list[Delivery] = []  # to be deleted
        self.verdicts: list[Outcome] = []  # to be released
        self.waiting: deque[Job] = deque()  # jobs without a slot: a FIFO batch that had to be divided
        self.running = 0  # slots taken
        self.reserved = 0  # slots for what a fetch is about to bring
        self.is_asking = False  # a fetch is on its way
        self.is_settling = False  # another call is on its way that settles
        self.is_backlogged = False  # its last fetch did not have to wait
        self.is_full = True  # and brought as many messages as it asked for
        self.is_open = True  # it fetches
        self.state = "running"
        self.asked = 0.0  # when the last fetch ended (monotonic)
        self.paused_until = 0.0  # after trouble (monotonic)
        self.trouble = 0  # times in a row
        self.rests_until = 0.0  # it receives nothing: a newer version has to handle what is there (monotonic)
        self.rests = 0  # times in a row
        self.served = 0.0  # slots given, by weight
        self.seconds = 0.01  # what a call takes, about
        self.said: dict[str, Any] | None = None  # how the last heartbeat described it, if it held nothing
        self.said_at = 0.0  # (monotonic)
        self.succeeded = 0
        self.failed = 0

    @property
    def shown_state(self) -> str:
        """Its state, for people."""
        return "resting" if self.rests and self.state == "running" else self.state

    def portions(self, got: Sequence[Delivery]) -> Iterable[list[Delivery]]:
        """What one call of the handler gets each. The messages of a FIFO group stay together."""
        size = self.handler.size
        if size == 1:
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
