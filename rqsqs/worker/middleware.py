"""Middleware: functions around the calls of handlers, each of which calls the next one."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from rqsqs.errors import InvalidParameterValue, UsageError

Function = Callable[[Any, Callable[[Any], Any]], Any]  # called with a message, or those of a batch, and call_next


def check(function: Any) -> None:
    """Refuse what cannot be called as middleware."""
    if not callable(function) or inspect.isclass(function):
        raise InvalidParameterValue(
            f"middleware must be a function of (message, call_next), got {function!r}"
            + ("; register an object of the class" if inspect.isclass(function) else "")
        )
    if is_generator(function):
        raise InvalidParameterValue(
            f"middleware must return call_next(message) or await it, got {function!r}, a generator function"
        )
    try:
        inspect.signature(function).bind("message", "call_next")
    except TypeError as error:
        raise InvalidParameterValue(
            f"middleware must take two arguments, (message, call_next), got {function!r}: {error}"
        ) from None
    except ValueError:  # a builtin
        pass


def is_coroutine(function: Any) -> bool:
    """Is it an `async def`, or an object that is called like one?"""
    call = function if inspect.isroutine(function) else type(function).__call__
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def is_generator(function: Any) -> bool:
    """Would calling it run nothing of it?"""
    call = function if inspect.isroutine(function) else type(function).__call__
    return any(inspect.isgeneratorfunction(f) or inspect.isasyncgenfunction(f) for f in (function, call))


def run(middleware: Sequence[Function], handle: Callable[[Any], Any], argument: Any) -> Any:
    """Call a plain handler through its middleware; returns what the first one returned. If that is None, what the
    handler returned stands, so that the outcomes of a batch do not get lost on the way."""
    results: list[Any] = []

    def last(argument: Any) -> Any:
        results.append(handle(argument))
        return results[-1]

    call: Callable[[Any], Any] = last
    for function in reversed(middleware):
        call = _bound(function, call)
    result = call(argument)
    return results[-1] if result is None and results else result


def _bound(function: Function, call_next: Callable[[Any], Any]) -> Callable[[Any], Any]:
    return lambda argument: function(argument, call_next)


async def run_async(
    middleware: Sequence[Function], handle: Callable[[Any], Coroutine[Any, Any, Any]], argument: Any
) -> Any:
    """run() for a coroutine function."""
    results: list[Any] = []
    calls: list[Coroutine[Any, Any, Any]] = []

    async def last(argument: Any) -> Any:
        results.append(await handle(argument))
        return results[-1]

    def noted(call: Callable[[Any], Coroutine[Any, Any, Any]]) -> Callable[[Any], Coroutine[Any, Any, Any]]:
        def call_next(argument: Any) -> Coroutine[Any, Any, Any]:
            calls.append(call(argument))
            return calls[-1]

        return call_next

    call: Callable[[Any], Coroutine[Any, Any, Any]] = last
    for function in reversed(middleware):
        call = _bound(function, noted(call))
    try:
        result = await call(argument)
    finally:
        forgotten = [c for c in calls if inspect.getcoroutinestate(c) == inspect.CORO_CREATED]
        for coroutine in forgotten:
            coroutine.close()
    if forgotten:
        raise UsageError("middleware called call_next() and did not await it: the handler did not run")
    return results[-1] if result is None and results else result
