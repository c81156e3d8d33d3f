"""Rules for events of a prefix: what is done when something happens to its queues. Who evaluates alarms does it."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from rqsqs import _arguments as arguments
from rqsqs._arguments import Moment
from rqsqs._async.alarms import MOST_EVENTS, TWO_WEEKS
from rqsqs._core.flows import event_rules as flows
from rqsqs._not_copied import NotCopied
from rqsqs._text import shown
from rqsqs.alarm_models import AlarmEvent
from rqsqs.errors import InvalidParameterValue, MissingParameter
from rqsqs.event_rule_models import EventRule, check_rule_name

if TYPE_CHECKING:
    from rqsqs._io.aio.runner import Transport

Rules = list[EventRule]
Events = list[AlarmEvent]


class EventRules(NotCopied):
    """The rules for events of a connection's prefix. Made by Connection.event_rules."""

    __module__ = "rqsqs.aio"
    _instead = (
        "pass the URL and the prefix instead; rqsqs.aio.connect(url, prefix=prefix).event_rules makes another one"
    )

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def put(self, rule: EventRule) -> None:
        """Create a rule, or replace the one of this name. A new one sees the events from now on.

        Args:
            rule: the whole definition.

        Raises:
            InvalidParameterValue: an action is none; or its queue does not exist, or is of another account.
            OverLimit: there are 100 rules.
        """
        if not isinstance(rule, EventRule):
            raise InvalidParameterValue(f"rule must be an EventRule, got {shown(rule)}")
        await self._transport.run(flows.put(self._transport.space, rule))

    async def get(self, name: str) -> EventRule:
        """A rule.

        Args:
            name: of the rule.

        Returns:
            Its definition.

        Raises:
            ResourceNotFound.
        """
        return await self._transport.run(flows.get(self._transport.space, _name(name)))

    async def list(self) -> Rules:
        """All rules, in order of names. Those that cannot be read are left out."""
        return await self._transport.run(flows.all_rules(self._transport.space))

    async def delete(self, *names: str) -> None:
        """Delete rules, all of them or none. Their histories stay for two weeks.

        Args:
            names: of the rules.

        Raises:
            ResourceNotFound: one does not exist.
        """
        if not names:
            raise MissingParameter("names must have the name of one rule at least, got none")
        unique = [_name(name) for name in dict.fromkeys(names)]
        await self._transport.run(flows.delete(self._transport.space, unique))

    async def test(self, name: str) -> None:
        """Let the actions of a rule be done, also of one that is not enabled, on an event that did not happen: its
        `detail` says `test`.

        Args:
            name: of the rule.

        Raises:
            ResourceNotFound.
        """
        await self._transport.run(flows.test(self._transport.space, _name(name)))

    async def history(self, name: str, *, since: Moment | timedelta = TWO_WEEKS, max_events: int = 1000) -> Events:
        """What became of the actions of a rule, also of a deleted one. The last 2,000 of two weeks are kept.

        Args:
            name: of the rule.
            since: a datetime with time zone, epoch seconds, or a timedelta before now.
            max_events: how many at most, the newest ones.

        Returns:
            Each as an AlarmEvent of the kind "Action", the newest first.
        """
        if isinstance(max_events, bool) or not isinstance(max_events, int) or not 1 <= max_events <= MOST_EVENTS:
            rule = f"an int from 1 to {MOST_EVENTS:,}"
            raise InvalidParameterValue(f"max_events must be {rule}, got {shown(max_events)}")
        before_ms, since_ms = 0, None
        if isinstance(since, timedelta):
            before_ms = arguments.milliseconds("since", since, 1000 * 14 * 86_400)
        else:
            since_ms = arguments.epoch_ms("since", since)
        found = flows.history(self._transport.space, _name(name), since_ms, before_ms, max_events)
        return await self._transport.run(found)


def _name(name: str) -> str:
    check_rule_name(name)
    return name
