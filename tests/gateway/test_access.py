"""Who may do what, seen by boto3 through a gateway with a keys file."""

from __future__ import annotations

import contextlib
import io
import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import quote, urlencode
from urllib.request import Request, urlopen

import pytest
from botocore import UNSIGNED
from botocore.exceptions import ClientError

from rqsqs.gateway import GatewaySettings
from rqsqs.gateway.access_log import AccessLog
from rqsqs.gateway.keys_editing import NewKey, NewUser, add_key
from rqsqs.gateway.open_queues import warnings
from tests.gateway.conftest import client_of
from tests.gateway.signing import signed

OWN, OTHER = "111111111111", "222222222222"


class World:
    """A gateway, its keys file, and clients."""

    def __init__(self, start: Callable[..., str], path: Path) -> None:
        self._start, self.path = start, path
        self.root = self.key("root", account=OWN, is_root=True)
        self.options: dict[str, Any] = {}
        self._address = ""

    def key(self, name: str, *statements: dict[str, Any], account: str = OWN, **user: Any) -> NewKey:
        return add_key(self.path, name, NewUser(account=account, statements=statements, **user))

    @property
    def address(self) -> str:
        self._address = self._address or self._start(keys=self.path, **self.options)
        return self._address

    def client(self, key: NewKey, **options: Any) -> Any:
        return client_of(self.address, key.key_id, key.secret or "", **options)


@pytest.fixture
def world(start: Callable[..., str], tmp_path: Path) -> World:
    return World(start, tmp_path / "keys.toml")


def allow(*actions: str, on: str = "*", effect: str = "Allow", **more: Any) -> dict[str, Any]:
    return {
        "Effect": effect,
        "Action": [f"sqs:{each}" for each in actions],
        "Resource": f"arn:aws:sqs:*:*:{on}",
        **more,
    }


def refusal(call: Callable[..., Any], **given: Any) -> tuple[str, str, int]:
    with pytest.raises(ClientError) as refused:
        call(**given)
    error, meta = refused.value.response["Error"], refused.value.response["ResponseMetadata"]
    return error["Code"], error["Message"], meta["HTTPStatusCode"]


def test_a_producer_may_send_and_nothing_else(world: World) -> None:
    shop = world.key("shop", allow("SendMessage", "GetQueueUrl", on="orders"))
    url = world.client(world.root).create_queue(QueueName="orders")["QueueUrl"]
    world.client(world.root).create_queue(QueueName="other")
    client = world.client(shop)
    assert client.get_queue_url(QueueName="orders")["QueueUrl"] == url
    client.send_message(QueueUrl=url, MessageBody="x")
    client.send_message_batch(QueueUrl=url, Entries=[{"Id": "a", "MessageBody": "y"}])
    batch = [{"Id": "a", "MessageBody": "x"}]
    head = f"User: arn:aws:iam::{OWN}:user/shop is not authorized to perform: sqs"
    tail = "because no identity-based policy allows the sqs"
    for call, given, action, queue in (
        (client.receive_message, {"QueueUrl": url}, "receivemessage", "orders"),
        (client.send_message, {"QueueUrl": url.replace("orders", "other"), "MessageBody": "x"}, "sendmessage", "other"),
        (client.send_message_batch, {"QueueUrl": f"{url}-absent", "Entries": batch}, "sendmessage", "orders-absent"),
        (client.list_queues, {}, "listqueues", ""),
        (client.create_queue, {"QueueName": "new"}, "createqueue", "new"),
        (client.delete_queue, {"QueueUrl": url}, "deletequeue", "orders"),
    ):  # fmt: skip
        arn = f"arn:aws:sqs:us-east-1:{OWN}:{queue}"
        text = f"{head}:{action} on resource: {arn} {tail}:{action} action"
        assert refusal(call, **given) == ("AccessDenied", text, 403)


def test_keys_that_are_wrong_unknown_or_disabled(world: World) -> None:
    from rqsqs.gateway.keys_editing import disable_key

    shop = world.key("shop", allow("*"))
    gone = world.key("gone", allow("*"))
    disable_key(world.path, gone.key_id)
    world.client(shop).list_queues()
    wrong = client_of(world.address, shop.key_id, "another secret")
    assert refusal(wrong.list_queues)[::2] == ("SignatureDoesNotMatch", 403)
    unknown = refusal(client_of(world.address, "AKIAUNKNOWN", "x").list_queues)
    assert unknown == ("InvalidClientTokenId", "The security token included in the request is invalid.", 403)
    assert refusal(world.client(gone).list_queues) == unknown


