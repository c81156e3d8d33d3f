"""Work of botocore that is the same in every call of a client, done once.

For a request that stays in this process botocore's own work before `before-call` is most of the client's CPU time, and
more than half of that has the same result each time: the User-Agent header and the endpoint. Both are still composed
by botocore, and anew as soon as something they depend on has changed, so nothing that can be observed differs. Should
a botocore be built otherwise than we know it, nothing is saved and nothing breaks.
"""

from __future__ import annotations

from typing import Any

try:
    import botocore.context as botocore_context
except ImportError:  # older than 1.36
    botocore_context = None  # type: ignore[assignment]


def cache_repeated_work(client: Any) -> list[tuple[Any, str, Any]]:
    """Let an SQS client compose its User-Agent header and resolve its endpoint once.

    Returns:
        What was replaced, for `forget_cached_work`.
    """
    saved = []
    creator = getattr(client, "_user_agent_creator", None)
    if botocore_context is not None and _has_own(creator, "to_string"):
        saved.append(_replaced(creator, "to_string", _remembered_user_agent(creator)))
    resolver = getattr(client, "_ruleset_resolver", None)
    if _has_own(resolver, "construct_endpoint") and hasattr(resolver, "_get_customized_builtins"):
        saved.append(_replaced(resolver, "construct_endpoint", _remembered_endpoint(resolver)))
    return saved


def forget_cached_work(saved: list[tuple[Any, str, Any]]) -> None:
    """Let the client do all by itself again."""
    for owner, name, ours in saved:
        if vars(owner).get(name) is ours:
            delattr(owner, name)


def _replaced(owner: Any, name: str, ours: Any) -> tuple[Any, str, Any]:
    setattr(owner, name, ours)
    return owner, name, ours


def _has_own(thing: Any, method: str) -> bool:
    """Whether the method is still the one of its class."""
    return hasattr(thing, method) and method not in vars(thing)


def _remembered_user_agent(creator: Any) -> Any:
    """The header depends on what botocore calls the features of the current call."""
    compose, get_context = creator.to_string, botocore_context.get_context
    composed: dict[frozenset[str], str] = {}

    def to_string() -> str:
        features = frozenset(getattr(get_context(), "features", ()))
        if features not in composed:
            composed[features] = compose()
        return composed[features]

    return to_string


def _remembered_endpoint(resolver: Any) -> Any:
    """The endpoint of SQS depends on the built-in values alone, which handlers of botocore's events may change."""
    resolve, customized_builtins = resolver.construct_endpoint, resolver._get_customized_builtins
    last: tuple[Any, Any] | None = None

    def construct_endpoint(operation_model: Any, call_args: Any, request_context: Any) -> Any:
        nonlocal last
        builtins = customized_builtins(operation_model, call_args or {}, request_context or {})
        known = last
        if known is None or known[0] != builtins:
            endpoint = resolve(operation_model, call_args, request_context)
            last = known = builtins, endpoint
        return known[1]

    return construct_endpoint
