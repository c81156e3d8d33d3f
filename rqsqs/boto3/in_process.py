"""Answers the requests of clients of SQS and CloudWatch in process, from handlers of botocore's own events.

    client.send_message(...)
      provide-client-params, before-parameter-build   the user's handlers; ours comes last and notes the parameters,
                                                      unless nobody validates them
      validation, serialisation                       botocore's
      before-call                                     the user's handlers and Stubber; ours comes last and answers
      after-call, exceptions                          botocore's

So everything a user can observe is botocore's own, up to signing and HTTP, which do not happen. The handlers of one
client are in `clients`; here is what they call: a Responder, or an AsyncResponder for a client of aiobotocore.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import json
import os
import threading
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from botocore.awsrequest import AWSResponse, HeadersDict
from botocore.parsers import create_parser

from rqsqs._core import telemetry
from rqsqs._core.actors import program
from rqsqs._core.operation import Flow
from rqsqs._io.connect import shown
from rqsqs._io.sync.runner import Transport
from rqsqs.errors import EmbeddedServerUnavailable, RequestError, ServerError
from rqsqs.limits import AWS, Limits
from rqsqs.models import Durability
from rqsqs.sqs import SQS, Context, Service, describe, perform
from rqsqs.sqs.context import DEFAULT_ACCOUNT, DEFAULT_REGION
from rqsqs.sqs.durability_header import NotSafeEnough
from rqsqs.sqs.error_responses import Failed
from rqsqs.sqs.names import is_account
from rqsqs.sqs.request_ids import request_id

if TYPE_CHECKING:
    from rqsqs._io.aio.runner import Transport as AsyncTransport

from .error_mapping import as_botocore_error
from .json_parameters import read
from .typed_parameters import as_shape, known

# Connections are held to the end of the process, since nobody closes clients of boto3: so an embedded server keeps its
# queues between two clients, move tasks run on, and a later client finds connections ready.
_LINKS: set[object] = set()
_EMBEDDED: dict[str, object] = {}  # URL -> a hold on the server, for clients of aiobotocore, which are closed
_JSON = "application/x-amz-json-1.0"

Answer = tuple[AWSResponse, dict[str, Any]]


class _Response:
    """What both kinds of HTTP responses have: what hardly anybody looks at is made when somebody does.

    Args:
        parsed: what the body says, and ResponseMetadata.
    """

    def __init__(
        self, service: Service, region: str, status_code: int, headers: dict[str, str], parsed: dict[str, Any]
    ) -> None:
        self.status_code = status_code
        self._service, self._region, self._headers, self._parsed = service, region, headers, parsed
        self._content: bytes | None = None

    @functools.cached_property
    def url(self) -> str:
        return self._service.endpoint(self._region)

    @functools.cached_property
    def headers(self) -> HeadersDict:
        return HeadersDict(self._headers)

    @functools.cached_property
    def raw(self) -> _Body:
        return _Body(self._parsed)


class _SyncResponse(_Response, AWSResponse):  # type: ignore[override] # the same, made later
    """One of botocore's."""


class _Responder:
    """What both kinds share.

    Args:
        url: of the server.
        limits: what requests may ask for.
        account: AWS account number in URLs and ARNs; None = AWS_ACCOUNT_ID, else twelve zeros.
        durability: how safe messages have to be.
        service: of the client, sqs or cloudwatch.
        options: for the transport: `prefix` of the keys, `clock`, and options of redis-py's connections.
    """

    response: Callable[..., AWSResponse] = _SyncResponse

    def __init__(
        self,
        url: str,
        limits: Limits = AWS,
        account: str | None = None,
        durability: Durability | None = None,
        service: str = "sqs",
        **options: Any,
    ) -> None:
        self.url = url
        self._service = SQS if service == "sqs" else _cloudwatch()
        self._options = options
        self._limits = limits
        self._durability = durability
        account = account or os.environ.get("AWS_ACCOUNT_ID", "")
        self._account = account if is_account(account) else DEFAULT_ACCOUNT
        self._contexts: dict[str, Context] = {}

    def _flow(
        self, transport: Any, model: Any, request: Any, params: Any, context: dict[str, Any]
    ) -> Flow[dict[str, Any]]:
        region = context.get("client_region") or DEFAULT_REGION
        found = self._contexts.get(region)
        if found is None:
            found = self._contexts[region] = Context(
                transport.space, region, self._account, self._limits, durability=self._durability
            )
        if self._service is not SQS:
            params = as_shape(params or {}, model.input_shape)
            return self._service.perform(found, model.name, params)
        params = read(params, request["body"], model.input_shape)
        on = telemetry.current
        if on is not None:
            return on.request(transport.url, found, model.name, params)
        return perform(found, model.name, params)

    def _respond(self, outcome: dict[str, Any] | RequestError, model: Any, context: dict[str, Any]) -> Answer:
        """The HTTP response and the parsed one."""
        headers = {"x-amzn-requestid": request_id(), "content-type": _JSON, "date": _date(int(time.time()))}
        if isinstance(outcome, dict):
            if "ResponseMetadata" in outcome:
                headers.update(outcome.pop("ResponseMetadata")["HTTPHeaders"])
            is_sqs = self._service is SQS or model.output_shape is None
            parsed = outcome if is_sqs else known(outcome, model.output_shape)
            status, said = 200, parsed
        else:
            failed = describe(outcome)
            done = outcome.response if isinstance(outcome, NotSafeEnough) else {}
            if "ResponseMetadata" in done:
                headers.update(done.pop("ResponseMetadata")["HTTPHeaders"])
            headers["x-amzn-query-error"] = failed.query_error
            parsed = {**done, **parsed_error(failed, model, headers, self._service)}
            status, said = failed.status, failed.body(self._service)
        region = context.get("client_region") or DEFAULT_REGION
        response = self.response(self._service, region, status, headers, said)
        parsed["ResponseMetadata"] = {
            "RequestId": headers["x-amzn-requestid"],
            "HTTPStatusCode": status,
            "HTTPHeaders": headers,
            "RetryAttempts": 0,
        }
        return response, parsed


