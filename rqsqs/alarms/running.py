"""Evaluate alarms and do their actions, in an event loop, until it is cancelled."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from typing import TYPE_CHECKING

from rqsqs._core.alarm_records import ACCOUNT, REGION
from rqsqs.errors import AuthenticationFailed, InvalidParameterValue, RqsqsError

from .actions import Actions, ActionsConfig
from .evaluator import Evaluator
from .outbox import Outbox

if TYPE_CHECKING:
    from rqsqs._action_targets import SendTo
    from rqsqs._async.connection import Connection

    from .actions.runner import MaySend, Queue

AGAIN_S = 5.0  # after an evaluation that failed
REFUSED_S = 60.0  # after one that the server did not allow
LEAVE_S = 2.0  # to let others evaluate at once


class AlarmRunner:
    """Evaluates the alarms of a prefix when it is the turn of this process, and does actions then.

    Args:
        connection: of the prefix.
        config: what the actions file says now.
        region, account: of the alarms, in ARNs.
        may_send: as in Actions.
    """

    def __init__(
        self,
        connection: Connection,
        config: Callable[[], ActionsConfig] = ActionsConfig,
        *,
        region: str = REGION,
        account: str = ACCOUNT,
        may_send: MaySend | None = None,
    ) -> None:
        self._transport = connection.transport
        self.evaluator = Evaluator(self._transport.space)
        actions = Actions(config(), open_queue=queue_opener(connection, account), may_send=may_send)
        self.outbox = Outbox(self._transport, actions, config, region, account)

    async def run(self, *, gives_up: bool = False) -> None:
        """Until it is cancelled. Actions have a task of their own.

        Args:
            gives_up: end when the server does not allow it, instead of trying again: rights and passwords change.

        Raises:
            AuthenticationFailed: it gives up.
        """
        acting = asyncio.create_task(self.outbox.run(lambda: self.evaluator.is_holder))
        try:
            while True:
                try:
                    await self._transport.run(self.evaluator.turn())
                    delay_s = self.evaluator.delay()
                except Exception as error:
                    is_refused = isinstance(error, AuthenticationFailed)
                    if is_refused and gives_up:
                        raise
                    self.evaluator.failed(error)
                    delay_s = REFUSED_S if is_refused else min(self.evaluator.delay(), AGAIN_S)
                self.outbox.wake()
                await asyncio.sleep(delay_s)
        finally:
            acting.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await acting
            with contextlib.suppress(RqsqsError, TimeoutError):
                async with asyncio.timeout(LEAVE_S):
                    await self._transport.run(self.evaluator.leave())

    async def once(self) -> None:
        """Evaluate now, whoever else does, and do the actions that are due."""
        await self._transport.run(self.evaluator.evaluate())
        await self.outbox.until_done()


def queue_opener(connection: Connection, account: str = ACCOUNT) -> Callable[[SendTo], Queue]:
    """Opens the queues that actions send to: those of the connection."""

    def open_queue(target: SendTo) -> Queue:
        if target.account != account:
            raise InvalidParameterValue(f"the account must be {account} here, got {target.account}")
        return connection.queue(target.queue)  # type: ignore[return-value]

    return open_queue
