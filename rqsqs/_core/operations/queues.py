"""Builders and parsers of the operations on whole queues."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from rqsqs._core.keys import Keyspace, Partition, QueueRef
from rqsqs._core.operation import Arg, Operation
from rqsqs.errors import QueueDamaged
from rqsqs.limits import NATIVE, Limits

DEFAULTS: Mapping[str, str] = {
    "DelaySeconds": "0",
    "MaximumMessageSize": "1048576",
    "MessageRetentionPeriod": "345600",
    "ReceiveMessageWaitTimeSeconds": "0",
    "VisibilityTimeout": "30",
    "SqsManagedSseEnabled": "true",
}
FIFO_DEFAULTS: Mapping[str, str] = {
    **DEFAULTS,
    "FifoQueue": "true",
    "ContentBasedDeduplication": "false",
    "DeduplicationScope": "queue",
    "FifoThroughputLimit": "perQueue",
}


def text_pairs(flat: list[bytes]) -> dict[str, str]:
    """A flat reply as a dict of text."""
    text = [item.decode(errors="replace") for item in flat]
    return dict(zip(text[::2], text[1::2], strict=True))


def derived(attributes: Mapping[str, str | None]) -> dict[str, str | None]:
    """The fields scripts read instead of JSON (lua/lib/settings.lua)."""
    if "RedrivePolicy" not in attributes:
        return {}
    policy = attributes["RedrivePolicy"]
    if policy is None:
        return {"dlq": None, "max_receives": None, "dlq_missing_until": None}
    value: dict[str, Any] = json.loads(policy)
    return {
        "dlq": str(value["deadLetterTargetArn"]).rpartition(":")[2],
        "max_receives": str(int(value["maxReceiveCount"])),
        "dlq_missing_until": None,
    }


def create_queue(p: Partition, attributes: Mapping[str, str], tags: Mapping[str, str], limits: Limits) -> Operation:
    """The result is (created, created_us)."""
    defaults = FIFO_DEFAULTS if p.is_fifo else DEFAULTS
    fields = {**attributes, **{k: v for k, v in defaults.items() if k not in attributes}}
    fields.update({k: v for k, v in derived(attributes).items() if v is not None})
    if int(attributes.get("Partitions", "1")) > 1:  # from its first moment on it takes only what belongs to it
        fields["partition"] = f"0/{attributes['Partitions']}"
    args: list[Arg] = [
        p.space.now_us(),
        "1" if limits.recreate_interval_s else "",
        str(len(attributes)),
        str(len(fields)),
        *(item for pair in fields.items() for item in pair),
        *(item for pair in tags.items() for item in pair),
    ]
    return Operation(
        "create_queue", p.keys("meta tags deleted"), tuple(args), lambda r: (r[0] == 1, r[1].decode(errors="replace"))
    )


def set_attributes(
    p: Partition,
    attributes: Mapping[str, str | None],
    *,
    touch: bool = True,
    field: str = "",
    expected: str = "",
) -> Operation:
    """Set (text) and remove (None) fields; the result is those fields as they were, or None if `field` has not the
    `expected` value."""
    fields = {**attributes, **derived(attributes)}
    removals = [name for name, value in fields.items() if value is None]
    args: list[Arg] = [
        p.space.now_us(),
        "1" if touch else "",
        field,
        expected,
        str(len(removals)),
        *removals,
        *(item for name, value in fields.items() if value is not None for item in (name, value)),
    ]
    return Operation(
        "set_queue_attributes", p.keys("meta wakeups timer"), tuple(args), lambda r: None if r == 0 else text_pairs(r)
    )


def get_queue(p: Partition, *, being_deleted: bool = False) -> Operation:
    """The result is a dict of all fields."""
    return Operation("get_queue", p.keys("meta"), ("1" if being_deleted else "",), text_pairs)


class Ending(NamedTuple):
    """How far a partition's deletion or purge got.

    Attributes:
        is_done: else there is more to do.
        created_us: of the queue.
        cursor: for the next step.
        handover: batch and destination of a hand-over that was not finished.
    """

    is_done: bool
    created_us: str
    cursor: str
    handover: tuple[str, str] | None


def _ending(reply: list[Any]) -> Ending:
    done, created_us, cursor, *handover = reply
    batch = (handover[0].decode(), handover[1].decode()) if handover else None
    return Ending(done == 1, created_us.decode(), cursor.decode(), batch)


def find_damage(meta: str, limit: int = 100) -> Operation:
    """The result is (how many members were looked at, [QueueDamaged])."""
    return Operation(
        "find_damage", (meta,), (str(limit),), lambda r: (r[0], [QueueDamaged.told(text.decode()) for text in r[1:]])
    )


def delete_queue(
    p: Partition, limits: Limits, *, purge: bool, first: bool, keep_name: bool = True, cursor: str = "0"
) -> Operation:
    """One step; the result is an Ending."""
    return Operation(
        "delete_queue",
        p.keys("meta paused wakeups"),
        (
            p.space.now_us(),
            "1" if purge else "",
            str(limits.recreate_interval_s * 1000) if keep_name else "0",
            str(limits.purge_interval_s * 1000),
            "1" if first else "",
            cursor,
        ),
        _ending,
    )


def register_queue(space: Keyspace, name: str, created_us: str, *, remove: bool = False) -> Operation:
    """Enter a queue in the list of all, or take it out."""
    return Operation("register_queue", (space.names, space.created), (name, created_us, "1" if remove else ""))


def list_queues(space: Keyspace, prefix: str = "", after: str = "", limit: int = 1000) -> Operation:
    """The result is a list of names in order, behind `after`."""
    return Operation(
        "list_queues", (space.names,), (prefix, after, str(limit)), lambda r: [name.decode() for name in r]
    )


def get_tags(q: QueueRef) -> Operation:
    """The result is a dict."""
    return Operation("get_queue_tags", q.home.keys("meta tags"), (), text_pairs)


def set_tags(q: QueueRef, tags: Mapping[str, str], remove: list[str], limit: int) -> Operation:
    """Set and remove tags; the result is a dict of them as they were, without those that were not there."""
    args: list[Arg] = [str(limit), str(len(remove)), *remove, *(item for pair in tags.items() for item in pair)]

    def parse(reply: list[bytes | None]) -> dict[str, str]:
        pairs = zip((*remove, *tags), reply, strict=True)
        return {name: value.decode(errors="replace") for name, value in pairs if value is not None}

    return Operation("set_queue_tags", q.home.keys("meta tags"), tuple(args), parse)


def attach_source(dlq: QueueRef, source: str, tags: list[str], *, detach: bool = False, spread: str = "") -> Operation:
    """The result is a dict of the dead-letter queue's fields.

    Args:
        spread: how many partitions of its own it has: COUNT, or COUNT/BEFORE while something may be in its old place.
    """
    return Operation(
        "attach_source",
        dlq.home.keys("meta shards sources"),
        (source, "1" if detach else "", spread, *tags),
        text_pairs,
    )


def put_shard(shard: Partition, source: Partition, fields: Mapping[str, str], partition: str = "") -> Operation:
    """Copy a queue's attributes to a shard, or to another partition.

    Args:
        source: the source of dead letters in the same hash slot; of a partition, itself.
        partition: of a partition: as which it is created (lua/lib/partition.lua), or "?" if it is only renewed.
    """
    copied = {
        name: value
        for name, value in fields.items()
        if name[0].isupper() or name in ("dlq", "max_receives", "paused", "created_us", "modified_us")
    }
    return Operation(
        "put_shard",
        (*shard.keys("meta"), *source.keys("meta"), *shard.keys("wakeups timer")),
        (fields["modified_us"], "", partition, *(item for pair in copied.items() for item in pair)),
    )


def set_partition(p: Partition, partition: str, look: int = 0) -> Operation:
    """Tell a partition how many there are by now (lua/lib/partition.lua); the result is 0 or why not, see the script.

    Args:
        look: only look whether it may be told; if it has more message groups than this, it may not.
    """
    return Operation("set_partition", p.keys("meta wakeups timer"), (p.space.now_us(), partition, str(look or "")))


def list_groups(p: Partition, keys: str, offset: int, limit: int) -> Operation:
    """Groups of these keys; the result is (next offset or -1, names)."""
    args = str(offset), str(limit)
    return Operation("list_groups", p.keys(keys), args, lambda r: (int(r[0]), [g.decode() for g in r[1:]]))


def paused_groups(p: Partition, offset: int, limit: int) -> Operation:
    """As list_groups()."""
    return list_groups(p, "meta paused", offset, limit)


def remove_shard(shard: Partition) -> Operation:
    """Remove a shard that was just made."""
    return delete_queue(shard, NATIVE, purge=False, first=False, keep_name=False)


def suspend_dlq(source: Partition, dlq: QueueRef, duration_ms: int) -> Operation:
    """Let a partition stop looking for its dead-letter queue for a while."""
    shard = dlq.partition(source.tag)
    return Operation(
        "put_shard",
        (*shard.keys("meta"), *source.keys("meta"), *shard.keys("wakeups timer")),
        (source.space.now_us(), f"+{duration_ms}", ""),
    )


def get_members(q: QueueRef) -> Operation:
    """The result is (topology, tags of shards)."""
    keys = q.home.keys("meta shards sources")
    return Operation("get_members", keys, (), lambda r: (r[0], [tag.decode() for tag in r[1]]))


def dead_letter_sources(q: QueueRef, after: str = "", limit: int = 1000) -> Operation:
    """The result is the names of the queues whose RedrivePolicy names this one, in order, behind `after`."""

    def parse(reply: list[Any]) -> list[str]:
        return [name for name in sorted([source.decode() for source in reply[2]]) if name > after][:limit]

    return Operation("get_members", q.home.keys("meta shards sources"), (), parse)


def pause_group(p: Partition, group: str, *, resume: bool) -> Operation:
    """Pause or resume a message group; the result tells whether that changed anything."""
    keys = "meta paused available ready wakeups" if p.is_fifo else "meta paused fair_ring ready wakeups"
    return Operation(
        "pause_group", p.keys(keys), (group, "1" if resume else "", "1" if p.is_fifo else ""), lambda r: r == 1
    )
