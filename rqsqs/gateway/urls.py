"""Queue URLs: what a request calls a queue, and what an answer does.

    http://localhost:9324/000000000000/orders         what we answer, from the Host of the request or --base-url
    https://sqs.us-east-1.amazonaws.com/000000000000/orders, https://queue.amazonaws.com/any/path/000000000000/orders
    orders                                            of the caller's own account

The host is not examined: the last two parts of the path are account and name.
"""

from __future__ import annotations

from rqsqs.sqs.names import is_account, is_queue_name, parse_arn


def account_of_url(url: str) -> str | None:
    """The account in a queue URL; None if it has none."""
    account = url.rstrip("/").rpartition("/")[0].rpartition("/")[2]
    return account if is_account(account) else None


def account_of_arn(text: object) -> str | None:
    """The account in an ARN of a queue; None if it has none."""
    arn = parse_arn(text) if isinstance(text, str) else None
    return arn.account if arn is not None and is_account(arn.account) else None


def queue_url_of_path(path: str) -> str | None:
    """What an old SDK posts to, `/{account}/{name}` with anything before: account and name; None for any other path."""
    front, _, name = path.rpartition("/")
    account = front.rpartition("/")[2]
    return f"/{account}/{name}" if is_account(account) and is_queue_name(name) else None
