"""One request of a browser, and what the pages need to answer it."""

from __future__ import annotations

import asyncio
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
from rqsqs._core.operations.sessions import digest_of
from rqsqs.aio import Connection, Queue
from rqsqs.event_models import Actor
from rqsqs.gateway.callers import Caller
from rqsqs.gateway.request import HttpRequest
from rqsqs.sqs import Context
from rqsqs.sqs.context import DEFAULT_ACCOUNT, Params

from .access import Rights
from .hub import FRESH_S, SOON_S
from .permissions import Needs, needs_of
from .refusals import FormExpired, NameMissing, TooLarge
from .rendering import fingerprint, render

if TYPE_CHECKING:
    from .app import Console

T = TypeVar("T")
Values = dict[str, Any]

TOKEN, TOLD, SESSION = "rqsqs_token", "rqsqs_told", "rqsqs_session"
THEME, COLUMNS = "rqsqs_theme", "rqsqs_columns"
YEAR_S = 31_536_000
TOKEN_FIELD = "token"
LONGEST_TOLD = 500
MOST_FIELDS = 2_000
TABS = {  # the pages of a queue
    "": "Overview",
    "messages": "Messages",
    "dead-letters": "Dead letters",
    "moves": "Moves",
    "groups": "Groups",
    "consumers": "Consumers",
    "settings": "Settings",
    "policy": "Policy",
}
_TOKEN = re.compile(r"[A-Za-z0-9_-]{43}")


