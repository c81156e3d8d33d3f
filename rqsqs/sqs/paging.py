"""Pages of queue URLs: ListQueues and ListDeadLetterSourceQueues page in the same way."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable

from rqsqs._core.operation import Operation
from rqsqs.errors import InvalidParameterValue

from .context import Context, Params, Response, ResponseFlow
from .names import is_queue_name

MAX_RESULTS = 1000


def page(ctx: Context, params: Params, member: str, fetch: Callable[[str, int], Operation]) -> ResponseFlow:
    """A response with one page of queue URLs, and the token of the next page.

    SQS gives a token only to those who asked for pages with MaxResults; others get the first 1,000 names.

    Args:
        params: the request, with MaxResults and NextToken.
        member: of the response, for the URLs.
        fetch: asks for up to N names after a name.
    """
    max_results: int | None = params.get("MaxResults")
    if max_results is not None and not 1 <= max_results <= MAX_RESULTS:
        raise InvalidParameterValue(
            "Value for parameter MaxResults is invalid. Reason: MaxResults must be an integer between 1 and "
            f"{MAX_RESULTS}."
        )
    after = _name_of(params.get("NextToken"))
    names: list[str] = yield fetch(after, MAX_RESULTS if max_results is None else max_results + 1)
    shown = names[:max_results]
    response: Response = {member: [ctx.url_of(name) for name in shown]}
    if len(names) > len(shown):
        response["NextToken"] = base64.b64encode(shown[-1].encode()).decode()
    return response


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
