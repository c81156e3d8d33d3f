"""Queues whose policies let everybody in, or cannot be read: `rqsqs doctor` and the start of a gateway tell them.

Policies could be stored long before anything enforced them. With anonymous access on they open queues to everybody, and
without it to everybody who has an access key of the same account.
"""

from __future__ import annotations

from typing import NamedTuple

from rqsqs._core import flows
from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Flow
from rqsqs.errors import QueueDamaged, QueueDoesNotExist

from .policies import open_to_everybody, read_queue_policy

AT_ONCE = 1000


class OpenQueue(NamedTuple):
    """A queue that is open to everybody.

    Attributes:
        name: of the queue.
        actions: that its policy allows to everybody; none if the policy cannot be read, and denies everything.
    """

    name: str
    actions: tuple[str, ...]


def judged(name: str, policy: str | None) -> OpenQueue | None:
    """A queue by its Policy attribute; None if there is nothing to tell."""
    if not policy:
        return None
    compiled = read_queue_policy(policy)
    if compiled.statements is None:
        return OpenQueue(name, ())
    found = open_to_everybody(compiled)
    actions = sorted({f"Not {each}" if one.text.is_not_action else each for one in found for each in one.text.actions})
    return OpenQueue(name, tuple(actions)) if found else None


def find_open_queues(space: Keyspace) -> Flow[list[OpenQueue]]:
    """Those of all queues."""
    found: list[OpenQueue] = []
    after = ""
    while True:
        names = yield flows.list_queues(space, "", after, AT_ONCE)
        for name in names:
            try:
                info = yield from flows.queue_info(space.queue(name))
            except (QueueDoesNotExist, QueueDamaged):
                continue
            queue = judged(name, info.attributes.get("Policy"))
            if queue is not None:
                found.append(queue)
        if len(names) < AT_ONCE:
            return found
        after = names[-1]
