"""AWS Signature Version 4: who signed a request, in the Authorization header or in a presigned query string.

    caller = verify(request, keys, service="sqs", region="us-east-1", now=time.time())

The body is always part of what is signed, the Host header too, and X-Amz-Target if there is one: nothing that says what
a request does can be changed on its way. A request can be sent again within its time, as with AWS: fifteen minutes, or
what X-Amz-Expires says.
"""

from __future__ import annotations

import functools
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import NamedTuple
from urllib.parse import quote_from_bytes, unquote_to_bytes

from .callers import ANONYMOUS, Caller
from .refusals import IncompleteSignature, InvalidSignature, UnrecognizedClient
from .request import HttpRequest

ALGORITHM = "AWS4-HMAC-SHA256"
TERMINATOR = "aws4_request"
SKEW_S = 15 * 60
MAX_EXPIRES_S = 7 * 24 * 3600
LONGEST_KEY_ID = 128
SIGNING_KEYS = 32  # of one access key: days, times the services of this gateway

_MARKS = (b"X-Amz-Signature=", b"X-Amz-Credential=", b"X-Amz-Algorithm=")
_PRESIGNED = ("X-Amz-Algorithm", "X-Amz-Credential", "X-Amz-Date", "X-Amz-Expires", "X-Amz-SignedHeaders",
              "X-Amz-Signature")  # fmt: skip
_IN_HEADER = ("Credential", "SignedHeaders", "Signature")
_SECURITY_TOKEN = "x-amz-security-token"


