"""Light or dark, for this browser."""

from __future__ import annotations

from starlette.responses import Response

from rqsqs.console.visits import THEME, Visit

YEAR_S = 31_536_000


async def choose(visit: Visit) -> Response:
    """Remember it."""
    form = await visit.form()
    theme = str(form.get("theme"))
    theme = theme if theme in ("light", "dark") else ""
    response = visit.back_to(visit.url(""))
    visit.set_cookie(response, THEME, theme, max_age=YEAR_S if theme else 0)
    return response
