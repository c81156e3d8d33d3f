"""The console as an ASGI application.

A page is a function from a Visit to its template and values. While it is open, the browser listens to the same URL with
`live=1`: the function is called again each second, and the part of the page that lives is sent when it has changed.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from typing import Any, TypeVar
from urllib.parse import urlencode

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import Receive, Scope, Send

from rqsqs._core.operations.sessions import digest_of
from rqsqs._io.aio.runner import Transport
from rqsqs.aio import Connection, connect
from rqsqs.errors import QueueDoesNotExist, RequestError, RqsqsError
from rqsqs.event_models import Actor
from rqsqs.gateway.authorization import Authorizer
from rqsqs.gateway.callers import ANONYMOUS, Caller, unauthenticated
from rqsqs.gateway.denials import Denials
from rqsqs.gateway.keys import KeysFile
from rqsqs.gateway.origins import Origins
from rqsqs.gateway.proxies import Proxies
from rqsqs.gateway.refusals import AccessDenied
from rqsqs.gateway.request import HttpRequest
from rqsqs.gateway.sealing import Sealer, secrets_of
from rqsqs.gateway.settings import keyspace_of
from rqsqs.inspection.looks import Look, Looks
from rqsqs.metric_models import QueueMetrics
from rqsqs.sqs import Context
from rqsqs.sqs.context import DEFAULT_ACCOUNT

from .access import Rights
from .forms import FORM_S, MIB, STRANGER_S, Forms, is_small
from .guard import Guarded
from .hub import Hub
from .pages import ACTIONS, FILES, PAGES, PREFERENCES
from .pages.shown import Shown
from .permissions import NO_NEEDS, Needs, needs_of
from .refusals import (
    ConsoleRefusal,
    LoginNeeded,
    NotFound,
    NotPrivate,
    ReadOnly,
    StrangersForm,
)
from .rendering import STATIC, lives, prepare, render
from .sessions import Sessions, is_private
from .settings import ConsoleSettings
from .silence import unless_silent
from .static_files import Files
from .streams import Streams, event, told
from .visits import SESSION, Visit, asks_live

log = logging.getLogger("rqsqs.console")

T = TypeVar("T")
MOST_KEPT = 1_000
SESSIONS = "sessions"  # beside the accounts of the hub
SESSION_FRESH_S = 5.0  # an open page looks so often whether its session has ended
LARGEST_PART, LARGEST_FORM = 64 * MIB, MIB  # of a form for sending, and of all others
SENDING = "/queues/{queue}/send"

PageFunction = Callable[[Visit], Awaitable[Shown]]
ActionFunction = Callable[[Visit], Awaitable[Response]]


class Console:
    """The console.

    A server that speaks the lifespan protocol closes it; elsewhere close() does.

    Args:
        settings: None = the local Redis, nobody is asked who they are.

    Attributes:
        hub: reads what pages show.
        sessions: who is logged in; None = nobody is asked who they are.
        sealer: seals receipt handles as the gateway does; None = nobody is asked who they are.
        changing: the paths of what changes something.
        largest_part: bytes of a field or file of the form for sending.
    """

    changing = frozenset(ACTIONS)
    largest_part = LARGEST_PART

    def __init__(self, settings: ConsoleSettings | None = None) -> None:
        self.settings = settings or ConsoleSettings()
        self.hub = Hub()
        gateway = self.settings.gateway
        self._everybody = unauthenticated("", gateway.region)
        self._authorizer: Authorizer | None = None
        self.sessions: Sessions | None = None
        self.sealer: Sealer | None = None
        if gateway.keys is not None:
            self._authorizer = Authorizer()
            keys = KeysFile(gateway.keys, region=gateway.region)
            self.sealer = Sealer(secrets_of(keys))
            self.sessions = Sessions(keys, lambda: self._connection(DEFAULT_ACCOUNT).transport)
        self._denials = Denials(self._transport)
        self._origins = Origins(self.settings.gateway)
        self._proxies = Proxies(self.settings.gateway)
        self._connections: dict[str, Connection] = {}
        self._kept: OrderedDict[Hashable, Any] = OrderedDict()
        self._ending = asyncio.Event()
        self._streams = Streams(self._ending)
        self._forms = Forms()
        app = Starlette(routes=self._routes(), exception_handlers={HTTPException: self._http_error})
        app.router.redirect_slashes = False  # to a whole URL, whose host and scheme a proxy may have changed
        self._app = Guarded(app)
        prepare()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """As ASGI has it."""
        if scope["type"] == "lifespan":
            await self._lifespan(receive, send)
        elif scope["type"] == "http":
            root = scope.get("root_path", "")
            is_mount = bool(root) and scope["path"] == root
            await (RedirectResponse(f"{root}/", 307) if is_mount else self._app)(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1000})

    def remembered(self, key: Hashable, make: Callable[[], T]) -> T:
        """Something that pages keep between two looks; of very many the one that was used longest ago is forgotten."""
        found: T = self._kept[key] if key in self._kept else make()
        self._kept[key] = found
        self._kept.move_to_end(key)
        if len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return found

    def looked(self, key: Hashable, now: QueueMetrics) -> Look:
        """A queue, with rates since it was looked at last."""
        return self.remembered(key, Looks).add([now])[0]

    def drain(self) -> None:
        """End the streams of open pages."""
        self._ending.set()

    async def close(self) -> None:
        """Give all connections up."""
        self.drain()
        await self.hub.close()
        await self._denials.close()
        connections, self._connections = list(self._connections.values()), {}
        for each in connections:
            await each.close()

    async def _lifespan(self, receive: Receive, send: Send) -> None:
        while True:
            message = await receive()
            if message["type"] == "lifespan.startup":
                await send({"type": "lifespan.startup.complete"})
            elif message["type"] == "lifespan.shutdown":
                await self.close()
                await send({"type": "lifespan.shutdown.complete"})
                return

    def _routes(self) -> list[BaseRoute]:
        found: list[BaseRoute] = [Mount("/static", Files(directory=STATIC))]
        for path, page in PAGES.items():
            found.append(Route(path, self._page(page, needs_of("GET", path)), methods=["GET"]))
        for method, table in (("GET", FILES), ("POST", PREFERENCES | ACTIONS)):
            for path, action in table.items():
                most = self.largest_part + MIB if path == SENDING else LARGEST_FORM
                answer = self._action(action, needs_of(method, path), most, is_change=path in ACTIONS)
                found.append(Route(path, answer, methods=[method]))
        return found

    # Requests

    async def _visit(self, request: Request, needs: Needs) -> Visit:
        """Who asks, and whether the request is for us at all.

        Args:
            request: of Starlette.
            needs: what is needed for what it asks.

        Raises:
            AccessDenied: it comes from a page of somebody else.
            LoginNeeded: nobody is logged in.
            NotPrivate: others could read its secrets.
        """
        headers = {name: ",".join(request.headers.getlist(name)) for name in request.headers}
        peer = request.client.host if request.client else None
        given = HttpRequest(request.method, b"", b"", headers, b"", peer, request.url.scheme == "https")
        seen = self._proxies.client_request(given)
        self._origins.check(seen)
        caller, is_secure = self._everybody, seen.is_secure
        if self.sessions is not None:
            if not is_private(seen, given):
                raise NotPrivate
            is_secure = is_secure or seen is not given
            caller = await self._logged_in(request)
            if caller is ANONYMOUS and not needs.is_for_all:
                raise LoginNeeded
        account = caller.account or DEFAULT_ACCOUNT
        connection = self._connection(account)
        context = Context(connection.transport.space, self.settings.gateway.region, account)
        rights = Rights(self._authorizer, caller, seen, context)
        return Visit(request, self, seen, caller, connection, rights, needs, is_secure=is_secure)

    async def _logged_in(self, request: Request) -> Caller:
        """Whose session it is. A page that is only open lets no session last longer."""
        assert self.sessions is not None
        sessions, session = self.sessions, request.cookies.get(SESSION, "")
        if not asks_live(request):
            return await sessions.caller(session, is_used=True) or ANONYMOUS

        async def begun() -> Caller:
            found = await sessions.caller(session, is_used=False)
            if found is None:
                raise LoginNeeded  # which is not remembered: anybody can make names up
            return found

        try:
            return await self.hub.read(SESSIONS, digest_of(session), begun, SESSION_FRESH_S)
        except LoginNeeded:
            return ANONYMOUS

    async def end_session(self, digest: str) -> bool:
        """End a session, in open pages as well; False if there was none."""
        if self.sessions is None:
            return False
        is_ended = await self.sessions.end(digest)
        self.hub.forget(SESSIONS, digest)
        return is_ended

    def forget_rights(self, account: str, queue: str) -> None:
        """Read what a queue says about who may do what again: it may have been changed."""
        if self._authorizer is not None:
            self._authorizer.forget(account, queue)

    def note_denial(self, error: Exception, actor: Actor, action: str) -> None:
        """Count what was refused; what is refused again and again becomes an event."""
        self._denials.note(error, actor, action, "")

    def _connection(self, account: str) -> Connection:
        found = self._connections.get(account)
        if found is None:
            gateway = self.settings.gateway
            found = connect(gateway.url, prefix=gateway.prefix, **gateway.options)
            found.transport.space = keyspace_of(found.transport.space, account)
            self._connections[account] = found
        return found

    def _page(self, function: PageFunction, needs: Needs) -> Callable[[Request], Awaitable[Response]]:
        async def answer(request: Request) -> Response:
            visit: Visit | None = None

            async def look() -> Response:
                nonlocal visit
                visit = await self._visit(request, needs)
                await visit.require_all(needs)
                shown = await function(visit)
                if not visit.is_live or needs.is_for_all or not lives(shown.template):
                    return visit.page(shown.template, shown.values)
                if self.sessions is not None:
                    self._streams.check_room(visit.caller.key_id)
                return StreamingResponse(
                    self._streams.open(visit.caller.key_id, self._looking(visit, function, needs)),
                    media_type="text/event-stream",
                    headers={"x-accel-buffering": "no"},
                )

            try:
                return await unless_silent(look(), self._connection(DEFAULT_ACCOUNT).transport)
            except Exception as error:
                return self._failed(request, visit, error)

        return answer

    def _action(
        self, function: ActionFunction, needs: Needs, most: int, *, is_change: bool
    ) -> Callable[[Request], Awaitable[Response]]:
        async def answer(given: Request) -> Response:
            body = self._forms.body(given, most, STRANGER_S if needs.is_for_all else FORM_S)
            request = Request(given.scope, body.receive)
            visit: Visit | None = None
            try:
                visit = await self._visit(request, needs)
                await visit.require_all(needs)
                if is_change and self.settings.is_read_only:
                    raise ReadOnly
                if needs.is_for_all and not is_small(request):
                    raise StrangersForm
                return await function(visit)
            except Exception as error:
                return self._failed(request, visit, error)
            finally:
                await request.close()  # files of its form
                body.forget()

        return answer

    def _looking(self, visit: Visit, function: PageFunction, needs: Needs) -> Callable[[], Awaitable[str]]:
        """What an open page shows. Each time it is asked anew who looks, and may look."""
        request, url = visit.request, str(visit.request.url)

        async def rendered(visit: Visit) -> str:
            now = await function(visit)
            return render(now.template, {"visit": visit, "read_only": self.settings.is_read_only} | now.values, "live")

        async def look() -> str:
            visit = await self._visit(request, needs)
            await visit.require_all(needs)
            return await visit.read(("rendered", url, visit.rights.key, visit.columns), partial(rendered, visit))

        return look

    async def _transport(self) -> Transport:
        return self._connection(DEFAULT_ACCOUNT).transport

    # Errors

    def _failed(self, request: Request, visit: Visit | None, error: Exception) -> Response:
        status, text = 500, "the console failed; its log says why"
        if isinstance(error, LoginNeeded):
            return self._to_login(request)
        if isinstance(error, AccessDenied):
            status, text = 403, str(error)
            if visit is not None:
                queue = str(request.path_params.get("queue", ""))
                self._denials.note(error, visit.actor, visit.needs.name, queue)
        elif isinstance(error, HTTPException):
            status, text = error.status_code, str(error.detail)
        elif isinstance(error, ConsoleRefusal):
            status, text = error.status, str(error)
        elif isinstance(error, QueueDoesNotExist):
            status, text = 404, str(error)
        elif isinstance(error, RequestError):
            status, text = 400, str(error)
        elif isinstance(error, RqsqsError | OSError):
            log.error("%s %s: %s", request.method, request.url.path, error)
            status, text = 503, told(error)
        else:
            log.error("%s %s", request.method, request.url.path, exc_info=error)
        if visit is None or asks_live(request):
            return PlainTextResponse(text, status)
        return visit.page(
            "error.html", {"title": "Not done" if request.method == "POST" else "Not shown", "text": text}, status
        )

    def _to_login(self, request: Request) -> Response:
        """Where somebody can log in, and come back."""
        if asks_live(request):
            return Response(event("ended", ""), media_type="text/event-stream")
        root = request.scope.get("root_path", "")
        below = request.scope["path"].removeprefix(root)
        if request.url.query:
            below += f"?{request.url.query}"
        after = f"?{urlencode({'next': below})}" if request.method == "GET" and below != "/" else ""
        return RedirectResponse(f"{root}/login{after}", 303)

    async def _http_error(self, request: Request, error: Exception) -> Response:
        """Of the router: there is no such page."""
        try:
            visit = await self._visit(request, NO_NEEDS)
        except Exception as refused:
            return self._failed(request, None, refused)
        return self._failed(request, visit, NotFound() if getattr(error, "status_code", 404) == 404 else error)
