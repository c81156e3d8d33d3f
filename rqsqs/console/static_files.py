"""The files that pages need beside their HTML."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response
from starlette.staticfiles import StaticFiles

YEAR_S = 31_536_000


class Files(StaticFiles):
    """Static files, which browsers may keep: their URLs change with them."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["cache-control"] = f"public, max-age={YEAR_S}, immutable"
        return response