def test_accounts_keep_apart_and_queue_policies_open_a_door(world: World) -> None:
    eve = world.key("eve", allow("*"), account=OTHER)
    root, client = world.client(world.root), world.client(eve)
    url = root.create_queue(QueueName="orders")["QueueUrl"]
    assert f"/{OWN}/" in url
    assert client.create_queue(QueueName="orders")["QueueUrl"] == url.replace(OWN, OTHER)
    assert client.list_queues()["QueueUrls"] == [url.replace(OWN, OTHER)]
    root.send_message(QueueUrl=url, MessageBody="of the first account")
    assert "Messages" not in client.receive_message(QueueUrl=url.replace(OWN, OTHER))
    code, text, _ = refusal(client.send_message, QueueUrl=url, MessageBody="x")
    assert code == "AccessDenied"
    assert text.endswith(f":{OWN}:orders because no resource-based policy allows the sqs:sendmessage action")
    root.add_permission(QueueUrl=url, Label="eve", AWSAccountIds=[OTHER], Actions=["SendMessage", "GetQueueUrl"])
    client.send_message(QueueUrl=url, MessageBody="x")
    assert client.get_queue_url(QueueName="orders", QueueOwnerAWSAccountId=OWN)["QueueUrl"] == url
    assert refusal(client.receive_message, QueueUrl=url)[0] == "AccessDenied"
    root.remove_permission(QueueUrl=url, Label="eve")
    assert refusal(client.send_message, QueueUrl=url, MessageBody="x")[0] == "AccessDenied"


def test_what_only_an_owner_does_no_policy_gives_to_others(world: World) -> None:
    eve = world.key("eve", allow("*"), account=OTHER)
    root, client = world.client(world.root), world.client(eve)
    url = root.create_queue(QueueName="orders")["QueueUrl"]
    everything = {"Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": "*"}
    root.set_queue_attributes(
        QueueUrl=url, Attributes={"Policy": json.dumps({"Version": "2012-10-17", "Statement": everything})}
    )
    client.send_message(QueueUrl=url, MessageBody="x")
    arn = f"arn:aws:sqs:us-east-1:{OWN}:orders"
    for call, given in (
        (client.set_queue_attributes, {"QueueUrl": url, "Attributes": {"DelaySeconds": "1"}}),
        (client.delete_queue, {"QueueUrl": url}),
        (client.list_queue_tags, {"QueueUrl": url}),
        (client.tag_queue, {"QueueUrl": url, "Tags": {"a": "b"}}),
        (client.untag_queue, {"QueueUrl": url, "TagKeys": ["a"]}),
        (client.add_permission, {"QueueUrl": url, "Label": "l", "AWSAccountIds": [OTHER], "Actions": ["*"]}),
        (client.remove_permission, {"QueueUrl": url, "Label": "l"}),
        (client.list_message_move_tasks, {"SourceArn": arn}),
        (client.start_message_move_task, {"SourceArn": arn}),
    ):
        code, text, status = refusal(call, **given)
        assert (code, status) == ("AccessDenied", 403)
        assert "because no resource-based policy allows" in text


def test_a_queue_policy_lets_users_of_the_own_account_in(world: World) -> None:
    shop = world.key("shop")
    root, client = world.client(world.root), world.client(shop)
    url = root.create_queue(QueueName="orders")["QueueUrl"]
    statement = {"Effect": "Allow", "Principal": {"AWS": f"arn:aws:iam::{OWN}:user/shop"}, "Action": "sqs:SendMessage",
                 "Resource": f"arn:aws:sqs:us-east-1:{OWN}:orders"}  # fmt: skip

    def put(*statements: dict[str, Any]) -> None:
        policy = json.dumps({"Version": "2012-10-17", "Statement": list(statements)}) if statements else ""
        root.set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})

    assert refusal(client.send_message, QueueUrl=url, MessageBody="x")[0] == "AccessDenied"
    put(statement)
    client.send_message(QueueUrl=url, MessageBody="x")
    put(statement, {**statement, "Effect": "Deny", "Principal": "*"})
    assert refusal(client.send_message, QueueUrl=url, MessageBody="x")[1].endswith("deny in a resource-based policy")
    assert refusal(root.send_message, QueueUrl=url, MessageBody="x")[0] == "AccessDenied"
    put()
    assert "no identity-based policy" in refusal(client.send_message, QueueUrl=url, MessageBody="x")[1]
    root.send_message(QueueUrl=url, MessageBody="x")


