"""A request and a response of HTTP, as every part of the gateway sees them: no web framework, no server."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class HttpRequest:
    """A request.

    Attributes:
        method: in upper case.
        raw_path: as on the wire, without the query string.
        query_string: as on the wire, without the question mark.
        headers: names in lower case; values as latin-1, those of a repeated name with commas between them.
        body: all of it.
        peer: the address of the client; None if there is none.
        is_secure: whether the client used TLS.
    """

    method: str
    raw_path: bytes
    query_string: bytes
    headers: Mapping[str, str]
    body: bytes = b""
    peer: str | None = None
    is_secure: bool = False


@dataclass(frozen=True, slots=True)
class HttpResponse:
    """A response."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
