"""One request, from HTTP to HTTP: which action, who calls, where it is answered, what it says.

    protocol -> authenticate -> account -> authorise -> unseal -> perform -> seal -> protocol

Each step raises a RequestError where it refuses; the protocol of the request says how that is worded.
"""

from __future__ import annotations

import logging
import re
from typing import Any

from rqsqs._core import actors, telemetry
from rqsqs._core.alarm_records import PutBy
from rqsqs._io.aio.runner import Transport
from rqsqs.cloudwatch import CLOUDWATCH
from rqsqs.cloudwatch.actions import unsupported
from rqsqs.errors import RequestError, ResourceNotFound, RqsqsError, ServerError
from rqsqs.event_models import Actor
from rqsqs.sqs import SQS, Failed, describe, perform
from rqsqs.sqs.context import DEFAULT_ACCOUNT
from rqsqs.sqs.durability_header import NotSafeEnough
from rqsqs.sqs.moves import source_of
from rqsqs.sqs.names import is_account, parse_arn

from . import sts, urls
from .access import Access
from .access_log import AccessLog
from .accounts import Account, Accounts
from .callers import Caller
from .counts import Counts
from .denials import Denials
from .exchange import ACTIONS, Exchange
from .origins import Origins
from .polls import HungUp, Polls, Receive
from .protocols import cbor, cloudwatch_shapes, json, query, shapes, xml
from .proxies import Proxies
from .refusals import (
    MissingAuthenticationToken,
    NothingHere,
    RequestThrottled,
    UnknownAction,
    UnsupportedEncoding,
)
from .request import HttpRequest, HttpResponse
from .settings import GatewaySettings

log = logging.getLogger("rqsqs.gateway")

SMALL = 16 * 1024  # bytes that are read of somebody who is refused then, to say what

_NOT_ON_QUEUES = frozenset({"CreateQueue", "ListQueues"})
_TOLD = frozenset(  # of which events tell
    (
        "AddPermission", "CancelMessageMoveTask", "CreateQueue", "DeleteQueue", "ListMessageMoveTasks", "PurgeQueue",
        "RemovePermission", "SetQueueAttributes", "StartMessageMoveTask", "TagQueue", "UntagQueue",
        "DeleteAlarms", "DisableAlarmActions", "EnableAlarmActions", "PutCompositeAlarm", "PutMetricAlarm",
        "SetAlarmState", "TagResource", "UntagResource",
    )
)  # fmt: skip
_KNOWN = {SQS: shapes.ACTIONS, CLOUDWATCH: cloudwatch_shapes.ACTIONS}
_KEY_IN_HEADER = re.compile(r"[ ,]Credential=([\w.-]{1,128})/", re.ASCII)
_KEY_IN_QUERY = re.compile(rb"(?:^|&)X-Amz-Credential=([\w.-]{1,128})(?:/|%2[Ff])")
_FORM = "application/x-www-form-urlencoded"


