"""NextToken: where the next page of an answer begins. It says for which action and parameters it was made."""

from __future__ import annotations

import base64
import hashlib
import json
from typing import Any

from rqsqs.sqs.context import Params

from .errors import InvalidNextToken

_MOST = 4_096  # characters
_MAY_DIFFER = {"EndDate", "EndTime", "MaxDatapoints", "MaxRecords", "NextToken", "StartDate", "StartTime"}


def token_of(action: str, params: Params, place: list[Any]) -> str:
    """A token.

    Args:
        params: of the request that is answered.
        place: text and whole numbers, by which the action finds the beginning of the next page.
    """
    return base64.urlsafe_b64encode(json.dumps([_digest(action, params), *place]).encode()).decode()


def place_of(action: str, params: Params, kinds: tuple[type, ...]) -> list[Any] | None:
    """The place in a request's NextToken; None if it has none, and so asks for the first page.

    Args:
        kinds: of its parts.

    Raises:
        InvalidNextToken: it is none, or one of another request.
    """
    token = params.get("NextToken")
    if token is None:
        return None
    try:
        place: list[Any]
        digest, *place = json.loads(base64.b64decode(token[:_MOST].encode(), b"-_", validate=True))
    except (ValueError, TypeError, RecursionError):  # UnicodeError and binascii.Error are ValueErrors
        digest, place = "", []
    if digest != _digest(action, params) or [type(part) for part in place] != list(kinds):
        raise InvalidNextToken("NextToken must be the one of the page before, with the same parameters.")
    return place


def _digest(action: str, params: Params) -> str:
    same = {name: value for name, value in params.items() if name not in _MAY_DIFFER}
    text = json.dumps([action, same], sort_keys=True, default=str)
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()
