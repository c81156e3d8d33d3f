"""RedrivePolicy and RedriveAllowPolicy: their JSON, its rules, its canonical form.

What needs a look at another queue (does the target exist, does it allow this source) is in `queues`.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from rqsqs.errors import InvalidParameterValue

from .names import Arn, invalid, parse_arn

_ALLOW_PREFIX = "Amazon SQS can't create the redrive allow policy. "


@dataclass(frozen=True, slots=True)
class RedrivePolicy:
    """A checked RedrivePolicy; `text` is its canonical form."""

    target: Arn
    max_receive_count: int
    text: str


def check_redrive_policy(text: str, region: str, account: str) -> RedrivePolicy:
    """Check everything about a RedrivePolicy that can be checked without looking at its target."""
    policy = _json_object(text)
    if policy is None:
        raise InvalidParameterValue(
            "Invalid value for the parameter RedrivePolicy. Reason: Redrive policy is not a valid JSON map."
        )
    for key in ("maxReceiveCount", "deadLetterTargetArn"):
        if policy.get(key) in (None, ""):
            raise redrive_refused(text, f"Redrive policy does not contain mandatory attribute: {key}.")
    if len(policy) > 2:
        raise redrive_refused(text, "Only following attributes are supported: [deadLetterTargetArn, maxReceiveCount].")
    count = _whole_number(policy["maxReceiveCount"])
    if count is None or not 1 <= count <= 1000:
        value = policy["maxReceiveCount"]
        raise redrive_refused(
            text, f"Invalid value for maxReceiveCount: {value}, valid values are from 1 to 1000 both inclusive."
        )
    target = parse_arn(policy["deadLetterTargetArn"]) if isinstance(policy["deadLetterTargetArn"], str) else None
    if target is None or target.service != "sqs":
        raise redrive_refused(text, "Dead-letter target ARN should be fully qualified ARN.")
    if target.region != region:
        raise redrive_refused(text, "Dead-letter target must be in same region as the source.")
    if target.account != account:
        raise redrive_refused(text, "Dead-letter target owner should be same as the source.")
    return RedrivePolicy(target, count, _compact({"deadLetterTargetArn": str(target), "maxReceiveCount": count}))


def redrive_refused(text: str, reason: str) -> InvalidParameterValue:
    """What SQS answers to a RedrivePolicy that breaks a rule."""
    return invalid("RedrivePolicy", text, reason)


def check_redrive_allow_policy(text: str) -> str:
    """Check a RedriveAllowPolicy and return its canonical form."""
    policy = _json_object(text)
    permission = policy.get("redrivePermission") if policy else None
    arns = policy.get("sourceQueueArns") if policy else None
    if (
        policy is None
        or not policy.keys() <= {"redrivePermission", "sourceQueueArns"}
        or permission not in ("allowAll", "denyAll", "byQueue")
        or not (arns is None or (isinstance(arns, list) and all(isinstance(arn, str) for arn in arns)))
    ):
        raise InvalidParameterValue(
            "Invalid value for the parameter RedriveAllowPolicy. Reason: Amazon SQS can't create the redrive allow "
            "policy, as it’s in an unsupported format."
        )
    if permission == "byQueue" and not arns:
        raise invalid(
            "RedriveAllowPolicy",
            text,
            f"{_ALLOW_PREFIX}When you specify the byQueue permission type, you must also specify one or more "
            "sourceQueueArns values.",
        )
    if permission != "byQueue" and arns is not None:
        raise invalid(
            "RedriveAllowPolicy",
            text,
            f"{_ALLOW_PREFIX}To specify one or more source queue ARNs, you must set redrivePermission to byQueue.",
        )
    if arns and len(arns) > 10:
        raise invalid(
            "RedriveAllowPolicy",
            text,
            f"{_ALLOW_PREFIX}The maximum number of source queue ARNs you can specify is 10.",
        )
    if not arns:
        return _compact({"redrivePermission": permission})
    return _compact({"redrivePermission": permission, "sourceQueueArns": arns})


def _json_object(text: str) -> dict[str, Any] | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def _whole_number(value: object) -> int | None:
    if isinstance(value, str):
        return int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _compact(value: dict[str, Any]) -> str:
    return json.dumps(value, separators=(",", ":"))
