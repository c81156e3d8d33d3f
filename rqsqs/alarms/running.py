"""Evaluate alarms and do their actions, in an event loop, until it is cancelled."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING

from rqsqs._core.alarm_records import OutboxEntry, arn_of
from rqsqs._core.operations.alarms import Due, read_actions, settle_action
from rqsqs.alarm_models import AlarmEvent, CompositeAlarm
from rqsqs.errors import InvalidParameterValue, RqsqsError
from rqsqs.sqs.context import DEFAULT_ACCOUNT

from .actions import Actions, Done, Failed, Notification, Outcome, PendingAction
from .evaluator import Evaluator
from .reasons import notification_of, subject_of

if TYPE_CHECKING:
    from rqsqs._async.connection import Connection
    from rqsqs._io.aio.runner import Transport

    from .actions.runner import Queue
    from .actions.targets import SendTo

log = logging.getLogger("rqsqs.alarms")

LOOK_S = 5.0  # after actions, whoever evaluates looks
CLAIMED_MS = 120_000  # nobody else does an action meanwhile; then it is as if this process had died
AT_ONCE = 20


class AlarmRunner:
    """Evaluates the alarms of a prefix when it is the turn of this process, and does actions then."""

    def __init__(self, transport: Transport, actions: Actions) -> None:
        self.evaluator = Evaluator(transport.space)
        self._transport, self._actions = transport, actions

    async def run(self) -> None:
        """Until it is cancelled, or the server forbids it."""
        while True:
            if not await self.turn():
                return
            left_s = self.evaluator.delay()
            while left_s > 0:
                await asyncio.sleep(min(left_s, LOOK_S))
                left_s -= LOOK_S
                if left_s > 0 and self.evaluator.is_holder:
                    await self.act()

    async def turn(self) -> bool:
        """Evaluate if it is the turn of this process; False = it makes no sense to try again."""
        try:
            await self._transport.run(self.evaluator.turn())
        except Exception as error:
            return not self.evaluator.failed(error)
        if self.evaluator.is_holder:
            await self.act()
        return True

    async def act(self) -> None:
        """Do the actions that are due. What fails is logged, and tried again later."""
        try:
            while True:
                due: Due = await self._transport.run(read_actions(self._transport.space, AT_ONCE))
                entries = {entry.id: entry for entry in due.entries}
                for entry in due.entries:
                    again_ms = due.now_ms + CLAIMED_MS
                    await self._transport.run(settle_action(self._transport.space, entry, due.now_ms, None, again_ms))

                async def settle(
                    pending: PendingAction,
                    outcome: Outcome,
                    now_ms: int = due.now_ms,
                    entries: dict[str, OutboxEntry] = entries,
                ) -> None:
                    await self._settle(entries[pending.id], outcome, now_ms)

                await self._actions.run_all([pending_of(entry) for entry in due.entries], settle)
                if len(due.entries) < AT_ONCE:
                    return
        except RqsqsError as error:
            log.error("the actions of alarms are not done: %s", error)
        except Exception:
            log.exception("the actions of alarms are not done")

    async def _settle(self, entry: OutboxEntry, outcome: Outcome, now_ms: int) -> None:
        space, tried = self._transport.space, entry.tried()
        if isinstance(outcome, Failed):
            log.warning("an action of %s failed, and is tried again: %s", entry.alarm.name, outcome.reason)
            event = _event(entry, now_ms, outcome.reason, is_done=False) if entry.attempts == 0 else None
            await self._transport.run(settle_action(space, tried, now_ms, event, outcome.retry_at_ms))
            return
        is_done = isinstance(outcome, Done)
        text = outcome.summary if isinstance(outcome, Done) else outcome.reason
        if not is_done:
            log.error("an action of %s failed, and is given up: %s", entry.alarm.name, text)
        await self._transport.run(settle_action(space, tried, now_ms, _event(entry, now_ms, text, is_done=is_done)))


def queue_opener(connection: Connection) -> Callable[[SendTo], Queue]:
    """Opens the queues that actions send to: those of the connection."""

    def open_queue(target: SendTo) -> Queue:
        if target.account != DEFAULT_ACCOUNT:
            raise InvalidParameterValue(f"the account must be {DEFAULT_ACCOUNT} here, got {target.account}")
        return connection.queue(target.queue)  # type: ignore[return-value]

    return open_queue


def pending_of(entry: OutboxEntry) -> PendingAction:
    """An entry of the outbox, for those who do it."""
    message = json.dumps(notification_of(entry.alarm, entry.before.value, entry.state))
    subject = subject_of(entry.alarm, entry.state.value)
    notification = Notification(arn_of(entry.alarm.name), subject, message, entry.state.transitioned_at_ms)
    return PendingAction(entry.id, entry.action, notification, entry.attempts)


def _event(entry: OutboxEntry, now_ms: int, text: str, *, is_done: bool) -> AlarmEvent:
    did = "Successfully executed" if is_done else "Failed to execute"
    return AlarmEvent(
        entry.alarm.name,
        now_ms,
        "Action",
        f"{did} action {entry.action}"[:255],
        {
            "actionState": "Succeeded" if is_done else "Failed",
            "stateUpdateTimestamp": entry.state.updated_at_ms,
            "notificationResource": entry.action,
            "id": entry.id,
            "attempts": entry.attempts + 1,
            "message" if is_done else "error": text[:1000],
        },
        isinstance(entry.alarm, CompositeAlarm),
    )
