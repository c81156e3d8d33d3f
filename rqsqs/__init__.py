"""rqsqs: Amazon SQS on the Redis you already run.

import rqsqs

with rqsqs.connect("redis://localhost:6379/0") as connection:
    orders = connection.create_queue("orders")
    orders.send({"id": 1})
    for message in orders:
        with message:
            print(message.body)
"""

from rqsqs.connection import Connection, connect
from rqsqs.errors import (
    AuthenticationFailed,
    BatchEntryIdsNotDistinct,
    BatchError,
    BatchFailed,
    BatchRequestTooLong,
    ConnectionFailed,
    DeduplicationIdRequired,
    EmbeddedServerUnavailable,
    EmptyBatchRequest,
    InvalidAttributeName,
    InvalidAttributeValue,
    InvalidBatchEntryId,
    InvalidMessageContents,
    InvalidParameterValue,
    MessageNotAvailable,
    MessageTooLarge,
    MissingParameter,
    MoveTaskRefused,
    OverLimit,
    PurgeQueueInProgress,
    QueueBeingDeleted,
    QueueDeletedRecently,
    QueueDoesNotExist,
    QueueNameExists,
    ReceiptHandleExpired,
    ReceiptHandleIsInvalid,
    RequestError,
    ResourceNotFound,
    RqsqsError,
    ScriptFailed,
    ServerError,
    ServerLoading,
    ServerOutOfMemory,
    ServerReadOnly,
    ServerTimeout,
    ServerTooOld,
    TooManyEntriesInBatchRequest,
    UnsupportedOperation,
    UsageError,
)
from rqsqs.limits import AWS, NATIVE, Limits
from rqsqs.message import Entry
from rqsqs.queue import Message, Queue
from rqsqs.types import Cause, Consumer, Counts, Failure, Held, MoveTask, QueueInfo, RetryPolicy, SentMessage

__version__ = "0.1.0"

__all__ = [
    "AWS",
    "NATIVE",
    "AuthenticationFailed",
    "BatchEntryIdsNotDistinct",
    "BatchError",
    "BatchFailed",
    "BatchRequestTooLong",
    "Cause",
    "Connection",
    "ConnectionFailed",
    "Consumer",
    "Counts",
    "DeduplicationIdRequired",
    "EmbeddedServerUnavailable",
    "EmptyBatchRequest",
    "Entry",
    "Failure",
    "Held",
    "InvalidAttributeName",
    "InvalidAttributeValue",
    "InvalidBatchEntryId",
    "InvalidMessageContents",
    "InvalidParameterValue",
    "Limits",
    "Message",
    "MessageNotAvailable",
    "MessageTooLarge",
    "MissingParameter",
    "MoveTask",
    "MoveTaskRefused",
    "OverLimit",
    "PurgeQueueInProgress",
    "Queue",
    "QueueBeingDeleted",
    "QueueDeletedRecently",
    "QueueDoesNotExist",
    "QueueInfo",
    "QueueNameExists",
    "ReceiptHandleExpired",
    "ReceiptHandleIsInvalid",
    "RequestError",
    "ResourceNotFound",
    "RetryPolicy",
    "RqsqsError",
    "ScriptFailed",
    "SentMessage",
    "ServerError",
    "ServerLoading",
    "ServerOutOfMemory",
    "ServerReadOnly",
    "ServerTimeout",
    "ServerTooOld",
    "TooManyEntriesInBatchRequest",
    "UnsupportedOperation",
    "UsageError",
    "connect",
]
