"""What is told of a queue."""

from __future__ import annotations

import json

from rqsqs.models import QueueInfo


def dead_letter_queue(info: QueueInfo) -> str | None:
    """The name of its dead-letter queue, if it has one."""
    policy = info.attributes.get("RedrivePolicy")
    try:
        return str(json.loads(policy)["deadLetterTargetArn"]).rpartition(":")[2] if policy else None
    except (ValueError, LookupError, TypeError):  # damaged
        return None


def max_receive_count(info: QueueInfo) -> int | None:
    """How often a message may be received before it goes there."""
    policy = info.attributes.get("RedrivePolicy")
    try:
        return int(json.loads(policy)["maxReceiveCount"]) if policy else None
    except (ValueError, LookupError, TypeError):  # damaged
        return None