class Actions:
    """Answers requests.

    Args:
        settings: of the gateway.
        access_log: notes each request.
        counts: counts them.

    Attributes:
        origins: where requests may come from.
        polls: the receives that may wait.
    """

    def __init__(
        self, settings: GatewaySettings, access_log: AccessLog | None = None, counts: Counts | None = None
    ) -> None:
        self._settings = settings
        self._access = Access(settings)
        self._accounts = Accounts(settings)
        self._denials = Denials(self._transport)
        self.origins = Origins(settings)
        self._proxies = Proxies(settings)
        self._access_log = access_log
        self._counts = counts
        self.polls = Polls(counts)

    def known_accounts(self) -> set[str]:
        """Those of the keys file, and those that requests were about."""
        return self._access.accounts() | set(self._accounts.numbers())

    async def _transport(self) -> Transport:
        return (await self._accounts.of(DEFAULT_ACCOUNT)).transport

    async def answer(self, request: HttpRequest, receive: Receive, root_path: str = "") -> HttpResponse:
        """Answer a request.

        Args:
            receive: of ASGI; tells when the client hangs up.
            root_path: below which the application is mounted.

        Raises:
            HungUp: the client does not wait for the answer any more.
        """
        exchange = Exchange(self._proxies.client_request(request))
        try:
            response = await self._answer(exchange, receive, root_path)
        except HungUp:
            self._log(exchange, 499)
            raise
        except (RequestError, NotSafeEnough) as error:
            response = self._refusal(exchange, error)
            if response.status == 403:
                self._denials.note(error, exchange.actor, exchange.action, exchange.queue)
        except Exception as error:
            response = self._failure(exchange, error)
        self._log(exchange, response.status)
        return response

    def refuse(self, request: HttpRequest, error: RequestError) -> HttpResponse:
        """The answer to a request that was not read to its end."""
        exchange = Exchange(request)
        response = self._refusal(exchange, error)
        self._log(exchange, response.status)
        return response

    async def ping(self) -> None:
        """Ask Redis for something small.

        Raises:
            RqsqsError: it does not answer.
        """
        account = await self._accounts.of(DEFAULT_ACCOUNT)
        await account.transport.run(perform(account.context(""), "ListQueues", {"MaxResults": 1}))

    async def close(self) -> None:
        """Give all connections up."""
        await self._denials.close()
        await self._accounts.close()

    async def _answer(self, exchange: Exchange, receive: Receive, root_path: str) -> HttpResponse:
        request = exchange.request
        base = self.origins.check(request)
        self._find_action(exchange, root_path)
        caller = self._authenticate(exchange)
        if exchange.action == sts.ACTION:
            body = sts.caller_identity(caller, exchange.request_id)
            return exchange.respond(200, xml.CONTENT_TYPE, body)
        is_nobody = caller.is_anonymous and not self._settings.allow_anonymous
        params = {} if is_nobody and len(request.body) > SMALL else self._read(exchange, root_path)
        number = _account_of(params, caller)
        if "DestinationArn" in params:
            _check_destination(params, number)
        account = await self._accounts.of(number)
        context = account.context(f"{base}{root_path}")
        access, action = self._access, exchange.action
        unsealed = access.unseal(action, account.number, params)
        account.users += 1
        try:
            pending = access.check(caller, action, unsealed, request, context)
            relies = frozenset() if pending is None else await account.transport.run(pending)
            if action == "ReceiveMessage" and self.polls.is_draining:
                unsealed = {**unsealed, "WaitTimeSeconds": 0}
            on = telemetry.current
            if on is None or exchange.service is not SQS:
                flow = exchange.service.perform(context, action, unsealed)
            else:
                flow = on.request(account.transport.url, context, action, unsealed, request.headers)
            if action == "ReceiveMessage" and unsealed.get("WaitTimeSeconds") != 0:
                with access.poll(caller, request):
                    response = await self.polls.run(account.transport, flow, receive)
            elif action in _TOLD:
                response = await self._run_told(account, flow, exchange.actor, access.putter(caller, relies))
            else:
                response = await account.transport.run(flow)
        except RequestError as error:
            error.sqs_message = access.as_sent(action, params, unsealed, error.sqs_message)
            raise
        finally:
            account.users -= 1
            access.note_changes(action, account.number, unsealed)
        return exchange.success(access.seal(action, account.number, params, unsealed, response))

    async def _run_told(self, account: Account, flow: Any, actor: Actor, putter: PutBy | None) -> dict[str, Any]:
        """Run an action of which events tell, and who asked for it."""
        tokens = actors.requester.set(actor), actors.putter.set(putter)
        try:
            response: dict[str, Any] = await account.transport.run(flow)
        finally:
            actors.requester.reset(tokens[0])
            actors.putter.reset(tokens[1])
        return response

    def _find_action(self, exchange: Exchange, root_path: str) -> None:
        """Find the action. Of a body no more is read than that takes, as nobody knows yet who sent it."""
        request, headers = exchange.request, exchange.request.headers
        if exchange.form is not None:
            self._read_form(exchange, exchange.form)
            name = exchange.form["Action"]
            if exchange.form.get("Version") == CLOUDWATCH.version:
                exchange.service, exchange.wants_json = CLOUDWATCH, False
            if name == sts.ACTION and sts.is_sts(exchange.form):
                exchange.action = name
                return
            is_known = name in _KNOWN[exchange.service] and not (
                name in _NOT_ON_QUEUES and _queue_in_path(request, root_path)
            )
        else:
            if headers.get("content-encoding", "identity") != "identity":
                raise UnsupportedEncoding("The body must not be compressed")
            if exchange.is_cbor:
                target, name = cbor.target_of(request.raw_path.decode("latin-1").removeprefix(root_path))
                if target != CLOUDWATCH.target:
                    raise NothingHere("The path must name CloudWatch and an action of it.")
            else:
                name = headers["x-amz-target"].rpartition(".")[2]
            is_known = name in _KNOWN[exchange.service] and request.method == "POST"
        if not is_known:
            if exchange.service is CLOUDWATCH:
                raise unsupported(name)
            text = f"The action {name:.100} is not valid for this endpoint."  # as AWS says it
            raise UnknownAction(text)
        exchange.action = name

    def _read_form(self, exchange: Exchange, form: dict[str, str]) -> None:
        request, headers = exchange.request, exchange.request.headers
        exchange.wants_json = "application/json" in headers.get("accept", "")
        if request.method not in ("GET", "POST"):
            raise NothingHere("The request must have an action.")
        form.update(query.fields(request.query_string))
        if request.method == "POST" and request.body:
            if headers.get("content-encoding", "identity") != "identity":
                raise UnsupportedEncoding("The body must not be compressed")
            if headers.get("content-type", _FORM).partition(";")[0].strip().lower() == _FORM:
                form.update(query.fields(request.body))
        if not form.get("Action"):
            raise NothingHere("The request must have an action.")

    def _read(self, exchange: Exchange, root_path: str) -> dict[str, Any]:
        """Read the parameters."""
        shape = ACTIONS[exchange.action].request
        if exchange.is_cbor:
            params = cbor.read(exchange.request.body, shape)
        elif exchange.form is None:
            params = json.read(exchange.request.body, shape)
        else:
            params = query.read(exchange.form, shape)
            if "QueueUrl" in shape.members and not params.get("QueueUrl"):
                queue_url = _queue_in_path(exchange.request, root_path)
                if queue_url is not None:
                    params["QueueUrl"] = queue_url
        exchange.queue = params.get("QueueUrl") or params.get("QueueName") or ""
        exchange.alarm = params.get("AlarmName") or ""
        return params

    def _authenticate(self, exchange: Exchange) -> Caller:
        """Who calls."""
        request = exchange.request
        is_sts = exchange.action == sts.ACTION
        try:
            caller = self._access.authenticate(request, "sts" if is_sts else exchange.service.signing_name)
        except RequestError:
            exchange.key_id = _claimed_key(request)
            raise
        exchange.key_id, exchange.account = caller.key_id or _claimed_key(request), caller.account
        if is_sts and caller.is_anonymous:
            raise MissingAuthenticationToken
        return caller

    def _refusal(self, exchange: Exchange, error: Exception) -> HttpResponse:
        failed = describe(error)
        if self._counts is not None and isinstance(error, RequestThrottled):
            self._counts.note_throttled()
        if isinstance(error, NothingHere) and exchange.form is not None:
            more = {"x-amzn-query-error": failed.query_error}
            return exchange.respond(failed.status, xml.CONTENT_TYPE, b"<UnknownOperationException/>\n", more)
        done = error.response if isinstance(error, NotSafeEnough) else {}
        return exchange.error(failed, done.pop("ResponseMetadata", {}).get("HTTPHeaders", {}))

    def _failure(self, exchange: Exchange, error: Exception) -> HttpResponse:
        """The server's fault: the log has it in full, the client learns the kind and where to look."""
        where = f"see the log of the gateway for {exchange.request_id}"
        if isinstance(error, RqsqsError):
            log.error("%s %s: %s", exchange.request_id, exchange.action, error)
            failed = Failed(503, "ServiceUnavailable", "ServiceUnavailable", f"{type(error).__name__}; {where}", False)
            if not isinstance(error, ServerError):
                failed = Failed(500, "InternalError", "InternalFailure", f"{type(error).__name__}; {where}", False)
        else:
            log.error("%s %s", exchange.request_id, exchange.action, exc_info=error)
            failed = Failed(500, "InternalError", "InternalFailure", f"The gateway failed; {where}", False)
        return exchange.error(failed, {})

    def _log(self, exchange: Exchange, status: int) -> None:
        if self._access_log is not None:
            self._access_log.add(exchange, status)
        if self._counts is not None:
            self._counts.note(exchange, status)


