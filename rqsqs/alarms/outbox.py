"""Does the actions of alarms that wait in the outbox of a prefix, beside the evaluation, which never waits for them.

An action is claimed before it is begun: for a time that is longer than any attempt, nobody else takes it. If this
process dies, it falls due again then. What was claimed and could not be begun in time, since its target is slow, is
left to fall due as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections import Counter, deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from rqsqs._core.alarm_records import ACCOUNT, REGION, Entry, OutboxEntry, RuleEntry, arn_of, rule_arn_of
from rqsqs._core.flows.event_rules import follow
from rqsqs._core.operation import Operation
from rqsqs._core.operations.alarms import (
    ActionOutcome,
    Due,
    claim_actions,
    read_actions,
    release_actions,
    settle_action,
)
from rqsqs._core.portions import portions
from rqsqs.alarm_models import AlarmEvent, CompositeAlarm
from rqsqs.errors import AuthenticationFailed, RqsqsError, ServerError

from .actions import Actions, ActionsConfig, Done, Failed, Notification, Outcome, PendingAction
from .reasons import notification_of, subject_of

if TYPE_CHECKING:
    from rqsqs._io.aio.runner import Transport

log = logging.getLogger("rqsqs.alarms")

LOOK_S = 5.0  # after actions that are due: also after those of alarms that were set by hand
SHORTEST_S = 0.1  # between two looks
CLAIMED_S = 150.0  # nobody else does an action meanwhile
ATTEMPT_S = 75.0  # more than an attempt takes at most; one that could not be begun until then is not begun
AT_ONCE = 20  # that are read by one call
MOST_HELD, MOST_OF_PLACE = 200, 50  # claimed, of all targets and of one
PUT_OFF_S, UNREADABLE_S = 10.0, 600.0
DRAIN_S = 5.0  # for what is at work when this is to end


class Outbox:
    """Does what waits in an outbox, some of it at the same time.

    Args:
        transport: of the prefix.
        actions: does one.
        config: what the actions file says now; None = as `actions` knows it.
        region, account: of the alarms.
    """

    def __init__(
        self,
        transport: Transport,
        actions: Actions,
        config: Callable[[], ActionsConfig] | None = None,
        region: str = REGION,
        account: str = ACCOUNT,
    ) -> None:
        self._transport, self._space = transport, transport.space
        self._actions, self._config = actions, config
        self._region, self._account = region, account
        self._waiting: deque[_Claimed] = deque()
        self._running: dict[asyncio.Task[None], _Claimed] = {}
        self._busy = Counter[str]()  # attempts that run, by place
        self._ahead_ms = 0.0  # of our steady clock is the server's
        self._wake = asyncio.Event()
        self._pause_s = LOOK_S  # until it looks again
        self._serves = False  # run() runs
        self._trouble = self._unseen = ""

    def wake(self) -> None:
        """Look now: something may be due."""
        self._wake.set()

    async def run(self, may_look: Callable[[], bool]) -> None:
        """Do actions until it is cancelled.

        Args:
            may_look: whether it is up to this process to do them.
        """
        self._serves = True
        try:
            while True:
                self._wake.clear()
                if may_look():
                    await self.look()
                self._begin()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self._pause_s):
                        await self._wake.wait()
        finally:
            self._serves = False
            await self._drain()

    async def until_done(self) -> None:
        """Do what is due, until nothing is at work."""
        while await self.look() or self._running or self._waiting:
            self._begin()
            if self._running:
                await asyncio.wait(list(self._running), return_when=asyncio.FIRST_COMPLETED)

    async def look(self) -> int:
        """Claim what is due; returns how much of it is to be done here. What fails is logged, and tried again later."""
        claimed = 0
        self._pause_s = LOOK_S
        await self._follow_events()
        try:
            if self._config is not None:
                self._actions.config = self._config()
            while len(self._waiting) + len(self._running) < MOST_HELD:
                due: Due = await self._transport.run(read_actions(self._space, AT_ONCE))
                self._ahead_ms = due.now_ms - time.monotonic() * 1000
                if not due.entries and not due.unreadable:
                    left_s = LOOK_S if due.next_ms is None else (due.next_ms - due.now_ms) / 1000
                    self._pause_s = min(max(left_s, SHORTEST_S), LOOK_S)
                    break
                claimed += await self._claim(due)
            self._trouble = ""
        except RqsqsError as error:
            if str(error) != self._trouble:  # said once
                log.error("the actions of alarms are not done: %s", error)
            self._trouble = str(error)
        except Exception:
            log.exception("the actions of alarms are not done")
        return claimed

    async def _follow_events(self) -> None:
        """Put the actions of rules that new events match into the outbox."""
        try:
            await self._transport.run(follow(self._space))
            self._unseen = ""
        except RqsqsError as error:  # the stream may be on another server than the outbox
            if str(error) != self._unseen:  # said once
                log.error("rules do not see new events: %s", error)
            self._unseen = str(error)
        except Exception:
            log.exception("rules do not see new events")

    async def _claim(self, due: Due) -> int:
        held = Counter(each.place for each in self._waiting)
        chosen: list[tuple[str, int]] = []
        claims: dict[str, _Claimed] = {}
        for entry in due.entries:
            place = self._actions.place(entry.action)
            if held[place] < MOST_OF_PLACE or not self._serves:
                claims[entry.id] = _Claimed(entry, place)
                chosen.append((entry.id, round(CLAIMED_S * 1000)))
            else:  # so many wait for this target: the more, the longer
                chosen.append((entry.id, round(PUT_OFF_S * 1000) + 100 * (held[place] - MOST_OF_PLACE)))
            held[place] += 1
        for id in due.unreadable:
            log.error("an action of an alarm cannot be read: %s; perhaps a newer version can", id)
            chosen.append((id, round(UNREADABLE_S * 1000)))
        taken: list[bool] = await self._transport.run(claim_actions(self._space, chosen))
        mine = [claims[id] for (id, _), is_taken in zip(chosen, taken, strict=True) if is_taken and id in claims]
        self._waiting += mine
        return len(mine)

    def _begin(self) -> None:
        """Begin what there is room for."""
        concurrency = self._actions.config.concurrency
        half = max(1, concurrency // 2)  # a slow target leaves room for others
        for _ in range(len(self._waiting)):
            each = self._waiting.popleft()
            if time.monotonic() > each.until - ATTEMPT_S:
                continue  # it falls due again
            if len(self._running) >= concurrency or self._busy[each.place] >= half:
                self._waiting.append(each)
                continue
            self._busy[each.place] += 1
            task = asyncio.create_task(self._do(each))
            self._running[task] = each
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        each = self._running.pop(task)
        self._busy[each.place] -= 1
        if not self._busy[each.place]:
            del self._busy[each.place]
        if not task.cancelled() and (error := task.exception()):
            log.error("the outcome of an action could not be stored", exc_info=error)
        if self._serves:
            self._begin()
            if not self._waiting:
                self.wake()

    async def _do(self, each: _Claimed) -> None:
        entry = each.entry
        outcome = await self._actions.run(pending_of(entry, self._region, self._account))
        step = self._settled(entry, outcome)
        while True:
            try:
                await self._transport.run(step)
                return
            except ServerError as error:
                if isinstance(error, AuthenticationFailed) or time.monotonic() > each.until:
                    log.error("the outcome of an action could not be stored, so it is done again: %s", error)
                    return
                await asyncio.sleep(1)  # a failover takes a moment

    def _settled(self, entry: Entry, outcome: Outcome) -> Operation:
        now_ms, name = round(time.monotonic() * 1000 + self._ahead_ms), entry.name
        if isinstance(outcome, Failed):
            log.warning("an action of %s failed, and is tried again: %s", name, outcome.reason)
            event = _event(entry, now_ms, outcome.reason, is_done=False) if entry.attempts == 0 else None
            again_ms = now_ms + round(outcome.retry_after_s * 1000)
            return settle_action(self._space, entry.tried(), "failed", now_ms, event, again_ms)
        is_done = isinstance(outcome, Done)
        text = outcome.summary if isinstance(outcome, Done) else outcome.reason
        if not is_done:
            log.error("an action of %s failed, and is given up: %s", name, text)
        kind: ActionOutcome = "done" if is_done else "given_up"
        return settle_action(self._space, entry.tried(), kind, now_ms, _event(entry, now_ms, text, is_done=is_done))

    async def _drain(self) -> None:
        """Let what is at work end, if that does not take long, and give the rest back: others do it at once."""
        begun = dict(self._running)
        if begun:
            await asyncio.wait(begun, timeout=DRAIN_S)
        left = [task for task in begun if not task.done()]
        for task in left:
            task.cancel()
        if left:
            await asyncio.wait(left)
        ids = [each.entry.id for each in (*(begun[task] for task in left), *self._waiting)]
        self._waiting.clear()
        with contextlib.suppress(RqsqsError, TimeoutError):
            async with asyncio.timeout(DRAIN_S):
                for some in portions(ids, 100):
                    await self._transport.run(release_actions(self._space, some))


class _Claimed:
    """An action that nobody else does until a time of our steady clock."""

    __slots__ = ("entry", "place", "until")

    def __init__(self, entry: Entry, place: str) -> None:
        self.entry, self.place = entry, place
        self.until = time.monotonic() + CLAIMED_S


def pending_of(entry: Entry, region: str = REGION, account: str = ACCOUNT) -> PendingAction:
    """An entry of the outbox, for those who do it."""
    if isinstance(entry, RuleEntry):
        about, arn = entry.event, rule_arn_of(entry.name, region, account)
        told = Notification(arn, about.subject, json.dumps(about.to_json() | {"rule": entry.name}), about.at_ms)
        return PendingAction(entry.id, entry.action, told, entry.attempts)
    message = json.dumps(notification_of(entry.alarm, entry.before.value, entry.state, region=region, account=account))
    subject = subject_of(entry.alarm, entry.state.value, region)
    arn = arn_of(entry.alarm.name, region, account)
    notification = Notification(arn, subject, message, entry.state.transitioned_at_ms)
    return PendingAction(entry.id, entry.action, notification, entry.attempts, entry.put_by)


def _event(entry: Entry, now_ms: int, text: str, *, is_done: bool) -> AlarmEvent:
    cause: dict[str, object]
    if isinstance(entry, RuleEntry):
        cause = {"event": entry.event.id}
    else:
        cause = {"stateUpdateTimestamp": entry.state.updated_at_ms}
    did = "Successfully executed" if is_done else "Failed to execute"
    return AlarmEvent(
        entry.name,
        now_ms,
        "Action",
        f"{did} action {entry.action}"[:255],
        {
            "actionState": "Succeeded" if is_done else "Failed",
            **cause,
            "notificationResource": entry.action,
            "id": entry.id,
            "attempts": entry.attempts + 1,
            "message" if is_done else "error": text[:1000],
        },
        isinstance(entry, OutboxEntry) and isinstance(entry.alarm, CompositeAlarm),
    )
