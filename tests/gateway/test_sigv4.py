"""SigV4: what botocore signs is accepted, and nothing that was changed on its way."""

from __future__ import annotations

import os
import random
import string
from dataclasses import replace
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rqsqs.gateway import sigv4
from rqsqs.gateway.callers import Caller, user_of
from rqsqs.gateway.refusals import IncompleteSignature, InvalidSignature, UnrecognizedClient
from rqsqs.gateway.request import HttpRequest
from rqsqs.gateway.sigv4 import MAX_EXPIRES_S, AccessKey, is_signed, key_id_of, verify
from tests.gateway.signing import HOST, KEY_ID, NOW, SECRET, signed

ALICE = user_of("alice", "111111111111", key_id=KEY_ID)
KEYS = {KEY_ID: AccessKey(KEY_ID, SECRET, ALICE)}
JSON_HEADERS = {"content-type": "application/x-amz-json-1.0", "x-amz-target": "AmazonSQS.SendMessage"}
REQUESTS = int(os.environ.get("RQSQS_TEST_SIGNATURES", "400"))  # 200,000 in a thorough run


def check(request: HttpRequest, *, now: float = NOW, region: str = "us-east-1", service: str = "sqs") -> Caller:
    return verify(request, KEYS, service=service, region=region, now=now)


def with_headers(request: HttpRequest, **changes: str | None) -> HttpRequest:
    headers = dict(request.headers)
    for name, value in changes.items():
        headers.pop(name.replace("_", "-"), None)
        if value is not None:
            headers[name.replace("_", "-")] = value
    return replace(request, headers=headers)


def with_authorization(request: HttpRequest, old: str, new: str) -> HttpRequest:
    text = request.headers["authorization"]
    assert old in text
    return with_headers(request, authorization=text.replace(old, new))


def presigned(**options: Any) -> HttpRequest:
    given: dict[str, Any] = {"method": "GET", "query": "Action=ReceiveMessage", "path": "/1/q", "expires": 60}
    return signed(**given | options)


def a_request(rng: random.Random) -> dict[str, Any]:
    """Whatever clients may send, spelled as they do."""
    text = "".join(rng.choices(string.printable.strip() + "  äß€\u00a0😀", k=rng.randrange(40)))
    parts = ["orders", "..", ".", "", "a b", "x%41", "~me", "ü", "+", "a=b", "a:b", "$&", "111111111111"]
    path = "/" + "/".join(quote(part, safe="") for part in rng.choices(parts, k=rng.randrange(4)))
    pairs = [
        (rng.choice(["Action", "a", "B-", "X-Amz", "ü", "a.1.b"]) + str(i), text[i:]) for i in range(rng.randrange(6))
    ]
    query = "&".join(f"{quote(name, safe='-_.~')}={quote(value, safe='-_.~')}" for name, value in pairs)
    headers = {"content-type": "application/x-amz-json-1.0", "user-agent": "me"}
    for name in rng.sample(["x-amz-target", "x-amzn-query-mode", "x-other", "accept", "date"], k=rng.randrange(5)):
        headers[name] = f"{' ' * rng.randrange(3)}a{' ' * rng.randrange(4)}{rng.choice(('b', 'c,d', '', chr(9) + 'x'))}"
    return {
        "method": rng.choice(["POST", "GET"]),
        "path": path,
        "query": query,
        "headers": headers,
        "host": rng.choice([HOST, "sqs.example.org", "[::1]:9324", "127.0.0.1:80"]),
        "body": rng.choice([b"", text.encode(), rng.randbytes(rng.randrange(300))]),
    }


def test_what_botocore_signs_is_accepted_and_what_is_changed_is_not() -> None:
    rng = random.Random(REQUESTS)
    for _ in range(REQUESTS):
        options = a_request(rng)
        if rng.random() < 0.3:
            options |= {"expires": rng.randrange(1, MAX_EXPIRES_S), "body": b""}
            del options["headers"]["content-type"]
        request = signed(**options)
        assert check(request) is ALICE, request
        changed = _changed(request, rng)
        try:
            check(changed)
        except (InvalidSignature, IncompleteSignature):
            continue
        pytest.fail(f"accepted {changed}, signed was {request}")


