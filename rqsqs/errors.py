"""Every exception of rqsqs, in one long module, as they are one tree and looked up together.

    RqsqsError
    ├── RequestError                    the request cannot be done as it was asked
    │   ├── InvalidParameterValue       (also a ValueError)
    │   │   ├── ReceiptHandleExpired
    │   │   ├── MessageNotAvailable
    │   │   ├── MessageTooLarge
    │   │   ├── DeduplicationIdRequired
    │   │   └── MoveTaskRefused
    │   ├── MissingParameter            (also a ValueError)
    │   ├── InvalidAttributeName        (also a ValueError)
    │   ├── InvalidAttributeValue       (also a ValueError)
    │   ├── InvalidMessageContents      (also a ValueError)
    │   ├── UnsupportedOperation
    │   ├── BatchError
    │   │   ├── EmptyBatchRequest
    │   │   ├── TooManyEntriesInBatchRequest
    │   │   ├── InvalidBatchEntryId
    │   │   ├── BatchEntryIdsNotDistinct
    │   │   └── BatchRequestTooLong
    │   ├── QueueDoesNotExist
    │   │   └── QueueBeingDeleted
    │   ├── QueueNameExists
    │   ├── QueueDeletedRecently
    │   ├── PurgeQueueInProgress
    │   ├── ReceiptHandleIsInvalid
    │   ├── ResourceNotFound
    │   ├── PartitionMoved              (never leaves the library)
    │   ├── QueueDamaged                what is stored cannot be read
    │   │   └── MessageDamaged
    │   ├── FormatNewer                 what is stored was written by a newer version
    │   └── OverLimit
    ├── BatchFailed                     some entries of a batch were not done
    ├── DurabilityNotReached            it was done, but is not as safe as required
    ├── ServerError                     the server cannot do it now
    │   ├── ConnectionFailed
    │   ├── ServerTimeout
    │   ├── AuthenticationFailed
    │   ├── ServerReadOnly
    │   ├── ServerLoading
    │   ├── ServerOutOfMemory
    │   ├── ServerTooOld
    │   └── ScriptFailed                a bug of ours: please report it
    ├── EmbeddedServerUnavailable
    └── UsageError                      the library was used in a way it does not allow (closed, forked ...)

Each class has the attributes that the boto3 API needs (`sqs_code`, `sqs_shape`, `http_status`, `sender_fault`) and, if
a script raises it, its Lua `code`. `str(error)` is one sentence with the rule and the value; `sqs_message` is the text
of SQS, where that differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from rqsqs._text import printable, shortened

if TYPE_CHECKING:
    from rqsqs.models import DurabilityResult, Failure

BY_CODE: dict[str, type[RequestError]] = {}


class RqsqsError(Exception):
    """Base of all exceptions of this package."""

    __module__ = "rqsqs"


class RequestError(RqsqsError):
    """The request cannot be done as it was asked; repeating it does not help.

    Args:
        message: one sentence with value and rule.
        sqs_message: the text SQS uses, if it differs.
        detail: what a script gave beside its code.
        queue: the name of the queue that cannot do it, or does not exist; "" if that is not about one queue.
    """

    __module__ = "rqsqs"

    code: ClassVar[str | None] = None
    sqs_code: ClassVar[str] = "InvalidParameterValue"
    sqs_shape: ClassVar[str] = "InvalidParameterValueException"
    http_status: ClassVar[int] = 400
    sender_fault: ClassVar[bool] = True

    def __init_subclass__(cls, code: str | None = None, has_prefix: bool = False, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.__module__ = "rqsqs"
        cls.code = code
        if has_prefix:  # SQS calls it as we do
            cls.sqs_code, cls.sqs_shape = f"AWS.SimpleQueueService.{cls.__name__}", cls.__name__
        if code:
            BY_CODE[code] = cls

    def __init__(self, message: str, *, sqs_message: str | None = None, detail: str = "", queue: str = "") -> None:
        super().__init__(message)
        self.queue = queue
        self.sqs_message = message if sqs_message is None else sqs_message
        self.detail = detail


class InvalidParameterValue(RequestError, ValueError, code="INVALID_PARAMETER"):
    """A parameter has a value that its rule does not allow."""


class ReceiptHandleExpired(InvalidParameterValue, code="RECEIPT_HANDLE_EXPIRED"):
    """The visibility timeout of this receive is over (FIFO queues): another consumer may have the message."""


class MessageNotAvailable(InvalidParameterValue, code="MESSAGE_NOT_AVAILABLE"):
    """The message does not exist any more, or not in the state the operation needs."""


class MessageTooLarge(InvalidParameterValue, code="MESSAGE_TOO_LARGE"):
    """The message is larger than the queue's MaximumMessageSize."""


