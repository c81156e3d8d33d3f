"""CBOR, as far as it is spoken: errors of smithy-rpc-v2-cbor, so that its clients can read why they are refused."""

from __future__ import annotations

CONTENT_TYPE = "application/cbor"
HEADER = "smithy-protocol"
PROTOCOL = "rpc-v2-cbor"

_TEXT, _MAP = 3, 5


def write(members: dict[str, str]) -> bytes:
    """A map of texts."""
    parts = [_head(_MAP, len(members))]
    for pair in members.items():
        for text in pair:
            encoded = text.encode("utf-8", "replace")
            parts += [_head(_TEXT, len(encoded)), encoded]
    return b"".join(parts)


def _head(kind: int, size: int) -> bytes:
    first = kind << 5
    if size < 24:
        return bytes([first | size])
    return bytes([first | 25, size >> 8, size & 255])  # up to 65,535, which no text here reaches
