"""Exceptions of applications as text: bounded whatever they hold, and without the frames of the worker in them."""

from __future__ import annotations

import os
import traceback
from types import TracebackType

from rqsqs._text import printable, shortened

NAME = 200  # characters of the name of a class
FRAMES = 1000  # of an exception; as deep as Python goes unless it was told otherwise
_OURS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "worker") + os.sep
_CHAINED = 200  # exceptions that one may hang together with


def text_of(value: object, limit: int) -> str:
    """`str(value)`, shortened; something else if that raises."""
    try:
        return shortened(str(value), limit)
    except BaseException as error:  # its author's matter
        return f"<{type(value).__name__} without a text: str() raised {type(error).__name__}>"


def name_of(kind: type) -> str:
    """The name of a class as people write it."""
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return printable(shortened(name, NAME))


def formatted(error: BaseException, limit: int, line: int) -> str:
    """The traceback as Python prints it, with chained exceptions, groups and notes.

    Args:
        limit: characters at most; what is too much is left out behind the first quarter.
        line: characters of each part at most, such as the text of an exception.
    """
    try:
        found = traceback.TracebackException(type(error), error, error.__traceback__, limit=-FRAMES)
        text = "\n".join(shortened(part.rstrip("\n"), line) for part in found.format())
    except BaseException as e:  # a class can break everything
        return f"<{type(error).__name__}, and no traceback: showing it raised {type(e).__name__}>"
    if len(text) <= limit:
        return text
    head = text[: limit // 4].rpartition("\n")[0]
    tail = text[len(head) - limit :].partition("\n")[2]
    return f"{head}\n... {len(text) - len(head) - len(tail):,} characters left out ...\n{tail}"


def forget_own_frames(error: BaseException) -> None:
    """Take the frames of the worker out of an exception and of those it hangs together with."""
    seen: set[int] = set()
    todo: list[BaseException] = [error]
    while todo and len(seen) < _CHAINED:
        one = todo.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if (others := _others(one.__traceback__)) is not one.__traceback__:
            BaseException.with_traceback(one, others)
        todo += [e for e in (one.__cause__, one.__context__) if e is not None]
        if isinstance(one, BaseExceptionGroup):
            todo += one.exceptions


def _others(found: TracebackType | None) -> TracebackType | None:
    """The part of a traceback that is not of the worker; the same object if all is."""
    parts = []
    while found is not None:
        parts.append(found)
        found = found.tb_next
    kept: TracebackType | None = None
    for part in reversed(parts):
        if not part.tb_frame.f_code.co_filename.startswith(_OURS):
            is_same = part.tb_next is kept
            kept = part if is_same else TracebackType(kept, part.tb_frame, part.tb_lasti, part.tb_lineno)
    return kept