def _claimed_key(request: HttpRequest) -> str:
    """The access key id that a request names, right or wrong, for the log."""
    if in_header := _KEY_IN_HEADER.search(request.headers.get("authorization", "")):
        return in_header[1]
    in_query = _KEY_IN_QUERY.search(request.query_string)
    return in_query[1].decode() if in_query else ""


def _queue_in_path(request: HttpRequest, root_path: str) -> str | None:
    """The queue that an old SDK posts to."""
    path = request.raw_path.decode("latin-1").removeprefix(root_path)
    return None if path == "/" else urls.queue_url_of_path(path)


def _account_of(params: dict[str, Any], caller: Caller) -> str:
    """The account whose queues a request is about."""
    url = params.get("QueueUrl")
    if url:
        return urls.account_of_url(url) or caller.account or DEFAULT_ACCOUNT
    if "SourceArn" in params:
        found = urls.account_of_arn(params["SourceArn"])
    elif "TaskHandle" in params:
        source = source_of(params["TaskHandle"])
        found = None if source is None else source.account
    else:
        found = params.get("QueueOwnerAWSAccountId")
    return found if found and is_account(found) else caller.account or DEFAULT_ACCOUNT


def _check_destination(params: dict[str, Any], account: str) -> None:
    """Move tasks stay within an account."""
    arn = parse_arn(params.get("DestinationArn") or "")
    if arn is not None and arn.account != account:
        raise ResourceNotFound("The resource that you specified for the DestinationArn parameter doesn't exist.")
