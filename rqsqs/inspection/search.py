"""What of a message is searched."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

from rqsqs._base_message import BaseMessage
from rqsqs._text import jsonable

from .bodies import body_text, cause_text, in_json

Test = Callable[[str], bool]
PATH = 200  # characters of the name of a field that are searched, the last ones


def finder(text: str, *, is_regex: bool = False, ignores_case: bool = False) -> Test:
    """Finds a text, or a regular expression.

    Raises:
        re.error: it is none.
    """
    pattern = re.compile(text if is_regex else re.escape(text), re.IGNORECASE if ignores_case else 0)
    return lambda part: pattern.search(part) is not None


def matches(message: BaseMessage, is_match: Test) -> bool:
    """Whether a part of a message is found."""
    return any(is_match(part) for part in _parts(message))


def _parts(message: BaseMessage) -> Iterator[str]:
    """Everything of a message that can be searched."""
    yield body_text(message)
    yield from _fields(message.body)
    yield message.message_id
    if message.deduplication_id is not None:
        yield message.deduplication_id
    for name, value in message.attributes.items():
        yield f"{name}={value.decode(errors='replace') if isinstance(value, bytes) else value}"
    if message.cause is not None:
        yield cause_text(message.cause)


def _fields(body: Any) -> Iterator[str]:
    """The fields of an object, or of JSON sent as text: `customer=7`, `address.city=Bonn`, `items[0].id=4`."""
    if isinstance(body, str):
        body = in_json(body)
    left = [("", body)]
    while left:
        path, value = left.pop()
        path = path[-PATH:]
        if isinstance(value, dict):
            left.extend((f"{path}.{name}" if path else str(name), part) for name, part in value.items())
        elif isinstance(value, list | tuple):
            left.extend((f"{path}[{index}]", part) for index, part in enumerate(value))
        elif path:
            yield f"{path}={value if isinstance(value, str) else json.dumps(value, default=jsonable)}"
