"""What CloudWatch refuses, with its codes, shapes and statuses; the texts are its own, as far as they are known.

| raise                       | shape                                | code                        | status |
|-----------------------------|--------------------------------------|-----------------------------|--------|
| ConcurrentModification      | ConcurrentModificationException      | the same                    | 429    |
| InternalServiceError        | InternalServiceFault                 | InternalServiceError        | 500    |
| InvalidFormat               | InvalidFormatFault                   | InvalidFormat               | 400    |
| InvalidNextToken            | the same                             | InvalidNextToken            | 400    |
| InvalidParameterCombination | InvalidParameterCombinationException | InvalidParameterCombination | 400    |
| InvalidParameterValue       | InvalidParameterValueException       | InvalidParameterValue       | 400    |
| LimitExceeded               | LimitExceededFault                   | LimitExceeded               | 400    |
| MissingParameter            | MissingRequiredParameterException    | MissingParameter            | 400    |
| ResourceConflict            | the same                             | ResourceConflict            | 409    |
| ResourceNotFound            | the same, of alarms                  | ResourceNotFound            | 404    |
| TaggedResourceNotFound      | ResourceNotFoundException, of tags   | the same                    | 404    |
| UnsupportedAction           | UnknownOperationException            | InvalidAction               | 400    |
| ValidationError             | ValidationException                  | ValidationError             | 400    |

InvalidParameterValue and MissingParameter are those of `rqsqs.errors`, as CloudWatch and SQS agree on them.
"""

from __future__ import annotations

from rqsqs import errors
from rqsqs._core.flows.alarm_states import BUSY
from rqsqs.errors import InvalidParameterValue, MissingParameter, RequestError

__all__ = [
    "ConcurrentModification",
    "InternalServiceError",
    "InvalidFormat",
    "InvalidNextToken",
    "InvalidParameterCombination",
    "InvalidParameterValue",
    "LimitExceeded",
    "MissingParameter",
    "ResourceConflict",
    "ResourceNotFound",
    "TaggedResourceNotFound",
    "UnsupportedAction",
    "ValidationError",
    "as_cloudwatch",
]


class ConcurrentModification(RequestError):
    """Others change alarms all the time; SDKs try again by themselves."""

    sqs_code = sqs_shape = "ConcurrentModificationException"
    http_status = 429


class InternalServiceError(RequestError):
    """Something that is stored cannot be read."""

    sqs_code = "InternalServiceError"
    sqs_shape = "InternalServiceFault"
    http_status = 500
    sender_fault = False


class InvalidFormat(RequestError, ValueError):
    """Data is not in its format, for example no JSON."""

    sqs_code = "InvalidFormat"
    sqs_shape = "InvalidFormatFault"


class InvalidNextToken(RequestError, ValueError):
    """The token of the next page is none of this action, or not for these parameters."""

    sqs_code = sqs_shape = "InvalidNextToken"


class InvalidParameterCombination(RequestError, ValueError):
    """Parameters that exclude each other, or need another one."""

    sqs_code = "InvalidParameterCombination"
    sqs_shape = "InvalidParameterCombinationException"


class LimitExceeded(RequestError):
    """A quota is reached, for example the number of alarms."""

    sqs_code = "LimitExceeded"
    sqs_shape = "LimitExceededFault"


class ResourceConflict(RequestError):
    """An alarm is needed by another one."""

    sqs_code = sqs_shape = "ResourceConflict"
    http_status = 409


class ResourceNotFound(errors.ResourceNotFound):
    """There is no such alarm. CloudWatch says no more than the code.

    Args:
        message: for our own logs and callers.
    """

    sqs_code = sqs_shape = "ResourceNotFound"

    def __init__(self, message: str, *, sqs_message: str | None = "", detail: str = "", queue: str = "") -> None:
        super().__init__(message, sqs_message=sqs_message, detail=detail, queue=queue)


class TaggedResourceNotFound(errors.ResourceNotFound):
    """There is no resource with this ARN (the actions of tags)."""


class ValidationError(RequestError, ValueError):
    """A parameter breaks a rule of the framework in front of CloudWatch, or one that it words likewise."""

    sqs_code = "ValidationError"
    sqs_shape = "ValidationException"


class UnsupportedAction(RequestError):
    """CloudWatch has this action, and rqsqs has not; or nobody has it."""

    sqs_code = "InvalidAction"
    sqs_shape = "UnknownOperationException"


def as_cloudwatch(error: RequestError) -> RequestError:
    """An error that CloudWatch knows, for one of the native API that it does not."""
    if isinstance(error, errors.ResourceNotFound) and type(error) is errors.ResourceNotFound:
        return ResourceNotFound(str(error))
    if isinstance(error, errors.OverLimit) and error.detail == BUSY:
        return ConcurrentModification(str(error))
    if isinstance(error, errors.OverLimit):
        return LimitExceeded(str(error))
    if isinstance(error, errors.QueueDamaged | errors.FormatNewer) or type(error) is RequestError:
        return InternalServiceError(str(error))
    return error
