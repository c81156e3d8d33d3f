"""The parameters of a request as a server would read them from JSON."""

from __future__ import annotations

from typing import Any

_PLAIN = frozenset({str, int, bytes})


def plain(value: Any) -> Any:
    """Replace what is of a subclass, such as members of enumerations, by what botocore would write into JSON."""
    if type(value) in _PLAIN:
        return value
    if isinstance(value, dict):
        return {plain(name): plain(member) for name, member in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, str):
        return str.__str__(value)
    return int(value) if isinstance(value, int) else value
