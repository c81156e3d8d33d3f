"""Queue attributes: which there are, what values they take, how a request changes them, which a response shows.

Works on attributes alone. The dead-letter queue that a RedrivePolicy names is looked at in `queues`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from rqsqs.errors import InvalidAttributeName, InvalidAttributeValue, OverLimit
from rqsqs.limits import AWS, Limits

from .message_attributes import has_forbidden_characters
from .policy_documents import PolicyInvalid, read_policy
from .redrive_policies import RedrivePolicy, check_redrive_allow_policy, check_redrive_policy

_KEY_ID = re.compile(r"[!-~]{1,2048}")  # an id, an ARN or an alias; SQS does not look for the key either
MAX_POLICY_BYTES = 8192
MAX_POLICY_STATEMENTS = 20
MAX_POLICY_ACTIONS, MAX_POLICY_PRINCIPALS, MAX_POLICY_CONDITIONS = 7, 50, 10  # of a statement
DEFAULT_DATA_KEY_REUSE_S = "300"

COUNTERS = {  # attribute -> field of rqsqs.models.Counts
    "ApproximateNumberOfMessages": "visible",
    "ApproximateNumberOfMessagesNotVisible": "in_flight",
    "ApproximateNumberOfMessagesDelayed": "delayed",
}
READ_ONLY = frozenset({*COUNTERS, "CreatedTimestamp", "LastModifiedTimestamp", "QueueArn"})

_NUMBERS: dict[str, Callable[[Limits], tuple[int, int]]] = {  # attribute -> least and greatest value
    "DelaySeconds": lambda limits: (0, limits.delay_ms // 1000),
    "MaximumMessageSize": lambda limits: (limits.message_size_min, limits.message_size_max),
    "MessageRetentionPeriod": lambda limits: (limits.retention_min_s, limits.retention_max_s),
    "ReceiveMessageWaitTimeSeconds": lambda limits: (0, limits.wait_ms // 1000),
    "VisibilityTimeout": lambda limits: (0, limits.visibility_ms // 1000),
    "KmsDataKeyReusePeriodSeconds": lambda limits: (60, 86_400),
}
_CHOICES = {
    "DeduplicationScope": ("queue", "messageGroup"),
    "FifoThroughputLimit": ("perQueue", "perMessageGroupId"),
}
_FIFO_ONLY = frozenset({"FifoQueue", "ContentBasedDeduplication", *_CHOICES})
_OTHER = frozenset({"Policy", "RedrivePolicy", "RedriveAllowPolicy", "KmsMasterKeyId", "SqsManagedSseEnabled"})
SETTABLE = _FIFO_ONLY | _OTHER | _NUMBERS.keys()
READABLE = SETTABLE | READ_ONLY

_FIFO_THROUGHPUT = ("DeduplicationScope", "FifoThroughputLimit")


@dataclass(frozen=True, slots=True)
class Change:
    """What a request makes of the attributes of a queue.

    Attributes:
        values: attribute -> canonical value; None removes the attribute.
        redrive_policy: the new RedrivePolicy, if there is one.
        redrive_policy_as_sent: its text in the request, for the text of errors.
    """

    values: dict[str, str | None]
    redrive_policy: RedrivePolicy | None = None
    redrive_policy_as_sent: str = ""

    @property
    def concerns_fifo_throughput(self) -> bool:
        """Whether the result must still be checked with `check_fifo_throughput`."""
        return any(name in self.values for name in _FIFO_THROUGHPUT)


def check(
    attributes: Mapping[str, str], *, is_fifo: bool, is_new: bool, region: str, account: str, limits: Limits = AWS
) -> Change:
    """Check the attributes of CreateQueue or SetQueueAttributes, in the order they were sent."""
    values: dict[str, str | None] = {}
    redrive_policy = None
    for name, value in attributes.items():
        _check_name(name, is_fifo=is_fifo)
        if name == "FifoQueue" and not is_new:
            _check_same_kind(value)
        elif name == "RedrivePolicy" and value:
            redrive_policy = check_redrive_policy(value, region, account)
            values[name] = redrive_policy.text
        else:
            values[name] = _canonical(name, value, limits)
    _settle_encryption(values, attributes)
    if is_new:
        values = {name: value for name, value in values.items() if value is not None}
    return Change(values, redrive_policy, attributes.get("RedrivePolicy", ""))


def check_fifo_throughput(current: Mapping[str, str], change: Change) -> None:
    """Check that perMessageGroupId stays together with messageGroup."""
    scope, limit = (change.values.get(name) or current.get(name) for name in _FIFO_THROUGHPUT)
    if limit == "perMessageGroupId" and scope != "messageGroup":
        raise invalid_value("FifoThroughputLimit")


def requested(names: Iterable[str]) -> frozenset[str]:
    """The attributes that GetQueueAttributes asks for."""
    wanted = list(names)
    for name in wanted:
        if name != "All" and name not in READABLE:
            raise unknown(name)
    return READABLE if "All" in wanted else frozenset(wanted)


def shown(stored: Mapping[str, str], wanted: frozenset[str]) -> dict[str, str]:
    """The stored attributes that a response shows."""
    attributes = {name: value for name, value in stored.items() if value != "" and name in SETTABLE}
    if "KmsMasterKeyId" in attributes:
        attributes.setdefault("KmsDataKeyReusePeriodSeconds", DEFAULT_DATA_KEY_REUSE_S)
    else:
        attributes.pop("KmsDataKeyReusePeriodSeconds", None)
    return {name: value for name, value in attributes.items() if name in wanted}


def unknown(name: str) -> InvalidAttributeName:
    """What SQS answers to an attribute it does not know."""
    return InvalidAttributeName(f"Unknown Attribute {name}.")


def invalid_value(name: str, reason: str = "") -> InvalidAttributeValue:
    """What SQS answers to an attribute value that breaks a rule."""
    return InvalidAttributeValue(f"Invalid value for the parameter {name}.{reason and f' Reason: {reason}'}")


def check_policy(text: str) -> str:
    """Check a policy document."""
    if len(text.encode(errors="replace")) > MAX_POLICY_BYTES or has_forbidden_characters(text):
        raise invalid_value("Policy")
    try:
        statements = read_policy(text, of_queue=True).statements
    except PolicyInvalid:
        raise invalid_value("Policy") from None
    check_number_of_statements(len(statements))
    for each in statements:
        for number, limit, what in (
            (len(each.actions), MAX_POLICY_ACTIONS, "Actions"),
            (len(each.principals or ()), MAX_POLICY_PRINCIPALS, "Principals"),
            (len(each.conditions), MAX_POLICY_CONDITIONS, "Conditions"),
        ):
            if number > limit:
                raise OverLimit(f"{number} {what} were found, maximum allowed is {limit}.")
    return text


def check_number_of_statements(number: int) -> None:
    """Check the number of statements of a policy."""
    if number > MAX_POLICY_STATEMENTS:
        raise OverLimit(f"{number} Statements were found, maximum allowed is {MAX_POLICY_STATEMENTS}.")


def _check_name(name: str, *, is_fifo: bool) -> None:
    if name not in SETTABLE:
        raise unknown(name)
    if name in _FIFO_ONLY and not is_fifo:
        if name in _CHOICES:
            raise InvalidAttributeName(f"You can specify the {name} only when FifoQueue is set to true.")
        raise unknown(name)


def _check_same_kind(value: str) -> None:
    if _boolean("FifoQueue", value) == "false":
        raise invalid_value("FifoQueue", "Modifying queue type is not supported.")


def _canonical(name: str, value: str, limits: Limits) -> str | None:
    if name in _NUMBERS:
        return _whole_number(name, value, *_NUMBERS[name](limits))
    return _FORMS[name](name, value)


def _whole_number(name: str, value: str, low: int, high: int) -> str:
    if not (value.isascii() and value.isdigit() and len(value) < 10 and low <= int(value) <= high):
        raise invalid_value(name)
    return str(int(value))


def _boolean(name: str, value: str) -> str:
    if value.lower() not in ("true", "false"):
        raise invalid_value(name)
    return value.lower()


def _choice(name: str, value: str) -> str:
    if value not in _CHOICES[name]:
        raise invalid_value(name)
    return value


def _key_id(name: str, value: str) -> str:
    if not _KEY_ID.fullmatch(value):
        raise invalid_value(name)
    return value


_FORMS: dict[str, Callable[[str, str], str | None]] = {
    "FifoQueue": _boolean,
    "ContentBasedDeduplication": _boolean,
    "SqsManagedSseEnabled": _boolean,
    "DeduplicationScope": _choice,
    "FifoThroughputLimit": _choice,
    "KmsMasterKeyId": lambda name, value: _key_id(name, value) if value else None,
    "Policy": lambda _, value: check_policy(value) if value else None,
    "RedrivePolicy": lambda _, value: None,  # what is not empty never comes here
    "RedriveAllowPolicy": lambda _, value: check_redrive_allow_policy(value) if value else None,
}


def _settle_encryption(values: dict[str, str | None], as_sent: Mapping[str, str]) -> None:
    """SSE-KMS and SSE-SQS exclude each other: one that is switched on switches the other off."""
    if values.get("KmsMasterKeyId"):
        if values.get("SqsManagedSseEnabled") == "true":
            raise InvalidAttributeName(
                "You can use one type of server-side encryption (SSE) at one time. You can either enable KMS SSE or "
                "SQS SSE."
            )
        values["SqsManagedSseEnabled"] = "false"
    elif "KmsMasterKeyId" in as_sent:
        values["KmsDataKeyReusePeriodSeconds"] = None
    elif values.get("SqsManagedSseEnabled") == "true":
        values["KmsMasterKeyId"] = values["KmsDataKeyReusePeriodSeconds"] = None
