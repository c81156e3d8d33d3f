"""Signatures, policies and accounts under requests that are almost right.

Whatever is sent, nothing fails; a request that passes says what was signed; nobody without a policy sees or changes
what another account has. RQSQS_FUZZ_SECONDS lets each test go on for so long, RQSQS_SEED repeats one.
"""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import json
import os
import random
import resource
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from rqsqs.errors import RequestError
from rqsqs.gateway.callers import user_of
from rqsqs.gateway.keys_editing import NewUser, add_key
from rqsqs.gateway.policies import PolicyInvalid, RequestContext, decide, read_identity_policy, read_queue_policy
from rqsqs.gateway.protocols.shapes import ACTIONS
from rqsqs.gateway.request import HttpRequest
from rqsqs.gateway.sigv4 import AccessKey, verify
from rqsqs.gateway.urls import queue_url_of_path
from tests.clusters import client_of
from tests.gateway.direct import Direct
from tests.gateway.mutations import mutated
from tests.gateway.signing import KEY_ID, NOW, SECRET, signed

SECONDS = float(os.environ.get("RQSQS_FUZZ_SECONDS", "2"))
SEED = int(os.environ.get("RQSQS_SEED", "0")) or random.randrange(1 << 30)
OWN, OTHER = "111111111111", "222222222222"
HEAD = b"Host: localhost\r\n"
JSON, FORM = b'{"QueueUrl": "orders", "MessageBody": "x"}', b"Action=GetQueueUrl&QueueName=orders"
SEEDS = [
    b"POST / HTTP/1.1\r\n" + HEAD + b"X-Amz-Target: AmazonSQS.SendMessage\r\n"
    b"Content-Length: %d\r\n\r\n" % len(JSON) + JSON,
    b"POST /000000000000/orders HTTP/1.1\r\n" + HEAD + b"Content-Length: %d\r\n\r\n" % len(FORM) + FORM,
    b"POST / HTTP/1.1\r\n" + HEAD + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n" % len(FORM) + FORM + b"\r\n0\r\n\r\n",
    b"GET /?Action=ListQueues&Version=2012-11-05 HTTP/1.1\r\n" + HEAD + b"Accept: application/json\r\n\r\n",
    b"GET /livez HTTP/1.0\r\n\r\n",
    b"GET http://localhost/?Action=ListQueues HTTP/1.1\r\n" + HEAD + b"Expect: 100-continue\r\n\r\n",
]  # fmt: skip
SECRET_BODY = "nobody else may read this"
GROWTH = 60_000_000  # bytes of memory in a long run

pytestmark = pytest.mark.timeout(120 + 4 * SECONDS)


class Rounds:
    """Counts rounds until the time is over, ten at least, and looks that memory does not grow with them."""

    def __init__(self) -> None:
        self.rng = random.Random(SEED)
        self.count = 0

    def __iter__(self) -> Iterator[int]:
        began = time.monotonic()
        settled = 0
        while (passed := time.monotonic() - began) < SECONDS or self.count < 10:
            if not settled and passed > SECONDS / 3:
                settled = memory()
            yield self.count
            self.count += 1
        if SECONDS >= 60:
            grown = memory() - settled
            print(f"\nseed {SEED}: {self.count:,} rounds, memory grew by {grown / 1e6:.1f} MB")
            assert grown < GROWTH


def memory() -> int:
    gc.collect()
    with contextlib.suppress(OSError):
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    return 0


@pytest.fixture
def rounds() -> Rounds:
    return Rounds()


def mutated_text(text: str, rng: random.Random) -> str:
    return mutated(text.encode("latin-1"), rng).decode("latin-1")


# --- signatures


def a_signed_request(rng: random.Random) -> HttpRequest:
    bodies = [b"", b"Action=SendMessage&QueueUrl=orders&MessageBody=x", b'{"QueueUrl": "orders"}', b"\xff\0"]
    headers = [{}, {"x-amz-target": "AmazonSQS.SendMessage"}, {"content-type": "application/x-www-form-urlencoded"}]
    expires = rng.choice([None, None, 60])
    return signed(
        method=rng.choice(["GET", "POST"]),
        path=rng.choice(["/", "/000000000000/orders", "/a%20b/", "//x/../y"]),
        query=rng.choice(["", "Action=ListQueues", "a=b&a=c&%C3%A9=%20", "Action=SendMessage&MessageBody=a%2Bb"]),
        headers=dict(rng.choice(headers)),
        body=b"" if expires else rng.choice(bodies),
        expires=expires,
    )