class DeduplicationIdRequired(InvalidParameterValue, code="DEDUPLICATION_ID_REQUIRED"):
    """The FIFO queue has no ContentBasedDeduplication and the message no deduplication id."""


class MissingParameter(RequestError, ValueError):
    """A required parameter is missing or empty."""

    sqs_code = "MissingParameter"
    sqs_shape = "MissingRequiredParameterException"


class InvalidAttributeName(RequestError, ValueError):
    """A queue attribute does not exist, or not for this kind of queue."""

    sqs_code = sqs_shape = "InvalidAttributeName"


class InvalidAttributeValue(RequestError, ValueError):
    """A queue attribute has a value that its rule does not allow."""

    sqs_code = sqs_shape = "InvalidAttributeValue"


class InvalidMessageContents(RequestError, ValueError):
    """The body holds characters that SQS does not allow."""

    sqs_code = sqs_shape = "InvalidMessageContents"


class UnsupportedOperation(RequestError, has_prefix=True):
    """SQS does not support this."""


class BatchError(RequestError):
    """A batch is refused as a whole; nothing was executed."""


class EmptyBatchRequest(BatchError, has_prefix=True):
    """The batch has no entries."""


class TooManyEntriesInBatchRequest(BatchError, has_prefix=True):
    """The batch has more entries than allowed."""


class InvalidBatchEntryId(BatchError, has_prefix=True):
    """An entry id breaks its rule."""


class BatchEntryIdsNotDistinct(BatchError, has_prefix=True):
    """Two entries have the same id."""


class BatchRequestTooLong(BatchError, has_prefix=True):
    """The entries together are larger than allowed."""


class QueueDoesNotExist(RequestError, code="QUEUE_NOT_FOUND"):
    """There is no queue of this name."""

    sqs_code = "AWS.SimpleQueueService.NonExistentQueue"
    sqs_shape = "QueueDoesNotExist"


class QueueNameExists(RequestError, code="QUEUE_NAME_EXISTS"):
    """A queue of this name exists with another value of an attribute.

    Attributes:
        differences: attributes, by SQS's names, with the value that the queue has (None = it has none) and the one
            that was asked for.
    """

    sqs_code = "QueueAlreadyExists"
    sqs_shape = "QueueNameExists"
    differences: Mapping[str, tuple[str | None, str]] = MappingProxyType({})

    def between(self, differences: Mapping[str, tuple[str | None, str]], way_out: str) -> QueueNameExists:
        """The same error with the values that differ, and what changes them."""
        values = [
            f"{name} (it has {'none' if has is None else printable(shortened(has, 200))}, not "
            f"{printable(shortened(wanted, 200))})"
            for name, (has, wanted) in differences.items()
        ]
        error = QueueNameExists(
            f"the queue {self.queue!r} exists with {'other values' if len(values) > 1 else 'another value'} of "
            f"{' and '.join(values)}; {way_out}",
            sqs_message=self.sqs_message,
            detail=self.detail,
            queue=self.queue,
        )
        error.differences = differences
        return error


class QueueDeletedRecently(RequestError, code="QUEUE_DELETED_RECENTLY", has_prefix=True):
    """SQS does not let a name be used again within 60 seconds of its deletion."""


