"""The rules of the wire that tests hold, by number. `python -m pytest tests/gateway` prints how many there are."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T", bound=Callable[..., None])

RULES: dict[str, str] = {}


def rule(text: str) -> Callable[[T], T]:
    """Note that a test holds a rule."""

    def note(test: T) -> T:
        assert text not in RULES, f"{text!r} is held by two tests"
        RULES[text] = test.__name__
        return test

    return note
