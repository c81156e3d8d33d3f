"""Sending a message: typed, from a file, or as a copy of one that is there."""

from __future__ import annotations

import base64
import binascii
import json
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.responses import Response

from rqsqs.console.pages.message import find_message
from rqsqs.console.pages.messages import list_url, tell
from rqsqs.console.pages.shown import Shown
from rqsqs.console.permissions import LOOK_INTO
from rqsqs.console.refusals import ConsoleRefusal
from rqsqs.console.visits import Values, Visit
from rqsqs.console.written import due_of, typed, typed_as_is
from rqsqs.errors import InvalidParameterValue, RequestError
from rqsqs.inspection.bodies import body_type

KINDS = {"text": "Text", "json": "JSON: received as an object", "base64": "Base64: received as bytes"}
TYPES = {"text": "Text", "number": "Number", "base64": "Base64"}
MOST_ATTRIBUTES = 10
LARGEST_COPY = 262_144  # characters of a body that is put into the form
EMPTY = ("", "text", "")


async def form(visit: Visit) -> Shown:
    """The form: empty, or filled in from a message."""
    queue = visit.queue()
    filled = _values("", "text", "", "", "", [])
    if visit.query.get("copy"):
        await visit.require(LOOK_INTO)
        message = await find_message(visit, visit.query["copy"])
        text, kind = _as_typed(message.body)
        attributes = [_typed_attribute(name, value) for name, value in message.attributes.items()]
        filled = _values(text, kind, message.group or "", "", "", attributes)
        if not text and message.body != "":
            filled["failure"] = "This body is too large or too odd for a form: save it, and choose the file below."
    return Shown("send.html", await _page(visit, queue.name, filled))


async def send(visit: Visit) -> Response:
    """Send it. If it is refused, what was typed stays."""
    form = await visit.form()
    queue = visit.queue()
    try:
        sent = await queue.send(await _body(form), **_options(form))
    except (RequestError, ConsoleRefusal) as error:
        rows = [tuple(map(str, row)) for row in _attribute_fields(form) if any(row[::2])]
        text = typed_as_is(form, "body")
        kind = typed(form, "kind")
        due = typed(form, "due")
        filled = _values(text, kind, typed_as_is(form, "group"), typed_as_is(form, "deduplication_id"), due, rows)
        filled["failure"] = str(error)
        return visit.page("send.html", await _page(visit, queue.name, filled), 400)
    if not sent.is_duplicate:
        await tell(visit, queue, "sent", [sent.message_id])
    visit.changed()
    told = f"Sent {sent.message_id}."
    if sent.is_duplicate:
        told = f"Not stored again: the deduplication id is that of {sent.message_id}."
    return visit.back_to(list_url(visit, queue.name, "delayed" if typed(form, "due") else None), told)


async def _page(visit: Visit, queue: str, filled: Values) -> Values:
    common = {"section": "Queues", "tab": "messages", "title": f"Send to {queue}", "queue": queue}
    return common | {"kinds": KINDS, "types": TYPES, "is_fifo": queue.endswith(".fifo")} | filled


def _values(body: str, kind: str, group: str, deduplication_id: str, due: str, attributes: list[Any]) -> Values:
    rows = (attributes + [EMPTY] * MOST_ATTRIBUTES)[: max(MOST_ATTRIBUTES, len(attributes))]
    typed = {"body": body, "kind": kind, "group": group, "deduplication_id": deduplication_id, "due": due}
    return {"typed": typed, "attributes": rows, "given": len(attributes), "failure": ""}


def _as_typed(body: Any) -> tuple[str, str]:
    """A body for the form, and its kind; "" if a form cannot hold it."""
    kind = body_type(body)
    if kind == "bytes":
        return (base64.b64encode(body).decode() if len(body) <= LARGEST_COPY else ""), "base64"
    if kind == "text":
        is_fit = len(body) <= LARGEST_COPY and not any(c in body for c in "\r\0")
        return (body if is_fit else ""), "text"
    try:
        text = json.dumps(body, ensure_ascii=False, indent=2, allow_nan=False)
        return (text if len(text) <= LARGEST_COPY and json.loads(text) == body else ""), "json"
    except (TypeError, ValueError, RecursionError):
        return "", "json"


def _typed_attribute(name: str, value: Any) -> tuple[str, str, str]:
    if isinstance(value, bytes):
        return name, "base64", base64.b64encode(value).decode()
    return name, "text" if isinstance(value, str) else "number", str(value)


# What was filled in


async def _body(form: FormData) -> Any:
    kind, file = typed(form, "kind"), form.get("file")
    data: str | bytes = typed_as_is(form, "body")
    if isinstance(file, UploadFile) and (file.filename or file.size):
        if data:
            raise InvalidParameterValue("the body must be typed or come from a file, got both: empty one of them")
        data = await file.read()
        if kind == "base64":
            return data  # it is bytes already
        try:
            data = data.decode()
        except UnicodeDecodeError:
            raise InvalidParameterValue("the file must hold UTF-8 text to be sent as that, got other bytes") from None
    if kind == "json":
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise InvalidParameterValue(f"the body must be JSON: {error}") from None
    return _decoded("the body", data) if kind == "base64" else data


def _options(form: FormData) -> dict[str, Any]:
    attributes = {}
    for name, kind, value in _attribute_fields(form):
        if not name and not value:
            continue
        if not name:
            raise InvalidParameterValue("an attribute must have a name, got a value without one")
        attributes[name] = _attribute(name, kind, value)
    due = typed(form, "due")
    return {
        "group": typed_as_is(form, "group") or None,
        "deduplication_id": typed_as_is(form, "deduplication_id") or None,
        "attributes": attributes or None,
        **(due_of(due) if due else {}),
    }


def _attribute_fields(form: FormData) -> list[tuple[str, str, str]]:
    names, kinds, values = (list(map(str, form.getlist(f"attribute_{what}"))) for what in ("name", "type", "value"))
    return list(zip(names, kinds, values, strict=False))


def _attribute(name: str, kind: str, value: str) -> Any:
    if kind == "base64":
        return _decoded(f"the attribute {name[:80]!r}", value)
    if kind != "number":
        return value
    try:
        return int(value) if value.strip().lstrip("+-").isdigit() else float(value)
    except ValueError:
        raise InvalidParameterValue(f"the attribute {name[:80]!r} must be a number, got {value[:80]!r}") from None


def _decoded(what: str, text: str | bytes) -> bytes:
    try:
        return base64.b64decode("".join(str(text).split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise InvalidParameterValue(f"{what} must be base64: {error}") from None
