"""TagQueue, UntagQueue, ListQueueTags, and the rules of tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rqsqs._core import flows
from rqsqs.errors import InvalidParameterValue, OverLimit

from .context import Context, Params, ResponseFlow
from .names import missing

MAX_TAGS = 50

_SYMBOLS = frozenset("_.:/=+-@")
_CHARACTERS = "may only contain unicode letters, digits, whitespace, or one of these symbols: _ . : / = + - @"


def list_queue_tags(ctx: Context, params: Params) -> ResponseFlow:
    """ListQueueTags."""
    tags = yield flows.get_tags(ctx.queue_of(params))
    return {"Tags": tags} if tags else {}


def tag_queue(ctx: Context, params: Params) -> ResponseFlow:
    """TagQueue."""
    queue, sent = ctx.queue_of(params), params.get("Tags")
    if not sent:
        raise missing("Tags")
    try:
        yield from flows.set_tags(queue, check_tags(queue.name, sent), max_tags=MAX_TAGS)
    except OverLimit:
        raise _too_many(queue.name) from None
    return {}


def untag_queue(ctx: Context, params: Params) -> ResponseFlow:
    """UntagQueue."""
    queue = ctx.queue_of(params)
    keys: Sequence[str] = params.get("TagKeys") or ()
    if not keys:
        raise missing("TagKeys")
    if len(keys) > MAX_TAGS:
        raise InvalidParameterValue(f"The request must contain up to {MAX_TAGS} TagKeys, got {len(keys)}.")
    yield from flows.remove_tags(queue, [key for key in keys if _is_allowed(key)])  # no other can exist
    return {}


def check_tags(queue_name: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Check tags that are to be set."""
    if len(tags) > MAX_TAGS:
        raise _too_many(queue_name)
    for key, value in tags.items():
        if not 1 <= len(key) <= 128:
            raise InvalidParameterValue("Tag keys must be between 1 and 128 characters in length.")
        if not _is_allowed(key):
            raise InvalidParameterValue(f"Tag keys {_CHARACTERS}")
        if key.lower().startswith("aws:"):
            raise InvalidParameterValue("Tag keys cannot start with aws:, which is reserved for AWS use.")
        if len(value) > 256:
            raise InvalidParameterValue("Tag values must be between 0 and 256 characters in length.")
        if not _is_allowed(value):
            raise InvalidParameterValue(f"Tag values {_CHARACTERS}")
    return dict(tags)


def _is_allowed(text: str) -> bool:
    return all(char.isalnum() or char.isspace() or char in _SYMBOLS for char in text)


def _too_many(queue_name: str) -> InvalidParameterValue:
    return InvalidParameterValue(f"Too many tags added for queue {queue_name}.")
