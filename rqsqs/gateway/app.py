"""The gateway as an ASGI application: it runs under any server, alone or mounted in another application."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from email.utils import formatdate
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from rqsqs.errors import RqsqsError

from .access_log import AccessLog
from .actions import Actions
from .counts import Counts
from .polls import HungUp
from .refusals import AccessDenied, BodyTooLarge, BodyTooSlow, TooBusy
from .request import HttpRequest, HttpResponse
from .settings import MIB, GatewaySettings

if TYPE_CHECKING:
    from .evaluating import Evaluating
    from .metrics import GatewayMetrics

log = logging.getLogger("rqsqs.gateway")

READY_WITHIN_S = 5.0
MOST_HELD = 256 * MIB  # of all bodies that are being read: anybody can begin one

Scope = dict[str, Any]
Receive = Callable[[], Awaitable[Any]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Mounted(Protocol):
    """An ASGI application that is answered for below a path."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...
    def drain(self) -> None:
        """End what waits."""

    async def close(self) -> None:
        """Give all connections up."""


class Gateway:
    """SQS over HTTP.

    A server that speaks the lifespan protocol opens and closes it. Elsewhere it opens with the first request, and
    close() ends it.

    Args:
        settings: what it is told; None = as `rqsqs gateway` without options.
        access_log: notes each request.
        counts: what is counted of requests, with other processes; None = by itself, where `/metrics` shows it.
        mounted: what answers requests below a path, such as "/console".

    Attributes:
        counts: None = nothing is counted.
    """

    def __init__(
        self,
        settings: GatewaySettings | None = None,
        access_log: AccessLog | None = None,
        counts: Counts | None = None,
        mounted: Mapping[str, Mounted] | None = None,
    ) -> None:
        self.settings = settings or GatewaySettings()
        self._mounted = mounted or {}
        self.counts = Counts() if counts is None and self.settings.is_open else counts
        self._access_log = access_log
        self._metrics: GatewayMetrics | None = None
        self._actions: Actions | None = None
        self._held = 0  # bytes of bodies that have not come to their end
        self._first_ping: asyncio.Task[None] | None = None
        self._sampling: asyncio.Task[None] | None = None
        self._evaluating: Evaluating | None = None
        self._evaluation: asyncio.Task[None] | None = None
        if self.settings.alarms:
            from .evaluating import Evaluating

            self._evaluating = Evaluating(self.settings, lambda: self.actions.known_accounts())

    @property
    def actions(self) -> Actions:
        """What answers requests; opened by the first one."""
        if self._actions is None:
            self._actions = Actions(self.settings, self._access_log, self.counts)
        return self._actions

    @property
    def metrics(self) -> GatewayMetrics:
        """What answers scrapes; opened by the first one."""
        if self._metrics is None:
            from .metrics import GatewayMetrics

            self._metrics = GatewayMetrics(self.settings, self.counts or Counts())
        return self._metrics

    def drain(self) -> None:
        """Answer waiting receives with nothing, now. To be called when the server is told to end, in its event loop."""
        if self._actions is not None:
            self._actions.polls.drain()
        for each in self._mounted.values():
            each.drain()
        if self._evaluation is not None:
            self._evaluation.cancel()

    async def close(self) -> None:
        """Give all connections up."""
        self.drain()
        for task in (self._first_ping, self._sampling):
            if task is not None:
                task.cancel()
        if self._evaluation is not None:
            await asyncio.wait([self._evaluation])  # its actions end
        actions, self._actions = self._actions, None
        if actions is not None:
            await actions.close()
        metrics, self._metrics = self._metrics, None
        if metrics is not None:
            await metrics.close()
        for each in self._mounted.values():
            await each.close()
        if self._access_log is not None:
            self._access_log.flush()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                self._first_ping = asyncio.create_task(self._warn_if_not_ready())
                if self.settings.history:
                    self._sampling = asyncio.create_task(self._sample())
                if self._evaluating is not None:
                    self._evaluation = asyncio.create_task(self._evaluating.run())
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    async def _sample(self) -> None:
        """Write the history of queues, when it is the turn of this process."""
        from .sampling import sample

        await sample(self.settings, self.actions.known_accounts)

    async def _warn_if_not_ready(self) -> None:
        """Say at the start what is wrong with the URL, not only when the first request comes."""
        try:
            async with asyncio.timeout(READY_WITHIN_S):
                await self.actions.ping()
        except (RqsqsError, TimeoutError) as error:
            log.warning("requests fail until this is mended: %s", error if str(error) else "Redis does not answer")

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        root_path = scope.get("root_path", "").rstrip("/")
        path = scope["path"].removeprefix(root_path)
        for place, mounted in self._mounted.items():
            if path == place or path.startswith(f"{place}/"):
                await mounted({**scope, "root_path": f"{root_path}{place}"}, receive, send)
                return
        if path in ("/livez", "/readyz") and scope["method"] in ("GET", "HEAD"):
            response = await self._health(path)
        elif path == "/metrics" and self.settings.is_open and scope["method"] in ("GET", "HEAD"):
            response = await self._scraped(_request(scope, _headers(scope["headers"]), b""))
        else:
            fields = _headers(scope["headers"])
            try:
                body = await self._body(fields, receive)
                if body is None:
                    return
                response = await self.actions.answer(_request(scope, fields, body), receive, root_path)
            except HungUp:
                return
            except (BodyTooLarge, BodyTooSlow, TooBusy) as error:
                response = self.actions.refuse(_request(scope, fields, b""), error)
                response = HttpResponse(response.status, {**response.headers, "connection": "close"}, response.body)
        headers = [(name.encode(), value.encode("latin-1", "replace")) for name, value in response.headers.items()]
        headers.append((b"content-length", b"%d" % len(response.body)))
        headers.append((b"date", _date(int(time.time()))))
        await send({"type": "http.response.start", "status": response.status, "headers": headers})
        await send({"type": "http.response.body", "body": response.body})

    async def _body(self, headers: dict[str, str], receive: Receive) -> bytes | None:
        """The whole body; None = the client hung up.

        Raises:
            BodyTooLarge, BodyTooSlow, TooBusy: it is, or so are others.
        """
        most = self.settings.max_body
        announced = headers.get("content-length", "0")
        if not (announced.isascii() and announced.isdigit()) or int(announced[:20]) > most:
            raise _too_large(most)
        parts: list[bytes] = []
        size = 0
        try:
            async with asyncio.timeout(self.settings.body_timeout):
                while True:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return None
                    parts.append(message.get("body", b""))
                    size += len(parts[-1])
                    self._held += len(parts[-1])
                    if size > most:
                        raise _too_large(most)
                    if not message.get("more_body", False):
                        return b"".join(parts)
                    if self._held > MOST_HELD:
                        raise TooBusy("The gateway reads too many large bodies; try again.")
        except TimeoutError:
            raise BodyTooSlow("The body of the request did not come in time.") from None
        finally:
            self._held -= size

    async def _health(self, path: str) -> HttpResponse:
        """`/livez`: the process answers. `/readyz`: requests can be done, as Redis answers too, and if it is told to
        evaluate alarms, somebody does."""
        headers = {"content-type": "text/plain", "cache-control": "no-store"}
        if path == "/readyz":
            if self.actions.polls.is_draining:
                return HttpResponse(503, headers, b"ending\n")
            try:
                async with asyncio.timeout(READY_WITHIN_S):
                    await self.actions.ping()
                    problem = "" if self._evaluating is None else await self._evaluating.problem()
            except (RqsqsError, TimeoutError) as error:
                return HttpResponse(503, headers, f"{type(error).__name__}\n".encode())
            if problem:
                return HttpResponse(503, headers, f"{problem}\n".encode())
        return HttpResponse(200, headers, b"ok\n")

    async def _scraped(self, request: HttpRequest) -> HttpResponse:
        """`/metrics`, where nobody is asked who they are."""
        try:
            self.actions.origins.check(request)
            found = await self.metrics.answer(request.query_string.decode("latin-1"), dict(request.headers))
        except AccessDenied as error:
            return HttpResponse(403, {"content-type": "text/plain"}, f"{error}\n".encode())
        except ValueError as error:
            return HttpResponse(400, {"content-type": "text/plain"}, f"{error}\n".encode())
        headers = {name.lower(): value for name, value in found.headers.items()}
        return HttpResponse(
            found.status, {"content-type": found.content_type, "cache-control": "no-store", **headers}, found.body
        )


@lru_cache(maxsize=2)
def _date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()


def _too_large(most: int) -> BodyTooLarge:
    return BodyTooLarge(f"The body of a request must be up to {most} bytes.")


def _request(scope: Scope, headers: dict[str, str], body: bytes) -> HttpRequest:
    client = scope.get("client")
    return HttpRequest(
        scope["method"],
        scope.get("raw_path") or scope["path"].encode(),
        scope.get("query_string", b""),
        headers,
        body,
        client[0] if client else None,
        scope.get("scheme") == "https",
    )


def _headers(raw: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw_name, raw_value in raw:
        name, value = raw_name.decode("latin-1").lower(), raw_value.decode("latin-1")
        found[name] = f"{found[name]},{value}" if name in found else value
    return found
