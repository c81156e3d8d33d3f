"""What a gateway tells Prometheus: the metrics of queues, and of its own processes."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import accumulate
from urllib.parse import parse_qs

import rqsqs.aio
from rqsqs.metrics.exporter import Exporter, Samples, health_reader, memory_reader, scrape_of
from rqsqs.metrics.exposition import Family, labels
from rqsqs.metrics.listener import Response
from rqsqs.sqs.context import DEFAULT_ACCOUNT
from rqsqs.sqs.names import is_account

from .counts import BUCKETS, NAMES, UNIT_US, Counts
from .settings import GatewaySettings, keyspace_of

MOST_ACCOUNTS = 20  # that are remembered

REQUESTS = Family("rqsqs_gateway_requests", "counter", "Requests that were answered, by action and HTTP status.")
DURATION = Family(
    "rqsqs_gateway_request_duration_seconds", "histogram", "How long requests took, with the waiting of receives."
)
THROTTLED = Family("rqsqs_gateway_throttled_requests", "counter", "Requests that were refused as one too many.")
POLLS = Family("rqsqs_gateway_open_polls", "gauge", "Receives that may wait and are not answered yet.")
CONNECTIONS = Family("rqsqs_gateway_connections", "gauge", "Connections of clients.")

_BOUNDS = [str(UNIT_US * 2**n / 1e6) for n in range(BUCKETS)]


class GatewayMetrics:
    """Answers scrapes, in the event loop of the gateway.

    The queues are those of account 000000000000, or those of the account that a scrape names. Labels name queues only,
    so that each account is a target of its own.
    """

    def __init__(self, settings: GatewaySettings, counts: Counts) -> None:
        self._settings, self._counts = settings, counts
        self._accounts: dict[str, tuple[Exporter, rqsqs.aio.Connection]] = {}

    async def answer(self, query: str, headers: dict[str, str]) -> Response:
        """Answer a scrape.

        Args:
            query: of its URL.
            headers: with names in lower case.

        Raises:
            ValueError: it cannot be understood.
        """
        scrape = scrape_of(query, headers)
        account = parse_qs(query).get("account", [DEFAULT_ACCOUNT])[-1]
        if not is_account(account):
            raise ValueError(f"account must be twelve digits, got {account!r:.40}")
        return await (await self._exporter(account)).answer(scrape)

    async def close(self) -> None:
        """Give all connections up."""
        while self._accounts:
            await self._forget(next(iter(self._accounts)))

    async def _exporter(self, account: str) -> Exporter:
        found = self._accounts.pop(account, None)
        if found is None:
            settings = self._settings
            connection = rqsqs.aio.connect(settings.url, prefix=settings.prefix, **settings.options)
            connection.transport.space = keyspace_of(connection.transport.space, account)
            readers = health_reader(connection), memory_reader(connection)
            found = Exporter(connection.metrics, self._of_process, *readers), connection
        self._accounts[account] = found  # behind all others
        if len(self._accounts) > MOST_ACCOUNTS:
            await self._forget(next(iter(self._accounts)))
        return found[0]

    async def _forget(self, account: str) -> None:
        exporter, connection = self._accounts.pop(account)
        await exporter.close()
        await connection.close()

    def _of_process(self) -> Iterable[Samples]:
        counts = self._counts
        answered = {action: {s: n for s, n in counts.answered(action).items() if n} for action in NAMES}
        yield (
            REQUESTS,
            [(labels(action=a, status=str(s)), n) for a, found in answered.items() for s, n in found.items()],
        )
        yield DURATION, [sample for action, found in answered.items() if found for sample in self._took(action)]
        yield THROTTLED, [("", counts.throttled)]
        yield POLLS, [("", counts.polls)]
        yield CONNECTIONS, [("", counts.connections)]

    def _took(self, action: str) -> Iterable[tuple[str, float]]:
        found, seconds = self._counts.took(action)
        *up_to, total = accumulate(found)
        for bound, count in zip(_BOUNDS, up_to, strict=True):
            yield f"_bucket{labels(action=action, le=bound)}", count
        yield f"_bucket{labels(action=action, le='+Inf')}", total
        yield f"_count{labels(action=action)}", total
        yield f"_sum{labels(action=action)}", seconds
