"""AWS Query: responses as XML, or as the JSON of the same tree."""

from __future__ import annotations

import base64
import re
from datetime import UTC, datetime
from typing import Any

from rqsqs.cloudwatch import CLOUDWATCH
from rqsqs.sqs import SQS, Failed

from .json import dumps
from .model import List, Map, Scalar, Shape, Structure

CONTENT_TYPE = "text/xml"

_IMPOSSIBLE = re.compile("[\0-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")
_NO_QUEUE = "AWS.SimpleQueueService.NonExistentQueue"
_JSON_NAMES = {"Messages": "messages", "QueueUrls": "queueUrls"}


def text(value: str) -> str:
    """Text between tags. A carriage return has to be written as a number, as parsers make a line feed of it; what XML
    cannot have at all becomes U+FFFD."""
    if "&" in value:
        value = value.replace("&", "&amp;")
    if "<" in value:
        value = value.replace("<", "&lt;")
    if ">" in value:
        value = value.replace(">", "&gt;")
    if not value.isprintable():
        value = _IMPOSSIBLE.sub("\ufffd", value).replace("\r", "&#xD;")
    return value


def write(
    action: str, response: dict[str, Any], shape: Structure | None, request_id: str, namespace: str = SQS.xml_namespace
) -> bytes:
    """A response."""
    parts = [f'<?xml version="1.0"?><{action}Response xmlns="{namespace}">']
    if shape is not None:
        inner: list[str] = []
        _write_members(inner, response, shape)
        if inner:
            parts += [f"<{action}Result>", *inner, f"</{action}Result>"]
        else:
            parts.append(f"<{action}Result/>")
    parts.append(f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></{action}Response>")
    return "".join(parts).encode()


def _write_members(parts: list[str], value: dict[str, Any], shape: Structure) -> None:
    for name, kind in shape.members.items():
        member = value.get(name)
        if member is None:
            continue
        if isinstance(kind, List | Map):
            if kind.is_wrapped:
                parts.append(f"<{name}>")
            _write_items(parts, member, kind)
            if kind.is_wrapped:
                parts.append(f"</{name}>")
        else:
            _write(parts, name, member, kind)


def _write_items(parts: list[str], value: Any, shape: List | Map) -> None:
    if isinstance(shape, List):
        for item in value:
            _write(parts, shape.name, item, shape.item)
        return
    for key, item in value.items():
        parts.append(f"<{shape.name}><{shape.key}>{text(key)}</{shape.key}>")
        _write(parts, shape.value, item, shape.item)
        parts.append(f"</{shape.name}>")


def _write(parts: list[str], name: str, value: Any, shape: Shape) -> None:
    if isinstance(shape, Structure):
        parts.append(f"<{name}>")
        _write_members(parts, value, shape)
        parts.append(f"</{name}>")
    elif shape is Scalar.STRING:
        parts.append(f"<{name}>{text(value)}</{name}>")
    else:
        parts.append(f"<{name}>{_plain(value)}</{name}>")


def _plain(value: Any) -> str:
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if isinstance(value, datetime):
        timespec = "milliseconds" if value.microsecond else "seconds"
        return f"{value.astimezone(UTC).replace(tzinfo=None).isoformat(timespec=timespec)}Z"
    return str(value).lower() if isinstance(value, bool) else str(value)


def write_json(action: str, response: dict[str, Any], shape: Structure | None, request_id: str) -> bytes:
    """A response for `Accept: application/json`."""
    tree: dict[str, Any] = {"ResponseMetadata": {"RequestId": request_id}}
    if shape is not None:
        tree = {f"{action}Result": _as_json(response, shape), **tree}
    return dumps({f"{action}Response": tree})


def _as_json(value: Any, shape: Shape) -> Any:
    if isinstance(shape, Structure):
        members = shape.members
        return {_JSON_NAMES.get(name, name): _as_json(member, members[name]) for name, member in value.items()}
    if isinstance(shape, List):
        return [_as_json(item, shape.item) for item in value]
    if isinstance(shape, Map):
        return [{shape.key: key, shape.value: _as_json(item, shape.item)} for key, item in value.items()]
    return value


def _error_text(failed: Failed) -> str:
    """The one text that differs from the JSON protocol's."""
    if failed.code == _NO_QUEUE and failed.text == "The specified queue does not exist.":
        return "The specified queue does not exist for this wsdl version."
    return failed.text


def write_error(failed: Failed, request_id: str, namespace: str = SQS.xml_namespace) -> bytes:
    """The body of an error. CloudWatch has no Detail, and no Message where it is empty."""
    said = f"<Message>{text(_error_text(failed))}</Message>"
    if namespace == CLOUDWATCH.xml_namespace:
        detail, said = "", said if failed.text else ""
    else:
        detail = "<Detail/>"
    return (
        f'<?xml version="1.0"?><ErrorResponse xmlns="{namespace}"><Error><Type>{failed.fault}</Type>'
        f"<Code>{failed.code}</Code>{said}{detail}</Error>"
        f"<RequestId>{request_id}</RequestId></ErrorResponse>"
    ).encode()


def write_json_error(failed: Failed, request_id: str) -> bytes:
    """The body of an error for `Accept: application/json`."""
    error = {"Code": failed.code, "Message": _error_text(failed), "Type": failed.fault}
    return dumps({"Error": error, "RequestId": request_id})