def _digest(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


class AccessKey:
    """An access key: its id, its secret, and whose it is. Signing keys made of it are remembered."""

    __slots__ = ("_secret", "_signing_keys", "caller", "key_id")

    def __init__(self, key_id: str, secret: str, caller: Caller) -> None:
        self.key_id = key_id
        self.caller = caller
        self._secret = secret
        self._signing_keys: dict[tuple[str, str, str], bytes] = {}

    def signing_key(self, date: str, region: str, service: str) -> bytes:
        """The key that signs requests of one day, region and service."""
        found = self._signing_keys.get((date, region, service))
        if found is None:
            found = f"AWS4{self._secret}".encode()
            for part in (date, region, service, TERMINATOR):
                found = hmac.digest(found, part.encode(), "sha256")
            if len(self._signing_keys) >= SIGNING_KEYS:
                self._signing_keys.clear()
            self._signing_keys[date, region, service] = found
        return found

    def has_secret(self, text: str) -> bool:
        """Whether this is its secret; that takes as long whatever the text is."""
        return hmac.compare_digest(_digest(text.encode("utf-8", "replace")), _digest(self._secret.encode()))

    def mark(self, name: str) -> str:
        """What says of something with a secret name that it is of this key with this secret; it tells neither."""
        return hmac.digest(self._secret.encode(), f"mark {name}".encode("utf-8", "replace"), "sha256").hex()

    def __repr__(self) -> str:
        return f"AccessKey({self.key_id!r})"


NOBODY = AccessKey("", secrets.token_hex(20), ANONYMOUS)  # an unknown key costs the same work as a known one


class _Signed(NamedTuple):
    """What a request says about its signature."""

    credential: str
    signed_headers: str
    signature: str
    timestamp: str
    time: float
    query: str  # canonical
    expires_s: int | None = None  # of a presigned request


def is_signed(request: HttpRequest) -> bool:
    """Whether a request has a signature, be it right or wrong."""
    query = request.query_string
    return "authorization" in request.headers or (bool(query) and any(mark in query for mark in _MARKS))


def key_id_of(request: HttpRequest) -> str:
    """The access key id that a request names, unchecked; "" if it names none. For gateways that check nobody."""
    try:
        key_id = _read(request).credential.partition("/")[0]
    except (IncompleteSignature, InvalidSignature):
        return ""
    return key_id if len(key_id) <= LONGEST_KEY_ID and key_id.isprintable() else ""


def verify(request: HttpRequest, keys: Mapping[str, AccessKey], *, service: str, region: str, now: float) -> Caller:
    """Check the signature of a request.

    Args:
        request: as it came.
        keys: the access keys that are active, by their ids.
        service: which one the signature must be for.
        region: of this gateway.
        now: seconds since 1970.

    Raises:
        IncompleteSignature: a part is missing or cannot be read.
        InvalidSignature: it is wrong, or of another time, region or service.
        UnrecognizedClient: the key is not among `keys`, or temporary credentials were used.
    """
    signed = _read(request)
    key_id, date = _check_scope(signed, service, region)
    _check_time(signed, now)
    headers = request.headers
    names = signed.signed_headers.split(";")
    if "host" not in names:
        raise InvalidSignature("'Host' must be a 'SignedHeader' in the AWS Authorization.")
    if "x-amz-target" in headers and "x-amz-target" not in names:
        raise InvalidSignature("'X-Amz-Target' must be a 'SignedHeader' in the AWS Authorization.")
    payload = hashlib.sha256(request.body).hexdigest()
    if headers.get("x-amz-content-sha256", payload) != payload:  # UNSIGNED-PAYLOAD and STREAMING-... included
        raise InvalidSignature("The provided 'x-amz-content-sha256' header does not match what was computed.")
    try:
        lines = "\n".join([f"{name}:{headers[name]}" for name in names])
        if not _are_trimmed(lines, len(names)):
            lines = "\n".join([f"{name}:{_value(headers[name])}" for name in names])
    except KeyError:
        raise InvalidSignature from None
    path = _canonical_path(request.raw_path)
    canonical = f"{request.method}\n{path}\n{signed.query}\n{lines}\n\n{signed.signed_headers}\n{payload}"
    scope = signed.credential[len(key_id) + 1 :]
    digest = hashlib.sha256(canonical.encode("latin-1", "replace")).hexdigest()
    key = keys.get(key_id)
    signing_key = (key or NOBODY).signing_key(date, region, service)
    text = f"{ALGORITHM}\n{signed.timestamp}\n{scope}\n{digest}".encode("latin-1", "replace")
    is_right = hmac.compare_digest(
        hmac.digest(signing_key, text, "sha256").hex().encode(), signed.signature.encode("latin-1", "replace")
    )
    if key is None or _SECURITY_TOKEN in headers or b"X-Amz-Security-Token=" in request.query_string:
        raise UnrecognizedClient
    if not is_right:
        raise InvalidSignature
    return key.caller


def _read(request: HttpRequest) -> _Signed:
    authorization = request.headers.get("authorization")
    query = request.query_string
    if authorization is None:
        return _read_query(query)
    if query and any(mark in query for mark in _MARKS):
        raise IncompleteSignature(
            "A request must be signed in its Authorization header or in its query string, not in both."
        )
    algorithm, _, text = authorization.partition(" ")
    if algorithm != ALGORITHM:
        raise IncompleteSignature(f"The Authorization header must begin with {ALGORITHM}.")
    parts = {}
    for part in text.split(","):
        name, equals, value = part.strip().partition("=")
        if not equals or name in parts or name not in _IN_HEADER:
            raise IncompleteSignature(
                "The Authorization header must have the form Credential=..., SignedHeaders=..., Signature=..."
            )
        parts[name] = value
    absent = [name for name in ("Credential", "Signature", "SignedHeaders") if not parts.get(name)]
    timestamp = request.headers.get("x-amz-date") or _iso(request.headers.get("date", ""))
    if absent or not timestamp:
        texts = [f"Authorization header requires '{name}' parameter." for name in absent]
        if not timestamp:
            texts.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
        raise IncompleteSignature(" ".join(texts))
    return _Signed(
        parts["Credential"],
        parts["SignedHeaders"],
        parts["Signature"],
        timestamp,
        _time_of(timestamp),
        _canonical_query(_pairs(query)) if query else "",
    )


def _read_query(query: bytes) -> _Signed:
    pairs = _pairs(query)
    found: dict[str, str] = {}
    for pair in pairs:
        if pair[0].startswith(b"X-Amz-"):
            name, value = (part.decode("latin-1") for part in pair)
            if name in found:
                raise IncompleteSignature(f"AWS query-string parameters must contain '{name}' once.")
            found[name] = value
    absent = [name for name in _PRESIGNED if not found.get(name)]
    if absent:
        texts = [f"AWS query-string parameters must include '{name}'." for name in absent]
        raise IncompleteSignature(" ".join(texts))
    algorithm, credential, timestamp, expires, signed_headers, signature = (found[name] for name in _PRESIGNED)
    if algorithm != ALGORITHM:
        raise IncompleteSignature(f"X-Amz-Algorithm must be {ALGORITHM}.")
    if not (expires.isascii() and expires.isdigit() and len(expires) < 8 and 1 <= int(expires) <= MAX_EXPIRES_S):
        raise IncompleteSignature(f"X-Amz-Expires must be a number of seconds from 1 to {MAX_EXPIRES_S}.")
    time = _time_of(timestamp)
    return _Signed(credential, signed_headers, signature, timestamp, time, _canonical_query(pairs), int(expires))


def _check_scope(signed: _Signed, service: str, region: str) -> tuple[str, str]:
    """The key id and date of the credential."""
    parts = signed.credential.split("/")
    if len(parts) != 5:
        raise IncompleteSignature(
            "Credential must have exactly 5 slash-delimited elements, e.g. keyid/date/region/service/term."
        )
    key_id, date, of_region, of_service, term = parts
    if term != TERMINATOR:
        raise InvalidSignature(f"Credential should be scoped with a valid terminator: '{TERMINATOR}'.")
    if of_region != region:
        raise InvalidSignature(f"Credential should be scoped to a valid region, not '{of_region}'.")
    if of_service != service:
        raise InvalidSignature(f"Credential should be scoped to correct service: '{service}'.")
    if date != signed.timestamp[:8]:
        raise InvalidSignature(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{date}' != '{signed.timestamp[:8]}', from '{signed.timestamp}'."
        )
    return key_id, date


def _check_time(signed: _Signed, now: float) -> None:
    if signed.time > now + SKEW_S:
        raise InvalidSignature(
            f"Signature not yet current: {signed.timestamp} is still later than {_stamp(now + SKEW_S)} "
            f"({_stamp(now)} + {SKEW_S // 60} min.)"
        )
    if signed.expires_s is None and signed.time < now - SKEW_S:
        raise InvalidSignature(
            f"Signature expired: {signed.timestamp} is now earlier than {_stamp(now - SKEW_S)} "
            f"({_stamp(now)} - {SKEW_S // 60} min.)"
        )
    if signed.expires_s is not None and signed.time + signed.expires_s < now:
        end = _stamp(signed.time + signed.expires_s)
        raise InvalidSignature(f"Signature expired: {end} is now earlier than {_stamp(now)}")


def _stamp(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y%m%dT%H%M%SZ")


def _iso(date: str) -> str:
    """The Date header in the form of X-Amz-Date; as it is, if it cannot be read."""
    if not date or date[:1].isdigit():
        return date
    try:
        return parsedate_to_datetime(date).astimezone(UTC).strftime("%Y%m%dT%H%M%SZ")
    except (ValueError, OverflowError):
        return date


@functools.lru_cache(maxsize=1024)
def _time_of(timestamp: str) -> float:
    try:
        if len(timestamp) == 16 and timestamp.isascii():
            return datetime.strptime(timestamp, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()
    except ValueError:
        pass
    raise IncompleteSignature("Date must be in ISO-8601 'basic format', e.g. 20150830T123600Z.")


def _are_trimmed(lines: str, number: int) -> bool:
    """Are headers, one in a line, as `_value` gives them? False if that is not seen at once."""
    if "  " in lines or ": " in lines or " \n" in lines or lines[-1:] == " " or lines.count("\n") >= number:
        return False
    return lines.isascii() and lines.replace("\n", "").isprintable()


def _value(value: str) -> str:
    """A header without the blanks at its ends, and one for several within; others than ASCII's are no blanks."""
    return b" ".join(value.encode("latin-1", "replace").split()).decode("latin-1")


def _canonical_path(path: bytes) -> str:
    """Without empty segments and dots, then encoded once more, as SQS is not S3."""
    if path == b"/":
        return "/"
    segments: list[bytes] = []
    for segment in path.split(b"/"):
        if segment == b"..":
            del segments[-1:]
        elif segment not in (b"", b"."):
            segments.append(segment)
    end = b"/" if segments and path.endswith(b"/") else b""
    return quote_from_bytes(b"/" + b"/".join(segments) + end, "/~")


def _canonical_query(pairs: list[tuple[bytes, bytes]]) -> str:
    """The parameters encoded and sorted."""
    encoded = [(_encode(name), _encode(value)) for name, value in pairs if name != b"X-Amz-Signature"]
    encoded.sort()
    return "&".join([f"{name}={value}" for name, value in encoded])


def _encode(part: bytes) -> str:
    return part.decode() if part.isalnum() else quote_from_bytes(part, "-_.~")


def _pairs(query: bytes) -> list[tuple[bytes, bytes]]:
    """The parameters of a query string, decoded. A plus is a blank here, since the Query protocol reads it so."""
    pairs = []
    for part in query.split(b"&"):
        if part:
            name, _, value = part.partition(b"=")
            pairs.append((_decode(name), _decode(value)))
    return pairs


def _decode(part: bytes) -> bytes:
    return unquote_to_bytes(part.replace(b"+", b" ")) if b"%" in part or b"+" in part else part
