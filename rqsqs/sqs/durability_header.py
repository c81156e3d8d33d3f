"""The durability result of a request in its response: a header, or an error."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rqsqs._core.results import least
from rqsqs.errors import DurabilityNotReached
from rqsqs.models import DurabilityResult

from .context import Response

HEADER = "x-rqsqs-durability"


class NotSafeEnough(DurabilityNotReached):
    """A DurabilityNotReached of a request.

    Attributes:
        response: what it would have been answered otherwise.
    """

    def __init__(self, error: DurabilityNotReached, response: Response) -> None:
        super().__init__(str(error), error.reached, error.sent)
        self.response = response


def told(response: Response, results: Iterable[Any], error: DurabilityNotReached | None = None) -> Response:
    """A response with what was reached for all results, if that was asked for.

    Args:
        error: what raised instead of telling results, if it did.
    """
    reached = error.reached if error is not None else least(results)
    if reached is not None:
        response["ResponseMetadata"] = {"HTTPHeaders": {HEADER: _shown(reached)}}
    if error is not None:
        raise NotSafeEnough(error, response)
    return response


def _shown(reached: DurabilityResult) -> str:
    aof = "" if reached.aof is None else f"; aof={'yes' if reached.aof else 'no'}"
    return f"{'reached' if reached.is_enough else 'not-reached'}; replicas={reached.replicas}{aof}"
