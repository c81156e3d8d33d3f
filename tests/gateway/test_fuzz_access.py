"""Whatever is in a signature, a policy, a sealed handle or a keys file is accepted or refused, and nothing else.

RQSQS_FUZZ_SECONDS lets each test run for so long.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from rqsqs.errors import InvalidAttributeValue, OverLimit
from rqsqs.gateway.callers import ANONYMOUS, user_of
from rqsqs.gateway.keys import KeysFileInvalid, read
from rqsqs.gateway.policies import RequestContext, decide, read_queue_policy
from rqsqs.gateway.refusals import IncompleteSignature, InvalidSignature, UnrecognizedClient
from rqsqs.gateway.request import HttpRequest
from rqsqs.gateway.sealing import Sealer, SealingSecret
from rqsqs.gateway.sigv4 import AccessKey, is_signed, key_id_of, verify
from rqsqs.sqs.attributes import check_policy
from tests.gateway.signing import KEY_ID, NOW, SECRET, signed

SECONDS = float(os.environ.get("RQSQS_FUZZ_SECONDS", "1"))
ALICE = user_of("alice", "111111111111", key_id=KEY_ID)
KEYS = {KEY_ID: AccessKey(KEY_ID, SECRET, ALICE)}
ODD = [
    "",
    " ",
    "\x00",
    "\xa0",
    "é",
    "\xff",
    "%",
    "%zz",
    "%00",
    "+",
    ",",
    "=",
    "/",
    ";",
    "\\",
    "'",
    '"',
    "*",
    "?",
    "${",
    "}",
    "{}",
    "-1",
    "0",
    "9" * 30,
    "1e9",
    "NaN",
    "true",
    "null",
    "aws4_request",
    "AWS4-HMAC-SHA256",
    "host",
    "20270115T080000Z",
    "a" * 3000,
    "é" * 100,
    "Credential=",
    "Signature=",
    "SignedHeaders=",
    "X-Amz-Date",
    "X-Amz-Expires=1",
    "&",
    "..",
    "//",
]


def cases() -> Iterator[random.Random]:
    """Random numbers until the time is over."""
    end, seed = time.monotonic() + SECONDS, 0
    while seed < 50 or time.monotonic() < end:
        seed += 1
        yield random.Random(seed)


def mangled(text: str, rng: random.Random) -> str:
    """A text with some of it cut, doubled or replaced."""
    for _ in range(rng.randrange(1, 4)):
        a, b = sorted(rng.randrange(len(text) + 1) for _ in range(2))
        text = text[:a] + rng.choice([*ODD, text[a:b] * 2, text[b : b + 5]]) + text[b:]
    return text


def test_signatures() -> None:
    for rng in cases():
        presign = rng.random() < 0.5
        good = signed(method="GET", query="Action=ListQueues", expires=60 if presign else None)
        headers = dict(good.headers)
        query, path = good.query_string.decode(), good.raw_path.decode()
        for _ in range(rng.randrange(1, 3)):
            where = rng.choice(["header", "query", "path"])
            if where == "header":
                name = rng.choice([*headers, "x-amz-security-token", "x-amz-content-sha256", "date", "x-amz-target"])
                headers[name] = mangled(headers.get(name, ""), rng).encode("latin-1", "replace").decode("latin-1")
            elif where == "query":
                query = mangled(query, rng)
            else:
                path = mangled(path, rng)
        request = HttpRequest(
            "GET", path.encode("utf-8", "replace"), query.encode("utf-8", "replace"), headers, b"", "192.0.2.1"
        )
        key_id_of(request)
        if not is_signed(request):
            continue
        told = ""
        try:
            assert verify(request, KEYS, service="sqs", region="us-east-1", now=NOW) is ALICE  # the same, spelled oddly
        except (IncompleteSignature, InvalidSignature, UnrecognizedClient) as refused:
            told = str(refused)
        assert SECRET not in told


def a_value(rng: random.Random, depth: int = 0) -> Any:
    kind = rng.randrange(7 if depth < 4 else 5)
    if kind < 3:
        return rng.choice(
            [
                *ODD,
                "sqs:*",
                "*",
                "Allow",
                "Deny",
                "arn:aws:sqs:*:*:*",
                "aws:SourceIp",
                "10.0.0.0/8",
                "2012-10-17",
                "arn:aws:iam::111111111111:root",
                "111111111111",
                "${aws:username}",
                "QQ==",
                "2027-01-01T00:00Z",
            ]
        )
    if kind == 3:
        return rng.choice([True, False, None, 0, -1, 1.5, 10**40, float("inf"), float("nan")])
    if kind == 4:
        return []
    if kind == 5:
        return [a_value(rng, depth + 1) for _ in range(rng.randrange(4))]
    names = [
        "Version",
        "Statement",
        "Effect",
        "Principal",
        "NotPrincipal",
        "Action",
        "NotAction",
        "Resource",
        "NotResource",
        "Condition",
        "Sid",
        "Id",
        "AWS",
        "Service",
        "StringEquals",
        "StringLike",
        "IpAddress",
        "DateLessThan",
        "Null",
        "Bool",
        "ForAllValues:StringLike",
        "NumericEqualsIfExists",
        "ArnLike",
        "aws:SourceIp",
        "aws:TagKeys",
    ]
    return {rng.choice(names): a_value(rng, depth + 1) for _ in range(rng.randrange(5))}


def test_policies() -> None:
    """Those that are accepted decide without an error, whoever asks; those that are not deny."""
    accepted = 0
    for rng in cases():
        statement = {"Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": "*"}
        statement |= {
            "Condition": {
                rng.choice(
                    [
                        "StringLike",
                        "ForAnyValue:StringEquals",
                        "NotIpAddress",
                        "DateLessThan",
                        "Bool",
                        "NumericLessThan",
                        "ArnLike",
                        "BinaryEquals",
                        "Null",
                    ]
                ): {rng.choice(["aws:SourceIp", "aws:TagKeys", "x:y/z"]): a_value(rng, 3)}
            }
        }
        if rng.random() < 0.5:
            statement[rng.choice([*statement, "NotAction", "NotPrincipal", "NotResource", "Sid"])] = a_value(rng)
        document = {"Version": rng.choice(["2012-10-17", "2008-10-17", a_value(rng)]), "Statement": [statement]}
        text = json.dumps(a_value(rng) if rng.random() < 0.2 else document)
        if rng.random() < 0.2:
            text = mangled(text, rng)
        try:
            check_policy(text)
            is_one = True
        except (InvalidAttributeValue, OverLimit):
            is_one = False
        policy = read_queue_policy(text)
        assert not is_one or policy.statements is not None
        accepted += is_one
        values = rng.choice([None, [], ["10.0.0.1"], ["x", "y"], [rng.choice(ODD)]])
        known = None if values is None else dict.fromkeys(["aws:sourceip", "aws:tagkeys", "x:y/z"], values)
        context = RequestContext("sqs:SendMessage", "arn:aws:sqs:r:1:q", "1", (known or {}).get)
        for caller in (ALICE, ANONYMOUS):
            found = decide(caller, policy, context)
            assert not (found.is_allowed and policy.statements is None)
    assert accepted > 5


def test_sealed_handles() -> None:
    one = Sealer(lambda again: [SealingSecret(b"x" * 40, 0.0)])
    sealed = one.seal("ReceiveMessage", "1", "q", {"Messages": [{"ReceiptHandle": "SGVsbG8="}]})["Messages"][0][
        "ReceiptHandle"
    ]
    for rng in cases():
        handle = mangled(sealed, rng)
        unsealed = one.unseal("DeleteMessage", "1", "q", {"ReceiptHandle": handle})["ReceiptHandle"]
        assert (unsealed == "SGVsbG8=") is (handle == sealed)


def test_keys_files(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "authorization.md").read_text("utf-8")
    example = page.partition("```toml\n")[2].partition("```")[0]
    for rng in cases():
        told = ""
        try:
            read(tmp_path / "keys.toml", text=mangled(example, rng), environ={})
        except KeysFileInvalid as refused:
            told = str(refused)
        assert "wJalrXUtnFEMI" not in told
