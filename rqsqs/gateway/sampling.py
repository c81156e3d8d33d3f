"""The history of queues, of all accounts that a gateway knows: it samples them when it is its turn."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable

from rqsqs._core.operations.queues import list_queues
from rqsqs._io.aio.runner import Transport
from rqsqs.errors import UsageError
from rqsqs.metrics.sampling import Sampler
from rqsqs.sqs.context import DEFAULT_ACCOUNT

from .settings import GatewaySettings, keyspace_of

MOST = 1000  # accounts besides its own


async def sample(settings: GatewaySettings, accounts: Callable[[], set[str]]) -> None:
    """Sample until it is cancelled, or the server forbids it.

    Args:
        accounts: tells which there are besides the one of the prefix. Those without queues get no keys.
    """
    transport = Transport(settings.url, settings.prefix, **settings.options)
    samplers = {DEFAULT_ACCOUNT: Sampler(keyspace_of(transport.space, DEFAULT_ACCOUNT))}
    try:
        while True:
            await asyncio.sleep(samplers[DEFAULT_ACCOUNT].delay())
            with contextlib.suppress(UsageError):  # the keys file cannot be read, which others say
                for number in sorted(accounts() - samplers.keys())[: MOST + 1 - len(samplers)]:
                    samplers[number] = Sampler(keyspace_of(transport.space, number))
            for number, sampler in samplers.items():
                try:
                    if number == DEFAULT_ACCOUNT or await transport.run(list_queues(sampler.space, limit=1)):
                        await transport.run(sampler.turn())
                except Exception as error:
                    if sampler.failed(error):
                        return
    finally:
        await transport.close()
