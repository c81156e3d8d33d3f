"""Processes that evaluate alarms all the time, as if each always had the lease."""

from __future__ import annotations

import asyncio
import json
import os
import time
from typing import Any

import rqsqs.aio
from rqsqs._io.sync.runner import Transport
from rqsqs.alarms import outbox
from rqsqs.alarms.actions import Actions, Done, Outcome, PendingAction
from rqsqs.alarms.evaluator import evaluate_all
from rqsqs.errors import ServerError


class SharedClock:
    """The same time in all processes, which one of them turns."""

    def __init__(self, now_us: Any) -> None:
        self._now_us = now_us

    def now_us(self) -> int:
        return int(self._now_us.value)


def run(url: str, prefix: str, now_us: Any) -> None:
    """Evaluate until it is killed."""
    transport = Transport(url, prefix, SharedClock(now_us))
    while True:
        if transport.run(evaluate_all(transport.space, f"evaluator-{os.getpid()}")) is None:
            time.sleep(0.002)


class Noting(Actions):
    """Notes actions in a file, of which each line is written in one piece."""

    def __init__(self, file: str) -> None:
        super().__init__()
        self._file = os.open(file, os.O_WRONLY | os.O_APPEND)

    async def run(self, pending: PendingAction) -> Outcome:
        told = json.loads(pending.notification.message)
        os.write(self._file, f"{pending.id}\t{told['AlarmName']}\t{told['NewStateValue']}\n".encode())
        await asyncio.sleep(0.002)  # a moment in which it is done and not settled
        return Done("noted")


def run_and_act(url: str, prefix: str, now_us: Any, file: str) -> None:
    """Evaluate and note actions until it is killed, whatever becomes of the server."""
    outbox.LOOK_S = 0.05
    asyncio.run(_run_and_act(url, prefix, now_us, file))


async def _run_and_act(url: str, prefix: str, now_us: Any, file: str) -> None:
    async with rqsqs.aio.connect(url, prefix=prefix, clock=SharedClock(now_us)) as connection:
        transport = connection.transport
        acting = asyncio.create_task(outbox.Outbox(transport, Noting(file)).run(lambda: True))
        while not acting.done():
            try:
                await transport.run(evaluate_all(transport.space, f"evaluator-{os.getpid()}"))
            except ServerError:
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.002)
        await acting


class NotingEvents(Noting):
    """Notes which rule acted on which event."""

    async def run(self, pending: PendingAction) -> Outcome:
        told = json.loads(pending.notification.message)
        os.write(self._file, f"{pending.id}\t{told['rule']}\t{told['id']}\n".encode())
        await asyncio.sleep(0.002)
        return Done("noted")


def run_rules(url: str, prefix: str, file: str) -> None:
    """Follow events and note what rules do, until it is killed."""
    outbox.LOOK_S, outbox.CLAIMED_S, outbox.ATTEMPT_S = 0.01, 2.0, 1.0  # who is killed leaves it to others soon

    async def act() -> None:
        async with rqsqs.aio.connect(url, prefix=prefix) as connection:
            await outbox.Outbox(connection.transport, NotingEvents(file)).run(lambda: True)

    asyncio.run(act())