def meaning(request: HttpRequest) -> Any:
    """What a request asks for: the queue in its path, its fields without the signature, its body."""
    fields = [
        (name, value)
        for name, value in parse_qsl(request.query_string.decode("latin-1"), keep_blank_values=True, encoding="latin-1")
        if name != "X-Amz-Signature"
    ]
    queue = queue_url_of_path(request.raw_path.decode("latin-1"))
    host, target = request.headers.get("host"), request.headers.get("x-amz-target")
    return request.method, queue, sorted(fields), request.body, squeezed(host), squeezed(target)


def squeezed(value: str | None) -> str | None:
    return None if value is None else " ".join(value.split())


def changed(request: HttpRequest, rng: random.Random) -> HttpRequest:
    """One part of it mutated."""
    headers = dict(request.headers)
    match rng.randrange(8):
        case 0:
            return dataclasses.replace(request, raw_path=mutated(request.raw_path, rng))
        case 1:
            return dataclasses.replace(request, query_string=mutated(request.query_string, rng))
        case 2:
            return dataclasses.replace(request, body=mutated(request.body, rng))
        case 3:
            return dataclasses.replace(request, method=rng.choice(["GET", "POST", "HEAD", "PUT"]))
        case 4:
            name = rng.choice(["date", "x-amz-content-sha256", "x-amz-security-token", "x-amz-target", "authorization"])
            headers[name] = mutated_text(headers.get(name, "Fri, 15 Jan 2027 08:00:00 GMT"), rng)
        case 5:
            headers.pop(rng.choice(list(headers)))
        case _:
            name = rng.choice(list(headers))
            headers[name] = mutated_text(headers[name], rng)
    return dataclasses.replace(request, headers=headers)


def test_signatures(rounds: Rounds) -> None:
    keys = {KEY_ID: AccessKey(KEY_ID, SECRET, user_of("shop", OWN, key_id=KEY_ID))}
    rng = rounds.rng
    accepted, refused = 0, set()
    for _ in rounds:
        original = a_signed_request(rng)
        verify(original, keys, service="sqs", region="us-east-1", now=NOW)
        for _ in range(20):
            request = changed(original, rng)
            try:
                caller = verify(request, keys, service="sqs", region="us-east-1", now=NOW)
            except RequestError as error:
                refused.add((error.http_status, SECRET in str(error)))
                continue
            accepted += 1
            assert caller.key_id == KEY_ID
            now, before = meaning(request), meaning(original)
            assert now == before or now == (before[0], None, *before[2:]), (SEED, original, request)
    assert accepted < rounds.count * 10
    assert refused == {(400, False), (403, False)}


# --- policies


OPERATORS = ["StringLike", "StringNotEquals", "IpAddress", "NumericLessThan", "DateGreaterThan", "Bool", "Null",
             "ArnLike", "NotIpAddress", "BinaryEquals", "StringEqualsIgnoreCase"]  # fmt: skip
CONDITION_KEYS = ["aws:SourceIp", "aws:UserAgent", "aws:CurrentTime", "aws:TagKeys", "aws:username", "aws:x/y"]
CONDITION_VALUES = ["10.0.0.0/8", "::/0", "${aws:username}", "*a*?*", "2027-01-01T00:00:00Z", "1e99", "true", "NaN",
                    "", "arn:aws:sqs:*:*:*"]  # fmt: skip


