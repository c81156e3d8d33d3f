"""Alarms of all accounts that a gateway knows: it evaluates them, and does their actions, when it is its turn."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import rqsqs.aio
from rqsqs._core.operation import AtOnce, Flow
from rqsqs._core.operations.alarms import read_health
from rqsqs._core.portions import portions
from rqsqs.alarms.actions import ActionsConfig, ActionsFile
from rqsqs.alarms.running import AlarmRunner
from rqsqs.errors import RqsqsError, UsageError
from rqsqs.sqs.context import DEFAULT_ACCOUNT

from .alarm_rights import SendRights
from .settings import GatewaySettings, keyspace_of

if TYPE_CHECKING:
    from rqsqs._core.alarm_records import AlarmHealth

log = logging.getLogger("rqsqs.gateway")

MOST = 1000  # accounts besides its own
LOOK_S = 20.0  # after accounts that have alarms by now
AT_ONCE = 50


class Evaluating:
    """Evaluates the alarms of accounts.

    Args:
        settings: of the gateway.
        accounts: tells which there are besides the one of the prefix. Those without alarms get no keys.

    Raises:
        ActionsFileInvalid: the actions file cannot be used.
    """

    def __init__(self, settings: GatewaySettings, accounts: Callable[[], set[str]]) -> None:
        self._settings, self._accounts = settings, accounts
        self._config = ActionsConfig if settings.actions is None else ActionsFile(settings.actions).current
        self._connection: rqsqs.aio.Connection | None = None
        self._tasks: dict[str, asyncio.Task[None]] = {}

    async def run(self) -> None:
        """Evaluate until it is cancelled."""
        self._connection = connection = self._connected(DEFAULT_ACCOUNT)
        try:
            self._start(DEFAULT_ACCOUNT)
            while True:
                await asyncio.sleep(LOOK_S)
                try:
                    for number in await self._with_alarms():
                        self._start(number)
                except (RqsqsError, UsageError) as error:  # those of the keys file are said by others
                    log.debug("accounts with alarms were not looked for: %s", error)
        finally:
            for task in self._tasks.values():
                task.cancel()
            if self._tasks:
                await asyncio.wait(self._tasks.values())
            self._connection = None
            await connection.close()

    async def problem(self) -> str:
        """Why alarms are not evaluated, in a few words; "" = they are."""
        if self._connection is None:
            return ""  # it begins, or ends
        numbers = list(self._tasks)
        for number, health in zip(numbers, await self._health(numbers), strict=True):
            if health is not None and health.is_late:
                where = "" if number == DEFAULT_ACCOUNT else f" of account {number}"
                last = health.evaluation
                since = "never" if last is None else f"{last.age_s:.0f} seconds ago"
                return f"alarms{where} are not evaluated, last: {since}"
        return ""

    def _connected(self, number: str) -> rqsqs.aio.Connection:
        settings = self._settings
        connection = rqsqs.aio.connect(settings.url, prefix=settings.prefix, **settings.options)
        connection.transport.space = keyspace_of(connection.transport.space, number)
        return connection

    def _start(self, number: str) -> None:
        self._tasks[number] = asyncio.create_task(self._evaluate(number))

    async def _evaluate(self, number: str) -> None:
        async with self._connected(number) as connection:
            try:
                rights = SendRights(connection.transport, number)
                region = self._settings.region
                runner = AlarmRunner(connection, self._config, region=region, account=number, may_send=rights)
                await runner.run()
            except Exception:
                log.exception("the alarms of account %s are not evaluated here any more", number)

    async def _with_alarms(self) -> list[str]:
        """Accounts that have alarms or rules for events, and whose alarms are not evaluated here."""
        new = sorted(self._accounts() - self._tasks.keys())[: MOST + 1 - len(self._tasks)]
        found = await self._health(new)
        return [
            number
            for number, health in zip(new, found, strict=True)
            if health is not None and health.alarms + health.rules
        ]

    async def _health(self, numbers: Iterable[str]) -> list[AlarmHealth | None]:
        """Of accounts; None = it cannot be read."""
        assert self._connection is not None
        transport = self._connection.transport
        spaces = [keyspace_of(transport.space, n) if n != DEFAULT_ACCOUNT else transport.space for n in numbers]

        def flow() -> Flow[list[AlarmHealth | None]]:
            found: list[AlarmHealth | None] = []
            for some in portions(spaces, AT_ONCE):
                replies = yield AtOnce([read_health(space) for space in some])
                found += [None if isinstance(reply, RqsqsError) else reply for reply in replies]
            return found

        return await transport.run(flow())