class Visit:
    """A request.

    Attributes:
        request: of Starlette.
        console: the application.
        seen: the same as the client sent it to a proxy.
        caller: who sent it.
        connection: to the queues of the caller's account.
        rights: what the caller may do.
        needs: what is needed for what is asked.
        token: of the browser; each form has it, as other sites cannot know it.
        session: its name, as the browser says; "" = it has none.
        is_secure: whether cookies are for TLS alone. Without it not all browsers keep such ones, not even of this
            machine.
    """

    def __init__(
        self,
        request: Request,
        console: Console,
        seen: HttpRequest,
        caller: Caller,
        connection: Connection,
        rights: Rights,
        needs: Needs,
        *,
        is_secure: bool,
    ) -> None:
        self.request, self.console, self.seen = request, console, seen
        self.caller, self.connection, self.rights, self.needs = caller, connection, rights, needs
        given = request.cookies.get(TOKEN, "")
        self._has_token = _TOKEN.fullmatch(given) is not None
        self.token = given if self._has_token else secrets.token_urlsafe(32)
        self.is_secure = is_secure
        self.session = request.cookies.get(SESSION, "")

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
        return asks_live(self.request)

    @property
    def session_digest(self) -> str:
        """What Redis knows of the name of the session."""
        return digest_of(self.session)

    @property
    def is_known(self) -> bool:
        """Whether somebody is logged in, or nobody has to be."""
        return not self.caller.is_anonymous

    @property
    def user(self) -> str:
        """Who is logged in; "" = nobody has to be."""
        return "" if self.console.sessions is None else self.caller.name

    @property
    def actor(self) -> Actor:
        """Who does what is done now, for events."""
        caller = self.caller
        return Actor("console", caller.key_id or caller.name, self.seen.peer or "", caller.account)

    async def form(self) -> FormData:
        """What was filled in.

        Raises:
            FormExpired: it has not the browser's token.
            TooLarge: there is more in it than people fill in.
        """
        most = self.console.largest_part
        form = await self.request.form(max_files=1, max_fields=MOST_FIELDS, max_part_size=most)
        if len(form.multi_items()) > MOST_FIELDS:  # which older versions of Starlette let through
            raise TooLarge
        token = form.get(TOKEN_FIELD)
        if not (
            self._has_token and isinstance(token, str) and hmac.compare_digest(token.encode(), self.token.encode())
        ):
            raise FormExpired
        requester.set(self.actor)
        return form

    def check_name(self, name: str, form: FormData, kind: str = "queue") -> None:
        """Something that cannot be undone needs the name of what it is about, typed.

        Raises:
            NameMissing: it is another one.
        """
        if form.get("name") != name:
            raise NameMissing(name, kind)

    @property
    def theme(self) -> str:
        """`light` or `dark`, or "" for what the browser's owner prefers everywhere."""
        given = self.request.cookies.get(THEME, "")
        return given if given in ("light", "dark") else ""

    @property
    def columns(self) -> frozenset[str] | None:
        """Which columns this browser's owner wants in the list of queues; None = the usual ones."""
        given = self.request.cookies.get(COLUMNS, "")
        return frozenset(given.split(".")) if given else None

    def prefer(self, response: Response, name: str, value: str) -> None:
        """Let the browser remember a preference; "" = what is usual."""
        self.set_cookie(response, name, value, max_age=YEAR_S if value else 0)

    @property
    def navigation(self) -> list[tuple[str, str]]:
        """The pages that stand at the top."""
        places = {"Queues": "/", "Dead letters": "/dead-letters", "Moves": "/moves", "Consumers": "/consumers"}
        places |= {"Alarms": "/alarms", "Events": "/events", "Server": "/server"}
        return [(name, self.url(path[1:])) for name, path in places.items() if self.may_see(path)]

    @property
    def queue_tabs(self) -> list[tuple[str, str]]:
        """The pages of the queue of the path that the caller may see."""
        return [(name, title) for name, title in TABS.items() if self.may_see(_page_of_queue(name))]

    def link_to(self, queue: str) -> str | None:
        """The first page of a queue, which was learned, that the caller may see; None = there is none."""
        name = next((name for name in TABS if self.may_see(_page_of_queue(name), queue)), None)
        return None if name is None else self.url("queues", queue, *([name] if name else []))

    # Who may do what

    def may(self, permission: str, name: str | None = None) -> bool:
        """Whether the caller has a permission.

        Args:
            permission: such as sqs:SendMessage; of `A or B` one is enough.
            name: of the queue, which must have been learned if the path does not name it, or of the alarm; "" = all of
                the account. None = the queue of the path, else all.
        """
        return self.rights.may(permission, self._queue_name if name is None else name)

    def may_do(self, path: str, name: str | None = None) -> bool:
        """Whether the caller may do what is posted to a path of the table of permissions.

        In a read-only console nobody may change anything.

        Args:
            path: such as `/queues/{queue}/purge`.
            name: as for `may`.
        """
        if self.console.settings.is_read_only and path in self.console.changing:
            return False
        needs = needs_of("POST", path)
        if needs.is_named_later:
            return all(self.rights.may_somewhere(each) for each in needs.permissions)
        return all(self.may(each, name) for each in needs.permissions)

    def may_see(self, path: str, name: str | None = None) -> bool:
        """Whether the caller may see a page of the table of permissions."""
        return all(self.may(each, name) for each in needs_of("GET", path).permissions)

    async def learn(self, *queues: str) -> None:
        """Read what queues say about who may do what, so that `may` can be asked about them."""
        run = self.connection.transport.run
        await asyncio.gather(*[run(self.rights.learn(queue)) for queue in queues])

    async def require(self, permission: str, name: str | None = None, *, params: Params | None = None) -> None:
        """Go on only if the caller has a permission.

        Args:
            permission: such as sqs:SendMessage; of `A or B` one is enough.
            name: of the queue or alarm; None = the queue of the path.
            params: of the action, for conditions that look at them.

        Raises:
            AccessDenied: it is missing.
        """
        name = self._queue_name if name is None else name
        if not permission.startswith("cloudwatch:"):
            await self.learn(name)
        self.rights.require(permission, name, params)

    async def require_action(self, action: str, params: Params) -> None:
        """Go on only if the caller may send a request of CloudWatch to the gateway.

        Raises:
            AccessDenied: it may not.
        """
        permissions = self.rights.needed(action, params)
        await self.learn(*{permission.queue for permission in permissions if permission.queue})
        self.rights.require_each(permissions, action, params)

    async def require_all(self, needs: Needs) -> None:
        """Go on only if the caller has what a route needs.

        Raises:
            AccessDenied: something is missing.
        """
        await self.learn(self._queue_name)
        for each in needs.permissions:
            if needs.is_named_later:
                self.rights.require_somewhere(each)
            else:
                self.rights.require(each, self._queue_name)

    @property
    def _queue_name(self) -> str:
        return str(self.request.path_params.get("queue", ""))

    # What is there

    def queue(self) -> Queue:
        """The queue that the path names."""
        return self.connection.queue(self.part("queue"))

    async def read(self, key: Hashable, load: Callable[[], Awaitable[T]], fresh_s: float = FRESH_S) -> T:
        """Something of this account that all open pages share: see Hub."""
        return await self.console.hub.read(self.caller.account, key, load, fresh_s)

    async def soon(
        self, key: Hashable, load: Callable[[], Awaitable[T]], fresh_s: float = FRESH_S, wait_s: float = SOON_S
    ) -> T | None:
        """The same if it is there soon, else as it was the time before; None = it was not read yet."""
        return await self.console.hub.soon(self.caller.account, key, load, fresh_s, wait_s)

    def latest(self, key: Hashable) -> Any:
        """What was read last, unless that is long ago; None = nothing. It is not read."""
        return self.console.hub.latest(self.caller.account, key)

    def changed(self) -> None:
        """Read everything of this account again: somebody has changed something."""
        self.console.hub.forget(self.caller.account)
        self.console.forget_rights(self.caller.account, self._queue_name)

    @property
    def context(self) -> Context:
        """Where actions of SQS are done for the caller."""
        settings = self.console.settings.gateway
        account = self.caller.account or DEFAULT_ACCOUNT
        return Context(self.connection.transport.space, settings.region, account, settings.limits)

    # Receipts

    def sealed(self, receipt_handle: str) -> str:
        """A receipt handle of the queue of the path as it leaves, for a form: as the gateway gives it out."""
        sealer, account = self.console.sealer, self.caller.account
        if sealer is None:
            return receipt_handle
        response = {"Messages": [{"ReceiptHandle": receipt_handle}]}
        sealed = sealer.seal("ReceiveMessage", account, self._queue_name, response)
        return str(sealed["Messages"][0]["ReceiptHandle"])

    def unsealed(self, receipt_handle: str) -> str:
        """A receipt handle as it was before it was sealed. One that was made up becomes one that is refused."""
        sealer, account = self.console.sealer, self.caller.account
        if sealer is None:
            return receipt_handle
        params = {"ReceiptHandle": receipt_handle}
        return str(sealer.unseal("DeleteMessage", account, self._queue_name, params)["ReceiptHandle"])

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

    def renew_token(self, response: Response) -> None:
        """Give the browser another token: somebody else may use it from now on."""
        self.set_cookie(response, TOKEN, secrets.token_urlsafe(32))

    def set_cookie(self, response: Response, name: str, value: str, max_age: int | None = None) -> None:
        """Let the browser remember something, for the console alone."""
        response.set_cookie(
            name,
            value,
            max_age=max_age,
            path=f"{self.request.scope.get('root_path', '')}/",
            secure=self.is_secure,
            httponly=True,
            samesite="strict",
        )


def asks_live(request: Request) -> bool:
    """Whether it asks what changes on an open page."""
    return request.method == "GET" and request.query_params.get("live") == "1"


def _page_of_queue(name: str) -> str:
    return f"/queues/{{queue}}/{name}" if name else "/queues/{queue}"
