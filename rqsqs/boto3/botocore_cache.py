"""Work of botocore that is the same in every call of a client, done once.

For a request that stays in this process botocore's own work before `before-call` is most of the client's CPU time, and
more than half of that has the same result each time: the User-Agent header, the endpoint, and of the request all but
the body if its parameters are nothing but text and whole numbers. All of it is still composed by botocore, and anew as
soon as something it depends on has changed, so nothing that can be observed differs. Should a botocore be built
otherwise than we know it, nothing is saved and nothing breaks.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from botocore.validate import ParamValidationDecorator

try:
    import botocore.context as botocore_context
except ImportError:  # older than 1.36
    botocore_context = None  # type: ignore[assignment]


_TYPES: dict[str, type] = {"string": str, "integer": int}
_REST = {"url_path", "query_string", "method"}  # members of a request by JSON, beside headers and body


def cache_repeated_work(client: Any) -> list[tuple[Any, str, Any]]:
    """Let an SQS client compose its User-Agent header, resolve its endpoint and serialise the frames of its requests
    once.

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
    serializer = getattr(client, "_serializer", None)
    if isinstance(serializer, ParamValidationDecorator) and _has_own(serializer, "serialize_to_request"):
        saved.append(_replaced(serializer, "serialize_to_request", _remembered_frames(serializer)))
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


def _remembered_frames(serializer: Any) -> Any:
    """Parameters that are text and whole numbers, without limits, have nothing to be refused or converted, and their
    JSON is the body; the rest of such a request depends on the operation alone."""
    serialize = serializer.serialize_to_request
    frames: dict[str, _Frame] = {}

    def serialize_to_request(parameters: Any, operation_model: Any) -> Any:
        frame = frames.get(operation_model.name)
        if frame is not None and type(parameters) is dict:
            types = frame.types
            for name, value in parameters.items():
                if types.get(name) is not type(value):
                    break
            else:
                if parameters.keys() >= frame.required:
                    return {**frame.rest, "headers": frame.headers.copy(), "body": json.dumps(parameters).encode()}
        request = serialize(parameters, operation_model)
        if frame is None:
            frames[operation_model.name] = _frame_of(operation_model.input_shape, request)
        return request

    return serialize_to_request


class _Frame(NamedTuple):
    """The requests of an operation without their bodies.

    Attributes:
        types: of the parameters that are plain.
        required: the parameters that there must be; one that has no type = no request can be made of this.
    """

    types: dict[str, type]
    required: frozenset[str]
    headers: dict[str, str]
    rest: dict[str, str]


_UNKNOWN = _Frame({}, frozenset({""}), {}, {})


def _frame_of(shape: Any, request: dict[str, Any]) -> _Frame:
    """The frame of a request that botocore has made; one without use if it is of another kind than we know."""
    body, headers = request.get("body"), request.get("headers")
    rest = {name: value for name, value in request.items() if name not in ("body", "headers")}
    if shape is None or type(body) is not bytes or type(headers) is not dict or set(map(type, rest.values())) != {str}:
        return _UNKNOWN
    try:
        is_json = rest.keys() == _REST and json.dumps(json.loads(body)).encode() == body
    except ValueError:
        return _UNKNOWN
    plain = {
        name: _TYPES[member.type_name]
        for name, member in shape.members.items()
        if member.type_name in _TYPES and not member.metadata and not member.serialization
    }
    return _Frame(plain, frozenset(shape.required_members), headers.copy(), rest) if is_json else _UNKNOWN
