"""Several worker processes as one: starts them, replaces those that die, stops and renews them.

    SIGTERM, SIGINT   let them finish what they hold and end; again: let them give everything back at once
    SIGHUP            rolling restart: one process after the other, the old one works until the new one is ready

Nothing of the application is imported here, and nothing is forked: each process is a fresh Python.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rqsqs.worker.child_process import Child, fate
from rqsqs.worker.file_changes import changes
from rqsqs.worker.health import Health
from rqsqs.worker.process import LoopProbe

log = logging.getLogger("rqsqs.supervisor")

STEADY_S = 10.0  # a process that lived longer is replaced at once
BACKOFF_S, BACKOFF_MAX_S = 0.5, 30.0
RELOAD_S = 3.0  # for running handlers when a file has changed


class Slot:
    def __init__(self, number: int) -> None:
        self.number = number
        self.child: Child | None = None
        self.is_drained = False  # it stays empty
        self._pause = 0.0

    def pause(self, died: Child) -> float:
        """Seconds until its process is replaced."""
        self._pause = 0.0 if died.age > STEADY_S else min(max(2 * self._pause, BACKOFF_S), BACKOFF_MAX_S)
        return self._pause

    def status(self) -> dict[str, Any]:
        child = self.child
        about: dict[str, Any] = {"process": self.number}
        if child is None or child.ended.done():
            return about | {"state": "drained" if self.is_drained else "dead", "is_ready": False, "is_live": True}
        return about | {"pid": child.pid} | child.status | {"is_ready": child.is_ready, "is_live": child.is_live}


class Supervisor:
    """Runs several processes of a command, which understands `--report-to DESCRIPTOR` (see supervisor_link), until it
    is stopped. Serves /livez and /readyz for all of them at `health`, and restarts them when a file in `folders`
    changes."""

    def __init__(
        self,
        command: Sequence[str],
        processes: int,
        *,
        health: tuple[int, str] | None = None,
        folders: Sequence[Path] = (),
    ) -> None:
        self._command = command
        self._slots = [Slot(i + 1) for i in range(processes)]
        self._health = None if health is None else Health(self.status, *health, processes=self._told)
        self._folders = folders
        self._children: set[Child] = set()  # all that live
        self._is_stopping = False
        self._probe: LoopProbe | None = None
        self._wake = asyncio.Event()  # replaced each time it is set
        self._renewal = asyncio.Event()
        self._has_terminal = os.isatty(2)

    def run(self) -> int:
        """Serve until a signal ends it, or all processes were drained; the exit code, that of a process which could not
        start right at the beginning, or 0. OSError: it cannot listen for health checks; UsageError: it cannot watch
        `folders`."""
        if self._health is not None:
            self._health.start()
        return asyncio.run(self._run())

    def status(self) -> dict[str, Any]:
        """What the health checks show; from any thread. Ready = all processes that should run are ready."""
        wanted = [slot.child for slot in self._slots if not slot.is_drained]
        return {
            "state": "stopping" if self._is_stopping else "running",
            "is_ready": bool(wanted) and not self._is_stopping and all(c is not None and c.is_ready for c in wanted),
            "is_live": (self._probe is None or self._probe.is_responsive())
            and all(c is None or c.is_live for c in wanted),
            "processes": [slot.status() for slot in self._slots],
        }

    def _told(self) -> dict[int, dict[str, Any]]:
        """What the processes told last, for scrapes; from any thread."""
        found = {}
        for slot in self._slots:
            child = slot.child
            is_alive = child is not None and not child.ended.done()
            found[slot.number] = {"is_ready": child.is_ready, "metrics": child.metrics} if child and is_alive else {}
        return found

    async def _run(self) -> int:
        loop = asyncio.get_running_loop()
        self._probe = LoopProbe(loop)
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, signal.Signals(number).name)
        loop.add_signal_handler(signal.SIGHUP, self._hung_up)
        helpers = [asyncio.create_task(self._renew())]
        if self._folders:
            helpers.append(asyncio.create_task(self._reload()))
        keepers: list[asyncio.Task[None]] = []
        try:
            code = 0 if self._folders else await self._begin()
            if not code:
                keepers = [asyncio.create_task(self._keep(slot)) for slot in self._slots]
                duties: list[asyncio.Future[Any]] = [asyncio.gather(*keepers), *helpers]
                await asyncio.wait(duties, return_when=asyncio.FIRST_COMPLETED)
                for task in duties:  # helpers end with an exception or not at all
                    if task.done():
                        task.result()
            return code
        finally:
            self._is_stopping = True
            for child in self._children.copy():
                if not child.is_stopping:
                    child.stop()
            await asyncio.gather(*(child.ended for child in self._children), return_exceptions=True)
            for task in (*helpers, *keepers):
                task.cancel()
            await asyncio.gather(*helpers, *keepers, return_exceptions=True)

    # Processes

    async def _start(self, slot: Slot) -> Child:
        child = await Child.start(self._command)
        if self._health is not None:
            child.ask_for_metrics()
        log.info("process %d starts as %d", slot.number, child.pid)
        self._children.add(child)
        child.ended.add_done_callback(lambda _: self._children.discard(child))
        if self._is_stopping:
            child.stop()
        return child

    async def _begin(self) -> int:
        """Start all, the first one alone: what keeps it from starting would keep all from it, and is said once."""
        for slots in (self._slots[:1], self._slots[1:]):
            for slot in slots:
                if not self._is_stopping:
                    slot.child = await self._start(slot)
            for child in [slot.child for slot in slots if slot.child is not None]:
                if not await child.is_up() and not child.is_drained and not self._is_stopping:
                    code = child.ended.result()
                    if code <= 0:
                        log.error("process %d %s before it was ready", child.pid, fate(code))
                    return (code if code >= 0 else 128 - code) or 1  # as shells do it
        return 0

    async def _keep(self, slot: Slot) -> None:
        """See to it that a slot has a process, until it was drained or we stop."""
        while not self._is_stopping:
            child = slot.child
            if child is not None:
                code = await child.ended
                if self._is_stopping or slot.child is not child:  # or: a new one has taken its place
                    continue
                if child.is_drained:
                    log.info("process %d (%d) was drained", slot.number, child.pid)
                    slot.is_drained = True
                    return
                if not child.is_stopping:
                    await self._rest(slot, child, code)
                if self._is_stopping or slot.child is not child:
                    continue
            fresh = await self._try_to_start(slot)
            if fresh is not None and slot.child is child:
                slot.child = fresh
            elif fresh is not None:
                fresh.stop()

    async def _try_to_start(self, slot: Slot) -> Child | None:
        try:
            return await self._start(slot)
        except OSError as error:
            log.error("process %d cannot be started, trying again in %g s: %s", slot.number, BACKOFF_MAX_S, error)
            await self._sleep(BACKOFF_MAX_S)
            return None

    async def _rest(self, slot: Slot, died: Child, code: int) -> None:
        if self._folders and not died.was_ready:
            log.error("process %d (%d) %s before it was ready; waiting for a change", slot.number, died.pid, fate(code))
            await self._sleep(None)
            return
        pause = slot.pause(died)
        when = f"in {pause:g} s" if pause else "at once"
        log.warning(
            "process %d (%d) %s after %.1f s; it is replaced %s", slot.number, died.pid, fate(code), died.age, when
        )
        await self._sleep(pause)

    async def _sleep(self, seconds: float | None) -> None:
        """Less long if anything happens."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._wake.wait()

    def _wake_all(self) -> None:
        self._wake.set()
        self._wake = asyncio.Event()

    # Signals

    def _signalled(self, name: str) -> None:
        if self._is_stopping:
            log.info("%s again: the processes give everything back", name)
        else:
            log.info("%s: stopping %d processes", name, len(self._children))
        for child in self._children:
            if self._is_stopping:
                child.abort()
            else:
                child.stop()
        self._is_stopping = True
        self._wake_all()

    def _hung_up(self) -> None:
        if self._has_terminal and not os.isatty(2):  # it was closed
            self._signalled("SIGHUP")
        else:
            self._renewal.set()

    # Renewal

    async def _renew(self) -> None:
        """After each SIGHUP, once all have begun."""
        while True:
            await self._renewal.wait()
            self._renewal.clear()
            log.info("SIGHUP: renewing %d processes, one after the other", len(self._slots))
            for slot in self._slots:
                if not slot.is_drained and slot.child is not None and not await self._renew_one(slot):
                    break
            else:
                log.info("all processes are new")

    async def _renew_one(self, slot: Slot) -> bool:
        new = await self._try_to_start(slot)
        if new is None or not await new.is_up():
            if new is not None and not self._is_stopping:
                log.error("the new process %d %s before it was ready; the others stay", new.pid, fate(await new.ended))
            return False
        old, slot.child = slot.child, new
        if slot.is_drained:  # meanwhile
            new.stop()
        if old is not None:
            old.stop()
            await old.ended
        return True

    async def _reload(self) -> None:
        """After each change of a file: what the processes hold is tried again by new ones."""
        async for names in changes(self._folders):
            log.info("%s changed: reloading", ", ".join(names))
            for child in self._children:
                child.stop()
                asyncio.get_running_loop().call_later(RELOAD_S, child.abort)
            self._wake_all()
