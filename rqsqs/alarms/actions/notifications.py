"""What an action tells, in the form in which Amazon SNS tells it, so that what reads SNS reads this."""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime

from rqsqs._core.alarm_records import PutBy
from rqsqs._text import printable

MOST_SUBJECT = 100  # characters, as in SNS
_IDS = uuid.UUID("9c1c2f0e-5b0b-4a7e-9f43-2f2ad4f5c1f0")  # message ids are made of idempotency keys below it


@dataclass(frozen=True, slots=True)
class Notification:
    """What happened.

    Attributes:
        source: the ARN of the alarm or rule.
        subject: one line for people.
        message: for programs: a text, mostly JSON.
        at_ms: when it happened, since 1970.
    """

    source: str
    subject: str
    message: str
    at_ms: int


@dataclass(frozen=True, slots=True)
class PendingAction:
    """An action to be done.

    Attributes:
        id: the idempotency key, up to 128 visible ASCII characters: the same at each attempt, another one for another
            action.
        target: as the alarm names it.
        attempts: how often it was tried.
        put_by: whose right to send messages it has; None = it may send to all queues.
    """

    id: str
    target: str
    notification: Notification
    attempts: int = 0
    put_by: PutBy | None = None


def message_id(pending: PendingAction) -> str:
    """A UUID, as the ids of SNS: the same at each attempt."""
    return str(uuid.uuid5(_IDS, pending.id))


def subject_line(notification: Notification) -> str:
    """The subject without characters that a mail program or a terminal would obey."""
    text = printable(notification.subject)
    return text if len(text) <= MOST_SUBJECT else f"{text[: MOST_SUBJECT - 3]}..."


def timestamp(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def body(pending: PendingAction) -> str:
    """The JSON that webhooks, commands and queues get.

    It has the members of an SNS notification but for its signature by a certificate of AWS: a webhook has a header of
    ours instead.
    """
    told = pending.notification
    return json.dumps(
        {
            "Type": "Notification",
            "MessageId": message_id(pending),
            "TopicArn": told.source,
            "Subject": subject_line(told),
            "Message": told.message,
            "Timestamp": timestamp(told.at_ms),
        }
    )