def a_policy(rng: random.Random) -> Any:
    """Mostly one that can be stored."""

    def mostly(right: Any) -> Any:
        return right if rng.randrange(25) else junk(rng)

    def some(*values: Any) -> Any:
        return mostly(rng.choice([rng.choice(values), [rng.choice(values) for _ in range(rng.randint(1, 3))]]))

    over = rng.choice(["", "", "ForAllValues:", "ForAnyValue:"])
    operator = f"{over}{rng.choice(OPERATORS)}{rng.choice(['', '', 'IfExists'])}"
    root = f"arn:aws:iam::{OWN}:root"
    statement = {
        "Effect": mostly(rng.choice(["Allow", "Deny"])),
        rng.choice(["Action", "Action", "NotAction"]): some("sqs:*", "*", "sqs:SendMessage", "SQS:Get?", "sqs:Set*"),
        rng.choice(["Resource", "NotResource"]): some("*", f"arn:aws:sqs:*:{OWN}:orders", "arn:aws:sqs:${x}:*:?"),
        rng.choice(["Principal", "NotPrincipal"]): mostly(rng.choice(["*", {"AWS": some("*", OWN, root)}])),
        "Condition": mostly(rng.choice([{}, {operator: {rng.choice(CONDITION_KEYS): some(*CONDITION_VALUES)}}])),
    }
    if not rng.randrange(20):
        del statement[rng.choice(list(statement))]
    document = {"Version": mostly(rng.choice(["2012-10-17", "2008-10-17"])), "Statement": mostly([statement])}
    return mostly(document)


def junk(rng: random.Random, depth: int = 3) -> Any:
    kind = rng.randrange(8 if depth else 6)
    if kind == 6:
        return [junk(rng, depth - 1) for _ in range(rng.randint(0, 3))]
    if kind == 7:
        return {rng.choice(["AWS", "", "x", "aws:SourceIp"]): junk(rng, depth - 1) for _ in range(2)}
    return [None, True, rng.randint(-9, 9), 1e308, "\u2028\ud800"[: rng.randint(0, 2)], "x" * rng.choice([0, 1, 3000])][
        kind
    ]


VALUES = ["10.1.2.3", "::ffff:10.1.2.3", "fe80::1%eth0", "shop", "", "2027-01-01T00:00:00Z", "1800000000", "nan",
          "9" * 5000, "\u0130\u0661", "a" * 1000, "true"]  # fmt: skip


def test_policies(rounds: Rounds) -> None:
    rng = rounds.rng
    readable = 0
    for _ in rounds:
        text = json.dumps(a_policy(rng))
        if rng.randrange(3) == 0:
            text = mutated(text.encode(), rng).decode("utf-8", rng.choice(["replace", "surrogateescape"]))
        began = time.process_time()
        of_queue = read_queue_policy(text)
        readable += of_queue.statements is not None
        identity = []
        with contextlib.suppress(PolicyInvalid):
            identity.append(read_identity_policy(text))
        caller = user_of("shop", rng.choice([OWN, OTHER]), key_id="k", policies=tuple(identity))
        value = rng.choice([None, [rng.choice(VALUES)], [rng.choice(VALUES) for _ in range(3)], []])
        values = {"aws:username": ["shop"]}
        values |= {key.lower(): value for key in CONDITION_KEYS if value is not None}
        context = RequestContext("sqs:SendMessage", f"arn:aws:sqs:us-east-1:{OWN}:orders", OWN, values.get)
        decision = decide(caller, of_queue, context)
        if decision.is_allowed and caller.account == OTHER:
            assert decision.by is not None
            assert identity
        assert time.process_time() - began < 5, text
    assert readable, "none of them was a policy"


@pytest.fixture
def direct(valkey_url: str, prefix: str, tmp_path: Path) -> Iterator[Callable[..., Direct]]:
    with contextlib.ExitStack() as stack:

        def start(**more: Any) -> Direct:
            made = Direct(url=valkey_url, prefix=prefix, **more)
            return stack.enter_context(contextlib.closing(made))

        yield start


def test_policies_of_queues(rounds: Rounds, direct: Callable[..., Direct], tmp_path: Path) -> None:
    """Stored by their owner, looked at for others."""
    path = tmp_path / "keys.toml"
    root = add_key(path, "root", NewUser(account=OWN, is_root=True))
    eve = add_key(path, "eve", NewUser(account=OTHER, statements=[{"Effect": "Allow", "Action": "*", "Resource": "*"}]))
    at = direct(keys=path)
    assert at.call(root, "CreateQueue", QueueName="orders")[0] == 200
    stored = 0
    for _ in rounds:
        attributes = {"Policy": json.dumps(a_policy(rounds.rng))}
        status, _ = at.call(root, "SetQueueAttributes", QueueUrl="orders", Attributes=attributes)
        assert status < 500, (SEED, attributes)
        stored += status == 200
        for key in (root, eve):
            status, _ = at.call(key, "GetQueueAttributes", QueueUrl=f"/{OWN}/orders", AttributeNames=["All"])
            assert status < 500, (SEED, attributes)
    assert stored


