"""Where queues are if a program does not say: one answer for library, asyncio, boto3, workers and command line.

Imports nothing that takes time: the command line asks here before it connects.
"""

from __future__ import annotations

import os

from rqsqs.errors import InvalidParameterValue

URL = "redis://localhost:6379/0"
PREFIX = "rqsqs"


def url() -> str:
    """RQSQS_URL, else localhost."""
    return os.environ.get("RQSQS_URL") or URL


def prefix_of(prefix: str | None = None) -> str:
    """What keys begin with; None = RQSQS_PREFIX, else rqsqs.

    Raises:
        InvalidParameterValue: it would harm the hash tags of keys, or the patterns that find them.
    """
    if prefix is not None:
        return _checked(prefix, "prefix")
    named = os.environ.get("RQSQS_PREFIX")
    return _checked(named, "the environment variable RQSQS_PREFIX") if named else PREFIX


def _checked(prefix: object, what: str) -> str:
    if isinstance(prefix, str) and prefix and prefix.isprintable() and set(prefix).isdisjoint("{}*?[]\\ "):
        return prefix
    raise InvalidParameterValue(
        f"{what} must be a str that is not empty and has no blanks and none of {{}}*?[]\\, such as 'shop:test', "
        f"got {prefix!r:.80}"
    )
