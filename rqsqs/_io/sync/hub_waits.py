"""A wait without a connection of one's own: any number of threads listen over one (../tracking.py)."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import TYPE_CHECKING, Any

import redis.exceptions as rx

from rqsqs._core.operation import Operation, Wait
from rqsqs._io import protocol, tuning
from rqsqs._io.protocol import BrokenOff
from rqsqs._io.sync.caller import Caller
from rqsqs._io.sync.hubs import Hub
from rqsqs._io.tracking import Listener
from rqsqs.errors import RqsqsError

if TYPE_CHECKING:
    from rqsqs._io.sync.waiting import Waiters


class HubWaits:
    """The hubs of a process, and waits over them."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller
        self._guard = threading.Lock()  # of all hubs and their listeners

    def unblock(self, listener: Listener | None) -> None:
        """End a wait as if its time were over."""
        with self._guard:
            if listener is not None and not listener.is_receiving:
                listener.finish(None)

    def wait(
        self,
        hubs: list[tuple[Hub, tuple[str, ...]]],
        wait: Wait,
        operation: Operation | None,
        deadline: float,
        wake_at: float | None,
        waiters: Waiters,
    ) -> Any:
        caller = self._caller
        slot = caller.slots.take()
        packed = protocol.pack(operation, caller.router.is_cluster, slot) if operation is not None else b""
        told = threading.Lock()
        told.acquire()
        listener = Listener(packed, told.release, operation, wait.lists)
        try:
            waiters.listener = listener
            for hub, lists in hubs:
                hub.listen(listener, lists)
            while not listener.is_done:
                now = time.monotonic()
                if told.acquire(timeout=max(min(deadline, wake_at or deadline) - now, 0)) or now >= deadline:
                    break
                if wake_at is not None and time.monotonic() >= wake_at:
                    assert wait.wake is not None
                    again = caller.execute(wait.wake)
                    wake_at = time.monotonic() + again / 1000 if again else None
            for hub, _ in hubs:
                hub.leave(listener)
            if listener.is_receiving and not listener.is_done:  # it had a token before it left
                told.acquire(timeout=tuning.GRACE_S)
        except BaseException as e:
            is_broken = isinstance(e, protocol.BROKEN) and not protocol.is_from_outside(e)
            with self._guard:
                is_late = not listener.finish(e if is_broken else None)
            if not is_broken:
                if is_late and listener.is_receiving:
                    self._give_back(listener, listener.outcome)
                elif is_late and isinstance(listener.outcome, str):
                    caller.wake([listener.outcome])
                raise
        finally:
            waiters.listener = None
            for hub, _ in hubs:
                hub.leave(listener)
                if not listener.is_done:  # nothing came: is the server there?
                    hub.probe()
        with self._guard:
            if not listener.is_done:
                listener.finish(rx.TimeoutError("no answer in time") if listener.is_receiving else None)
        return caller.follow(wait, listener.outcome, operation, slot, is_sent=listener.is_receiving)

    def hub(self, connection: Any) -> Hub:
        """Listen over a connection."""
        hub = Hub(connection, self._guard, self._caller.wake, self._give_back)
        if self._caller.router.is_dynamic:
            threading.Thread(target=self._watch, args=(hub,), name="rqsqs-hub-guard", daemon=True).start()
        return hub

    def _watch(self, hub: Hub) -> None:
        """End waits at a server that has lost their lists."""
        router = self._caller.router
        while not hub.ended.wait(tuning.WATCHDOG_S):
            with self._guard:
                lists = hub.tracker.lists
            if not lists:
                continue
            self._caller.counters.count("wait_checks")
            hub.probe()  # if it does not answer, the hub fails
            router.refresh(tuning.WATCHDOG_S)
            gone = []
            for name in lists:
                with contextlib.suppress(*protocol.BROKEN, rx.ResponseError, RqsqsError):
                    if router.node(name).hub is hub:
                        continue
                gone.append(name)
            with self._guard:
                hub.tracker.fail(BrokenOff("the server does not have the wakeup list any more"), gone)

    def _give_back(self, listener: Listener, reply: Any) -> None:
        """A receive was answered when its waiter was gone."""
        with contextlib.suppress(RqsqsError):
            if listener.operation is not None:
                self._caller.give_back(listener.operation, reply)
        self._caller.wake(listener.wakeup_lists)  # the receive may have taken on a duty
