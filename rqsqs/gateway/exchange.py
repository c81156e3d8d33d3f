"""A request on its way through the gateway, and its answer in the protocol that it speaks."""

from __future__ import annotations

import time
from typing import Any

from rqsqs.cloudwatch import CLOUDWATCH
from rqsqs.event_models import Actor
from rqsqs.sqs import SQS, Failed, Service
from rqsqs.sqs.request_ids import request_id

from . import sts
from .protocols import cbor, cloudwatch_shapes, json, shapes, xml
from .protocols.model import Action
from .request import HttpRequest, HttpResponse

ACTIONS: dict[str, Action] = {**shapes.ACTIONS, **cloudwatch_shapes.ACTIONS}  # no name is in both
_TARGET = f"{CLOUDWATCH.target}."


class Exchange:
    """A request and what became known of it, for its answer and the log.

    Attributes:
        service: which it is for; SQS until something says otherwise.
        action: its name, once it is known to exist.
        queue: URL or name of the queue that it is about.
        alarm: the name of the alarm that it is about.
        key_id: the access key that it is signed with; until that is checked, the one that it names.
        account: that of its caller, once it is known.
        form: names and values of the Query protocol; None = AWS JSON, or CBOR.
        wants_json: the Query protocol with Accept: application/json.
        is_cbor: CBOR.
    """

    __slots__ = (
        "account",
        "action",
        "alarm",
        "form",
        "is_cbor",
        "key_id",
        "queue",
        "request",
        "request_id",
        "service",
        "started",
        "wants_json",
    )

    def __init__(self, request: HttpRequest) -> None:
        self.request = request
        self.request_id = request_id()
        self.started = time.perf_counter()
        self.action = self.queue = self.alarm = self.key_id = ""
        self.account = ""
        target = request.headers.get("x-amz-target")
        self.is_cbor = target is None and request.headers.get(cbor.HEADER) == cbor.PROTOCOL
        self.form: dict[str, str] | None = None if self.is_cbor or target is not None else {}
        is_cloudwatch = self.is_cbor or (target is not None and target.startswith(_TARGET))
        self.service: Service = CLOUDWATCH if is_cloudwatch else SQS
        self.wants_json = False

    @property
    def actor(self) -> Actor:
        """Who asks, for events."""
        return Actor("gateway", self.key_id, self.request.peer or "", self.account)

    def success(self, response: dict[str, Any]) -> HttpResponse:
        """What an action answered."""
        more = response.pop("ResponseMetadata", {}).get("HTTPHeaders", {})
        shape = ACTIONS[self.action].response
        if self.is_cbor:
            more = {cbor.HEADER: cbor.PROTOCOL, **more}
            return self.respond(200, cbor.CONTENT_TYPE if shape else "", cbor.write(response, shape), more)
        if self.form is None:
            return self.respond(200, json.CONTENT_TYPE, json.write(response, shape), more)
        if self.wants_json:
            body = xml.write_json(self.action, response, shape, self.request_id)
            return self.respond(200, "application/json", body, more)
        body = xml.write(self.action, response, shape, self.request_id, self.service.xml_namespace)
        return self.respond(200, xml.CONTENT_TYPE, body, more)

    def error(self, failed: Failed, more: dict[str, str]) -> HttpResponse:
        """An error."""
        more = {"x-amzn-query-error": failed.query_error, **more}
        if self.is_cbor:
            more[cbor.HEADER] = cbor.PROTOCOL
            return self.respond(failed.status, cbor.CONTENT_TYPE, cbor.write_error(failed, self.service), more)
        if self.form is None:
            return self.respond(failed.status, json.CONTENT_TYPE, json.write_error(failed, self.service), more)
        if self.wants_json:
            body = xml.write_json_error(failed, self.request_id)
            return self.respond(failed.status, "application/json", body, more)
        space = sts.NAMESPACE if sts.is_sts(self.form) else self.service.xml_namespace
        body = xml.write_error(failed, self.request_id, space)
        return self.respond(failed.status, xml.CONTENT_TYPE, body, more)

    def respond(self, status: int, content_type: str, body: bytes, more: dict[str, str] | None = None) -> HttpResponse:
        """An answer of any kind.

        Args:
            content_type: "" = there is no content.
        """
        headers = {"x-amzn-requestid": self.request_id}
        if content_type:
            headers["content-type"] = content_type
        if more:
            headers.update(more)
        return HttpResponse(status, headers, body)