def test_tags_decide(world: World) -> None:
    key = world.key(
        "shop",
        allow("SendMessage", Condition={"StringEquals": {"aws:ResourceTag/team": "${aws:PrincipalTag/team}"}}),
        allow("CreateQueue", "TagQueue", Condition={"ForAllValues:StringEquals": {"aws:TagKeys": ["team"]},
                                                    "StringEquals": {"aws:RequestTag/team": "web"}}),
        tags={"team": "web"},
    )  # fmt: skip
    root, client = world.client(world.root), world.client(key)
    for tags in ({}, {"team": "ops"}, {"team": "web", "cost": "1"}):
        assert refusal(client.create_queue, QueueName="orders", tags=tags)[0] == "AccessDenied"
    url = client.create_queue(QueueName="orders", tags={"team": "web"})["QueueUrl"]
    client.send_message(QueueUrl=url, MessageBody="x")
    root.tag_queue(QueueUrl=url, Tags={"team": "ops"})
    assert refusal(client.send_message, QueueUrl=url, MessageBody="x")[0] == "AccessDenied"
    root.untag_queue(QueueUrl=url, TagKeys=["team"])
    assert refusal(client.send_message, QueueUrl=url, MessageBody="x")[0] == "AccessDenied"


def test_create_queue_with_tags_needs_tag_queue_too(world: World) -> None:
    client = world.client(world.key("shop", allow("CreateQueue")))
    client.create_queue(QueueName="a")
    code, text, _ = refusal(client.create_queue, QueueName="b", tags={"a": "b"})
    assert code == "AccessDenied"
    assert "sqs:tagqueue" in text


def test_move_tasks_need_rights_on_both_sides(world: World) -> None:
    on_dead = allow("StartMessageMoveTask", "ReceiveMessage", "DeleteMessage", "GetQueueAttributes", on="dead")
    keys = world.key("half", on_dead), world.key("whole", on_dead, allow("SendMessage", on="orders"))
    root, half, whole = (world.client(key) for key in (world.root, *keys))
    root.create_queue(QueueName="dead")
    orders = root.create_queue(QueueName="orders")["QueueUrl"]
    arn = f"arn:aws:sqs:us-east-1:{OWN}:"
    root.set_queue_attributes(
        QueueUrl=orders,
        Attributes={"RedrivePolicy": json.dumps({"deadLetterTargetArn": f"{arn}dead", "maxReceiveCount": 1})},
    )
    for given in ({}, {"DestinationArn": f"{arn}orders"}):
        code, text, _ = refusal(half.start_message_move_task, SourceArn=f"{arn}dead", **given)
        assert code == "AccessDenied"
        assert f"sqs:sendmessage on resource: {arn}orders" in text
    whole.start_message_move_task(SourceArn=f"{arn}dead", DestinationArn=f"{arn}orders")
    assert "sqs:listmessagemovetasks" in refusal(whole.list_message_move_tasks, SourceArn=f"{arn}dead")[1]
    assert "sqs:cancelmessagemovetask" in refusal(half.cancel_message_move_task, TaskHandle="x")[1]


def test_a_handle_is_of_use_to_whom_the_gateway_gave_it_only(world: World, valkey_url: str, prefix: str) -> None:
    """Who may only delete cannot act on messages that others received, and no handle from inside comes in."""
    import rqsqs

    root = world.client(world.root)
    url, other = (root.create_queue(QueueName=name)["QueueUrl"] for name in ("orders", "other"))
    root.send_message(QueueUrl=url, MessageBody="x")
    handle = root.receive_message(QueueUrl=url)["Messages"][0]["ReceiptHandle"]
    inside = handle.rpartition("~")[0]
    for forged in (
        inside,
        inside + "~",
        handle[:-2] + ("AA" if handle[-2:] != "AA" else "BB"),
        inside + "~" + "a" * 30,
    ):
        code, text, status = refusal(root.delete_message, QueueUrl=url, ReceiptHandle=forged)
        assert (code, status) == ("ReceiptHandleIsInvalid", 404)
        assert text.endswith("is not a valid receipt handle.")
    code, text, _ = refusal(root.delete_message, QueueUrl=other, ReceiptHandle=handle)
    assert (code, text) == ("ReceiptHandleIsInvalid", f'The receipt handle "{handle}" is not valid for this queue.')
    entries = [{"Id": "a", "ReceiptHandle": inside}, {"Id": "b", "ReceiptHandle": handle}]
    found = root.delete_message_batch(QueueUrl=url, Entries=entries)
    assert ([each["Id"] for each in found["Successful"]], [each["Id"] for each in found["Failed"]]) == (["b"], ["a"])
    with rqsqs.connect(valkey_url, prefix=f"{prefix}/{OWN}") as connection:
        assert connection.queue("orders").counts().in_flight == 0


