"""Accounts: each has keys of its own in the same Redis.

Account 000000000000 is the configured prefix itself, which programs beside the gateway use as well. The others have
prefixes below it, which no queue of it can reach: `rqsqs/123456789012`. Whoever calls can name any account, so nothing
is stored for one, and little is remembered, before it has a queue.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from rqsqs._io.aio.runner import Transport
from rqsqs.alarms.actions import ActionsFile, check_target
from rqsqs.models import Durability
from rqsqs.sqs import Context
from rqsqs.sqs.context import DEFAULT_ACCOUNT

from .settings import GatewaySettings, keyspace_of

MOST = 200  # that are remembered
MOST_ENDPOINTS = 100  # of an account


class Account:
    """An account.

    Attributes:
        transport: runs flows on its keys.
        users: requests that are at work.
    """

    def __init__(
        self, settings: GatewaySettings, number: str, check_action: Callable[[str], object] | None = None
    ) -> None:
        self._settings, self.number = settings, number
        self.transport = Transport(settings.url, settings.prefix, **settings.options)
        self.transport.space = keyspace_of(self.transport.space, number)
        self.transport.space.check_action = check_action
        self.users = 0
        self._contexts: dict[str, Context] = {}

    def context(self, endpoint: str) -> Context:
        """Where a request is answered whose queue URLs begin with `endpoint`."""
        found = self._contexts.get(endpoint)
        if found is None:
            if len(self._contexts) >= MOST_ENDPOINTS:
                self._contexts.clear()
            s = self._settings
            durability = s.durability if isinstance(s.durability, Durability) else None
            found = self._contexts[endpoint] = Context(
                self.transport.space, s.region, self.number, s.limits, endpoint, durability, can_hang_up=True
            )
        return found


class Accounts:
    """The accounts that were asked for, over one set of connections.

    Raises:
        ActionsFileInvalid: the actions file, by which actions of alarms are checked when they are put, cannot be used.
    """

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        self._actions = None if settings.actions is None else ActionsFile(settings.actions)
        self._accounts: OrderedDict[str, Account] = OrderedDict()

    async def of(self, number: str) -> Account:
        """An account by its number."""
        found = self._accounts.get(number)
        if found is None:
            found = self._accounts[number] = Account(self._settings, number, self._check)
            found.users += 1
            try:
                await self._make_room()
            finally:
                found.users -= 1
        elif number != DEFAULT_ACCOUNT:
            self._accounts.move_to_end(number)
        return found

    def _check(self, action: str) -> None:
        if self._actions is not None:
            check_target(action, self._actions.current())

    def numbers(self) -> list[str]:
        """Of those that are remembered."""
        return list(self._accounts)

    async def _make_room(self) -> None:
        while len(self._accounts) > MOST:
            unused = next((n for n, a in self._accounts.items() if not a.users and n != DEFAULT_ACCOUNT), None)
            if unused is None:
                return
            await self._accounts.pop(unused).transport.close()

    async def close(self) -> None:
        """Give all connections up."""
        while self._accounts:
            await self._accounts.popitem()[1].transport.close()
