"""Flows of whole queues: create, delete, purge, attributes, tags, list."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Mapping

from rqsqs._core import portions
from rqsqs._core.flows.events import tell, tell_changes
from rqsqs._core.flows.partitions import check_resharding, finish_resharding, needs_group_scope, reshard
from rqsqs._core.flows.topology import at, attach, check_target, detach, refresh, target_name
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Flow
from rqsqs._core.operations import moves, queues
from rqsqs._core.operations.queues import Ending
from rqsqs.errors import QueueBeingDeleted, QueueDamaged, QueueDoesNotExist, QueueNameExists
from rqsqs.limits import NATIVE, Limits
from rqsqs.models import QueueInfo

TAGS = 1000  # in one call


def create_queue(
    q: QueueRef,
    attributes: Mapping[str, str],
    limits: Limits,
    tags: Mapping[str, str] | None = None,
    arn: str | None = None,
) -> Flow[bool]:
    """Create a queue, or find that it exists with the same values of the attributes given.

    Args:
        attributes: validated, under SQS's names and as SQS's strings; FifoQueue goes without saying.
        arn: the queue's own, as a RedriveAllowPolicy may name it.

    Returns:
        True if it was created.

    Raises:
        QueueNameExists: detail = the first attribute that differs; its differences tell all.
        QueueDeletedRecently: within 60 s of the deletion, if the limits say so.
        ResourceNotFound, InvalidParameterValue: the RedrivePolicy's target (see topology.check_target).
    """
    if (
        q.is_fifo
        and int(attributes.get("Partitions", "1")) > 1
        and attributes.get("DeduplicationScope") != "messageGroup"
    ):
        raise needs_group_scope(attributes["Partitions"])
    policy = attributes.get("RedrivePolicy")
    dlq = (yield from check_target(q, policy, arn)) if policy else None
    first, *others = portions.portions(list((tags or {}).items()), TAGS) or [()]
    operation = queues.create_queue(q.home, attributes, dict(first), limits)
    try:
        try:
            created, created_us = yield operation
        except QueueBeingDeleted:  # somebody's deletion was interrupted: finish it
            with contextlib.suppress(QueueDoesNotExist):
                yield from delete_queue(q, limits)
            created, created_us = yield operation
    except QueueNameExists as error:
        raise (yield from _compared(q, attributes, error)) from None
    if created:
        q.learn(b"", [])
        for part in others:
            yield queues.set_tags(q, dict(part), [], 0)
    yield queues.register_queue(q.space, q.name, created_us)
    if "Partitions" in attributes:
        yield from reshard(q, int(attributes["Partitions"]))
    if dlq is not None:  # also if it exists: perhaps its creation was interrupted, or its answer lost
        yield from attach(dlq, q.name, [q.home])
    if created:
        yield from tell(q.space, "queue-created", q.name, after=attributes, detail={"tags": tags} if tags else {})
    return bool(created)


def _compared(q: QueueRef, wanted: Mapping[str, str], error: QueueNameExists) -> Flow[QueueNameExists]:
    """Look what differs, all of it."""
    try:
        fields: dict[str, str] = {"Partitions": "1"} | (yield queues.get_queue(q.home))
    except (QueueDoesNotExist, QueueDamaged):  # deleted meanwhile, or for doctor
        return error
    differing = {name: (fields.get(name), value) for name, value in wanted.items() if fields.get(name) != value}
    way_out = "use it as it is, or delete it first" if "Partitions" in differing else "configure() changes that"
    return error.between(differing, way_out) if differing else error


def delete_queue(q: QueueRef, limits: Limits) -> Flow[None]:
    """Delete a queue with everything in it, its dead letters in other slots included; or finish a deletion that was
    interrupted."""
    fields: dict[str, str] = {}
    with contextlib.suppress(QueueDamaged):
        fields = yield queues.get_queue(q.home, being_deleted=True)
    created_us = (yield queues.delete_queue(q.home, limits, purge=False, first=True)).created_us
    yield from refresh(q)  # from now on there are no new ones
    yield from _end_shards(q, purge=False)
    yield queues.register_queue(q.space, q.name, created_us, remove=True)
    if fields.get("dlq") and fields["dlq"] != q.name:
        yield from detach(q.space.queue(fields["dlq"]), q.name)
    yield from _end(q.home, limits, purge=False, first=False)
    q.learn(b"", [])
    yield from tell(q.space, "queue-deleted", q.name, before=_shown(fields))


def purge_queue(q: QueueRef, limits: Limits) -> Flow[None]:
    """Remove all messages: visible, in flight and delayed.

    Raises:
        PurgeQueueInProgress: within 60 s of the last purge, if the limits say so.
    """
    yield from refresh(q)
    step: Ending = yield queues.delete_queue(q.home, limits, purge=True, first=True)
    yield from _end_shards(q, purge=True)
    while not step.is_done:
        step = yield queues.delete_queue(q.home, limits, purge=True, first=False, cursor=step.cursor)
    yield from tell(q.space, "queue-purged", q.name)


def _end_shards(q: QueueRef, *, purge: bool) -> Flow[None]:
    for shard in q.partitions[1:]:
        yield from _end(shard, NATIVE, purge=purge, first=True, keep_name=False)


def _end(p: Partition, limits: Limits, *, purge: bool, first: bool, keep_name: bool = True) -> Flow[None]:
    cursor = "0"
    while True:
        try:
            step: Ending = yield queues.delete_queue(
                p, limits, purge=purge, first=first, keep_name=keep_name, cursor=cursor
            )
        except QueueDoesNotExist:  # a lost answer, or somebody else was faster
            return
        if step.is_done:
            break
        first, cursor = False, step.cursor
    if step.handover is not None:  # what was on its way is gone, if it did not arrive
        batch, destination = step.handover
        target = p.space.queue(destination)
        with contextlib.suppress(QueueDoesNotExist):
            yield from refresh(target)
        for place in target.own:
            yield moves.end(place, batch)


def queue_info(q: QueueRef) -> Flow[QueueInfo]:
    """Everything stored about a queue."""
    fields: dict[str, str] = yield queues.get_queue(q.home)

    def ms(name: str) -> int:
        text = fields.get(name, "")
        return int(text) // 1000 if re.fullmatch(r"\d{1,16}", text) else 0

    return QueueInfo(q.name, _shown(fields), ms("created_us"), ms("modified_us"), "paused" in fields)


def _shown(fields: Mapping[str, str]) -> dict[str, str]:
    """Without what scripts derive and keep."""
    return {name: value for name, value in fields.items() if name[:1].isupper()}


def set_attributes(
    q: QueueRef, attributes: Mapping[str, str | None], limits: Limits, arn: str | None = None
) -> Flow[None]:
    """Set attributes (text) and remove them (None), all or none.

    Raises:
        ResourceNotFound, InvalidParameterValue: the RedrivePolicy's target (see topology.check_target).
    """
    before: dict[str, str] = {}
    dlq, have, count = None, 1, int(attributes.get("Partitions") or 1)
    if "Partitions" in attributes or "DeduplicationScope" in attributes:
        have = yield from check_resharding(q, attributes)
    if "RedrivePolicy" in attributes:
        before = yield queues.get_queue(q.home)
        policy = attributes["RedrivePolicy"]
        if policy is not None:
            dlq = yield from check_target(q, policy, arn)
    changed = yield queues.set_attributes(q.home, {k: v for k, v in attributes.items() if k != "Partitions"})
    yield from _tell_changes(q, changed, {k: v for k, v in attributes.items() if k != "Partitions"})
    if count > have:
        yield from reshard(q, count, have)
        yield from finish_resharding(q)
        yield from tell_changes(
            q.space, "settings-changed", q.name, {"Partitions": str(have)}, {"Partitions": str(count)}
        )
    yield from _copy_to_shards(q)
    if dlq is not None:
        yield from attach(dlq, q.name, list(q.partitions))
    if before.get("RedrivePolicy") and (dlq is None or target_name(before["RedrivePolicy"]) != dlq.name):
        yield from detach(q.space.queue(target_name(before["RedrivePolicy"])), q.name)


def _tell_changes(q: QueueRef, before: Mapping[str, str], after: Mapping[str, str | None]) -> Flow[None]:
    settings = {name: value for name, value in after.items() if name != "Policy"}
    yield from tell_changes(q.space, "settings-changed", q.name, before, settings)
    if "Policy" in after:
        yield from tell_changes(q.space, "policy-changed", q.name, before, {"Policy": after["Policy"]})


def _copy_to_shards(q: QueueRef) -> Flow[None]:
    yield from refresh(q)
    if len(q.partitions) > 1:
        fields = yield queues.get_queue(q.home)
        for shard in q.partitions[1:]:
            yield queues.put_shard(shard, shard, fields, "?" if shard in q.own else "")


def pause(q: QueueRef, *, resume: bool, group: str | None = None) -> Flow[None]:
    """Let a queue or one message group hand nothing out, or go on."""
    if group is None:
        before = yield queues.set_attributes(q.home, {"paused": None if resume else "1"})
        yield from _copy_to_shards(q)
        if ("paused" in before) is resume:
            yield from tell(q.space, "queue-resumed" if resume else "queue-paused", q.name)
        return
    yield from refresh(q)
    is_changed = False
    for p in q.partitions:
        is_changed |= yield from at(q, p, queues.pause_group(p, group, resume=resume), False)
    if is_changed:
        yield from tell(q.space, "group-resumed" if resume else "group-paused", q.name, detail={"group": group})


def update_policy(q: QueueRef, change: Callable[[str | None], str | None]) -> Flow[None]:
    """Change the attribute Policy from its present text; `change` is called again when somebody was faster."""
    while True:
        fields: dict[str, str] = yield queues.get_queue(q.home)
        policy = fields.get("Policy")
        after = {"Policy": change(policy)}
        before = yield queues.set_attributes(q.home, after, field="Policy", expected=policy or "")
        if before is not None:
            yield from _tell_changes(q, before, after)
            return


def set_tags(q: QueueRef, tags: Mapping[str, str], max_tags: int = 0) -> Flow[None]:
    """Set tags.

    Raises:
        OverLimit: there would be more than max_tags (0 = no limit); nothing was set.
    """
    before: dict[str, str] = {}
    if max_tags:  # all or none
        before = yield queues.set_tags(q, tags, [], max_tags)
    else:
        for part in portions.portions(list(tags.items()), TAGS):
            before |= yield queues.set_tags(q, dict(part), [], 0)
    yield from tell_changes(q.space, "tags-changed", q.name, before, tags)


def remove_tags(q: QueueRef, names: list[str]) -> Flow[None]:
    """Remove tags; unknown ones are ignored."""
    before: dict[str, str] = {}
    for part in portions.portions(names, TAGS):
        before |= yield queues.set_tags(q, {}, list(part), 0)
    yield from tell_changes(q.space, "tags-changed", q.name, before, dict.fromkeys(names))
