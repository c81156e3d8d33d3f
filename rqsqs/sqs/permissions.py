"""AddPermission and RemovePermission: they edit the queue's Policy and nothing else.

The gateway (rqsqs/gateway/policies.py) enforces policies: it knows who sends a request. Programs that use Redis
themselves, with the Python API or boto3 in process, are not asked who they are, and no policy stops them.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from rqsqs._core import flows
from rqsqs.errors import InvalidParameterValue, OverLimit

from .attributes import MAX_POLICY_ACTIONS, check_number_of_statements
from .context import Context, Params, ResponseFlow
from .names import invalid, is_account, is_label, missing, partition_of

GRANTABLE = frozenset(
    {
        "*",
        "ChangeMessageVisibility",
        "DeleteMessage",
        "GetQueueAttributes",
        "GetQueueUrl",
        "ListDeadLetterSourceQueues",
        "PurgeQueue",
        "ReceiveMessage",
        "SendMessage",
    }
)
OWNER_ONLY = frozenset(
    {
        "AddPermission",
        "CancelMessageMoveTask",
        "CreateQueue",
        "DeleteQueue",
        "ListMessageMoveTasks",
        "ListQueueTags",
        "ListQueues",
        "RemovePermission",
        "SetQueueAttributes",
        "StartMessageMoveTask",
        "TagQueue",
        "UntagQueue",
    }
)


def add_permission(ctx: Context, params: Params) -> ResponseFlow:
    """AddPermission."""
    queue = ctx.queue_of(params)
    label = _check_label(params)
    accounts = _check_accounts(params)
    actions = _check_actions(params)
    arn = ctx.arn_of(queue.name)
    statement = {
        "Sid": label,
        "Effect": "Allow",
        "Principal": {
            "AWS": _one_or_many([f"arn:{partition_of(ctx.region)}:iam::{account}:root" for account in accounts])
        },
        "Action": _one_or_many([f"SQS:{action}" for action in actions]),
        "Resource": arn,
    }

    def append(text: str | None) -> str:
        policy = _load(text) or {"Version": "2008-10-17", "Id": f"{arn}/SQSDefaultPolicy", "Statement": []}
        if any(each.get("Sid") == label for each in policy["Statement"]):
            raise invalid("Label", label, "Already exists.")
        check_number_of_statements(len(policy["Statement"]) + 1)
        policy["Statement"].append(statement)
        return json.dumps(policy, separators=(",", ":"))

    yield from flows.update_policy(queue, append)
    return {}


def remove_permission(ctx: Context, params: Params) -> ResponseFlow:
    """RemovePermission."""
    queue = ctx.queue_of(params)
    label = params.get("Label")
    if not label:
        raise missing("Label")

    def remove(text: str | None) -> str | None:
        policy = _load(text) or {"Statement": []}
        rest = [each for each in policy["Statement"] if each.get("Sid") != label]
        if len(rest) == len(policy["Statement"]):
            raise invalid("Label", label, "can't find label.")
        return json.dumps({**policy, "Statement": rest}, separators=(",", ":")) if rest else None

    yield from flows.update_policy(queue, remove)
    return {}


def _load(text: str | None) -> dict[str, Any] | None:
    if not text:
        return None
    policy: dict[str, Any] = json.loads(text)
    if isinstance(policy["Statement"], dict):
        policy["Statement"] = [policy["Statement"]]
    return policy


def _check_label(params: Params) -> str:
    label: str = params.get("Label") or ""
    if not label:
        raise missing("Label")
    if not is_label(label):
        reason = "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length."
        raise invalid("Label", label, reason)
    return label


def _check_accounts(params: Params) -> list[str]:
    accounts = list(dict.fromkeys(params.get("AWSAccountIds") or ()))
    if not accounts:
        raise missing("AWSAccountIds")
    if not all(map(is_account, accounts)):
        raise InvalidParameterValue(
            f"Value [{', '.join(accounts)}] for parameter PrincipalId is invalid. Reason: Unable to verify."
        )
    return accounts


def _check_actions(params: Params) -> list[str]:
    actions = list(dict.fromkeys(params.get("Actions") or ()))
    if not actions:
        raise missing("Actions")
    for action in actions:
        if action in OWNER_ONLY:
            reason = "Only the queue owner is allowed to invoke this action."
            raise invalid("ActionName", f"SQS:{action}", reason)
        if action not in GRANTABLE:
            reason = "Please refer to the appropriate WSDL for a list of valid actions. "
            raise invalid("ActionName", f"SQS:{action}", reason)
    if len(actions) > MAX_POLICY_ACTIONS:
        raise OverLimit(f"{len(actions)} Actions were found, maximum allowed is {MAX_POLICY_ACTIONS}.")
    return actions


def _one_or_many(values: Sequence[str]) -> str | Sequence[str]:
    return values[0] if len(values) == 1 else values
