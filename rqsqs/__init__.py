"""rqsqs: Amazon SQS on the Redis you already run.

import rqsqs

with rqsqs.connect("redis://localhost:6379/0") as connection:
    orders = connection.create_queue("orders")
    orders.send({"id": 1})
    for message in orders:
        with message:
            print(message.body)
"""

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rqsqs._arguments import Entry, SendOptions
    from rqsqs._core.alarm_records import AlarmEvaluation, AlarmInfo
    from rqsqs._core.sent import SentMessage
    from rqsqs._settings import QueueSettings
    from rqsqs._sync.alarms import Alarms
    from rqsqs._sync.connection import Connection, connect
    from rqsqs._sync.event_rules import EventRules
    from rqsqs._sync.message import Message
    from rqsqs._sync.queue import Queue
    from rqsqs._sync.sender import Sender
    from rqsqs.alarm_models import Alarm, AlarmEvent, AlarmState, CompositeAlarm, MetricQuery
    from rqsqs.errors import (
        AuthenticationFailed,
        BatchEntryIdsNotDistinct,
        BatchError,
        BatchFailed,
        BatchRequestTooLong,
        ConnectionFailed,
        DeduplicationIdRequired,
        DurabilityNotReached,
        EmbeddedServerUnavailable,
        EmptyBatchRequest,
        FormatNewer,
        InvalidAttributeName,
        InvalidAttributeValue,
        InvalidBatchEntryId,
        InvalidMessageContents,
        InvalidParameterValue,
        MessageDamaged,
        MessageNotAvailable,
        MessageTooLarge,
        MissingParameter,
        MoveTaskRefused,
        OverLimit,
        PurgeQueueInProgress,
        QueueBeingDeleted,
        QueueDamaged,
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
    from rqsqs.event_models import Actor, Event
    from rqsqs.event_rule_models import EventRule
    from rqsqs.limits import AWS, NATIVE, Limits
    from rqsqs.metric_models import Histogram, HistoryPoint, MetricStatistics, QueueMetrics
    from rqsqs.models import (
        Consumer,
        Counts,
        Durability,
        DurabilityResult,
        FailedEntry,
        Failure,
        InFlight,
        MoveTask,
        QueueInfo,
        Redriven,
        RetryPolicy,
        Statistics,
    )
    from rqsqs.timeline_models import Timeline, TimelineStep

__version__ = "0.1.0"

__all__ = [
    "AWS",
    "NATIVE",
    "Actor",
    "Alarm",
    "AlarmEvaluation",
    "AlarmEvent",
    "AlarmInfo",
    "AlarmState",
    "Alarms",
    "AuthenticationFailed",
    "BatchEntryIdsNotDistinct",
    "BatchError",
    "BatchFailed",
    "BatchRequestTooLong",
    "CompositeAlarm",
    "Connection",
    "ConnectionFailed",
    "Consumer",
    "Counts",
    "DeduplicationIdRequired",
    "Durability",
    "DurabilityNotReached",
    "DurabilityResult",
    "EmbeddedServerUnavailable",
    "EmptyBatchRequest",
    "Entry",
    "Event",
    "EventRule",
    "EventRules",
    "FailedEntry",
    "Failure",
    "FormatNewer",
    "Histogram",
    "HistoryPoint",
    "InFlight",
    "InvalidAttributeName",
    "InvalidAttributeValue",
    "InvalidBatchEntryId",
    "InvalidMessageContents",
    "InvalidParameterValue",
    "Limits",
    "Message",
    "MessageDamaged",
    "MessageNotAvailable",
    "MessageTooLarge",
    "MetricQuery",
    "MetricStatistics",
    "MissingParameter",
    "MoveTask",
    "MoveTaskRefused",
    "OverLimit",
    "PurgeQueueInProgress",
    "Queue",
    "QueueBeingDeleted",
    "QueueDamaged",
    "QueueDeletedRecently",
    "QueueDoesNotExist",
    "QueueInfo",
    "QueueMetrics",
    "QueueNameExists",
    "QueueSettings",
    "ReceiptHandleExpired",
    "ReceiptHandleIsInvalid",
    "Redriven",
    "RequestError",
    "ResourceNotFound",
    "RetryPolicy",
    "RqsqsError",
    "ScriptFailed",
    "SendOptions",
    "Sender",
    "SentMessage",
    "ServerError",
    "ServerLoading",
    "ServerOutOfMemory",
    "ServerReadOnly",
    "ServerTimeout",
    "ServerTooOld",
    "Statistics",
    "Timeline",
    "TimelineStep",
    "TooManyEntriesInBatchRequest",
    "UnsupportedOperation",
    "UsageError",
    "connect",
]

_SUBMODULES = ("errors", "models", "metric_models", "timeline_models", "limits")
_MODULES = (
    *_SUBMODULES,
    "_core.sent",
    "_arguments",
    "_settings",
    "_sync.message",
    "_sync.queue",
    "_sync.sender",
    "_sync.connection",
    "event_models",  # last: few programs need these
    "alarm_models",
    "_core.alarm_records",
    "_sync.alarms",
    "event_rule_models",
    "_sync.event_rules",
)

if not TYPE_CHECKING:  # type checkers see the imports above, and miss what is not there

    def __getattr__(name: str) -> object:
        """Import what is asked for first when somebody asks: `import rqsqs` alone costs next to nothing."""
        from importlib import import_module

        if name in _SUBMODULES:
            return import_module(f"rqsqs.{name}")
        if name in __all__:
            for module in _MODULES:
                found = vars(import_module(f"rqsqs.{module}"))
                if name in found:
                    return globals().setdefault(name, found[name])
        raise AttributeError(f"module 'rqsqs' has no attribute {name!r}", name=name, obj=sys.modules[__name__])


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