class QueueBeingDeleted(QueueDoesNotExist, code="QUEUE_BEING_DELETED"):
    """A deletion of the queue was begun and not finished; creating it again finishes it."""


class PurgeQueueInProgress(RequestError, code="PURGE_QUEUE_IN_PROGRESS", has_prefix=True):
    """SQS allows one PurgeQueue in 60 seconds."""

    http_status = 403


class ReceiptHandleIsInvalid(RequestError):
    """The receipt handle is malformed, or of another queue."""

    sqs_code = sqs_shape = "ReceiptHandleIsInvalid"
    http_status = 404


class ResourceNotFound(RequestError, code="RESOURCE_NOT_FOUND"):
    """A queue or a move task that a request names does not exist."""

    sqs_code = sqs_shape = "ResourceNotFoundException"
    http_status = 404


class PartitionMoved(RequestError):
    """A message group belongs to another partition by now: look again, and send there."""


class OverLimit(RequestError, code="OVER_LIMIT"):
    """A limit of SQS is reached, for example the messages in flight."""

    sqs_code = sqs_shape = "OverLimit"
    http_status = 403


class QueueDamaged(RequestError, code="QUEUE_DAMAGED"):
    """Something that is stored of the queue cannot be read: a setting, a key or a message was changed by something
    else, or restored in part. `rqsqs doctor` finds what is damaged; the queue can be purged and deleted as ever.

    Attributes:
        queue: its name.
        key: of the server, in full.
        field: of a hash, or the id of a message; "" if the key as a whole is meant.
    """

    sqs_code = "InternalError"
    sqs_shape = "InternalFailure"
    http_status = 500
    sender_fault = False

    def __init__(self, message: str, *, sqs_message: str | None = None, detail: str = "", queue: str = "") -> None:
        super().__init__(message, sqs_message=sqs_message, detail=detail)
        self.key, self.field, _ = f"{detail}\t\t".split("\t", 2)
        self.queue = queue or self.key.partition("}:")[2].partition(":")[0]
        self.is_vague = False  # it may be another key

    @classmethod
    def told(cls, detail: str) -> QueueDamaged:
        """From what lua/lib/damaged.lua tells: KEY, FIELD, FOUND and WANTED with tabs between them."""
        key, field, found, wanted = f"{detail}\t\t\t".split("\t")[:4]
        way_out = "purge or delete the queue"
        if key.rpartition(":")[2] in ("stats", "history", "history_last", "history_hours"):
            way_out = "unlink that key: metrics are lost, no message is"
        if not field:
            place = f"the key {key!r}"
        elif key.endswith(":meta"):
            place = f"the field {field!r} of the key {key!r}"
            if field[0].isupper():
                way_out = "set the attribute again, or delete the queue"
        else:
            place = f"{field!r} in the key {key!r}"
        queue = key.partition("}:")[2].partition(":")[0]
        return cls(
            f"the queue {queue!r} is damaged: {place} {found}{f'; it must be {wanted}' if wanted else ''}. rqsqs "
            f"doctor tells what else is damaged. To mend it, {way_out}",
            detail=detail,
        )

    @classmethod
    def at(cls, key: str, field: str, found: str, wanted: str = "") -> QueueDamaged:
        """Name the place, what is found there and what should be."""
        return cls.told("\t".join((key, field, found, wanted)))


class MessageDamaged(QueueDamaged):
    """A message cannot be read; others can. Its receive counts as any: it becomes visible again after its visibility
    timeout, and goes to the dead-letter queue when it was received too often.

    Attributes:
        message_id: of the message, for Queue.cancel() while it waits.
        receipt_handle: of this receive, for Queue.delete(); "" if it was only looked at.
        record: what is stored, as it was found.
        cause: why it failed last, if a worker had it or it is a dead letter.
    """

    message_id = receipt_handle = ""
    record = b""
    cause: Failure | None = None

    @classmethod
    def of(cls, base: str, message_id: str, receipt_handle: str, what: str, record: bytes) -> MessageDamaged:
        """Say what is wrong with a message of the partition whose keys begin with `base`."""
        error = cls(
            f"the message {message_id} of the queue {base.rsplit(':', 2)[1]!r} is damaged: its record below {base!r} "
            f"{what}. Delete it by its receipt handle, cancel() it while it waits, or let a dead-letter queue take it",
            detail=f"{base}\t{message_id}\t{what}",
        )
        error.message_id, error.receipt_handle, error.record = message_id, receipt_handle, record
        return error


