"""Handlers: the functions of the application, and how they are called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from rqsqs._core.records import Delivery
from rqsqs.errors import InvalidParameterValue
from rqsqs.worker.context import Context
from rqsqs.worker.outcomes import as_error

Outcomes = Sequence[BaseException | None]  # one for each message: None = done
DONE: Outcomes = (None,)


class Middleware(Protocol):
    """What runs around each call of a handler, in its thread or task. Each method may be left out.

    An exception in here is logged and changes nothing.
    """

    def before(self, context: Context) -> None:
        """A handler is about to be called."""

    def after(self, context: Context) -> None:
        """It returned."""

    def on_error(self, context: Context, error: BaseException) -> None:
        """It raised an exception, or said that one or more messages of its batch failed: then once for each."""


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that handles the messages of a queue.

    Attributes:
        queue: its name.
        function: takes a message, or a list of them, and perhaps the context.
        weight: its part of the slots while several queues of the worker have a backlog.
        batch: 0 = one message at a time; else it is called with a list of at most so many.
        timeout: seconds, None = none.
        is_coroutine: it is an `async def`.
        wants_context: it takes a second argument.
    """

    queue: str
    function: Callable[..., Any]
    weight: float
    batch: int
    timeout: float | None
    is_coroutine: bool
    wants_context: bool

    @property
    def size(self) -> int:
        """Messages in a call."""
        return self.batch or 1

    def outcomes(self, deliveries: Sequence[Delivery], result: Any) -> Outcomes:
        """What became of each message, by what the function returned."""
        if not self.batch:
            return DONE
        if result is None:
            return [None] * len(deliveries)
        try:
            found = list(result)
        except TypeError:
            found = [result]
        if len(found) != len(deliveries):
            error = InvalidParameterValue(
                f"the batch handler of {self.queue!r} gave {len(found)} outcomes for {len(deliveries)} messages: "
                "it returns None, or a list with None or an exception for each message"
            )
            return [error] * len(deliveries)
        return [None if outcome is None else as_error(outcome) for outcome in found]


def make(queue: str, function: Any, weight: float, batch: int, timeout: float | None) -> Handler:
    """Look at a function and make a handler of it."""
    if not callable(function):
        raise InvalidParameterValue(f"the handler of {queue!r} is {function!r}: it is a function")
    call = function if inspect.isroutine(function) else type(function).__call__
    try:
        parameters = inspect.signature(function).parameters.values()
    except (TypeError, ValueError):  # a builtin
        count = 1
    else:
        count = sum(p.default is p.empty for p in parameters if p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD))
        if count == 0 and any(p.kind not in (p.KEYWORD_ONLY, p.VAR_KEYWORD) for p in parameters):
            count = 1  # *args, or an argument with a default
        if any(p.kind == p.KEYWORD_ONLY and p.default is p.empty for p in parameters):
            count = 0
    if count not in (1, 2):
        raise InvalidParameterValue(
            f"the handler of {queue!r}, {function!r}, cannot be called: it takes a message (or a list of them), and "
            "the context if it wants, as positional arguments"
        )
    is_coroutine = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)
    return Handler(queue, function, weight, batch, timeout, is_coroutine, count == 2)
