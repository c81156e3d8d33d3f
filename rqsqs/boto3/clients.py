"""Makes genuine boto3 clients that are answered by Redis, and attaches to existing ones."""

from __future__ import annotations

import os
from typing import Any

from rqsqs import checks
from rqsqs._io import defaults
from rqsqs._io.connect import SCHEMES
from rqsqs.limits import AWS, Limits
from rqsqs.types import Durability

from .answering import Answering
from .savings import save_repeated_work

BOTOCORE_TIMEOUT_S = 60


def is_redis_url(url: str) -> bool:
    """Whether a URL names a server that rqsqs can use."""
    return url.partition("://")[0] in SCHEMES


def server_url(endpoint_url: str | None = None) -> str | None:
    """Which server answers a client.

    Args:
        endpoint_url: as given to the client.

    Returns:
        `endpoint_url` if given, else RQSQS_URL, else AWS_ENDPOINT_URL_SQS if that names a Redis, else the local
        Redis. None if `endpoint_url` is something else: the address of a real SQS or of an HTTP gateway.
    """
    if endpoint_url is not None:
        return endpoint_url if is_redis_url(endpoint_url) else None
    url = os.environ.get("RQSQS_URL")
    if url:
        return url
    url = os.environ.get("AWS_ENDPOINT_URL_SQS", "")
    return url if is_redis_url(url) else defaults.URL


def attach(
    target: Any,
    url: str | None = None,
    *,
    limits: Limits = AWS,
    account: str | None = None,
    prefix: str | None = None,
    durability: Durability | str | None = None,
    **options: Any,
) -> None:
    """Let an existing client, resource or session be answered by Redis instead of AWS.

    Args:
        target: an SQS client, an SQS resource (service, queue or message), or a session of boto3 or botocore. Of a
            session all SQS clients made later are answered; clients of other services are not touched.
        url: of the server; None = RQSQS_URL, else AWS_ENDPOINT_URL_SQS, else the local Redis.
        limits: what requests may ask for: `rqsqs.limits.AWS` or `rqsqs.limits.NATIVE`.
        account: AWS account number in URLs and ARNs; None = AWS_ACCOUNT_ID, else twelve zeros.
        prefix: what all keys in Redis begin with; None = the environment variable RQSQS_PREFIX, else rqsqs.
        durability: how safe messages have to be before a send returns, a rqsqs.Durability or its text; None = as the
            environment variable RQSQS_DURABILITY says, else in the server's memory.
        options: for redis-py's connections, for example socket_timeout in seconds.

    Raises:
        TypeError: `target` is something else, or a client of another service.
        InvalidParameterValue: the durability or the prefix makes no sense.
    """
    safe = checks.default_durability(durability)
    prefix = defaults.prefix_of(prefix)
    answering = Answering(url or server_url() or defaults.URL, limits, account, safe, prefix=prefix, **options)
    if hasattr(target, "create_client") and hasattr(target, "get_component"):  # a session of botocore
        answering.register(target.get_component("event_emitter"), ".sqs")
    elif hasattr(target, "events") and hasattr(target, "get_available_services"):  # a session of boto3
        answering.register(target.events, ".sqs")
    else:
        client = getattr(getattr(target, "meta", None), "client", None) or target
        service = getattr(getattr(getattr(client, "meta", None), "service_model", None), "service_name", None)
        if service != "sqs":
            raise TypeError(f"attach() takes an SQS client, an SQS resource or a session, not {target!r}")
        answering.register(client.meta.events)
        save_repeated_work(client)


def timeouts(config: Any) -> dict[str, float]:
    """The timeouts of a botocore Config as options of redis-py; those left at botocore's default are left to rqsqs."""
    found = {"socket_timeout": config.read_timeout, "socket_connect_timeout": config.connect_timeout}
    return {name: seconds for name, seconds in found.items() if seconds not in (None, BOTOCORE_TIMEOUT_S)}
