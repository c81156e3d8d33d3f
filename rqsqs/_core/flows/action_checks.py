"""What is checked of actions before an alarm or a rule with them is stored."""

from __future__ import annotations

from collections.abc import Iterable

from rqsqs._action_targets import SendTo, parse_target
from rqsqs._core.alarm_records import ACCOUNT
from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Flow
from rqsqs._core.operations.queues import get_queue
from rqsqs.alarm_models import Alarm, CompositeAlarm
from rqsqs.errors import InvalidParameterValue, QueueDoesNotExist


def actions_of(alarm: Alarm | CompositeAlarm) -> tuple[str, ...]:
    """All that an alarm does."""
    return (*alarm.alarm_actions, *alarm.ok_actions, *alarm.insufficient_data_actions)


def check_actions(
    space: Keyspace, actions: Iterable[str], *, region: str | None = None, account: str = ACCOUNT
) -> Flow[None]:
    """Check where actions go.

    Args:
        region: of queues; None = any, as it is only a word in their ARNs.
        account: whose queues are here.

    Raises:
        InvalidParameterValue: one is no target; its queue does not exist, or is not here; or the actions file of this
            process, if it has one, does not allow it.
    """
    for action in dict.fromkeys(actions):
        target = parse_target(action)
        if space.check_action is not None:
            space.check_action(action)
        if not isinstance(target, SendTo):
            continue
        if target.account != account:
            raise InvalidParameterValue(f"the queue of an action must be of the account {account}, got {target}")
        if region is not None and target.region != region:
            raise InvalidParameterValue(f"the queue of an action must be of the region {region}, got {target}")
        try:
            yield get_queue(space.queue(target.queue).home)
        except QueueDoesNotExist:
            raise InvalidParameterValue(f"the queue of an action must exist, got {target}: create it first") from None
