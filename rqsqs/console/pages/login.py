"""Logging in with an access key, and out."""

from __future__ import annotations

import logging

from starlette.responses import Response

from rqsqs._text import printable, shortened
from rqsqs.console.pages.shown import Shown
from rqsqs.console.refusals import LoginRefused, NotFound, TooManyLogins
from rqsqs.console.sessions import LONGEST_FIELD
from rqsqs.console.visits import SESSION, Visit
from rqsqs.event_models import Actor
from rqsqs.gateway.refusals import UnrecognizedClient

log = logging.getLogger("rqsqs.console")


async def show(visit: Visit) -> Shown:
    """The form."""
    if visit.console.sessions is None:
        raise NotFound
    return Shown("login.html", {"title": "Log in", "text": "", "key_id": "", "next": visit.query.get("next", "")})


async def enter(visit: Visit) -> Response:
    """Begin a session."""
    form = await visit.form()
    sessions = visit.console.sessions
    if sessions is None:
        raise NotFound
    key_id, secret, after = [str(form.get(name, "")) for name in ("key_id", "secret", "next")]
    try:
        name = await sessions.begin(key_id.strip(), secret.strip(), visit.seen)
    except (LoginRefused, TooManyLogins) as error:
        claimed = Actor("console", key_id[:LONGEST_FIELD], visit.seen.peer or "", "")
        visit.console.note_denial(UnrecognizedClient(), claimed, "Login")
        log.warning("a login as %s from %s was refused", shortened(printable(key_id), 128), visit.seen.peer)
        values = {"title": "Log in", "text": str(error), "key_id": key_id, "next": after}
        response = visit.page("login.html", values, error.status)
        if isinstance(error, TooManyLogins):
            response.headers["retry-after"] = "60"
        return response
    await visit.console.end_session(visit.session_digest)  # the one that this browser had before
    response = visit.back_to(visit.url("") + _below(after))
    visit.renew_token(response)
    visit.set_cookie(response, SESSION, name)
    return response


async def leave(visit: Visit) -> Response:
    """End the session."""
    await visit.form()
    if visit.console.sessions is None:
        raise NotFound
    await visit.console.end_session(visit.session_digest)
    response = visit.back_to(visit.url("login"))
    visit.renew_token(response)
    visit.set_cookie(response, SESSION, "", max_age=0)
    return response


def _below(path: str) -> str:
    """A page of the console, as `/queues/orders`, without the `/` in front; "" for what is none."""
    is_ours = path.startswith("/") and path.isascii() and path.isprintable() and not set(path) & set("\\ ")
    return path[1:].lstrip("/") if is_ours else ""