def test_pages_and_move_tasks_through_seals(world: World) -> None:
    eve = world.key("eve-root", account=OTHER, is_root=True)
    root = world.client(world.root)
    urls = [root.create_queue(QueueName=f"q{n}")["QueueUrl"] for n in range(5)]
    found, token = [], None
    while True:
        page = root.list_queues(MaxResults=2, **({"NextToken": token} if token else {}))
        found += page["QueueUrls"]
        token = page.get("NextToken")
        if token is None:
            break
        assert "~" in token
        assert refusal(root.list_queues, MaxResults=2, NextToken=token.rpartition("~")[0])[0] == "InvalidParameterValue"
    assert found == urls
    policy = json.dumps({"deadLetterTargetArn": f"arn:aws:sqs:us-east-1:{OWN}:q0", "maxReceiveCount": 1})
    root.set_queue_attributes(QueueUrl=urls[1], Attributes={"RedrivePolicy": policy})
    handle = root.start_message_move_task(SourceArn=f"arn:aws:sqs:us-east-1:{OWN}:q0")["TaskHandle"]
    assert refusal(root.cancel_message_move_task, TaskHandle=handle.rpartition("~")[0])[0] == "InvalidParameterValue"
    assert refusal(world.client(eve).cancel_message_move_task, TaskHandle=handle)[0] == "InvalidParameterValue"


def test_anonymous_access_is_off_and_then_needs_a_policy(world: World, start: Callable[..., str]) -> None:
    root = world.client(world.root)
    url = root.create_queue(QueueName="open")["QueueUrl"]
    statement = {"Effect": "Allow", "Principal": "*", "Action": "sqs:SendMessage", "Resource": "*"}
    root.set_queue_attributes(QueueUrl=url, Attributes={"Policy": json.dumps({"Statement": statement})})
    closed = client_of(world.address, signature_version=UNSIGNED)
    opened = client_of(start(keys=world.path, allow_anonymous=True), signature_version=UNSIGNED)
    arn = f"arn:aws:sqs:us-east-1:{OWN}:open"
    text = f"User: anonymous is not authorized to perform: sqs:sendmessage on resource: {arn} because no resource-based policy allows the sqs:sendmessage action"  # noqa: E501
    assert refusal(closed.send_message, QueueUrl=url, MessageBody="x") == ("AccessDenied", text, 403)
    opened.send_message(QueueUrl=url, MessageBody="x")
    assert refusal(opened.receive_message, QueueUrl=url)[0] == "AccessDenied"
    assert refusal(opened.list_queues)[0] == "AccessDenied"
    assert refusal(opened.delete_queue, QueueUrl=url)[0] == "AccessDenied"


def test_who_am_i(world: World) -> None:
    shop = world.key("shop")
    found = client_of(world.address, shop.key_id, shop.secret or "", service="sts").get_caller_identity()
    assert (found["Arn"], found["Account"]) == (f"arn:aws:iam::{OWN}:user/shop", OWN)
    assert found["UserId"].startswith("AIDA")
    for secret, code in (("another secret", "SignatureDoesNotMatch"), (None, "MissingAuthenticationToken")):
        options = {} if secret else {"signature_version": UNSIGNED}
        client = client_of(world.address, shop.key_id, secret or "", service="sts", **options)
        assert refusal(client.get_caller_identity)[0] == code


def test_one_key_that_floods_is_throttled_and_others_are_not(world: World) -> None:
    shop, bulk = world.key("shop", allow("*")), world.key("bulk", allow("*"))
    world.options = {"requests_per_second": 0.001, "request_burst": 3}
    client = world.client(bulk)
    for _ in range(3):
        client.list_queues()
    assert refusal(client.list_queues)[::2] == ("RequestThrottled", 403)
    world.client(shop).list_queues()


def test_a_new_key_works_while_the_gateway_runs(world: World) -> None:
    world.client(world.root).list_queues()
    late = world.client(world.key("late", allow("*")))
    deadline = time.monotonic() + 30
    while True:
        try:
            late.list_queues()
            break
        except ClientError:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def form(address: str, key: NewKey, method: str = "POST", expires: int | None = None, **fields: str) -> tuple[int, str]:
    """A signed request of the Query protocol, presigned if `expires` is given; status and answer."""
    query = urlencode(fields, quote_via=quote)
    host = address.partition("://")[2]
    headers = {"content-type": "application/x-www-form-urlencoded"} if expires is None else {}
    content = {"query": query} if method == "GET" else {"body": query.encode()}
    request = signed(
        method=method, host=host, headers=headers, key_id=key.key_id, secret=key.secret or "", at=time.time(),
        expires=expires, **content,
    )  # fmt: skip
    url = f"{address}/?{request.query_string.decode()}" if request.query_string else f"{address}/"
    sent = Request(url, request.body or None, dict(request.headers), method=method)
    try:
        with urlopen(sent, timeout=60) as response:
            return response.status, response.read().decode()
    except HTTPError as error:
        return error.code, error.read().decode()


