"""Errors as SQS shows them: their parts, the JSON body of a response, the `Failed` entry of a batch.

Also the texts of those refusals that only a script can find out: a script gives a code, SQS a sentence about the
request. No other module of this package looks at `detail`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rqsqs.errors import (
    DeduplicationIdRequired,
    InvalidParameterValue,
    MessageNotAvailable,
    MessageTooLarge,
    QueueDeletedRecently,
    QueueDoesNotExist,
    QueueNameExists,
    ReceiptHandleExpired,
    ReceiptHandleIsInvalid,
    RequestError,
    ServerError,
)

from .names import QUEUE_DOES_NOT_EXIST, invalid

HANDLE_EXPIRED = "The receipt handle has expired"

_UNMODELLED = frozenset(
    {"InvalidParameterValueException", "MissingRequiredParameterException", "UnknownOperationException",
     "SerializationException", "InternalFailure"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Failed:
    """The parts of an error response.

    Attributes:
        status: HTTP status.
        code: the legacy code, which boto3 shows as Error.Code.
        shape: the name in the service model, which chooses the exception class.
        text: the message.
        is_sender_fault: True if the request is wrong, False if the server is in trouble.
    """

    status: int
    code: str
    shape: str
    text: str
    is_sender_fault: bool

    @property
    def is_modelled(self) -> bool:
        """Whether the service model knows this shape."""
        return self.shape not in _UNMODELLED

    @property
    def fault(self) -> str:
        """`Sender` or `Receiver`."""
        return "Sender" if self.is_sender_fault else "Receiver"

    @property
    def query_error(self) -> str:
        """The value of the response header x-amzn-query-error."""
        return f"{self.code};{self.fault}"

    def body(self) -> dict[str, str]:
        """The JSON body of the error response."""
        namespace = "com.amazonaws.sqs" if self.is_modelled else "com.amazon.coral.service"
        return {"__type": f"{namespace}#{self.shape}", "message": self.text}


def describe(error: Exception) -> Failed:
    """Say an error the way SQS does; anything unknown is the server's fault."""
    if isinstance(error, RequestError):
        return Failed(error.http_status, error.sqs_code, error.sqs_shape, error.sqs_message, error.sender_fault)
    if isinstance(error, ServerError):
        return Failed(error.http_status, error.sqs_code, error.sqs_shape, str(error), error.sender_fault)
    return Failed(500, "InternalError", "InternalFailure", f"{type(error).__name__}: {error}", False)


def batch_entry(entry_id: str, error: Exception) -> dict[str, Any]:
    """The BatchResultErrorEntry for an entry that was not done."""
    failed = describe(error)
    code, text = failed.code, failed.text
    if isinstance(error, ReceiptHandleExpired):
        code, text = "ReceiptHandleIsInvalid", HANDLE_EXPIRED
    return {"Id": entry_id, "Code": code, "Message": text, "SenderFault": failed.is_sender_fault}


def in_sqs_words(error: RequestError) -> RequestError:
    """Put SQS's text on a refusal that depends on nothing but itself."""
    if isinstance(error, QueueDoesNotExist):
        error.sqs_message = QUEUE_DOES_NOT_EXIST
    elif isinstance(error, QueueNameExists):
        error.sqs_message = (
            f"A queue already exists with the same name and a different value for attribute {error.detail}"
        )
    elif isinstance(error, QueueDeletedRecently):
        error.sqs_message = (
            "You must wait 60 seconds after deleting a queue before you can create another with the same name."
        )
    elif isinstance(error, DeduplicationIdRequired):
        error.sqs_message = (
            "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided "
            "explicitly"
        )
    return error


def too_large(error: MessageTooLarge, *, in_batch: bool) -> InvalidParameterValue:
    """The refusal of a message beyond the queue's MaximumMessageSize; batches say it a little differently."""
    verb = "cannot be validated" if in_batch else "are invalid"
    return InvalidParameterValue(
        f"One or more parameters {verb}. Reason: Message must be shorter than {error.detail} bytes."
    )


def receipt_handle(error: Exception, handle: str, visibility_timeout: int | None = None) -> Exception:
    """Put SQS's text on a refusal that is about a receipt handle.

    Args:
        error: what the script found.
        handle: the receipt handle of the request.
        visibility_timeout: the timeout asked for, in seconds, if the visibility was to be changed.
    """
    if isinstance(error, ReceiptHandleIsInvalid):
        error.sqs_message = (
            f'The receipt handle "{handle}" is not valid for this queue.'
            if error.detail == "foreign"
            else f'The input receipt handle "{handle}" is not a valid receipt handle.'
        )
    elif isinstance(error, ReceiptHandleExpired):
        error.sqs_message = str(invalid("ReceiptHandle", handle, f"{HANDLE_EXPIRED}."))
    elif isinstance(error, MessageNotAvailable):
        reason = "Message does not exist or is not available for visibility timeout change."
        error.sqs_message = str(invalid("ReceiptHandle", handle, reason))
    elif isinstance(error, InvalidParameterValue) and error.detail == "total_visibility":
        reason = "Total VisibilityTimeout for the message is beyond the limit [43200 seconds]"
        error.sqs_message = str(invalid("VisibilityTimeout", visibility_timeout, reason))
    return error
