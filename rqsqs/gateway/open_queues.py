"""Queues whose policies let everybody in, or cannot be read: `rqsqs doctor` and the start of a gateway tell them.

Policies could be stored long before anything enforced them. With anonymous access on they open queues to everybody, and
without it to everybody who has an access key of the same account.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

from rqsqs._core import flows
from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Flow
from rqsqs._io import defaults
from rqsqs._io.sync.runner import Transport
from rqsqs.errors import QueueDamaged, QueueDoesNotExist, ServerError
from rqsqs.sqs.context import DEFAULT_ACCOUNT

from .keys import read
from .policies import open_to_everybody, read_queue_policy
from .settings import GatewaySettings, keyspace_of

AT_START = 500  # queues of an account that the start of a gateway looks at, so that it takes no time


class OpenQueue(NamedTuple):
    """A queue that is open to everybody.

    Attributes:
        name: of the queue.
        actions: that its policy allows to everybody; none if the policy cannot be read, and denies everything.
    """

    name: str
    actions: tuple[str, ...]


def open_queue(name: str, policy: str | None) -> OpenQueue | None:
    """A queue by its Policy attribute; None if there is nothing to tell."""
    if not policy:
        return None
    compiled = read_queue_policy(policy)
    if compiled.statements is None:
        return OpenQueue(name, ())
    found = open_to_everybody(compiled)
    actions = sorted({f"Not {each}" if one.text.is_not_action else each for one in found for each in one.text.actions})
    return OpenQueue(name, tuple(actions)) if found else None


def find_open_queues(space: Keyspace, most: int = AT_START) -> Flow[list[OpenQueue]]:
    """Those among the first queues."""
    found: list[OpenQueue] = []
    for name in (yield flows.list_queues(space, "", "", most)):
        try:
            info = yield from flows.queue_info(space.queue(name))
        except (QueueDoesNotExist, QueueDamaged):
            continue
        queue = open_queue(name, info.attributes.get("Policy"))
        if queue is not None:
            found.append(queue)
    return found


def description(queue: OpenQueue, account: str = "") -> str:
    """What to say of a queue."""
    name = f"{account}/{queue.name}" if account else queue.name
    if not queue.actions:
        return f"the policy of {name} cannot be read, so a gateway denies everything there"
    return f"the policy of {name} allows {', '.join(queue.actions)} to everybody"


def warnings(settings: GatewaySettings) -> Iterator[str]:
    """What to say at the start of a gateway; nothing if its server does not answer, as others say that."""
    accounts = {DEFAULT_ACCOUNT}
    if settings.keys is not None:
        accounts |= {user.account for user in read(settings.keys, with_secrets=False).users.values()}
    for account in sorted(accounts):
        with contextlib.suppress(ServerError):
            transport = Transport(settings.url or defaults.URL, settings.prefix, **settings.options)
            transport.space = keyspace_of(transport.space, account)
            try:
                yield from (description(queue, account) for queue in transport.run(find_open_queues(transport.space)))
            finally:
                transport.close()