def _changed(request: HttpRequest, rng: random.Random) -> HttpRequest:
    """The request, with one thing changed that is signed."""
    choices = [
        replace(request, body=request.body + b"x"),
        replace(request, method="PUT"),
        replace(request, raw_path=request.raw_path.rstrip(b"/") + b"/other"),
        replace(request, query_string=b"&".join(filter(None, (request.query_string, b"Other=1")))),
        with_headers(request, host="elsewhere:9324"),
        with_headers(request, **{"x-amz-target": "AmazonSQS.DeleteQueue, x"}),
    ]
    if request.body:
        place = rng.randrange(len(request.body))
        flipped = bytes([request.body[place] ^ 1])
        choices.append(replace(request, body=request.body[:place] + flipped + request.body[place + 1 :]))
    if b"X-Amz-Signature" in request.query_string:
        bit = request.query_string[-1:]
        choices.append(replace(request, query_string=request.query_string[:-1] + (b"0" if bit != b"0" else b"1")))
    return rng.choice(choices)


def test_a_wrong_secret_an_unknown_key_and_a_token_that_nobody_issued() -> None:
    with pytest.raises(InvalidSignature, match="does not match the signature you provided"):
        check(signed(secret="another"))
    with pytest.raises(UnrecognizedClient) as unknown:
        check(signed(key_id="AKIDOTHER"))
    for request in (signed(token="FQoGZXIvYXdz"), presigned(token="FQoGZXIvYXdz")):
        with pytest.raises(UnrecognizedClient, match="security token included in the request is invalid"):
            check(request)
    assert (unknown.value.http_status, unknown.value.sqs_code) == (403, "InvalidClientTokenId")


def test_an_unknown_key_costs_the_same_work_as_a_wrong_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    import rqsqs.gateway.sigv4 as module

    calls: list[str] = []
    for name in ("digest", "compare_digest"):
        original = getattr(module.hmac, name)
        monkeypatch.setattr(module.hmac, name, lambda *args, o=original, n=name: (calls.append(n), o(*args))[1])
    work = {}
    for kind, options in {"unknown": {"key_id": "AKIDOTHER"}, "wrong": {"secret": "another"}}.items():
        request = signed(**options)
        for _ in range(2):  # the second one finds the day's signing key ready
            calls.clear()
            with pytest.raises((InvalidSignature, UnrecognizedClient)):
                check(request)
        work[kind] = list(calls)
    assert work["unknown"] == work["wrong"] == ["digest", "compare_digest"]


@pytest.mark.parametrize("presign", [False, True], ids=["header", "presigned"])
def test_another_region_service_or_day_is_refused(presign: bool) -> None:
    make = presigned if presign else signed
    with pytest.raises(InvalidSignature, match="valid region, not 'eu-west-1'"):
        check(make(region="eu-west-1"))
    with pytest.raises(InvalidSignature, match="correct service: 'sqs'"):
        check(make(service="sts"))
    with pytest.raises(InvalidSignature, match="correct service: 'sts'"):
        check(make(), service="sts")
    assert check(make(service="sts"), service="sts") is ALICE
    assert check(make(region="eu-west-1"), region="eu-west-1") is ALICE


def test_a_request_can_be_sent_again_for_fifteen_minutes() -> None:
    request = signed()
    for now in (NOW, NOW, NOW + 900, NOW - 900):
        assert check(request, now=now) is ALICE
    with pytest.raises(InvalidSignature, match=r"expired: \w+ is now earlier than \w+ \(\w+ - 15 min\.\)"):
        check(request, now=NOW + 901)
    with pytest.raises(InvalidSignature, match=r"not yet current: \w+ is still later than \w+ \(\w+ \+ 15 min\.\)"):
        check(request, now=NOW - 901)


def test_a_presigned_request_can_be_sent_again_until_it_expires() -> None:
    request = presigned(expires=3600)
    for now in (NOW, NOW + 3600, NOW - 900):
        assert check(request, now=now) is ALICE
    with pytest.raises(InvalidSignature, match="Signature expired"):
        check(request, now=NOW + 3601)
    with pytest.raises(InvalidSignature, match="not yet current"):
        check(request, now=NOW - 901)
    assert check(presigned(expires=MAX_EXPIRES_S), now=NOW + MAX_EXPIRES_S) is ALICE
    for expires in (0, -1, MAX_EXPIRES_S + 1, "x", "1e3", "٣"):
        with pytest.raises(IncompleteSignature, match="X-Amz-Expires"):
            check(presigned(expires=expires))


def test_nothing_can_be_added_to_a_presigned_request() -> None:
    request = presigned()
    with pytest.raises(InvalidSignature):
        check(replace(request, method="POST"))
    with pytest.raises(InvalidSignature):
        check(replace(request, body=b"Action=PurgeQueue"))
    with pytest.raises(InvalidSignature, match="X-Amz-Target"):
        check(with_headers(request, x_amz_target="AmazonSQS.PurgeQueue"))
    with pytest.raises(IncompleteSignature, match="once"):
        check(replace(request, query_string=request.query_string + b"&X-Amz-Expires=604800"))
    with pytest.raises(IncompleteSignature, match="not in both"):
        check(with_headers(request, authorization=signed().headers["authorization"]))


