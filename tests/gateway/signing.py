"""Requests signed by botocore, as HttpRequest."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from unittest import mock
from urllib.parse import urlsplit

import botocore.auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

from rqsqs.gateway.request import HttpRequest

NOW = 1_800_000_000.0
KEY_ID, SECRET = "AKIDEXAMPLE", "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"
HOST = "localhost:9324"


def signed(
    *,
    method: str = "POST",
    path: str = "/",
    query: str = "",
    headers: dict[str, str] | None = None,
    body: bytes = b"",
    host: str = HOST,
    key_id: str = KEY_ID,
    secret: str = SECRET,
    token: str | None = None,
    region: str = "us-east-1",
    service: str = "sqs",
    at: float = NOW,
    expires: int | None = None,
) -> HttpRequest:
    """A request as botocore signs it; presigned if `expires` is given."""
    request = AWSRequest(
        method=method, url=f"http://{host}{path}{query and '?' + query}", data=body, headers=headers or {}
    )
    credentials = Credentials(key_id, secret, token)
    if expires is None:
        signer = botocore.auth.SigV4Auth(credentials, service, region)
    else:
        signer = botocore.auth.SigV4QueryAuth(credentials, service, region, expires=expires)
    moment = datetime.fromtimestamp(at, UTC)
    with _it_is(moment):
        signer.add_auth(request)
    parts = urlsplit(request.url)
    found = {name.lower(): value for name, value in request.headers.items()}
    data = request.data if isinstance(request.data, bytes) else b""
    found.setdefault("host", botocore.auth._host_from_url(request.url))  # without the port, if it is the usual one
    return HttpRequest(method, parts.path.encode(), parts.query.encode(), found, data)


def _it_is(moment: datetime) -> Any:
    """The time that botocore signs with; versions differ in where they get it."""
    if hasattr(botocore.auth, "get_current_datetime"):
        return mock.patch("botocore.auth.get_current_datetime", return_value=moment)
    clock = SimpleNamespace(utcnow=lambda: moment.replace(tzinfo=None), strptime=datetime.strptime)
    return mock.patch("botocore.auth.datetime", SimpleNamespace(datetime=clock))
