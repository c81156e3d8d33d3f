"""What a hostile client tries: to be somebody else, to reach what it may not, to fill memory, to stop others."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest

from rqsqs.gateway import GatewaySettings, app
from rqsqs.gateway.callers import Caller
from rqsqs.gateway.keys_editing import NewKey, NewUser, add_key
from rqsqs.gateway.request import HttpRequest
from rqsqs.gateway.throttling import MOST, Throttle
from tests.clusters import client_of
from tests.gateway.direct import Direct
from tests.gateway.signing import signed

OWN, OTHER = "111111111111", "222222222222"
ANYTHING = {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}
HEADERS = {"host": "localhost:9324"}


class Town:
    """Two accounts: root of one, and Eve, who may do everything in the other one."""

    def __init__(self, tried: Callable[..., Direct], path: Path) -> None:
        self.path = path
        self.root = self.key("root", account=OWN, is_root=True)
        self.eve = self.key("eve", ANYTHING, account=OTHER)
        self.at = tried(keys=path)

    def look(self) -> None:
        """Let the gateway read the keys file again now."""
        assert self.at.actions._access._keys is not None
        self.at.actions._access._keys.look()

    def key(self, name: str, *statements: dict[str, Any], **user: Any) -> NewKey:
        return add_key(self.path, name, NewUser(statements=statements, **user))


@pytest.fixture
def tried(valkey_url: str, prefix: str) -> Iterator[Callable[..., Direct]]:
    with contextlib.ExitStack() as stack:

        def tried(**settings: Any) -> Direct:
            return stack.enter_context(contextlib.closing(Direct(**{"url": valkey_url, "prefix": prefix, **settings})))

        yield tried


@pytest.fixture
def town(tried: Callable[..., Direct], tmp_path: Path) -> Town:
    return Town(tried, tmp_path / "keys.toml")


def form(action: str, path: str = "/", query: str = "", **fields: str) -> HttpRequest:
    """A request of the Query protocol that nobody signed."""
    body = urlencode({"Action": action, **fields}).encode()
    return HttpRequest("POST", path.encode(), query.encode(), HEADERS, body)


def signed_form(key: NewKey, body: bytes, **given: Any) -> HttpRequest:
    headers = {"content-type": "application/x-www-form-urlencoded", **given.pop("headers", {})}
    return signed(body=body, headers=headers, key_id=key.key_id, secret=key.secret or "", at=time.time(), **given)


def memory_of(work: Callable[[], Any]) -> int:
    """What is left of some work in memory, in bytes."""
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        work()
        return tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()


# --- one queue is authorised, another one is used


@pytest.mark.parametrize(
    "url",
    [
        f"http://localhost:9324/{OWN}/orders",
        f"/{OWN}/orders",
        f"http://localhost:9324/{OTHER}/orders/../../{OWN}/orders",
        f"http://localhost:9324/{OTHER}/{OWN}/orders",
        f"http://{OTHER}/{OWN}/orders",
    ],
)
def test_whatever_a_queue_url_looks_like_that_queue_is_the_one_that_is_authorised(town: Town, url: str) -> None:
    for key in (town.root, town.eve):
        town.at.call(key, "CreateQueue", QueueName="orders")
    town.at.call(town.root, "SendMessage", QueueUrl=f"/{OWN}/orders", MessageBody="secret")
    for action, more in (("ReceiveMessage", {}), ("PurgeQueue", {}), ("GetQueueAttributes", {})):
        status, answer = town.at.call(town.eve, action, QueueUrl=url, **more)
        assert (status, "AccessDenied" in answer["__type"]) == (403, True), answer
    status, answer = town.at.call(town.root, "ReceiveMessage", QueueUrl="orders")
    assert [message["Body"] for message in answer["Messages"]] == ["secret"]


@pytest.mark.parametrize(
    ("path", "query", "in_body"),
    [
        (f"/{OTHER}/orders", "", f"/{OWN}/orders"),
        (f"/{OWN}/orders", "", f"/{OTHER}/orders"),
        ("/", f"QueueUrl=%2F{OTHER}%2Forders", f"/{OWN}/orders"),
        ("/", f"QueueUrl=%2F{OWN}%2Forders", f"/{OTHER}/orders"),
        (f"/{OWN}/orders", f"QueueUrl=%2F{OWN}%2Forders", f"/{OTHER}/orders"),
    ],
)
def test_path_query_and_body_that_name_different_queues(town: Town, path: str, query: str, in_body: str) -> None:
    for key in (town.root, town.eve):
        town.at.call(key, "CreateQueue", QueueName="orders")
        town.at.call(key, "SendMessage", QueueUrl="orders", MessageBody=f"of {key.key_id}")
    body = urlencode({"Action": "ReceiveMessage", "QueueUrl": in_body}).encode()
    response = town.at.ask(signed_form(town.eve, body, path=path, query=query))
    assert town.root.key_id.encode() not in response.body
    assert response.status == (200 if in_body.startswith(f"/{OTHER}") else 403)


def test_a_target_beside_an_action_is_the_only_one_that_counts(town: Town) -> None:
    town.at.call(town.root, "CreateQueue", QueueName="orders")
    may_list = town.key("list", {**ANYTHING, "Action": "sqs:ListQueues"}, account=OWN)
    for query, target, status in (("Action=ListQueues", "DeleteQueue", 403), ("Action=DeleteQueue", "ListQueues", 200)):
        body = json.dumps({"QueueUrl": "orders"}).encode()
        request = signed_form(may_list, body, query=query, headers={"x-amz-target": f"AmazonSQS.{target}"})
        town.look()
        assert town.at.ask(request).status == status
    assert town.at.call(town.root, "GetQueueUrl", QueueName="orders")[0] == 200


def test_arns_and_owners_of_other_accounts(town: Town) -> None:
    for key in (town.root, town.eve):
        for name in ("orders", "dead"):
            town.at.call(key, "CreateQueue", QueueName=name)
    theirs, ours = f"arn:aws:sqs:us-east-1:{OWN}:dead", f"arn:aws:sqs:us-east-1:{OTHER}:dead"
    policy = json.dumps({"deadLetterTargetArn": theirs, "maxReceiveCount": 1})
    for action, params, status in (
        ("SetQueueAttributes", {"QueueUrl": "orders", "Attributes": {"RedrivePolicy": policy}}, 400),
        ("CreateQueue", {"QueueName": "new", "Attributes": {"RedrivePolicy": policy}}, 400),
        ("GetQueueUrl", {"QueueName": "dead", "QueueOwnerAWSAccountId": OWN}, 403),
        ("StartMessageMoveTask", {"SourceArn": theirs}, 403),
        ("StartMessageMoveTask", {"SourceArn": theirs, "DestinationArn": ours}, 404),
        ("StartMessageMoveTask", {"SourceArn": ours, "DestinationArn": theirs}, 404),
        ("ListMessageMoveTasks", {"SourceArn": theirs}, 403),
        ("ListDeadLetterSourceQueues", {"QueueUrl": f"/{OWN}/dead"}, 403),
    ):  # fmt: skip
        assert (action, town.at.call(town.eve, action, **params)[0]) in ((action, status), (action, 400))
    assert town.at.call(town.eve, "ListQueues")[1]["QueueUrls"] == [
        f"http://localhost:9324/{OTHER}/{name}" for name in ("dead", "orders")
    ]


@pytest.mark.parametrize("name", ["orders", "absent", "ORDERS", "orders ", "orders\u0130", "x" * 81, ""])
def test_what_exists_in_another_account_cannot_be_found_out(town: Town, name: str) -> None:
    """The answers for a queue that exists and one that does not differ in the name only."""
    town.at.call(town.root, "CreateQueue", QueueName="orders")
    status, answer = town.at.call(town.eve, "GetQueueUrl", QueueName=name, QueueOwnerAWSAccountId=OWN)
    assert status == 403
    assert "no resource-based policy allows" in answer["Message"]


# --- a decision must not outlive what it was made of


def test_a_queue_that_is_created_again_has_not_the_policy_of_the_old_one(town: Town) -> None:
    send = {"QueueUrl": f"/{OWN}/orders", "MessageBody": "x"}
    town.at.call(town.root, "CreateQueue", QueueName="orders")
    town.at.call(
        town.root, "AddPermission", QueueUrl="orders", Label="eve", AWSAccountIds=[OTHER], Actions=["SendMessage"]
    )
    assert town.at.call(town.eve, "SendMessage", **send)[0] == 200
    town.at.call(town.root, "DeleteQueue", QueueUrl="orders")
    assert town.at.call(town.eve, "SendMessage", **send)[0] == 403
    town.at.call(town.root, "CreateQueue", QueueName="orders")
    assert town.at.call(town.eve, "SendMessage", **send)[0] == 403


def test_a_changed_key_decides_by_its_new_policies(town: Town) -> None:
    before = town.path.read_text()
    town.at.call(town.eve, "CreateQueue", QueueName="orders")
    assert town.at.call(town.eve, "PurgeQueue", QueueUrl="orders")[0] == 200
    town.path.write_text(before.replace('"sqs:*"', '"sqs:ListQueues"'))
    town.look()
    assert town.at.call(town.eve, "PurgeQueue", QueueUrl="orders")[0] == 403
    assert town.at.call(town.eve, "ListQueues")[0] == 200


# --- requests that nobody signed, or somebody else


def test_nothing_is_parsed_for_who_is_not_known(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    """Eight megabytes of brackets take a second: nobody may ask for that without a key."""
    from rqsqs.gateway.protocols import json as json_protocol
    from rqsqs.gateway.protocols import query

    def read(*_: Any) -> Any:
        raise AssertionError("it was read")

    monkeypatch.setattr(json_protocol, "read", read)
    monkeypatch.setattr(query, "read", read)
    headers = {"x-amz-target": "AmazonSQS.SendMessage", **HEADERS}
    assert town.at.ask(HttpRequest("POST", b"/", b"", headers, b"[" * 100_000)).status == 403
    assert town.at.ask(form("SendMessage", QueueUrl="orders", MessageBody="x" * 100_000)).status == 403
    request = signed(
        body=b"{}",
        headers={"x-amz-target": "AmazonSQS.SendMessage"},
        key_id=town.eve.key_id,
        secret="another secret",
        at=time.time(),
    )
    assert town.at.ask(request).status == 403


@pytest.mark.parametrize("origin", ["http://[", "http://[::1", "//", "null", "", "http://evil\u00bd", "x" * 9000])
def test_an_origin_that_is_none_is_a_foreign_one(tried: Callable[..., Direct], origin: str) -> None:
    request = HttpRequest("POST", b"/", b"Action=ListQueues", {**HEADERS, "origin": origin})
    assert tried().ask(request).status == 403
    without_host = HttpRequest("POST", b"/", b"Action=ListQueues", {"origin": origin})
    assert tried().ask(without_host).status == 403


def test_the_log_names_the_key_that_signed_and_not_one_that_the_request_speaks_of(town: Town) -> None:
    victim = town.root.key_id
    request = signed_form(town.eve, b"Action=ListQueues", query=f"Credential={victim}%2F&XCredential={victim}%2F")
    assert town.at.ask(request).status == 200
    town.at.ask(HttpRequest("GET", b"/", f"Action=ListQueues&X=Credential={victim}/".encode(), HEADERS))
    assert [line["key"] for line in town.at.log] == [town.eve.key_id, ""]
    authorization = request.headers["authorization"].replace("SHA256 ", f"SHA256 XCredential={victim}/x,", 1)
    headers = {**request.headers, "authorization": authorization}
    assert town.at.ask(HttpRequest("POST", b"/", request.query_string, headers, request.body)).status == 400


def test_a_line_of_the_log_is_one_whatever_a_client_writes(town: Town) -> None:
    evil = 'x\r\n{"time": "now", "key": "root"}\u2028\x1b[2J'
    town.at.call(town.eve, "SendMessage", QueueUrl=f"http://h/{OTHER}/{evil}", MessageBody="x")
    town.at.ask(HttpRequest("POST", b"/", b"", {**HEADERS, "x-amz-target": "AmazonSQS.\r\nx", "user-agent": "\r\n"}))
    town.at.ask(form(evil))
    assert len(town.at.log) == 3
    assert b"\x1b" not in town.at._stream.getvalue()


# --- memory, here and in Redis


def test_naming_accounts_stores_nothing(town: Town, valkey_url: str, prefix: str) -> None:
    with client_of(valkey_url) as client:
        for n in range(300):
            status, _ = town.at.call(town.eve, "SendMessage", QueueUrl=f"/{n:012}/orders", MessageBody="x")
            assert status == 403
        town.at.call(town.root, "GetQueueUrl", QueueName="orders")
        assert [key for key in client.scan_iter(f"{prefix}*")] == [f"{prefix}:{{queues}}:format".encode()]
    assert len(town.at.actions._accounts._accounts) <= 201


def test_keys_of_all_accounts_are_of_the_format_of_the_prefix(town: Town, valkey_url: str, prefix: str) -> None:
    assert town.at.call(town.eve, "CreateQueue", QueueName="orders")[0] == 200
    with client_of(valkey_url) as client:
        assert client.exists(f"{prefix}:{{queues}}:format")
        assert not client.exists(f"{prefix}/{OTHER}:{{queues}}:format")


LONG = 200_000


def claiming(key_id: str) -> dict[str, str]:
    parts = f"Credential={key_id}/20270115/us-east-1/sqs/aws4_request,SignedHeaders=host,Signature=x"
    return {"authorization": f"AWS4-HMAC-SHA256 {parts}", "x-amz-date": "20270115T000000Z"}


@pytest.mark.parametrize(
    "make",
    [
        lambda n: form("GetQueueUrl", QueueName=f"{n}" + "x" * LONG),
        lambda n: form("CreateQueue", QueueName=f"{n}" + "x" * LONG),
        lambda n: form("SendMessage", QueueUrl=f"http://{n}{'x' * LONG}/{OWN}/orders", MessageBody="x"),
        lambda n: form("SendMessage", QueueUrl=f"/{OWN}/{n}{'x' * LONG}", MessageBody="x"),
        lambda n: form("StartMessageMoveTask", SourceArn=f"arn:aws:sqs:us-east-1:{OWN}:{n}{'x' * LONG}"),
        lambda n: form("SendMessage", path=f"/{n}{'x' * 50_000}/{OWN}/orders", MessageBody="x"),
        lambda n: HttpRequest("POST", b"/", b"Action=ListQueues", {"host": f"{n}{'x' * 50_000}"}),
        lambda n: HttpRequest("GET", b"/", b"Action=ListQueues", {**HEADERS, **claiming(f"{n}{'x' * 50_000}")}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_open", [True, False])
def test_long_texts_of_clients_are_not_remembered(
    tried: Callable[..., Direct], tmp_path: Path, make: Callable[[int], HttpRequest], is_open: bool
) -> None:
    if is_open:
        at = tried(requests_per_second=1000)
        requests = [make(n) for n in range(30)]
    else:
        key = add_key(tmp_path / "keys.toml", "eve", NewUser(statements=[ANYTHING], account=OWN))
        at = tried(keys=tmp_path / "keys.toml", requests_per_second=1000)
        plain = [make(n) for n in range(30)]
        if "authorization" in plain[0].headers or len(plain[0].headers["host"]) > 1000:
            pytest.skip("it is signed by nobody")
        requests = [signed_form(key, each.body, path=each.raw_path.decode()) for each in plain]
    at.ask(requests[0])

    def work() -> None:
        for request in requests:
            at.ask(request)

    work()
    assert memory_of(work) < 300_000  # a fifth of a MB in 30 requests of as much each


def test_policies_that_change_all_the_time_are_forgotten(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    from rqsqs.gateway import authorization

    monkeypatch.setattr(authorization, "MOST_TEXT", 20_000)
    town.at.call(town.eve, "CreateQueue", QueueName="orders")
    authorizer = town.at.actions._access._authorizer
    assert authorizer is not None
    for n in range(60):
        statement = {"Effect": "Deny", "Principal": "*", "Action": "sqs:PurgeQueue", "Resource": "*",
                     "Condition": {"StringEquals": {"aws:UserAgent": f"{n}" + "x" * 1000}}}  # fmt: skip
        policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
        assert town.at.call(town.eve, "SetQueueAttributes", QueueUrl="orders", Attributes={"Policy": policy})[0] == 200
        assert town.at.call(town.eve, "SendMessage", QueueUrl="orders", MessageBody="x")[0] == 200
    assert len(authorizer._looked_at) < 40
    assert len(authorizer._decisions) < 80


def test_values_that_policies_look_at_are_not_remembered_if_they_are_long(town: Town) -> None:
    statement = {**ANYTHING, "Condition": {"StringNotLike": {"aws:UserAgent": "evil*"}}}
    key = town.key("careful", statement, account=OWN)
    town.look()
    authorizer = town.at.actions._access._authorizer
    assert authorizer is not None
    known = len(authorizer._decisions)
    for n in range(20):
        headers = {"x-amz-target": "AmazonSQS.ListQueues", "user-agent": f"{n}" + "x" * 20_000}
        request = signed(body=b"{}", headers=headers, key_id=key.key_id, secret=key.secret or "", at=time.time())
        assert town.at.ask(request).status == 200
    assert len(authorizer._decisions) == known
    headers = {"x-amz-target": "AmazonSQS.ListQueues", "user-agent": "evil" + "x" * 20_000}
    request = signed(body=b"{}", headers=headers, key_id=key.key_id, secret=key.secret or "", at=time.time())
    assert town.at.ask(request).status == 403


def test_thousands_of_tags_take_no_time_and_are_refused(town: Town) -> None:
    patterns = [f"*{n}a*b*c*" for n in range(200)]
    statement = {**ANYTHING, "Condition": {"ForAllValues:StringNotLike": {"aws:TagKeys": patterns}}}
    key = town.key("tagger", statement, account=OWN)
    town.look()
    town.at.call(town.root, "CreateQueue", QueueName="orders")
    tags = {f"t{n}": "v" for n in range(50_000)}
    for action, params in (("TagQueue", {"Tags": tags}), ("UntagQueue", {"TagKeys": list(tags)}),
                           ("CreateQueue", {"QueueName": "new", "tags": tags})):  # fmt: skip
        began = time.process_time()
        assert town.at.call(key, action, **{"QueueUrl": "orders", **params})[0] == 400
        assert time.process_time() - began < 5  # it took minutes


def test_many_names_of_one_do_not_free_others_from_their_limit() -> None:
    """Whoever floods under ever new names pushes out those who were silent, not those who are at their limit."""
    throttle = Throttle(1, 2, clock=lambda: 100.0)
    for _ in range(2):
        throttle.admit("key")
    for n in range(2 * MOST):
        throttle.admit(f"address {n}")
        with pytest.raises(Exception, match="throttled"):
            throttle.admit("key")
    assert len(throttle._buckets) == MOST


def test_a_claimed_key_has_a_length_that_can_be_remembered(tried: Callable[..., Direct]) -> None:
    seen: list[Caller] = []
    at = tried()
    original = at.actions._access.authenticate

    def authenticate(request: HttpRequest, service: str) -> Caller:
        seen.append(original(request, service))
        return seen[-1]

    at.actions._access.authenticate = authenticate
    for key_id in ("x" * 129, "x\x1by", "test", OWN):
        assert at.ask(signed(headers={"x-amz-target": "AmazonSQS.ListQueues"}, body=b"{}", key_id=key_id)).status == 200
    assert [(caller.key_id, caller.account) for caller in seen] == [
        ("", "000000000000"), ("", "000000000000"), ("test", "000000000000"), (OWN, OWN),
    ]  # fmt: skip


# --- what a form can say


@pytest.mark.parametrize(
    "body",
    [
        b"Action=SendMessage&QueueUrl..x=1",
        b"Action=SendMessage&QueueUrl=orders&QueueUrl..x=1",
        b"Action=SendMessage&QueueUrl=orders&MessageBody..=1&MessageBody...x=y",
        b"Action=SetQueueAttributes&QueueUrl=orders&Attribute.1..Name=a&Attribute..1=b&Attribute.=c",
        b"Action=SendMessage&QueueUrl=orders&.=x&..=y&=z&.MessageBody=q",
        b"Action=SendMessage&QueueUrl.1=orders&MessageBody.1=x",
        b"Action=&Action=SendMessage&Action.1=DeleteQueue",
    ],
)
def test_names_of_fields_that_mean_nothing(tried: Callable[..., Direct], body: bytes) -> None:
    at = tried()
    at.ask(form("CreateQueue", QueueName="orders"))
    response = at.ask(HttpRequest("POST", b"/", b"", HEADERS, body))
    assert 400 <= response.status < 500, response.body


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("x-amz-target", "AmazonSQS.DeleteQueue"),
        ("host", "evil"),
        ("x-amz-date", "20270115T000000Z"),
        ("authorization", "AWS4-HMAC-SHA256 Credential=x/20270115/us-east-1/sqs/aws4_request"),
    ],
)
@pytest.mark.parametrize("is_first", [True, False])
def test_a_header_that_is_sent_twice_is_not_the_one_that_was_signed(
    town: Town, name: str, value: str, is_first: bool
) -> None:
    request = signed_form(town.eve, b"{}", headers={"x-amz-target": "AmazonSQS.ListQueues"})
    assert town.at.ask(request).status == 200
    values = [request.headers[name], value]
    twice = {**request.headers, name: ",".join(values[::-1] if is_first else values)}
    assert town.at.ask(HttpRequest("POST", b"/", b"", twice, b"{}")).status in (400, 403)


def test_bodies_that_never_end_take_a_part_of_the_memory(
    valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody can begin a body of eight megabytes on each of ten thousand connections."""
    monkeypatch.setattr(app, "MOST_HELD", 1_000_000)
    statuses = []

    async def ask(gateway: app.Gateway, hold: asyncio.Event) -> None:
        part = {"type": "http.request", "body": b"x" * 100_000, "more_body": True}
        parts = [part] * 4

        async def receive() -> Any:
            if parts:
                return parts.pop()
            await hold.wait()
            return {"type": "http.request", "body": b""}

        async def send(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses.append(message["status"])

        scope = {"type": "http", "method": "POST", "path": "/", "raw_path": b"/", "query_string": b"",
                 "headers": [(b"host", b"localhost")], "client": ("127.0.0.1", 1), "scheme": "http"}  # fmt: skip
        await gateway(scope, receive, send)

    async def try_it() -> None:
        gateway = app.Gateway(GatewaySettings(url=valkey_url, prefix=prefix))
        hold = asyncio.Event()
        async with asyncio.TaskGroup() as group:
            for _ in range(10):
                group.create_task(ask(gateway, hold))
                await asyncio.sleep(0)
            assert gateway._held <= 1_100_000
            hold.set()
        assert gateway._held == 0
        await ask(gateway, hold)
        await gateway.close()

    asyncio.run(try_it())
    assert statuses.count(503) >= 7
    assert statuses[-1] == 404
