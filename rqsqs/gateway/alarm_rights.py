"""May an alarm that a gateway's caller put send a message? It is asked each time it is to send one.

When the alarm was put, its caller had to be allowed to send to the queue (alarm_permissions.py). What its own policies
allowed then counts until the alarm is put again, as who sends now need not know the keys file. The policy of the queue
counts as it is now: it must deny neither the caller nor CloudWatch, and if only this policy allowed it, must still do
so. For it the request comes from the service `cloudwatch.amazonaws.com` with `aws:SourceArn`, the ARN of the alarm.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache

from rqsqs._action_targets import SendTo, Topic, parse_target
from rqsqs._core import flows
from rqsqs._core.alarm_records import PutBy
from rqsqs._io.aio.runner import Transport
from rqsqs.alarms.actions import PendingAction
from rqsqs.sqs.names import parse_arn

from .callers import Caller
from .policies import Policy, RequestContext, decide, read_identity_policy, read_queue_policy

ACTION = "sqs:SendMessage"
CLOUDWATCH = Caller("cloudwatch.amazonaws.com", "", "")


class SendRights:
    """Decides for the alarms of a prefix.

    Args:
        transport: of the prefix.
        account: whose alarms and queues they are.
    """

    def __init__(self, transport: Transport, account: str) -> None:
        self._transport, self._account = transport, account

    async def __call__(self, target: SendTo, pending: PendingAction) -> str:
        """Why an action may not send to a queue; "" = it may.

        Raises:
            RequestError: there is no such queue.
        """
        if pending.put_by is None or isinstance(parse_target(pending.target), Topic):
            return ""  # for topics, the operator has said where they lead
        info = await self._transport.run(flows.queue_info(self._transport.space.queue(target.queue)))
        text = info.attributes.get("Policy")
        policy = read_queue_policy(text) if text else None
        return why_not(pending.put_by, policy, target, pending.notification.source, self._account)


def why_not(put_by: PutBy, policy: Policy | None, target: SendTo, source: str, account: str) -> str:
    """Why an alarm may not send to a queue; "" = it may.

    Args:
        put_by: who put it.
        policy: of the queue.
        source: the ARN of the alarm.
        account: of the alarm and the queue.
    """
    caller = _caller(put_by, is_allowed=target.queue not in put_by.relies)
    found = []
    for each in (CLOUDWATCH, caller):
        decision = decide(each, policy, RequestContext(ACTION, target.arn, account, _values(each, target, source)))
        if decision.reason in ("explicit deny", "unreadable queue policy"):
            return decision.message(each, ACTION, target.arn)
        found.append(decision)
    if any(decision.is_allowed for decision in found):
        return ""
    return found[-1].message(caller, ACTION, target.arn)


def _caller(put_by: PutBy, *, is_allowed: bool) -> Caller:
    arn = parse_arn(put_by.arn)
    account, name = ("", "") if arn is None else (arn.account, arn.name.rpartition("/")[2])
    is_root = arn is not None and arn.name == "root"
    return Caller(put_by.arn, account, "", "", name, is_root, policies=(_allowed(),) if is_allowed else ())


@cache
def _allowed() -> Policy:
    statement = {"Effect": "Allow", "Action": ACTION, "Resource": "*"}
    return read_identity_policy({"Version": "2012-10-17", "Statement": [statement]}, name="when the alarm was put")


class _Values:
    """The condition keys of a request that nobody sent over HTTP."""

    def __init__(self, known: Mapping[str, str]) -> None:
        self._known = known

    def __call__(self, key: str) -> list[str] | None:
        found = self._known.get(key)
        return None if found is None else [found]


def _values(caller: Caller, target: SendTo, source: str) -> _Values:
    now, is_service = time.time(), caller is CLOUDWATCH
    known = {
        "aws:currenttime": datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        "aws:epochtime": str(int(now)),
        "aws:principalisawsservice": "true" if is_service else "false",
        "aws:requestedregion": target.region,
        "aws:resourceaccount": target.account,
        "aws:sourceaccount": target.account,
        "aws:sourcearn": source,
        "aws:viaawsservice": "false" if is_service else "true",
    }
    if is_service:
        return _Values(known | {"aws:principalservicename": caller.arn})
    of_caller = {
        "aws:principalarn": caller.arn,
        "aws:principalaccount": caller.account,
        "aws:principaltype": "Account" if caller.is_root else "User",
        **({} if caller.is_root else {"aws:username": caller.name}),
    }
    return _Values(known | of_caller)