# --- accounts


def a_name_of_a_queue(rng: random.Random) -> str:
    name = rng.choice(["orders", "dead", "orders.fifo", "new", "ORDERS", "x" * 81])
    account = rng.choice([OWN, OWN, OTHER, "000000000000", f" {OWN}", OWN[:-1], f"{OWN}\u0661", ""])
    url = rng.choice(
        [
            f"http://localhost:9324/{account}/{name}",
            f"/{account}/{name}",
            f"{account}/{name}",
            f"https://sqs.us-east-1.amazonaws.com/{OTHER}/{account}/{name}",
            f"http://{OWN}/{account}/{name}/",
            f"http://localhost/{OTHER}/x/../../{account}/{name}",
            f"//{account}//{name}",
            f"http://h/{account}/{name}?x=/{OTHER}/orders",
            f"http://h/{account}%2F{name}",
            f"arn:aws:sqs:us-east-1:{account}:{name}",
            name,
        ]
    )
    return mutated(url.encode(), rng).decode("utf-8", "replace") if rng.randrange(4) == 0 else url


def an_arn(rng: random.Random) -> str:
    name = rng.choice(["orders", "dead", f"{OTHER}/orders", "orders:x"])
    partition, region = rng.choice(["aws", "*"]), rng.choice(["us-east-1", "eu-west-1", ""])
    return f"arn:{partition}:sqs:{region}:{rng.choice([OWN, OWN, OTHER, '*', ''])}:{name}"


def test_accounts_keep_apart(
    rounds: Rounds, direct: Callable[..., Direct], tmp_path: Path, valkey_url: str, prefix: str
) -> None:
    """Eve may do everything in her account. She has handles, tokens and names of the other one, and gets nothing."""
    path, rng = tmp_path / "keys.toml", rounds.rng
    root = add_key(path, "root", NewUser(account=OWN, is_root=True))
    eve = add_key(path, "eve", NewUser(account=OTHER, statements=[{"Effect": "Allow", "Action": "*", "Resource": "*"}]))
    at = direct(keys=path)
    dead_letters = json.dumps({"deadLetterTargetArn": f"arn:aws:sqs:us-east-1:{OWN}:dead", "maxReceiveCount": 5})
    for key in (root, eve):
        at.call(key, "CreateQueue", QueueName="dead")
        at.call(key, "CreateQueue", QueueName="orders")
        at.call(key, "CreateQueue", QueueName="orders.fifo", Attributes={"FifoQueue": "true"})
    assert at.call(root, "SetQueueAttributes", QueueUrl="orders", Attributes={"RedrivePolicy": dead_letters})[0] == 200
    for name in ("orders", "orders", "dead"):
        at.call(root, "SendMessage", QueueUrl=name, MessageBody=SECRET_BODY)
    received = at.call(root, "ReceiveMessage", QueueUrl="orders", VisibilityTimeout=43_200)[1]["Messages"]
    handles = [received[0]["ReceiptHandle"], received[0]["ReceiptHandle"].partition("~")[0], "x"]
    tokens = [at.call(root, "ListQueues", MaxResults=1)[1]["NextToken"], "x"]
    tasks = [at.call(root, "StartMessageMoveTask", SourceArn=f"arn:aws:sqs:us-east-1:{OWN}:dead")[1]["TaskHandle"], "x"]
    assert at.call(root, "CancelMessageMoveTask", TaskHandle=tasks[0])[0] == 200
    with client_of(valkey_url) as client:

        def stored() -> dict[bytes, Any]:
            return {
                key: client.dump(key)
                for key in client.scan_iter(f"{prefix}/{OWN}:*", 1000)
                if not key.endswith(b":tasks")
                and b":call:" not in key
                and b"wake" not in key  # root's task ends by itself
                and b":{events}:" not in key  # and tells so
            }

        before = stored()
        assert before
        passed = 0
        for n in rounds:
            action = rng.choice(sorted(set(ACTIONS) - {"ReceiveMessage"}))
            params: dict[str, Any] = {}
            for name in ACTIONS[action].request.members:
                if rng.randrange(8) == 0:
                    continue
                params[name] = a_value(name, rng, handles, tokens, tasks)
            if rng.randrange(3) == 0:
                action, params = "ReceiveMessage", {"QueueUrl": params.get("QueueUrl") or a_name_of_a_queue(rng)}
            if rng.randrange(2):
                status, body = at.call(eve, action, **{name: each for name, each in params.items() if each is not None})
                text = json.dumps(body)
            else:
                form = {"Action": action, **{name: each for name, each in params.items() if isinstance(each, str)}}
                request = signed(
                    path=rng.choice(["/", f"/{OWN}/orders", f"/{OTHER}/orders", f"/{OTHER}//{OWN}/orders"]),
                    query=rng.choice(["", f"QueueUrl=%2F{OWN}%2Forders", f"Action={action}"]),
                    headers={"content-type": "application/x-www-form-urlencoded"},
                    body=urlencode(form, errors="replace").encode(),
                    key_id=eve.key_id,
                    secret=eve.secret or "",
                    at=time.time(),
                )
                response = at.ask(request)
                status, text = response.status, response.body.decode()
            assert status < 500, (SEED, action, params, text)
            assert SECRET_BODY not in text, (SEED, action, params)
            passed += status == 200
            if n % 50 == 0:
                assert stored() == before, (SEED, action, params)
        assert stored() == before
        assert passed


