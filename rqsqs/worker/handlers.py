"""Handlers: the functions of the application, and how they are called."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from rqsqs._base_message import BaseMessage
from rqsqs._core.delivery import Delivery
from rqsqs.errors import InvalidParameterValue, UsageError
from rqsqs.worker import middleware
from rqsqs.worker.outcomes import as_error

if TYPE_CHECKING:
    from rqsqs import aio
    from rqsqs._sync.message import Message
    from rqsqs.worker.context import Context

    # How type checkers see what a worker takes: anything else is an error there, and most of it when it is registered.
    BatchResult = Sequence[BaseException | None] | None
    OneHandler = (
        Callable[[Message], None]
        | Callable[[Message, Context], None]
        | Callable[[aio.Message], Coroutine[Any, Any, None]]
        | Callable[[aio.Message, Context], Coroutine[Any, Any, None]]
    )
    BatchHandler = (
        Callable[[list[Message]], BatchResult]
        | Callable[[list[Message], Context], BatchResult]
        | Callable[[list[aio.Message]], Coroutine[Any, Any, BatchResult]]
        | Callable[[list[aio.Message], Context], Coroutine[Any, Any, BatchResult]]
    )

T = TypeVar("T")
Errors = Sequence[BaseException | None]  # one for each message: None = done; or DONE
DONE: tuple[None] = (None,)  # all messages are, however many


def for_each(results: Sequence[T | None], deliveries: Sequence[Delivery]) -> Sequence[T | None]:
    """One for each message, also if all are done."""
    return [None] * len(deliveries) if results is DONE else results


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that handles the messages of a queue."""

    queue: str  # its name
    function: Callable[..., Any]  # takes a message, or a list of them, and perhaps the context
    weight: float  # its part of the slots while several queues of the worker have a backlog
    batch: int  # 0 = one message at a time; else it is called with a list of up to that number
    timeout: float | None  # seconds
    is_coroutine: bool  # it is an `async def`
    wants_context: bool  # it takes a second argument
    middleware: tuple[middleware.Function, ...] = ()  # what runs around its calls, from the outside in

    @property
    def size(self) -> int:
        return self.batch or 1

    def errors_of(self, deliveries: Sequence[Delivery], result: Any) -> Errors:
        """What became of each message, by what the function returned."""
        if result is None:
            return DONE
        if inspect.isawaitable(result):
            if inspect.iscoroutine(result):
                result.close()
            error = UsageError(
                f"the handler of {self.queue!r} must be an `async def` to be awaited, or return no awaitable, got a "
                f"{type(result).__name__} that nobody awaited"
            )
            return [error] * len(deliveries)
        if not self.batch:
            return DONE
        try:
            found = list(result)
        except TypeError:
            found = [result]
        if len(found) != len(deliveries):
            wrong = InvalidParameterValue(
                f"the batch handler of {self.queue!r} must return None, or a list with None or an exception for each "
                f"message, got {len(found)} for {len(deliveries)} messages"
            )
            return [wrong] * len(deliveries)
        return [None if outcome is None else as_error(outcome) for outcome in found]


def make(queue: str, function: Any, weight: float, batch: int, timeout: float | None) -> Handler:
    """Look at a function and make a handler of it, if it can be called as one and its annotation wants nothing else."""
    if not callable(function):
        raise InvalidParameterValue(f"the handler of {queue!r} must be a function, got {function!r}")
    if inspect.isclass(function):
        raise InvalidParameterValue(
            f"the handler of {queue!r} must be a function, got the class {function.__qualname__}: register an object "
            "of it, or one of its methods"
        )
    if middleware.is_generator(function):
        raise InvalidParameterValue(
            f"the handler of {queue!r} must be a function that returns, got {function!r}: it has a `yield`, so calling "
            "it runs nothing"
        )
    is_coroutine = middleware.is_coroutine(function)
    try:
        parameters = list(inspect.signature(function).parameters.values())
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
            f"the handler of {queue!r} must take a message (or a list of them), and the context if it wants, as "
            f"positional arguments, got {function!r}"
        )
    wrong = _mismatch(function, batch, is_coroutine)
    if wrong:
        raise InvalidParameterValue(f"the handler of {queue!r}, {getattr(function, '__qualname__', function)}, {wrong}")
    return Handler(queue, function, weight, batch, timeout, is_coroutine, count == 2)


def _mismatch(function: Any, batch: int, is_coroutine: bool) -> str:
    """What is wrong with the annotation of its first parameter, as far as that can be told; or ""."""
    try:
        parameters = inspect.signature(function, eval_str=True).parameters
        annotation = next(iter(parameters.values())).annotation
    except Exception:  # it names what is there for type checkers only
        return ""
    ours = "rqsqs.aio.Message" if is_coroutine else "rqsqs.Message"
    shown = inspect.formatannotation(annotation)
    is_list = _takes(annotation, list)
    if is_list and not batch:
        return f"takes a list of messages: register it with batch=N, the most it takes, or let it take one {ours}"
    if is_list is False and batch:
        return f"is called with a list[{ours}] because of batch={batch}, but takes {shown}"
    if is_list:
        (annotation, *_) = (*typing.get_args(annotation), Any)
    if _takes(annotation, BaseMessage) is False and not _is_message(annotation, is_coroutine):
        kind = "a coroutine function" if is_coroutine else "a plain function"
        given = f"list[{ours}]" if batch else ours
        return f"is {kind} and called with {given}, but takes {inspect.formatannotation(annotation)}"
    return ""


def _takes(annotation: Any, what: type) -> bool | None:
    """Is it a class that objects of another one belong to? None: that cannot be told."""
    base = typing.get_origin(annotation) or annotation
    if base in (Any, object, inspect.Parameter.empty, types.UnionType) or not isinstance(base, type):
        return None
    return None if getattr(base, "_is_protocol", False) else issubclass(what, base)


def _is_message(annotation: Any, is_coroutine: bool) -> bool:
    """Is it the right one of rqsqs.Message and rqsqs.aio.Message, or a class of that? (Told without importing them.)"""
    bases = annotation.__mro__
    return BaseMessage in bases and any(base.__module__ == "rqsqs.aio" for base in bases) == is_coroutine
