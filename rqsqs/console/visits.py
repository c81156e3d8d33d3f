"""One request of a browser, and what the pages need to answer it."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlencode

from starlette.datastructures import FormData
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from rqsqs._core.actors import requester
from rqsqs.aio import Connection, Queue
from rqsqs.event_models import Actor
from rqsqs.gateway.callers import Caller

from .hub import FRESH_S
from .refusals import FormExpired
from .rendering import fingerprint, render

if TYPE_CHECKING:
    from .app import Console

T = TypeVar("T")
Values = dict[str, Any]

TOKEN, TOLD, THEME = "rqsqs_token", "rqsqs_told", "rqsqs_theme"
TOKEN_FIELD = "token"
LONGEST_TOLD = 500
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class Visit:
    """A request.

    Attributes:
        request: of Starlette.
        console: the application.
        caller: who sent it.
        connection: to the queues of the caller's account.
        token: of the browser; each form has it, as other sites cannot know it.
    """

    def __init__(self, request: Request, console: Console, caller: Caller, connection: Connection) -> None:
        self.request, self.console, self.caller, self.connection = request, console, caller, connection
        given = request.cookies.get(TOKEN, "")
        self._has_token = _TOKEN.fullmatch(given) is not None
        self.token = given if self._has_token else secrets.token_urlsafe(32)

    # What was asked for

    @property
    def query(self) -> Mapping[str, str]:
        """The parameters of the URL."""
        return self.request.query_params

    def part(self, name: str) -> str:
        """A part of the path."""
        return str(self.request.path_params[name])

    @property
    def is_live(self) -> bool:
        """Whether the page is open already, and wants to hear what changes."""
        return self.query.get("live") == "1"

    async def form(self) -> FormData:
        """What was filled in.

        Raises:
            FormExpired: it has not the browser's token.
        """
        form = await self.request.form(max_files=1, max_fields=2_000, max_part_size=self.console.largest_part)
        token = form.get(TOKEN_FIELD)
        if not (
            self._has_token and isinstance(token, str) and hmac.compare_digest(token.encode(), self.token.encode())
        ):
            raise FormExpired
        requester.set(Actor("console", self.caller.key_id or self.caller.name, self._peer, self.caller.account))
        return form

    @property
    def _peer(self) -> str:
        return self.request.client.host if self.request.client else ""

    @property
    def theme(self) -> str:
        """`light` or `dark`, or "" for what the browser's owner prefers everywhere."""
        given = self.request.cookies.get(THEME, "")
        return given if given in ("light", "dark") else ""

    @property
    def navigation(self) -> list[tuple[str, str]]:
        """The pages that stand at the top."""
        return [("Queues", self.url(""))]

    @property
    def queue_tabs(self) -> list[tuple[str, str]]:
        """The pages of a queue."""
        return [("", "Overview")]

    # What is there

    def queue(self) -> Queue:
        """The queue that the path names."""
        return self.connection.queue(self.part("queue"))

    async def read(self, key: Hashable, load: Callable[[], Awaitable[T]], fresh_s: float = FRESH_S) -> T:
        """Something of this account that all open pages share: see Hub."""
        return await self.console.hub.read(self.caller.account, key, load, fresh_s)

    def changed(self) -> None:
        """Read everything of this account again: somebody has changed something."""
        self.console.hub.forget(self.caller.account)

    # What is answered

    def url(self, *parts: str, **query: str) -> str:
        """The URL of a page below the console."""
        path = "/".join(quote(part, safe="") for part in parts)
        more = f"?{urlencode(query)}" if query else ""
        return f"{self.request.scope.get('root_path', '')}/{path}{more}"

    def static(self, name: str) -> str:
        """The URL of a static file."""
        return self.url("static", name, v=fingerprint(name))

    def with_query(self, **changes: str | None) -> str:
        """This page with other parameters; None leaves one out."""
        kept = {name: text for name, text in self.query.items() if name not in (*changes, "live")}
        query = kept | {name: text for name, text in changes.items() if text is not None}
        return f"?{urlencode(query)}" if query else self.request.url.path

    def page(self, template: str, values: Values, status: int = 200) -> Response:
        """A page."""
        told = self.request.cookies.get(TOLD, "")[: 3 * LONGEST_TOLD]
        common = {"visit": self, "told": told, "token": self.token, "read_only": self.console.settings.is_read_only}
        response = HTMLResponse(render(template, common | values), status)
        if not self._has_token:
            self.set_cookie(response, TOKEN, self.token)
        if told:
            self.set_cookie(response, TOLD, "", max_age=0)
        return response

    def back_to(self, url: str, told: str = "") -> Response:
        """After a change: go to a page, which says what was done."""
        response = RedirectResponse(url, 303)
        if told:
            self.set_cookie(response, TOLD, quote(told[:LONGEST_TOLD], safe=" "), max_age=60)
        return response

    def set_cookie(self, response: Response, name: str, value: str, max_age: int | None = None) -> None:
        """Let the browser remember something, for the console alone."""
        response.set_cookie(
            name,
            value,
            max_age=max_age,
            path=f"{self.request.scope.get('root_path', '')}/",
            secure=self.request.url.scheme == "https",
            httponly=True,
            samesite="strict",
        )
