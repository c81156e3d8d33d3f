"""Pages of queue URLs: ListQueues and ListDeadLetterSourceQueues page in the same way."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from rqsqs._core.operation import Flow, Operation
from rqsqs.errors import InvalidParameterValue

from .context import Params
from .names import is_queue_name

MAX_RESULTS = 1000


def page(params: Params, fetch: Callable[[str, int], Operation]) -> Flow[tuple[list[str], str | None]]:
    """Fetch one page of queue names.

    SQS gives a token only to those who asked for pages with MaxResults; others get the first 1,000 names.

    Args:
        params: the request, with MaxResults and NextToken.
        fetch: returns up to N names after a name.

    Returns:
        The names, and the token of the next page or None.
    """
    max_results: int | None = params.get("MaxResults")
    if max_results is not None and not 1 <= max_results <= MAX_RESULTS:
        raise InvalidParameterValue(
            "Value for parameter MaxResults is invalid. Reason: MaxResults must be an integer between 1 and "
            f"{MAX_RESULTS}."
        )
    after = _name_of(params.get("NextToken"))
    if max_results is None:
        return (yield fetch(after, MAX_RESULTS)), None
    names: list[str] = yield fetch(after, max_results + 1)
    has_more = len(names) > max_results
    names = names[:max_results]
    return names, _token_of(names[-1]) if has_more else None


def _token_of(name: str) -> str:
    return base64.b64encode(name.encode()).decode()


def _name_of(token: str | None) -> str:
    if token is None:
        return ""
    try:
        name = base64.b64decode(token, validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        name = ""
    if not is_queue_name(name):
        raise InvalidParameterValue("Invalid NextToken value.")
    return name
