"""A body as JSON, XML, text or hex, for people to read. Nothing in it is interpreted; of a large one the beginning."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from typing import Any

import msgpack

from rqsqs._text import jsonable

from .bodies import in_json

VIEWS = {"json": "JSON", "xml": "XML", "text": "Text", "hex": "Hex"}
MOST = 100_000  # characters that are shown
LARGEST = 1_048_576  # characters of a body that is put in order before
MOST_HEX = 8_192  # bytes
WIDTH = 16
DEEPEST = 40  # levels that are indented
_TAG_OR_TEXT = re.compile(r"<[^<>]*>|[^<]+|<")
_WHOLE = {"<!--": "-->", "<![CDATA[": "]]>"}  # what may hold tags that are none


def body_bytes(body: Any) -> bytes:
    """A body as a file holds it: an object as JSON if that says all, else as msgpack."""
    if isinstance(body, bytes):
        return body
    if isinstance(body, str):
        return body.encode(errors="surrogatepass")
    try:
        return json.dumps(body, ensure_ascii=False, default=jsonable).encode(errors="surrogatepass")
    except (TypeError, ValueError, RecursionError):
        return bytes(msgpack.packb(body))


def usual_view(body: Any) -> str:
    """How a body is shown if nobody says."""
    if isinstance(body, bytes):
        try:
            text = codecs.getincrementaldecoder("utf-8")().decode(body[:LARGEST], final=len(body) <= LARGEST)
        except UnicodeDecodeError:
            return "hex"
        return "hex" if re.search(r"[\x00-\x08\x0e-\x1f]", text) else "text"
    if isinstance(body, str):
        if len(body) <= LARGEST and in_json(body) is not None:
            return "json"
        return "xml" if re.match(r"\s*<[?!A-Za-z]", body) and re.search(r">\s*\Z", body[-100:]) else "text"
    return "json"


def shown_as(view: str, body: Any) -> tuple[str, bool]:
    """A body in one of VIEWS; and whether that is not all of it."""
    if view == "hex":
        data = msgpack.packb(body) if not isinstance(body, str | bytes) else body_bytes(body)
        return _hex(data[:MOST_HEX]), len(data) > MOST_HEX
    text = body if isinstance(body, str) else body_bytes(body).decode(errors="backslashreplace")
    if len(text) <= LARGEST:
        text = _pretty_json(body, text) if view == "json" else _pretty_xml(text) if view == "xml" else text
    return text[:MOST], len(text) > MOST


def _hex(data: bytes) -> str:
    lines = []
    for at in range(0, len(data), WIDTH):
        part = data[at : at + WIDTH]
        seen = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in part)
        lines.append(f"{at:08x}  {part.hex(' '):{3 * WIDTH - 1}}  {seen}")
    return "\n".join(lines)


def _pretty_json(body: Any, text: str) -> str:
    value = body if not isinstance(body, str | bytes) else _parsed(text)
    try:
        return text if value is None else json.dumps(value, ensure_ascii=False, default=jsonable, indent=2)
    except (TypeError, ValueError, RecursionError):
        return text


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _pretty_xml(text: str) -> str:
    """A line for each tag and text. It is not parsed: entities stay as they are."""
    lines, depth, size = list[str](), 0, 0
    for piece in _pieces(text):
        if not piece.strip():
            continue
        is_end = piece.startswith("</")
        depth = max(depth - is_end, 0)
        lines.append("  " * min(depth, DEEPEST) + piece.strip())
        size += len(lines[-1])
        if size > 4 * MOST:  # more is not shown, even if lines are joined
            break
        is_begin = piece.startswith("<") and len(piece) > 1 and piece[1] not in "/!?" and not piece.endswith("/>")
        depth += is_begin
    return "\n".join(_joined(lines))


def _pieces(text: str) -> Iterator[str]:
    """Tags, comments, and the text between them, each looked at once."""
    at, unended = 0, set[str]()
    while at < len(text):
        end = -1
        for begin, ending in _WHOLE.items():
            if begin not in unended and text.startswith(begin, at):
                end = text.find(ending, at + len(begin))
                if end < 0:
                    unended.add(begin)
                else:
                    end += len(ending)
        if end < 0:
            found = _TAG_OR_TEXT.match(text, at)
            assert found is not None
            end = found.end()
        yield text[at:end]
        at = end


def _joined(lines: list[str]) -> list[str]:
    """A short text stands in the line of its tags."""
    found: list[str] = []
    for line in lines:
        text = line.strip()
        if len(found) > 1 and text.startswith("</") and not found[-1].lstrip().startswith("<"):
            begin = re.match(r"<([^\s/>]+)", found[-2].strip())
            if begin is not None and begin[1] == text[2:].rstrip(">").strip():
                found[-2:] = [found[-2] + found[-1].strip() + text]
                continue
        found.append(line)
    return found
