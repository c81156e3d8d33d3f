"""Answers the requests of SQS clients in process, from handlers of botocore's own events.

    client.send_message(...)
      provide-client-params, before-parameter-build   the user's handlers; ours comes last and notes the parameters
      validation, serialisation                       botocore's
      before-call                                     the user's handlers and Stubber; ours comes last and answers
      after-call, exceptions                          botocore's

So everything a user can observe is botocore's own, up to signing and HTTP, which do not happen.
"""

from __future__ import annotations

import base64
import functools
import json
import os
import threading
import time
import uuid
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

from botocore.awsrequest import AWSResponse
from botocore.parsers import create_parser

from rqsqs._io.connect import shown
from rqsqs._io.sync import Transport
from rqsqs.errors import EmbeddedServerUnavailable, RequestError, ServerError
from rqsqs.limits import AWS, Limits
from rqsqs.sqs import Context, Failed, describe, perform
from rqsqs.sqs.context import DEFAULT_ACCOUNT, DEFAULT_REGION
from rqsqs.sqs.names import endpoint_of, is_account
from rqsqs.sqs.safety import NotSafeEnough
from rqsqs.types import Durability

from .parameters import plain
from .trouble import as_botocore_error

_PARAMS = "rqsqs_params"  # key in botocore's request context
# Connections are held to the end of the process, since nobody closes clients of boto3: so an embedded server keeps its
# queues between two clients, move tasks run on, and a later client finds connections ready.
_LINKS: set[object] = set()
_JSON = "application/x-amz-json-1.0"


class Answering:
    """Answers requests from one Redis.

    Safe for use by many threads, and after a fork.

    Args:
        url: of the server.
        limits: what requests may ask for.
        account: AWS account number in URLs and ARNs; None = AWS_ACCOUNT_ID, else twelve zeros.
        durability: how safe messages have to be.
        options: for the transport: `prefix` of the keys, and options of redis-py's connections.
    """

    def __init__(
        self,
        url: str,
        limits: Limits = AWS,
        account: str | None = None,
        durability: Durability | None = None,
        **options: Any,
    ) -> None:
        self.url = url
        self._options = options
        self._limits = limits
        self._durability = durability
        account = account or os.environ.get("AWS_ACCOUNT_ID", "")
        self._account = account if is_account(account) else DEFAULT_ACCOUNT
        self._transport: Transport | None = None
        self._contexts: dict[str, Context] = {}
        self._lock = threading.Lock()

    def register(self, events: Any, scope: str = "") -> None:
        """Register with an event emitter, in place of what was registered there before.

        Args:
            events: of a client or a session.
            scope: "" for an SQS client, ".sqs" for a session, which has clients of many services. botocore calls
                handlers of longer event names first, so that "" comes behind all that users can register.
        """
        for event, handler in (("before-parameter-build", self.note_params), ("before-call", self.answer)):
            for each in ("", ".sqs"):
                events.unregister(event + each, unique_id=f"rqsqs-{event}{each}")
            events.register_last(event + scope, handler, unique_id=f"rqsqs-{event}{scope}")

    def note_params(self, params: Any, context: dict[str, Any], **_: Any) -> None:
        """Handler of before-parameter-build."""
        context[_PARAMS] = params

    def answer(self, model: Any, context: dict[str, Any], **_: Any) -> tuple[AWSResponse, dict[str, Any]]:
        """Handler of before-call: the HTTP response and the parsed one."""
        region = context.get("client_region") or DEFAULT_REGION
        headers = {"x-amzn-requestid": str(uuid.uuid4()), "content-type": _JSON, "date": _date(int(time.time()))}
        try:
            transport = self._transport or self._open()
            params = plain(context.pop(_PARAMS))
            parsed = transport.run(perform(self._context(transport, region), model.name, params))
            headers.update(parsed.pop("ResponseMetadata", {}).get("HTTPHeaders", {}))
            status, body = 200, _Body(parsed)
        except NotSafeEnough as error:
            failed = describe(error)
            headers.update(error.response.pop("ResponseMetadata", {}).get("HTTPHeaders", {}))
            headers["x-amzn-query-error"] = failed.query_error
            parsed = {**error.response, **parsed_error(failed, model, headers)}
            status, body = failed.status, _Body(failed.body())
        except RequestError as error:
            failed = describe(error)
            headers["x-amzn-query-error"] = failed.query_error
            parsed = parsed_error(failed, model, headers)
            status, body = failed.status, _Body(failed.body())
        except (ServerError, EmbeddedServerUnavailable) as error:
            raise as_botocore_error(error, shown(self.url)) from error
        response = AWSResponse(endpoint_of(region), status, headers, body)  # type: ignore[arg-type]
        parsed["ResponseMetadata"] = {
            "RequestId": headers["x-amzn-requestid"],
            "HTTPStatusCode": status,
            "HTTPHeaders": headers,
            "RetryAttempts": 0,
        }
        return response, parsed

    def _open(self) -> Transport:
        with self._lock:
            if self._transport is None:
                self._transport = Transport.open(self.url, **self._options)
                _LINKS.add(self._transport.link)
            return self._transport

    def _context(self, transport: Transport, region: str) -> Context:
        found = self._contexts.get(region)
        if found is None:
            found = self._contexts[region] = Context(
                transport.space, region, self._account, self._limits, durability=self._durability
            )
        return found


def parsed_error(failed: Failed, model: Any, headers: dict[str, str]) -> dict[str, Any]:
    """What botocore's parser makes of a refusal: the Error, and the members of the shape that has its *code*, if one.

    Args:
        failed: the refusal.
        model: botocore's model of the operation.
        headers: of the response.
    """
    response = {"status_code": failed.status, "headers": headers, "body": json.dumps(failed.body()).encode()}
    parser = create_parser("json")
    parsed: dict[str, Any] = parser.parse(response, model.output_shape)
    shape = model.service_model.shape_for_error_code(parsed["Error"]["Code"])
    if shape is not None:
        parsed.update(parser.parse(response, shape))
    return parsed


@functools.lru_cache(maxsize=2)
def _date(seconds: int) -> str:
    return formatdate(seconds, usegmt=True)


class _Body:
    """The body of a response, made when somebody asks for it."""

    __slots__ = ("_parsed",)

    def __init__(self, parsed: dict[str, Any]) -> None:
        self._parsed = parsed

    def stream(self, *_: Any, **__: Any) -> Iterator[bytes]:
        """The body in one piece."""
        content = {name: value for name, value in self._parsed.items() if name != "ResponseMetadata"}
        yield json.dumps(content, default=lambda blob: base64.b64encode(blob).decode()).encode() if content else b""
