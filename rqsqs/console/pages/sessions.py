"""Who is logged in, and how they are logged out."""

from __future__ import annotations

from starlette.responses import Response

from rqsqs._core import flows
from rqsqs.console.pages.shown import Shown
from rqsqs.console.refusals import ConsoleRefusal, NotFound, ReadOnly
from rqsqs.console.sessions import Session
from rqsqs.console.visits import Visit
from rqsqs.inspection.words import counted

LIST, END = "rqsqs:ListSessions", "rqsqs:EndSessions"
MOST = 500  # on one page
MOST_TOLD = 10  # users in an event


async def index(visit: Visit) -> Shown:
    """The sessions of the user, or of all users of the account."""
    found = await _seen(visit)
    may_end = {each.digest for each in found if _may_end(visit, each)}
    return Shown(
        "sessions.html",
        {
            "section": "Sessions",
            "title": "Sessions",
            "sessions": found[:MOST],
            "all": len(found),
            "users": len({each.caller.name for each in found}),
            "here": visit.session_digest,
            "may_end": may_end,
            "sees_all": visit.may(LIST, ""),
        },
    )


async def end(visit: Visit) -> Response:
    """End one session, or all others that may be ended."""
    form = await visit.form()
    found = [each for each in await _seen(visit) if each.digest != visit.session_digest]
    if form.get("others"):
        chosen = [each for each in found if _may_end(visit, each)]
    else:
        chosen = [each for each in found if each.digest == form.get("session")]
        if not chosen:
            raise ConsoleRefusal("this session has ended already")
    for each in chosen:
        if not _is_own(visit, each):
            if visit.console.settings.is_read_only:
                raise ReadOnly
            await visit.require(END, "")
    ended = [each for each in chosen if await visit.console.end_session(each.digest)]
    if ended:
        users = sorted({each.caller.name for each in ended})
        detail = {"sessions": len(ended), "users": users[:MOST_TOLD]}
        transport = visit.connection.transport
        await transport.run(flows.tell(transport.space, "sessions-ended", detail=detail))
    visit.changed()
    return visit.back_to(visit.url("sessions"), f"{counted(len(ended), 'session')} ended.")


async def _seen(visit: Visit) -> list[Session]:
    sessions = visit.console.sessions
    if sessions is None:
        raise NotFound
    found = await sessions.of_account(visit.caller.account)
    return found if visit.may(LIST, "") else [each for each in found if _is_own(visit, each)]


def _is_own(visit: Visit, session: Session) -> bool:
    return session.caller.arn == visit.caller.arn


def _may_end(visit: Visit, session: Session) -> bool:
    if session.digest == visit.session_digest:
        return False
    return _is_own(visit, session) or (not visit.console.settings.is_read_only and visit.may(END, ""))
