"""Does actions, and says what became of them. Where they wait until then is not known here."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import random
import re
import time
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from rqsqs._action_targets import Command, Log, SendTo, Target, Webhook, parse_target
from rqsqs._text import printable
from rqsqs.errors import InvalidParameterValue, RequestError, RqsqsError

from . import webhook
from .configuration import ActionsConfig
from .notifications import PendingAction, body, subject_line
from .retries import AttemptFailed, Done, GivenUp, Outcome
from .targets import allowed_target

log = logging.getLogger("rqsqs.alarms")

QUEUE_TIMEOUT_S = 30.0
REMEMBERED_S = 86_400  # how long a queue knows a message that was sent: longer than it is tried again
_GROUP = re.compile(r"[!-~]{1,128}")


class Queue(Protocol):
    """What is needed of rqsqs.aio.Queue."""

    async def send(self, body: Any, **options: Any) -> Any: ...


OpenQueue = Callable[[SendTo], Queue]
MaySend = Callable[[SendTo, PendingAction], Awaitable[str]]


class Actions:
    """Does actions as a configuration allows.

    Attributes:
        config: what is allowed; it may be replaced at any time.

    Args:
        config: the same; None = without an actions file.
        open_queue: gives the queue of a target, a rqsqs.aio.Queue; it raises InvalidParameterValue if there is none of
            this region or account. None = messages cannot be sent.
        may_send: says why an action may not send to a queue, "" = it may. It is asked each time. None = those may that
            have the right of nobody in particular.
        clock: seconds since 1970, for signatures.
        dice: a number from 0 to 1.
        resolve: the addresses of a host, as webhook.resolve().
    """

    def __init__(
        self,
        config: ActionsConfig | None = None,
        *,
        open_queue: OpenQueue | None = None,
        may_send: MaySend | None = None,
        clock: Callable[[], float] = time.time,
        dice: Callable[[], float] = random.random,
        resolve: webhook.Resolve = webhook.resolve,
    ) -> None:
        self.config = config or ActionsConfig()
        self._open_queue, self._may_send = open_queue, may_send
        self._clock, self._dice, self._resolve = clock, dice, resolve

    async def run(self, pending: PendingAction) -> Outcome:
        """Do an action once. Nothing is raised, whatever fails."""
        try:
            target = allowed_target(parse_target(pending.target), self.config)
            return Done(await self._do(target, pending))
        except InvalidParameterValue as error:  # of another configuration than the one it was checked by
            return GivenUp(printable(str(error)))
        except AttemptFailed as error:
            failure = error
        except Exception as error:
            log.exception("an action could not be done, by a mistake of ours")
            failure = AttemptFailed(f"it could not be done: {type(error).__name__}")
        return self.config.retries.after(failure, pending.attempts + 1, self._dice)

    def place(self, target: str) -> str:
        """What may be slow about a target: a host, or the target."""
        try:
            found = allowed_target(parse_target(target), self.config)
        except InvalidParameterValue:
            return ""
        return found.authority if isinstance(found, Webhook) else str(found)

    async def _do(self, target: Target, pending: PendingAction) -> str:
        if isinstance(target, Webhook):
            return await webhook.call(target, pending, self.config, self._clock(), self._resolve)
        if isinstance(target, Command):
            from . import command

            return await command.run(target.name, self.config.commands[target.name], pending)
        if isinstance(target, SendTo):
            return await self._send(target, pending)
        assert isinstance(target, Log)
        log.warning("%s (%s)", subject_line(pending.notification), printable(pending.notification.source))
        return "it was logged"

    async def _send(self, target: SendTo, pending: PendingAction) -> str:
        if self._open_queue is None:
            raise AttemptFailed("this process sends no messages for actions", is_final=True)
        if self._may_send is None and pending.put_by is not None:
            raise AttemptFailed("this process cannot find out whether the action may send messages")
        options: dict[str, Any] = {"deduplication_id": pending.id, "deduplication_window": REMEMBERED_S}
        if target.queue.endswith(".fifo"):
            options["group"] = _group_of(pending.notification.source)
        try:
            async with asyncio.timeout(QUEUE_TIMEOUT_S):
                if self._may_send is not None and (reason := await self._may_send(target, pending)):
                    raise AttemptFailed(f"a message to {target} was refused: {printable(reason)}")
                sent = await self._open_queue(target).send(body(pending), **options)
        except TimeoutError:
            raise AttemptFailed(f"a message to {target} could not be sent within {QUEUE_TIMEOUT_S:g} seconds") from None
        except RequestError as error:
            is_final = isinstance(error, InvalidParameterValue)
            raise AttemptFailed(
                f"a message to {target} was refused: {printable(str(error))}", is_final=is_final
            ) from None
        except RqsqsError as error:
            raise AttemptFailed(f"a message to {target} could not be sent: {printable(str(error))}") from None
        again = ", which had been sent before" if getattr(sent, "is_duplicate", False) else ""
        return f"message {sent.message_id} was sent to {target}{again}"


def _group_of(source: str) -> str:
    """The message group of what an alarm tells, so that its notifications stay in order."""
    return source if _GROUP.fullmatch(source) else hashlib.sha256(source.encode()).hexdigest()
