"""What somebody prefers: light or dark, and which columns; kept by the browser."""

from __future__ import annotations

from starlette.responses import Response

from rqsqs.console.columns import COLUMNS as NAMES
from rqsqs.console.columns import written
from rqsqs.console.visits import COLUMNS, THEME, Visit


async def choose(visit: Visit) -> Response:
    """Remember light or dark."""
    form = await visit.form()
    theme = str(form.get("theme"))
    response = visit.back_to(visit.url(""))
    visit.prefer(response, THEME, theme if theme in ("light", "dark") else "")
    return response


async def choose_columns(visit: Visit) -> Response:
    """Remember which columns the list of queues has."""
    form = await visit.form()
    chosen = [name for name in NAMES if name in form.getlist("column")]
    response = visit.back_to(visit.url(""))
    visit.prefer(response, COLUMNS, "" if form.get("usual") else written(chosen))
    return response
