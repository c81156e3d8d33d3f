"""Makes genuine boto3 clients that are answered by Redis, and attaches to existing ones."""

from __future__ import annotations

import os
from typing import Any

from rqsqs.limits import AWS, Limits

from .answering import Answering

try:
    from botocore.context import get_context
except ImportError:  # older than 1.36
    get_context = None

DEFAULT_URL = "redis://localhost:6379/0"
SCHEMES = ("redis://", "rediss://", "unix://", "embedded://")


def is_redis_url(url: str) -> bool:
    """Whether a URL names a server that rqsqs can use."""
    return url.startswith(SCHEMES)


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
    return url if is_redis_url(url) else DEFAULT_URL


def attach(target: Any, url: str | None = None, *, limits: Limits = AWS, account: str | None = None) -> None:
    """Let an existing client, resource or session be answered by Redis instead of AWS.

    Args:
        target: an SQS client, an SQS resource (service, queue or message), or a session of boto3 or botocore. Of a
            session all SQS clients made later are answered; clients of other services are not touched.
        url: of the server; None = RQSQS_URL, else AWS_ENDPOINT_URL_SQS, else the local Redis.
        limits: what requests may ask for: `rqsqs.limits.AWS` or `rqsqs.limits.NATIVE`.
        account: AWS account number in URLs and ARNs; None = AWS_ACCOUNT_ID, else twelve zeros.

    Raises:
        TypeError: `target` is something else, or a client of another service.
    """
    answering = Answering(url or server_url() or DEFAULT_URL, limits, account)
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
        remember_user_agents(client)


def remember_user_agents(client: Any) -> None:
    """Let a client compose its User-Agent header once instead of for every call.

    The header depends on what botocore calls features, nothing else that changes; composing it takes a third of the
    time of a call. If botocore is built otherwise than we know it, nothing happens.
    """
    creator = getattr(client, "_user_agent_creator", None)
    compose = getattr(creator, "to_string", None)
    if get_context is None or compose is None:
        return
    composed: dict[frozenset[str], str] = {}

    def to_string() -> str:
        features = frozenset(getattr(get_context(), "features", ()))
        if features not in composed:
            composed[features] = compose()
        return composed[features]

    creator.to_string = to_string
