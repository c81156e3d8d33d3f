"""The MD5 digests that SQS returns, byte for byte: other SDKs verify them."""

from __future__ import annotations

from collections.abc import Mapping
from hashlib import md5

_STRING, _BINARY = b"\x01", b"\x02"


def md5_of_body(body: str) -> str:
    """Hex MD5 of the UTF-8 body (MD5OfMessageBody, MD5OfBody)."""
    return md5(body.encode(), usedforsecurity=False).hexdigest()


def md5_of_attributes(attributes: Mapping[str, tuple[str, str | bytes]]) -> str:
    """Hex MD5 over message attributes (MD5OfMessageAttributes, MD5OfMessageSystemAttributes).

    Sorted by name, each attribute contributes

        length(name) name length(type) type transport length(value) value

    where a length is four bytes, big-endian, and `transport` one byte: 1 for String and Number, 2 for Binary.

    Args:
        attributes: name -> (DataType with its custom label, value as text or bytes).
    """
    digest = md5(usedforsecurity=False)
    for name, (data_type, value) in sorted(attributes.items()):
        digest.update(_with_length(name.encode()))
        digest.update(_with_length(data_type.encode()))
        digest.update(_BINARY if data_type.startswith("Binary") else _STRING)
        digest.update(_with_length(value.encode() if isinstance(value, str) else value))
    return digest.hexdigest()


def _with_length(data: bytes) -> bytes:
    return len(data).to_bytes(4, "big") + data
