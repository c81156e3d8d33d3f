"""Errors as SQS, and CloudWatch, show them: their parts, the JSON body of a response, the `Failed` entry of a batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rqsqs.errors import (
    DurabilityNotReached,
    InvalidParameterValue,
    MessageTooLarge,
    ReceiptHandleExpired,
    RequestError,
    ServerError,
)

if TYPE_CHECKING:
    from .service import Service

_FRAMEWORK = frozenset(  # no service models these
    {"UnknownOperationException",
     "SerializationException", "InternalFailure", "DurabilityNotReached", "ServiceUnavailable", "AccessDeniedException",
     "UnrecognizedClientException", "InvalidSignatureException", "IncompleteSignatureException",
     "MissingAuthenticationTokenException",
     "RequestEntityTooLargeException", "RequestTimeoutException", "UnsupportedMediaTypeException"}
)  # fmt: skip
_UNMODELLED = _FRAMEWORK | {"InvalidParameterValueException", "MissingRequiredParameterException"}
_VALIDATION = "ValidationException"


@dataclass(frozen=True, slots=True)
class Failed:
    """The parts of an error response.

    Attributes:
        status: HTTP status.
        code: the legacy code, which boto3 shows as Error.Code.
        shape: the name in the service model, which chooses the exception class.
        text: the message.
        is_sender_fault: True if the request is wrong, False if the server failed.
    """

    status: int
    code: str
    shape: str
    text: str
    is_sender_fault: bool

    @property
    def is_modelled(self) -> bool:
        """Whether the service model of SQS knows this shape."""
        return self.shape not in _UNMODELLED

    @property
    def fault(self) -> str:
        """`Sender` or `Receiver`."""
        return "Sender" if self.is_sender_fault else "Receiver"

    @property
    def query_error(self) -> str:
        """The value of the response header x-amzn-query-error."""
        return f"{self.code};{self.fault}"

    def body(self, service: Service) -> dict[str, str]:
        """The JSON body of the error response; CloudWatch leaves an empty text out."""
        is_sqs = service.name == "sqs"
        namespace = service.json_namespace
        if self.shape in (_UNMODELLED if is_sqs else _FRAMEWORK):
            namespace = "com.amazon.coral.service"
        elif self.shape == _VALIDATION:
            namespace = "com.amazon.coral.validate"
        key = "Message" if self.shape == "AccessDeniedException" else "message"  # as AWS spells it there alone
        return {"__type": f"{namespace}#{self.shape}", **({key: self.text} if self.text or is_sqs else {})}


def describe(error: Exception) -> Failed:
    """Say an error the way SQS does; anything unknown is the server's fault."""
    if isinstance(error, RequestError):
        return Failed(error.http_status, error.sqs_code, error.sqs_shape, error.sqs_message, error.sender_fault)
    if isinstance(error, ServerError | DurabilityNotReached):
        return Failed(error.http_status, error.sqs_code, error.sqs_shape, str(error), error.sender_fault)
    return Failed(500, "InternalError", "InternalFailure", f"{type(error).__name__}: {error}", False)


def batch_entry(entry_id: str, error: Exception) -> dict[str, Any]:
    """The BatchResultErrorEntry for an entry that was not done."""
    failed = describe(error)
    code, text = failed.code, failed.text
    if isinstance(error, ReceiptHandleExpired):
        code, text = "ReceiptHandleIsInvalid", "The receipt handle has expired"
    return {"Id": entry_id, "SenderFault": failed.is_sender_fault, "Code": code, "Message": text}


def too_large(error: MessageTooLarge, *, in_batch: bool) -> InvalidParameterValue:
    """The refusal of a message beyond the queue's MaximumMessageSize; batches word it a little differently."""
    verb = "cannot be validated" if in_batch else "are invalid"
    return InvalidParameterValue(
        f"One or more parameters {verb}. Reason: Message must be shorter than {error.detail} bytes."
    )
