"""A wait without a connection of one's own: any number of tasks listen over one (../tracking.py)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import redis.exceptions as rx

from rqsqs._core.operation import Operation, Wait
from rqsqs._io import protocol, tuning
from rqsqs._io.aio.caller import Caller
from rqsqs._io.aio.hubs import Hub
from rqsqs._io.protocol import BrokenOff
from rqsqs._io.tracking import Listener
from rqsqs.errors import RqsqsError


class HubWaits:
    """The hubs of an event loop, and waits over them."""

    def __init__(self, caller: Caller) -> None:
        self._caller = caller

    async def wait(
        self,
        hubs: list[tuple[Hub, tuple[str, ...]]],
        wait: Wait,
        operation: Operation | None,
        deadline: float,
    ) -> Any:
        caller = self._caller
        slot = caller.slots.take()
        packed = protocol.pack(operation, caller.router.is_cluster, slot) if operation is not None else b""
        told = asyncio.Event()
        listener = Listener(packed, told.set, operation, wait.lists)
        try:
            for hub, lists in hubs:
                hub.listen(listener, lists)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(deadline - time.monotonic()):
                    await told.wait()
            if listener.is_receiving and not listener.is_done:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(tuning.GRACE_S):
                        await told.wait()
        except asyncio.CancelledError:
            if not listener.finish(None):
                self._not_wanted(listener)
            raise
        except protocol.BROKEN as e:
            listener.finish(e)
        finally:
            for hub, _ in hubs:
                hub.leave(listener)
                if not listener.is_done:  # nothing came: is the server there?
                    hub.probe()
        if not listener.is_done:
            listener.finish(rx.TimeoutError("no answer in time") if listener.is_receiving else None)
        return await caller.follow(wait, listener.outcome, operation, slot, is_sent=listener.is_receiving)

    def hub(self, connection: Any) -> Hub:
        """Listen over a connection."""
        caller = self._caller
        hub = Hub(connection, lambda lists: caller.background(caller.wake(lists)), self._give_back)
        if caller.router.is_dynamic:
            hub.beside(self._watch(hub))
        return hub

    async def _watch(self, hub: Hub) -> None:
        router = self._caller.router
        while True:
            await asyncio.sleep(tuning.WATCHDOG_S)
            if not hub.tracker.is_used:
                continue
            self._caller.counters.count("wait_checks")
            hub.probe()  # if it does not answer, the hub fails
            await router.refresh(tuning.WATCHDOG_S)
            gone = []
            for name in hub.tracker.lists:
                with contextlib.suppress(*protocol.BROKEN, rx.ResponseError, RqsqsError):
                    if (await router.node(name)).hub is hub:
                        continue
                gone.append(name)
            if gone:
                hub.tracker.fail(BrokenOff("the server does not have the wakeup list any more"), gone)

    def _not_wanted(self, listener: Listener) -> None:
        """A waiter was cancelled when its outcome had come."""
        if listener.is_receiving:
            self._give_back(listener, listener.outcome)
        elif isinstance(listener.outcome, str):
            self._caller.background(self._caller.wake([listener.outcome]))

    def _give_back(self, listener: Listener, reply: Any) -> None:
        if listener.operation is not None:
            self._caller.give_back(listener.operation, reply)
        self._caller.background(self._caller.wake(listener.wakeup_lists))  # the receive may have taken on a duty
