"""What an event says, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rqsqs._text import shortened

VALUE = 200  # characters of one


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """`VisibilityTimeout 30 -> 60`; of what has only one side, that."""
    found = []
    for name in dict.fromkeys((*before, *after)):
        sides = [_text(side[name]) for side in (before, after) if name in side]
        found.append(f"{name} {' -> '.join(sides)}")
    return found


def facts(detail: Mapping[str, Any]) -> list[str]:
    """`count 3`, `task a=1 b=2`; of how often there is what `causes 2 x KeyError: …; 1 x OSError: …`."""
    found = []
    for name, value in detail.items():
        if isinstance(value, Mapping) and all(isinstance(each, int) for each in value.values()):
            ordered = sorted(value.items(), key=lambda item: -item[1])
            value = "; ".join([f"{count} x {_text(key)}" for key, count in ordered])
        elif isinstance(value, Mapping):
            value = " ".join([f"{key}={_text(each)}" for key, each in value.items()])
        found.append(f"{name.replace('_', ' ')} {_text(value)}")
    return found


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        value = " ".join(map(str, value))
    return "none" if value is None else shortened(str(value), VALUE) or '""'
