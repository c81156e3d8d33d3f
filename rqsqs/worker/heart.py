"""The heartbeat: a thread of its own with a connection of its own, which a busy handler cannot starve.

One call per tick and queue keeps everything that is held invisible for two ticks, shows that this worker lives, and
brings back what was lost and what was ordered. If it stops, because the process died or was frozen, the messages become
visible within two ticks, by themselves.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rqsqs._core import flows
from rqsqs._core.records import Delivery
from rqsqs._io.sync.runner import Transport
from rqsqs.errors import QueueDoesNotExist, RqsqsError
from rqsqs.worker.threads import Lasting
from rqsqs.worker.troubles import BEAT, Troubles

if TYPE_CHECKING:
    from rqsqs.worker.lanes import Lane

log = logging.getLogger("rqsqs.worker")

IDLE_S = 30.0  # a worker that holds nothing has nothing to keep invisible
LATE_S = 10.0  # so late an idle worker's heartbeat may be until it counts as lost
RENEW_S = 600.0  # so long an idle worker may go without describing itself anew
LIVES = 2  # ticks until the messages of a dead worker return
SHOWN = 100  # messages in hand that a worker names


class Heart:
    """Beats for all lanes of a worker until it is stopped.

    Args:
        transport: its own.
        beat: seconds between two ticks while anything is held.
        max_hold: seconds after which a message is not kept invisible any more.
        lost: called with a lane and deliveries that are not held any more.
        ordered: called with a lane and "drain" or "evict".
    """

    def __init__(
        self,
        transport: Transport,
        lanes: list[Lane],
        consumer_id: str,
        beat: float,
        max_hold: float,
        describe: Callable[[Lane], dict[str, Any]],
        lost: Callable[[Lane, list[Delivery]], None],
        ordered: Callable[[Lane, str], None],
        troubles: Troubles,
    ) -> None:
        self.transport = transport
        self.lanes = lanes
        self.consumer_id = consumer_id
        self.beat = beat
        self.idle = max(beat, IDLE_S)
        self.lease_s = beat * LIVES
        self.lease_ms = round(self.lease_s * 1000)
        self._max_hold = max_hold
        self._describe = describe
        self._lost = lost
        self._ordered = ordered
        self._troubles = troubles
        self._wake = threading.Event()
        self._is_stopped = False
        self._is_resting = False  # nothing is held: the next tick is far
        self.last = 0.0  # when the last tick that went well began (monotonic)
        self.thread = Lasting("rqsqs-heartbeat", self._run)

    @property
    def is_well(self) -> bool:
        """Has the server answered lately?"""
        return self.thread.is_well and time.monotonic() - self.last < self.idle + 2 * self.beat

    def start(self) -> None:
        """Beat for the first time, and go on in a thread.

        Raises:
            QueueDoesNotExist, ServerError.
        """
        began = time.monotonic()
        for lane in self.lanes:
            self._tick(lane)
        self.last = began
        self.thread.start()

    def quicken(self) -> None:
        """Something is held now."""
        if self._is_resting:
            self._is_resting = False
            self._wake.set()

    def stop(self) -> None:
        """Beat no more, and sign off."""
        self._is_stopped = True
        self._wake.set()
        self.thread.join()
        for lane in self.lanes:
            try:
                self.transport.run(flows.beat(lane.ref, (), 0, self.consumer_id, None, 0))
            except QueueDoesNotExist:
                continue
            except RqsqsError as e:
                log.info("could not sign off from %s: %s", lane.ref.name, e)

    def _run(self) -> None:
        due = self.last + self.beat  # also when it begins anew
        well = True
        while not self._is_stopped:
            self._is_resting = True  # before looking, so that quicken() misses nothing
            if any(lane.held for lane in self.lanes):
                self._is_resting = False
            if self._is_resting:
                self._wake.wait(self.idle if well else max(due - time.monotonic(), 0))
                if self._wake.is_set():  # what was just received is invisible for two ticks anyway
                    self._wake.clear()
                    due = time.monotonic() + self.beat
                    continue
                due = time.monotonic()
            elif self._wake.wait(max(due - time.monotonic(), 0)):
                self._wake.clear()
                continue
            began = time.monotonic()
            due = max(due + self.beat, began)
            well = True
            for lane in self.lanes:
                try:
                    self._tick(lane)
                except QueueDoesNotExist as e:
                    self._troubles.met(lane.ref.name, BEAT, e)
                    self._lost(lane, list(lane.held))
                except Exception as e:  # a heart does not stop
                    well = False
                    self._troubles.met(lane.ref.name, BEAT, e)
                else:
                    self._troubles.got_through(lane.ref.name, BEAT)
            if well:
                self.last = began
                self._troubles.look()
            else:
                due = time.monotonic() + min(self.beat / 4, 1.0)

    def _tick(self, lane: Lane) -> None:
        held = list(lane.held.copy().items())
        now = time.monotonic()
        too_long = [d for d, job in held if now - job.since > self._max_hold]
        kept = [d for d, job in held if now - job.since <= self._max_hold] if too_long else [d for d, _ in held]
        life_s = self.lease_s + 1 if held else self.idle + max(self.lease_s, LATE_S)
        says = self._describe(lane)
        news = {**says, "statistics": {**says["statistics"], "wait_checks": 0}}  # these are none
        is_same = not held and news == lane.said and now - lane.said_at < RENEW_S
        order, lost = self.transport.run(
            flows.beat(lane.ref, kept, self.lease_ms, self.consumer_id, says, round(life_s * 1000), is_same=is_same)
        )
        if not is_same:
            lane.said, lane.said_at = None if held else news, now
        if lost or too_long:
            self._lost(lane, lost + too_long)
        if order:
            self._ordered(lane, order)


def consumer_id() -> str:
    """A name for this process: HOST-PID-RANDOM."""
    return f"{os.uname().nodename if hasattr(os, 'uname') else 'host'}-{os.getpid()}-{os.urandom(3).hex()}"
