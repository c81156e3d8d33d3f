"""A gateway whose requests do not go through a socket."""

from __future__ import annotations

import asyncio
import io
import json
import time
from collections.abc import Coroutine
from typing import Any

from rqsqs.gateway import GatewaySettings
from rqsqs.gateway.access_log import AccessLog
from rqsqs.gateway.actions import Actions
from rqsqs.gateway.keys_editing import NewKey
from rqsqs.gateway.polls import Receive
from rqsqs.gateway.protocols.shapes import ACTIONS as SQS_ACTIONS
from rqsqs.gateway.request import HttpRequest, HttpResponse
from tests.gateway.signing import signed


class Direct:
    """One gateway.

    Attributes:
        log: lines of the access log.
    """

    def __init__(self, **settings: Any) -> None:
        self._loop = asyncio.new_event_loop()
        self._stream = io.BytesIO()
        self._log = AccessLog(self._stream)
        self.actions = self._run(self._made(GatewaySettings(**settings)))

    async def _made(self, settings: GatewaySettings) -> Actions:
        return Actions(settings, self._log)

    def _run(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        return self._loop.run_until_complete(coroutine)

    def ask(self, request: HttpRequest, receive: Receive | None = None) -> HttpResponse:
        """The answer for a client that waits for it, or hangs up when `receive` says so."""

        async def stay() -> Any:
            await asyncio.Event().wait()

        response: HttpResponse = self._run(self.actions.answer(request, receive or stay))
        return response

    def call(self, key: NewKey, action: str, **params: Any) -> tuple[int, Any]:
        """Status and answer of a signed request of the JSON protocol, of SQS or CloudWatch."""
        is_sqs = action in SQS_ACTIONS
        request = signed(
            body=json.dumps(params).encode(),
            headers={"x-amz-target": f"{'AmazonSQS' if is_sqs else 'GraniteServiceVersion20100801'}.{action}"},
            service="sqs" if is_sqs else "monitoring",
            key_id=key.key_id,
            secret=key.secret or "",
            at=time.time(),
        )
        response = self.ask(request)
        return response.status, json.loads(response.body or b"{}")

    @property
    def log(self) -> list[dict[str, Any]]:
        self._log.flush()
        return [json.loads(line) for line in self._stream.getvalue().splitlines()]

    def close(self) -> None:
        self._run(self.actions.close())
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()
