"""How SQS names things: queue names, queue URLs, ARNs, the ids of groups and messages.

Pure text; whether a queue exists is not asked here.
"""

from __future__ import annotations

import re
from functools import lru_cache

from rqsqs._arns import FIFO_NAME, STANDARD_NAME
from rqsqs._arns import Arn as Arn
from rqsqs._arns import is_account as is_account
from rqsqs._arns import is_queue_name as is_queue_name
from rqsqs._arns import parse_arn as parse_arn
from rqsqs.errors import InvalidParameterValue, MissingParameter, QueueDoesNotExist

QUEUE_DOES_NOT_EXIST = "The specified queue does not exist."
MAX_URL = 2048

_ID = re.compile(r"[!-~]{1,128}")  # ASCII letters, digits and punctuation: everything visible, so no blank
_LABEL = re.compile(r"[A-Za-z0-9_-]{1,80}")
_LONGEST_URL = 2048  # so that what is remembered of URLs stays small


def partition_of(region: str) -> str:
    """The AWS partition a region belongs to."""
    if region.startswith("cn-"):
        return "aws-cn"
    return "aws-us-gov" if region.startswith("us-gov-") else "aws"


@lru_cache(maxsize=64)
def endpoint_of(region: str, service: str = "sqs") -> str:
    """The address that a service has in a region, without a slash at the end."""
    suffix = "amazonaws.com.cn" if region.startswith("cn-") else "amazonaws.com"
    return f"https://{service}.{region}.{suffix}"


def is_label(text: str) -> bool:
    """Whether a permission can have this label, or an entry of a batch this id."""
    return bool(_LABEL.fullmatch(text))


def check_new_queue_name(name: str | None, *, is_fifo: bool) -> str:
    """Check the name of a queue to be created."""
    if name is None:
        raise missing_queue_name()
    if not name:
        raise InvalidParameterValue("Queue name cannot be empty")
    if is_fifo and not FIFO_NAME.fullmatch(name):
        raise InvalidParameterValue(
            "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, "
            "must end with .fifo suffix and be 1 to 80 in length."
        )
    if not is_fifo and not STANDARD_NAME.fullmatch(name):
        raise InvalidParameterValue(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length"
        )
    return name


def missing_queue_name() -> InvalidParameterValue:
    """What SQS answers when a queue name is needed and not there."""
    return InvalidParameterValue("Value for parameter QueueName is invalid. Reason: Must specify a queue name.")


@lru_cache(maxsize=4096)
def queue_name_of_url(url: str) -> str:
    """The queue name in a QueueUrl.

    Host and account are not examined: only the last part of the path counts, so URLs written for AWS or for another
    emulator keep working. A bare queue name is accepted too, as SQS does.
    """
    if len(url) > MAX_URL:  # so that the cache stays small
        raise QueueDoesNotExist(QUEUE_DOES_NOT_EXIST)
    head, _, name = url.rpartition("/")
    host_and_account = head.partition("://")[2] if "://" in head else head
    is_bare = not head
    if len(url) > _LONGEST_URL or not is_queue_name(name) or not (is_bare or "/" in host_and_account.rstrip("/")):
        raise QueueDoesNotExist(QUEUE_DOES_NOT_EXIST)
    return name


def check_id(parameter: str, value: str) -> str:
    """Check a MessageGroupId, MessageDeduplicationId or ReceiveRequestAttemptId."""
    if not _ID.fullmatch(value):
        raise InvalidParameterValue(
            f"Value {value} for parameter {parameter} is invalid. Reason: {parameter} can only include alphanumeric "
            "and punctuation characters. 1 to 128 in length."
        )
    return value


def missing(parameter: str) -> MissingParameter:
    """What SQS answers when a required parameter is missing or empty."""
    return MissingParameter(f"The request must contain the parameter {parameter}.")


def invalid(parameter: str, value: object, reason: str) -> InvalidParameterValue:
    """What SQS answers when a parameter breaks a rule."""
    return InvalidParameterValue(f"Value {value} for parameter {parameter} is invalid. Reason: {reason}")
