"""boto3 with SQS on Redis: `from rqsqs import boto3` instead of `import boto3`, and nothing else changes.

    from rqsqs import boto3

    sqs = boto3.client("sqs", endpoint_url="redis://localhost:6379/0")
    url = sqs.create_queue(QueueName="orders")["QueueUrl"]
    sqs.send_message(QueueUrl=url, MessageBody="hello")

Clients and resources are boto3's own: validation, exceptions, paginators, Stubber, events and retry settings are the
real ones. The server is `endpoint_url` if that is a Redis URL, else RQSQS_URL, else AWS_ENDPOINT_URL_SQS if it is a
Redis URL, else redis://localhost:6379/0. Other services, and SQS with another `endpoint_url`, go where boto3 sends
them; so does CloudWatch, unless its `endpoint_url` is a Redis URL. `attach` does the same to a client, resource or
session that exists already, and `patch` to all SQS clients of this process, whoever makes them.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

try:
    import boto3 as _boto3
except ImportError as error:
    if error.name not in ("boto3", "botocore"):
        raise
    raise ImportError("rqsqs.boto3 needs boto3, which is not installed: pip install 'rqsqs[boto3]'") from error

from . import aliases, session
from .session import Session

if TYPE_CHECKING:  # type checkers see boto3's own functions, or the overloads of boto3-stubs
    from boto3 import client, resource, set_stream_logger, setup_default_session

    from .clients import attach
    from .patching import patch

    DEFAULT_SESSION: Session | None
else:
    DEFAULT_SESSION = None

    def setup_default_session(**kwargs: Any) -> None:
        """Make the default session, which is not the one of plain boto3. Parameters as of boto3."""
        global DEFAULT_SESSION
        DEFAULT_SESSION = Session(**kwargs)

    def client(*args: Any, **kwargs: Any) -> Any:
        """Create a client in the default session. Parameters as of boto3."""
        return _default_session().client(*args, **kwargs)

    def resource(*args: Any, **kwargs: Any) -> Any:
        """Create a resource in the default session. Parameters as of boto3."""
        return _default_session().resource(*args, **kwargs)

    def _default_session() -> Session:
        if DEFAULT_SESSION is None:
            setup_default_session()
        return DEFAULT_SESSION

    set_stream_logger = _boto3.set_stream_logger

_LATER = {"attach": "rqsqs.boto3.clients", "patch": "rqsqs.boto3.patching"}

aliases.install(__path__, _boto3.__path__)


def __getattr__(name: str) -> Any:
    """What is imported when somebody asks for it; all else is boto3's."""
    module = _LATER.get(name)
    if module is None:
        return getattr(_boto3, name)
    return globals().setdefault(name, getattr(importlib.import_module(module), name))


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__, *dir(_boto3)})


__all__ = [
    "DEFAULT_SESSION",
    "Session",
    "attach",
    "client",
    "patch",
    "resource",
    "session",
    "set_stream_logger",
    "setup_default_session",
]