def test_the_query_protocol_refuses_in_the_same_words(world: World) -> None:
    shop = world.key("shop", allow("SendMessage", on="orders"))
    url = world.client(world.root).create_queue(QueueName="orders")["QueueUrl"]
    assert form(world.address, shop, Action="SendMessage", QueueUrl=url, MessageBody="x")[0] == 200
    status, text = form(world.address, shop, Action="ReceiveMessage", QueueUrl=url)
    assert status == 403
    told = refusal(world.client(shop).receive_message, QueueUrl=url)[1]
    assert f"<Type>Sender</Type><Code>AccessDenied</Code><Message>{told}</Message>" in text
    status, text = form(world.address, replace(shop, secret="wrong"), Action="ReceiveMessage", QueueUrl=url)
    assert (status, "<Code>SignatureDoesNotMatch</Code>" in text) == (403, True)


def test_a_presigned_request_can_be_sent_by_anybody_and_leaves_nothing_in_logs(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    shop = world.key("shop", allow("SendMessage", on="orders"))
    log = io.BytesIO()
    world.options = {"access_log": AccessLog(log)}
    url = world.client(world.root).create_queue(QueueName="orders")["QueueUrl"]
    given = {"Action": "SendMessage", "QueueUrl": url, "MessageBody": "the-body"}
    assert form(world.address, shop, "GET", expires=60, **given)[0] == 200
    assert form(world.address, replace(shop, secret="wrong-secret"), "GET", expires=60, **given)[0] == 403

    def lines() -> list[dict[str, Any]]:
        return [json.loads(line) for line in log.getvalue().splitlines()]

    deadline = time.monotonic() + 30
    while len(lines()) < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert [line["status"] for line in lines()] == [200, 200, 403]
    assert lines()[1]["key"] == shop.key_id
    written = log.getvalue().decode() + caplog.text
    for secret in ("X-Amz-Signature", "Signature=", shop.secret or "", "the-body", "wrong-secret"):
        assert secret not in written


def test_one_key_cannot_hold_all_waiting_receives(world: World) -> None:
    shop, other = world.key("shop", allow("*")), world.key("other", allow("*"))
    world.options = {"polls_per_key": 1}
    client, second = world.client(shop), world.client(other)
    url = client.create_queue(QueueName="orders")["QueueUrl"]
    deadline = time.monotonic() + 60

    def receive(seconds: int) -> dict[str, Any]:
        """As soon as there is a place."""
        while True:
            with contextlib.suppress(client.exceptions.RequestThrottled):
                found: dict[str, Any] = client.receive_message(QueueUrl=url, WaitTimeSeconds=seconds)
                return found
            assert time.monotonic() < deadline

    def is_full() -> bool:
        try:
            client.receive_message(QueueUrl=url, WaitTimeSeconds=1)
        except client.exceptions.RequestThrottled:
            return True
        return False

    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(receive, 20)
        while not is_full():
            assert time.monotonic() < deadline
        assert "Messages" not in client.receive_message(QueueUrl=url, WaitTimeSeconds=0)  # one that does not wait
        assert "Messages" not in second.receive_message(QueueUrl=url, WaitTimeSeconds=1)
        second.send_message(QueueUrl=url, MessageBody="x")
        assert waiting.result(60)["Messages"][0]["Body"] == "x"
    assert "Messages" not in receive(1)  # its place is free again


def test_the_start_of_a_gateway_tells_which_queues_are_open(world: World, valkey_url: str, prefix: str) -> None:
    root = world.client(world.root)
    for name, principal in (("open", "*"), ("closed", {"AWS": OTHER})):
        statement = {"Effect": "Allow", "Principal": principal, "Action": "sqs:SendMessage", "Resource": "*"}
        root.create_queue(QueueName=name, Attributes={"Policy": json.dumps({"Statement": statement})})
    settings = GatewaySettings(url=valkey_url, prefix=prefix, keys=world.path)
    assert list(warnings(settings)) == [f"the policy of {OWN}/open allows sqs:SendMessage to everybody"]