class FormatNewer(RequestError):
    """What is stored was written by a newer version of rqsqs, in a format that this one does not know. Nothing was
    changed."""

    sqs_code = "InternalError"
    sqs_shape = "InternalFailure"
    http_status = 500
    sender_fault = False


class MoveTaskRefused(InvalidParameterValue, code="MOVE_TASK_REFUSED"):
    """A message move task cannot be started or cancelled in the present state."""


class BatchFailed(RqsqsError):
    """Some entries of a batch failed, the others were done.

    Attributes:
        results: one for each entry, in order: what the operation gives, or a FailedEntry with index and error.
    """

    __module__ = "rqsqs"

    def __init__(self, message: str, results: list[object]) -> None:
        super().__init__(message)
        self.results = results


class DurabilityNotReached(RqsqsError):
    """It was done, but is not as safe as was asked for within the time given: messages are stored, or deleted.

    Attributes:
        reached: what was reached; of several partitions the least.
        sent: of a send, the SentMessages; their `durability` tells what was reached. Sending again would store them
            twice, unless they have deduplication ids. Deleting again does no harm, and waits again.
    """

    __module__ = "rqsqs"

    sqs_code: ClassVar[str] = "DurabilityNotReached"
    sqs_shape: ClassVar[str] = "DurabilityNotReached"
    http_status: ClassVar[int] = 400  # nothing that retries by itself tries a 400 again
    sender_fault: ClassVar[bool] = False

    def __init__(self, message: str, reached: DurabilityResult, sent: Sequence[Any] = ()) -> None:
        super().__init__(message)
        self.reached = reached
        self.sent = list(sent)


class ServerError(RqsqsError):
    """The server cannot do it now; the message says what to do about it.

    Attributes:
        request_sent: False if the request certainly was not executed, True if its outcome is unknown.
    """

    __module__ = "rqsqs"

    request_sent: bool = False

    sqs_code: ClassVar[str] = "InternalError"
    sqs_shape: ClassVar[str] = "InternalFailure"
    http_status: ClassVar[int] = 500
    sender_fault: ClassVar[bool] = False

    def __init_subclass__(cls, **kwargs: object) -> None:
        super().__init_subclass__(**kwargs)
        cls.__module__ = "rqsqs"


class ConnectionFailed(ServerError):
    """The server cannot be reached, or the connection broke."""

    def __init__(self, message: str, *, request_sent: bool = False) -> None:
        super().__init__(message)
        self.request_sent = request_sent


class ServerTimeout(ConnectionFailed):
    """The server did not answer in time."""


class AuthenticationFailed(ServerError):
    """The server asks for a password, or refuses the one given, or the ACL user may not do this."""


class ServerReadOnly(ServerError):
    """The server is a read-only replica."""


class ServerLoading(ServerError):
    """The server is loading its data set."""


class ServerOutOfMemory(ServerError):
    """The server has reached maxmemory; nothing was stored."""


class ServerTooOld(ServerError):
    """The server is older than Redis 7.0 or Valkey 7.2."""


class ScriptFailed(ServerError):
    """A script failed in a way it should not: a bug of rqsqs."""


class EmbeddedServerUnavailable(RqsqsError):
    """No embedded server can be had: there is no program, or its folder cannot be used."""

    __module__ = "rqsqs"

    def __init__(self, text: str) -> None:
        super().__init__(printable(text))  # the names of folders are foreign text


class UsageError(RqsqsError):
    """The library is used in a way it does not allow, for example after close()."""

    __module__ = "rqsqs"
