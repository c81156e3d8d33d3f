"""Where queues are when a program does not say so: the same for library, asyncio, boto3, workers and command line.

Imports nothing that takes time, as the command line reads this before it connects.
"""

from __future__ import annotations

import os

from rqsqs._text import printable
from rqsqs.errors import InvalidParameterValue, UsageError

URL = "redis://localhost:6379/0"
PREFIX = "rqsqs"
TITLE = "rqsqs {title} {unixsocket}"  # of the process; tells also its clients what it is


def url() -> str:
    """RQSQS_URL, else the content of the file RQSQS_URL_FILE, else localhost."""
    return named_url() or URL


def named_url() -> str | None:
    """The URL that the environment names, if any."""
    path = os.environ.get("RQSQS_URL_FILE")
    return os.environ.get("RQSQS_URL") or (url_in(path, "RQSQS_URL_FILE") if path else None)


def url_in(path: str, what: str) -> str:
    """The URL in a file. Containers get secrets this way, as others can see arguments and variables.

    Raises:
        UsageError: there is none.
    """
    try:
        with open(path, encoding="utf-8") as file:
            url = file.read(65_536).strip()
        reason = "it is empty" if not url else "it has more than one line" if "\n" in url else ""
    except OSError as e:
        url, reason = "", e.strerror or type(e).__name__
    except ValueError:
        url, reason = "", "it is no UTF-8 text, or no name of a file"
    if reason:
        raise UsageError(f"{what} must name a file that holds the URL of a server, got {printable(path)!r}: {reason}")
    return url


def prefix_of(prefix: str | None = None) -> str:
    """What keys begin with; None = RQSQS_PREFIX, else rqsqs.

    Raises:
        InvalidParameterValue: it would harm the hash tags of keys, or the patterns that find them.
    """
    if prefix is not None:
        return _checked(prefix, "prefix")
    named = os.environ.get("RQSQS_PREFIX")
    return _checked(named, "the environment variable RQSQS_PREFIX") if named else PREFIX


def writes_history(history: bool | None = None) -> bool:
    """Does a worker or gateway write the history of queues, if it is its turn? None = not if RQSQS_HISTORY is 0.

    Raises:
        InvalidParameterValue: it is no bool.
        UsageError: the variable has another value.
    """
    if history is not None:
        if not isinstance(history, bool):
            raise InvalidParameterValue(f"history must be a bool or None, got {history!r:.80}")
        return history
    named = os.environ.get("RQSQS_HISTORY") or "1"
    if named not in ("0", "1"):
        raise UsageError(f"the environment variable RQSQS_HISTORY must be 0 or 1, got {named!r:.80}")
    return named == "1"


def _checked(prefix: object, what: str) -> str:
    if isinstance(prefix, str) and prefix and prefix.isprintable() and set(prefix).isdisjoint("{}*?[]\\ "):
        return prefix
    raise InvalidParameterValue(
        f"{what} must be a str that is not empty and has no blanks and none of {{}}*?[]\\, such as 'shop:test', "
        f"got {prefix!r:.80}"
    )
