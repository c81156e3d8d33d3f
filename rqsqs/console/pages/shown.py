"""What a page function returns."""

from __future__ import annotations

from typing import NamedTuple

from rqsqs.console.visits import Values


class Shown(NamedTuple):
    """A template and its values."""

    template: str
    values: Values
