"""Builders and parsers of what concerns consumers: heartbeats, the list of workers, commands to them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from rqsqs._core import ids
from rqsqs._core.delivery import Delivery
from rqsqs._core.keys import Partition, QueueRef
from rqsqs._core.operation import Arg, Operation
from rqsqs.models import Consumer, InFlight, Statistics

COUNTS = frozenset(Statistics.__slots__)  # others are those of a newer worker
LISTED = 1000


def beat(
    p: Partition,
    held: Sequence[Delivery],
    extension_ms: int,
    consumer_id: str = "",
    description: Mapping[str, Any] | None = None,
    life_ms: int = 0,
    *,
    is_same: bool = False,
) -> Operation:
    """Keep messages of one partition invisible; the result is (order, positions of what is not held any more).

    Args:
        extension_ms: for how long from now.
        consumer_id: the consumer to register, "" = none.
        description: what it says of itself, None = it leaves. `counted` has numbers that grow from its start to its
            end, by fields of `stats` (lua/lib/counting.lua).
        life_ms: for how long it counts as alive; 0 = it leaves, with a last description.
        is_same: it holds nothing, and described itself so before; the order may be "?": nobody knows it.
    """
    args: list[Arg] = [p.space.now_us(), str(extension_ms), consumer_id, "", str(life_ms)]
    if is_same:
        args[3] = "="
    elif description is not None:
        counted = " ".join([f"{name}={n}" for name, n in description.get("counted", {}).items() if n])
        first = {"counted": counted, "state": "running", "waiters": 0}  # the script reads these, and the process
        told = {**first, "process": ids.call_slots.process, **description, "counted": counted, "life": life_ms}
        args[3] = json.dumps(told, separators=(",", ":"))
    for d in held:
        args += d.held
    return Operation(
        "beat_consumer",
        p.keys("meta inflight heartbeats consumers commands"),
        tuple(args),
        lambda r: (r[0].decode(), r[1:]),
    )


def begin(d: Delivery, extension_ms: int) -> Operation:
    """The handler of a suspect begins, so its receive counts (lua/lib/ahead.lua); the result is whether it was there.

    Args:
        extension_ms: for how long it is invisible from now.
    """
    p = d.partition
    args = (p.space.now_us(), str(extension_ms), *d.held)
    return Operation("begin_message", p.keys("inflight"), args, lambda r: r == 1)


def list_consumers(q: QueueRef) -> Operation:
    """The result is a list of Consumer."""

    def parse(reply: list[Any]) -> list[Consumer]:
        now_ms, flat = reply
        return [_consumer(q.name, now_ms, *flat[i : i + 4]) for i in range(0, len(flat), 4)]

    return Operation(
        "list_consumers", q.home.keys("meta heartbeats consumers commands"), (q.space.now_us(), str(LISTED)), parse
    )


def _consumer(queue: str, now_ms: int, name: bytes, until: bytes, description: bytes, order: bytes) -> Consumer:
    says: dict[str, Any] = json.loads(description)
    is_alive = int(until) > now_ms
    state = order.decode() if order and says.get("state") == "running" else str(says.get("state", "running"))
    return Consumer(
        consumer_id=name.decode(),
        queue=queue,
        is_alive=is_alive,
        state=state if is_alive else "lost",
        host=str(says.get("host", "")),
        pid=int(says.get("pid", 0)),
        started_at_ms=int(says.get("started", 0)),
        last_seen_at_ms=min(int(until) - int(says.get("life", 0)), now_ms),
        alive_until_ms=int(until),
        concurrency=int(says.get("concurrency", 0)),
        in_flight=int(says.get("in_flight", 0)),
        held=tuple(InFlight(str(number), int(since)) for number, since in says.get("held", ())),
        succeeded=int(says.get("succeeded", 0)),
        failed=int(says.get("failed", 0)),
        statistics=Statistics(**{n: int(v) for n, v in says.get("statistics", {}).items() if n in COUNTS}),
    )


def order_consumer(q: QueueRef, consumer_id: str, order: str) -> Operation:
    """Tell a consumer to "drain" or "evict"; the result is whether there is such a one."""
    return Operation("order_consumer", q.home.keys("heartbeats commands"), (consumer_id, order), lambda r: r == 1)
