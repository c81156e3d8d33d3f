"""Flows that tie queues together: the shards of dead letters."""

from __future__ import annotations

import contextlib
import json
from types import GeneratorType
from typing import Any

from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Flow, Operation
from rqsqs._core.operations import queues
from rqsqs.errors import InvalidParameterValue, QueueDoesNotExist, ResourceNotFound, RqsqsError

MISSING_MS = 60_000  # for this time a partition does not look again for a dead-letter queue that does not exist


def refresh(q: QueueRef) -> Flow[None]:
    """Ask for the partitions of a queue."""
    topology, tags = yield queues.get_members(q)
    q.learn(topology, tags)


def whole(operation: Operation) -> Flow[Any]:
    """An operation that knows what is to be done about its errors, and goes on where one call was not all; as part of a
    flow. (A runner that is given the operation alone does the same.)"""
    try:
        result = yield operation
    except RqsqsError as e:
        result = operation.recover(e)
    return (yield from result) if type(result) is GeneratorType else result


def at(q: QueueRef, p: Partition, step: Operation | Flow[Any], if_gone: object) -> Flow[Any]:
    """Do something on one partition of a queue. A shard may have gone with an earlier life of the queue, or be named
    but not there yet: then the result is `if_gone`. QueueDoesNotExist means the queue as a whole."""
    try:
        return (yield step) if isinstance(step, Operation) else (yield from step)
    except QueueDoesNotExist:
        if p is q.home:
            raise
        yield from refresh(q)
        return if_gone


def adopt_shard(q: QueueRef, p: Partition, dlq_name: str) -> Flow[None]:
    """A partition met dead letters and its dead-letter queue has no shard there: make one, or stop looking a while."""
    dlq = q.space.queue(dlq_name)
    try:
        yield from attach(dlq, q.name, [p])
    except QueueDoesNotExist:
        yield queues.suspend_dlq(p, dlq, MISSING_MS)


def attach(dlq: QueueRef, source: str, partitions: list[Partition]) -> Flow[None]:
    """Make `dlq` the dead-letter queue of `source`, with shards beside these partitions."""
    tags = [p.tag for p in partitions]
    shards = [p for p in partitions if p.tag != dlq.home.tag]
    fields = yield queues.attach_source(dlq, source, tags)
    while shards:
        for p in shards:
            yield queues.put_shard(dlq.partition(p.tag), p, fields)
        try:
            now = yield queues.attach_source(dlq, source, tags)
        except QueueDoesNotExist:  # it was deleted meanwhile: no shard without a queue
            for p in shards:
                yield queues.remove_shard(dlq.partition(p.tag))
            raise
        if now["created_us"] == fields["created_us"]:
            return
        fields = now


def detach(dlq: QueueRef, source: str) -> Flow[None]:
    """`source` names `dlq` no more."""
    with contextlib.suppress(QueueDoesNotExist):
        yield queues.attach_source(dlq, source, [], detach=True)


def check_target(source: QueueRef, policy: str, arn: str | None) -> Flow[QueueRef]:
    """The queue a RedrivePolicy names, if it exists and lets `source` use it."""
    dlq = source.space.queue(target_name(policy))
    try:
        fields: dict[str, str] = yield queues.get_queue(dlq.home)
    except QueueDoesNotExist:
        if dlq is source:  # a queue may be its own, also while it is being created
            return dlq
        raise ResourceNotFound(
            f"the dead-letter queue {dlq.name!r} does not exist", detail="target", queue=dlq.name
        ) from None
    allow: dict[str, Any] = json.loads(fields.get("RedriveAllowPolicy") or "{}")
    permission = allow.get("redrivePermission", "allowAll")
    names = [a.rpartition(":")[2] for a in allow.get("sourceQueueArns", ())]
    if permission == "denyAll" or (
        permission == "byQueue" and (arn not in allow["sourceQueueArns"] if arn else source.name not in names)
    ):
        raise InvalidParameterValue(
            f"the RedriveAllowPolicy of {dlq.name!r} does not let {source.name!r} use it as dead-letter queue",
            detail="redrive_not_allowed",
        )
    return dlq


def target_name(policy: str) -> str:
    """The queue name in a RedrivePolicy."""
    return str(json.loads(policy)["deadLetterTargetArn"]).rpartition(":")[2]