class Responder(_Responder):
    """Answers requests from one Redis. Safe for use by many threads, and after a fork."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._transport: Transport | None = None
        self._lock = threading.Lock()

    def answer(self, model: Any, request: Any, params: Any, context: dict[str, Any], emit: Any) -> Answer:
        """Answer a request.

        Args:
            model: botocore's, of the operation.
            request: what botocore made of the parameters.
            params: the parameters, if botocore has validated them or the service is not SQS, else None.
            context: botocore's, of the request.
            emit: of the client's events.

        Raises:
            BotoCoreError: the server failed.
        """
        try:
            transport = self._transport or self._open()
            outcome: Any = transport.run(self._flow(transport, model, request, params, context))
        except (RequestError, NotSafeEnough) as error:
            outcome = error
        except (ServerError, EmbeddedServerUnavailable) as error:
            raised = as_botocore_error(error, shown(self.url))
            emit(f"after-call-error.{self._service.name}.{model.name}", exception=raised, context=context)
            raise raised from error
        return self._respond(outcome, model, context)

    def _open(self) -> Transport:
        with self._lock:
            if self._transport is None:
                self._transport = Transport(self.url, **self._options)
                self._transport.space.actor = program("boto3")
                _LINKS.add(self._transport.link)
            return self._transport

    def close(self) -> None:
        """Give the connections up; the next request opens others."""
        with self._lock:
            transport, self._transport = self._transport, None
        if transport is not None:
            transport.close()
            if transport.link.users <= 0:
                _LINKS.discard(transport.link)


class AsyncResponder(_Responder):
    """Answers the requests of a client of aiobotocore, on its event loop."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        from aiobotocore.awsrequest import AioAWSResponse  # type: ignore[import-not-found]

        class Response(_Response, AioAWSResponse):  # type: ignore[misc]
            """One of aiobotocore's."""

        self.response = Response
        self._transport: AsyncTransport | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    async def answer(self, model: Any, request: Any, params: Any, context: dict[str, Any], emit: Any) -> Answer:
        """As that of Responder."""
        try:
            transport = self._open()
            outcome: Any = await transport.run(self._flow(transport, model, request, params, context))
        except (RequestError, NotSafeEnough) as error:
            outcome = error
        except (ServerError, EmbeddedServerUnavailable) as error:
            raised = as_botocore_error(error, shown(self.url))
            await emit(f"after-call-error.{self._service.name}.{model.name}", exception=raised, context=context)
            raise raised from error
        return self._respond(outcome, model, context)

    def _open(self) -> AsyncTransport:
        loop = asyncio.get_running_loop()
        if self._transport is None or self._loop is not loop:
            if self.url.startswith("embedded:") and self.url not in _EMBEDDED:
                from rqsqs import embedded

                with contextlib.suppress(ValueError):  # the transport says it better
                    _EMBEDDED[self.url] = embedded.acquire(self.url)
            from rqsqs._io.aio.runner import Transport as AsyncTransport

            self._transport, self._loop = AsyncTransport(self.url, **self._options), loop
            self._transport.space.actor = program("boto3")
        return self._transport

    async def close(self) -> None:
        """Give the connections up. Clients of aiobotocore that were closed answer nothing any more."""
        if self._transport is not None:
            await self._transport.close()


def _cloudwatch() -> Service:
    """Few programs ask for it."""
    from rqsqs.cloudwatch import CLOUDWATCH

    return CLOUDWATCH


def parsed_error(failed: Failed, model: Any, headers: dict[str, str], service: Service) -> dict[str, Any]:
    """What botocore's parser makes of a refusal: the Error, and the members of the shape that has its *code*."""
    if service is not SQS and model.metadata.get("protocol") == "query":  # of an older botocore
        return {"Error": {"Type": failed.fault, "Code": failed.code, "Message": failed.text}}
    response = {"status_code": failed.status, "headers": headers, "body": json.dumps(failed.body(service)).encode()}
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
        yield json.dumps(content, default=_encoded).encode() if content else b""

    async def read(self, *_: Any) -> bytes:
        """The same for aiobotocore."""
        return next(self.stream())


def _encoded(value: Any) -> Any:
    """What JSON does not have, as the protocol writes it."""
    return value.timestamp() if isinstance(value, datetime) else base64.b64encode(value).decode()