def a_value(name: str, rng: random.Random, handles: list[str], tokens: list[str], tasks: list[str]) -> Any:
    arn = an_arn(rng)
    policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})
    values: dict[str, Any] = {
        "QueueUrl": a_name_of_a_queue(rng),
        "QueueName": rng.choice(["orders", "dead", f"{OWN}/orders", "orders.fifo"]),
        "QueueOwnerAWSAccountId": rng.choice([OWN, OTHER, "", "x"]),
        "SourceArn": arn,
        "DestinationArn": an_arn(rng),
        "TaskHandle": rng.choice(tasks),
        "ReceiptHandle": rng.choice(handles),
        "NextToken": rng.choice(tokens),
        "MaxResults": rng.choice([1, 10, 1000]),
        "VisibilityTimeout": 0,
        "MessageBody": "x",
        "Label": "x",
        "AWSAccountIds": [rng.choice([OWN, OTHER])],
        "Actions": ["*"],
        "Attributes": rng.choice([{"RedrivePolicy": policy}, {"VisibilityTimeout": "1"}, {}]),
        "AttributeNames": ["All"],
        "Tags": {"a": "b"},
        "TagKeys": ["a"],
        "QueueNamePrefix": rng.choice(["", "o", OWN]),
        "Entries": [{"Id": "a", "ReceiptHandle": rng.choice(handles), "MessageBody": "x", "VisibilityTimeout": 0}],
    }
    return values.get(name)


# --- bytes on sockets


def test_bytes_on_sockets(rounds: Rounds, shared: str, caplog: pytest.LogCaptureFixture) -> None:
    """Almost HTTP: the answers are HTTP, none is a failure, and the next client is answered."""
    parts, rng = urlsplit(shared), rounds.rng
    for _ in rounds:
        sent = mutated(rng.choice(SEEDS), rng) + rng.choice([b"", rng.choice(SEEDS), mutated(rng.choice(SEEDS), rng)])
        with socket.create_connection((parts.hostname or "", parts.port or 0), timeout=60) as connection:
            with contextlib.suppress(ConnectionError):
                connection.sendall(sent)
                connection.shutdown(socket.SHUT_WR)
            got = b""
            with contextlib.suppress(ConnectionError):
                while more := connection.recv(1 << 16):
                    got += more
        assert not got or got.startswith(b"HTTP/1.1 "), (SEED, sent, got)
        assert b"HTTP/1.1 5" not in got, (SEED, sent, got)
        assert b"Traceback" not in got, (SEED, sent, got)
        assert not [each for each in caplog.records if each.levelname == "ERROR"], (SEED, sent)
