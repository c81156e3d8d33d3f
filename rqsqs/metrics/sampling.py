"""Who writes the history of queues, and when.

At the beginning of each minute, one of all processes that could do so samples the metrics of all queues of a prefix. A
lease says which: whoever has it comes first in the next minute, and the others look a few seconds later whether it did.
So if it dies, another one samples in the same minute. Two that sample at the same time do no harm (append_history.lua).

What a process needs that does not hold the lease is imported here, and no more: it costs it one call a minute.
"""

from __future__ import annotations

import logging
import os
import random
import time
from typing import TYPE_CHECKING

from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Flow
from rqsqs._core.operations.leases import take_lease
from rqsqs.errors import AuthenticationFailed, RqsqsError

if TYPE_CHECKING:
    from rqsqs._core.flows.metric_history import Sampled
    from rqsqs._io.sync.runner import Transport

log = logging.getLogger("rqsqs.metrics")

MINUTE_MS = 60_000
HELD_MS = 59_000  # less than a minute: whoever comes first in the next one gets it
FIRST_S, OTHERS_S = 0.2, (3.0, 12.0)  # after the beginning of a minute: who had the lease, and all others


class Sampler:
    """One process that samples the queues of a prefix when it is its turn.

    Attributes:
        name: HOST-PID-RANDOM.
        holder: who had the lease when it looked.
    """

    def __init__(self, space: Keyspace) -> None:
        self.space = space
        host = os.uname().nodename if hasattr(os, "uname") else "host"
        self.name = f"{host}-{os.getpid()}-{os.urandom(3).hex()}"
        self.holder = ""
        self._ahead_ms = 0.0  # of our clock is the server's

    @property
    def is_holder(self) -> bool:
        return self.holder == self.name

    def delay(self) -> float:
        """Seconds until it is to look again."""
        now_ms = time.time() * 1000 + self._ahead_ms
        after_s = FIRST_S if self.is_holder else random.uniform(*OTHERS_S)
        return ((MINUTE_MS - now_ms) % MINUTE_MS) / 1000 + after_s

    def turn(self) -> Flow[Sampled | None]:
        """Take a sample if nobody else has the lease; None = somebody has."""
        self.holder, now_ms = yield take_lease(self.space.sampler, self.name, HELD_MS)
        self._ahead_ms = now_ms - time.time() * 1000
        if not self.is_holder:
            return None
        from rqsqs._core.flows.metric_history import sample

        found: Sampled = yield from sample(self.space)
        if found.errors:
            log.warning("%d queues were not sampled, for example: %s", len(found.errors), found.errors[0])
        return found

    def take(self, transport: Transport) -> bool:
        """Run a turn; False = it makes no sense to try again."""
        try:
            transport.run(self.turn())
        except Exception as error:
            return not self.failed(error)
        return True

    def failed(self, error: Exception) -> bool:
        """Say that a turn failed; returns whether it makes no sense to try again."""
        if not isinstance(error, RqsqsError):
            log.error("the metrics of queues were not sampled", exc_info=error)
            return False
        if isinstance(error, AuthenticationFailed):  # perhaps the rights are those of a few queues
            log.info("others have to write the history of queues: %s", error)
            return True
        log.info("the metrics of queues were not sampled: %s", error)
        return False