def test_host_and_target_must_be_signed() -> None:
    request = signed(headers=JSON_HEADERS)
    with pytest.raises(InvalidSignature, match="'Host' must be a 'SignedHeader'"):
        check(with_authorization(request, "content-type;host;", "content-type;"))
    with pytest.raises(InvalidSignature, match="'X-Amz-Target' must be a 'SignedHeader'"):
        check(with_authorization(request, ";x-amz-target", ""))
    with pytest.raises(InvalidSignature, match="'X-Amz-Target' must be a 'SignedHeader'"):
        check(with_headers(signed(), x_amz_target="AmazonSQS.DeleteQueue"))
    with pytest.raises(InvalidSignature):
        check(with_headers(request, content_type=None))  # signed, and gone


@pytest.mark.parametrize(
    "hash_sent",
    ["UNSIGNED-PAYLOAD", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", "0" * 64],
)
def test_the_body_must_be_signed(hash_sent: str) -> None:
    with pytest.raises(InvalidSignature, match="x-amz-content-sha256"):
        check(signed(headers={"X-Amz-Content-SHA256": hash_sent}, body=b"{}"))
    empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
    assert check(signed(headers={"X-Amz-Content-SHA256": empty})) is ALICE


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "must begin with AWS4-HMAC-SHA256"),
        ("Bearer abc", "must begin with AWS4-HMAC-SHA256"),
        ("AWS4-ECDSA-P256-SHA256 Credential=a", "must begin with AWS4-HMAC-SHA256"),
        ("AWS4-HMAC-SHA256", "must have the form"),
        ("AWS4-HMAC-SHA256 nonsense", "must have the form"),
        ("AWS4-HMAC-SHA256 Credential=a, Credential=b", "must have the form"),
        ("AWS4-HMAC-SHA256 Credential=a", "requires 'Signature' parameter.*requires 'SignedHeaders' parameter"),
        ("AWS4-HMAC-SHA256 Credential=a, SignedHeaders=host, Signature=b", "exactly 5 slash-delimited"),
        ("AWS4-HMAC-SHA256 Credential=a/b/c/d/e/f, SignedHeaders=host, Signature=b", "exactly 5 slash-delimited"),
    ],
)
def test_an_authorization_header_that_cannot_be_read(text: str, says: str) -> None:
    with pytest.raises(IncompleteSignature, match=says) as refused:
        check(with_headers(signed(), authorization=text))
    assert (refused.value.http_status, refused.value.sqs_code) == (400, "IncompleteSignature")


@pytest.mark.parametrize(
    "date", ["", "now", "20270115", "2027-01-15T08:00:00Z", "20270115T080000+0", "20271315T080000Z"]
)
def test_a_date_that_cannot_be_read(date: str) -> None:
    with pytest.raises(IncompleteSignature):
        check(with_headers(signed(), x_amz_date=date))


def test_the_day_of_the_scope_is_that_of_the_date() -> None:
    request = with_headers(signed(), x_amz_date="20270116T000000Z")
    with pytest.raises(InvalidSignature, match="does not match YYYYMMDD"):
        check(request)


def test_a_plus_in_a_query_means_the_blank_that_the_action_gets() -> None:
    request = signed(method="GET", query="Action=SendMessage&MessageBody=a%20b")
    assert check(replace(request, query_string=b"Action=SendMessage&MessageBody=a+b")) is ALICE
    with pytest.raises(InvalidSignature):
        check(replace(request, query_string=b"Action=SendMessage&MessageBody=a%2Bb"))
    assert check(replace(request, query_string=b"MessageBody=a%20b&Action=Send%4dessage")) is ALICE


def test_who_is_asked_for_a_signature() -> None:
    unsigned = HttpRequest("GET", b"/", b"Action=ListQueues", {"host": HOST})
    assert not is_signed(unsigned)
    assert key_id_of(unsigned) == ""
    for request in (signed(), presigned(), with_headers(unsigned, authorization="")):
        assert is_signed(request)
    assert key_id_of(signed(key_id="123456789012")) == key_id_of(presigned(key_id="123456789012")) == "123456789012"


def test_a_key_shows_no_secret() -> None:
    assert SECRET not in repr(KEYS) + repr(ALICE)


@given(st.lists(st.text(st.sampled_from(" \t\n:ab\xa0\x1f\u0100"), max_size=4), min_size=1, max_size=3))
def test_headers_are_taken_as_they_are_only_if_nothing_is_to_be_trimmed(values: list[str]) -> None:
    lines = "\n".join([f"x:{value}" for value in values])
    if sigv4._are_trimmed(lines, len(values)):
        assert [sigv4._value(value) for value in values] == values
