"""Flows that divide a queue into partitions, and add partitions to it while it works (resharding).

The queue's home has the intent (attach_source.lua): how many partitions there are to be. The partitions follow, one
after another. Each step can be done again, also late. If a process is interrupted while it creates or reshards a queue,
the next one that notices completes it (complete_resharding).

    COUNT/BEFORE at the home ──▶ the new partitions ──▶ the old ones: from now on groups that are empty go elsewhere
    no group is in an old place any more: the new partitions ──▶ COUNT at the home ──▶ the old ones
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping

from rqsqs._core.flows.topology import refresh
from rqsqs._core.keys import Partition, QueueRef, partition_tag
from rqsqs._core.operation import Flow
from rqsqs._core.operations import queues
from rqsqs.errors import InvalidParameterValue, QueueDoesNotExist

CHUNK = 500  # message groups in one reply
AT_MOST = 25_000  # one step looks through them, which takes the server some 25 ms


def reshard(q: QueueRef, count: int, before: int = 0) -> Flow[None]:
    """Give a queue this number of partitions; those that are there already stay. Can be repeated after an interruption.

    Args:
        before: how many there were; what belongs elsewhere now goes there little by little.
    """
    if count == 1:
        return
    state = f"{count}/{before}" if before else str(count)
    own = [q.partition(partition_tag(q.name, n)) for n in range(count)]
    tags = [p.tag for p in own]
    fields = yield queues.attach_source(q, "", tags, spread=state)
    while True:
        if fields.get("partition_state", "1").partition("/")[0] != str(count):
            raise InvalidParameterValue(
                f"partitions must be {fields.get('Partitions', '1')} for now, got {count}: {q.name!r} is getting that "
                "number, or has not settled since it did; try again later"
            )
        state = fields["partition_state"]
        have = max(before, 1)
        try:
            for n, p in enumerate(own[have:], have):
                yield queues.put_shard(p, p, fields, f"{n}/{state}")
            yield from _copy_paused_groups(q, own[have:])
            for n, p in enumerate(own[:have]):
                yield from _tell(p, f"{n}/{state}", fields)
            now: Mapping[str, str] = yield queues.attach_source(q, "", tags, spread=state)
        except QueueDoesNotExist:  # it was deleted meanwhile: no partition without a queue
            for p in own[1:]:
                with contextlib.suppress(QueueDoesNotExist):
                    yield queues.remove_shard(p)
            raise
        if (now["created_us"], now["modified_us"]) == (fields["created_us"], fields["modified_us"]):
            break
        fields = now
    yield from refresh(q)


def _tell(p: Partition, state: str, fields: Mapping[str, str]) -> Flow[None]:
    try:
        yield queues.set_partition(p, state)
    except QueueDoesNotExist:
        if state.startswith("0/"):
            raise
        yield queues.put_shard(p, p, fields, state)  # it was lost with its server


def _copy_paused_groups(q: QueueRef, to: list[Partition]) -> Flow[None]:
    offset = 0
    while offset >= 0:
        offset, names = yield queues.paused_groups(q.home, offset, CHUNK)
        for p in to if names else ():
            for name in names:
                with contextlib.suppress(QueueDoesNotExist):  # the home tells
                    yield queues.pause_group(p, name, resume=False)


def complete_resharding(q: QueueRef) -> Flow[int]:
    """Go on where a creation or a growth was interrupted; the result is how many partitions there are."""
    fields: dict[str, str] = yield queues.get_queue(q.home)
    present = fields.get("partition_state") or fields.get("partition", "0/1").partition("/")[2]
    count, _, before = present.partition("/")
    yield from reshard(q, int(count), int(before or 0))
    return int(count)


def finish_resharding(q: QueueRef, at_most: int = AT_MOST) -> Flow[bool]:
    """If nothing is in its old place any more after partitions were added, say so to everybody.

    Args:
        at_most: not if a partition has more message groups and messages in flight or delayed, as a step looks through
            all of them; 25,000 are the most that it may.
    """
    yield from refresh(q)
    own, before = q.own, q.before
    if not before:
        return True
    states = [f"{n}/{len(own)}" for n in range(len(own))]
    for p, state in zip(own[:before], states, strict=False):
        if (yield queues.set_partition(p, state, at_most)):
            return False
    for p, state in [*zip(own, states, strict=True)][before:]:
        yield queues.set_partition(p, state)
    yield queues.attach_source(q, "", [], spread=str(len(own)))
    for p, state in zip(own[:before], states, strict=False):
        yield queues.set_partition(p, state)
    yield from refresh(q)
    return True


def check_resharding(q: QueueRef, attributes: Mapping[str, str | None]) -> Flow[int]:
    """How many partitions there are, if the attributes may be set."""
    count, scope = int(attributes.get("Partitions") or 0), attributes.get("DeduplicationScope")
    fields: dict[str, str] = yield queues.get_queue(q.home)
    have = yield from complete_resharding(q)
    if count and count < have:
        raise InvalidParameterValue(
            f"partitions must be at least {have}, got {count}: partitions of {q.name!r} are not taken away"
        )
    if q.is_fifo and max(count, have) > 1 and (scope or fields.get("DeduplicationScope")) != "messageGroup":
        raise needs_group_scope(max(count, have))
    is_done = yield from finish_resharding(q)
    if q.is_fifo and count > have and not is_done:
        raise InvalidParameterValue(
            f"partitions must be {have} for now, got {count}: {q.name!r} got more not long ago, and some message "
            "groups have not gone to their new places yet, or their deduplication ids are remembered in the old ones; "
            "try again later"
        )
    return have


def needs_group_scope(count: int | str) -> InvalidParameterValue:
    """What is wrong with another scope."""
    return InvalidParameterValue(
        f"partitions must be 1 for a FIFO queue, unless its deduplication scope is 'messageGroup', got {count}: "
        "partitions do not know of each other's deduplication ids"
    )
