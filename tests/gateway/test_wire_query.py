"""AWS Query on the wire, rule by rule."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from urllib.parse import quote, urlencode

import pytest

from rqsqs.gateway.protocols import xml
from tests.gateway.conftest import Answer, ask, ask_json, ask_query
from tests.gateway.rules import rule

NAMESPACE = "{http://queue.amazonaws.com/doc/2012-11-05/}"
UUID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def path_of(queue: str) -> str:
    return "/" + queue.split("/", 3)[3]


def refused(answer: Answer, status: int, code: str) -> str | None:
    """Check an error, and return its text."""
    assert answer.status == status, answer
    assert answer.headers["content-type"] == "text/xml"
    assert answer.headers["x-amzn-query-error"] == f"{code};Sender"
    root = answer.xml
    assert [each.tag for each in root] == [f"{NAMESPACE}Error", f"{NAMESPACE}RequestId"]
    assert [each.tag.removeprefix(NAMESPACE) for each in root[0]] == ["Type", "Code", "Message", "Detail"]
    assert (root[0][0].text, root[0][1].text, root[0][3].text) == ("Sender", code, None)
    assert root[1].text == answer.headers["x-amzn-requestid"]
    return root[0][2].text


@rule("a form is answered in XML with its namespace, its result and ResponseMetadata")
def test_envelope(shared: str, queue: str) -> None:
    answer = ask_query(shared, "SendMessage", QueueUrl=queue, MessageBody="x")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/xml")
    root = answer.xml
    assert root.tag == f"{NAMESPACE}SendMessageResponse"
    assert [each.tag for each in root] == [f"{NAMESPACE}SendMessageResult", f"{NAMESPACE}ResponseMetadata"]
    [request_id] = answer.texts("RequestId")
    assert request_id == answer.headers["x-amzn-requestid"]
    assert UUID.fullmatch(request_id or "")
    assert answer.texts("MD5OfMessageBody") == [hashlib.md5(b"x").hexdigest()]


@rule("a GET with a query string is the same")
def test_get(shared: str, queue: str) -> None:
    query = urlencode({"Action": "SendMessage", "MessageBody": "a b", "QueueUrl": queue})
    assert ask(shared, "", f"/?{query}", "GET").texts("MD5OfMessageBody") == [hashlib.md5(b"a b").hexdigest()]


@rule("requests may be sent to the URL of the queue, with any path before account and name")
@pytest.mark.parametrize("front", ["", "/some/where", "//", "/.."])
def test_queue_path(shared: str, queue: str, front: str) -> None:
    answer = ask_query(shared, "SendMessage", front + path_of(queue), MessageBody="x")
    assert answer.status == 200, answer
    assert ask(shared, "", f"{path_of(queue)}?Action=DeleteQueue", "GET").status == 200


@rule("a QueueUrl parameter overrides the path")
def test_parameter_overrides_path(shared: str, queue: str) -> None:
    answer = ask_query(shared, "SendMessage", "/000000000000/none", QueueUrl=queue, MessageBody="x")
    assert answer.status == 200


@rule("Version may be missing, or any")
def test_version(shared: str, queue: str) -> None:
    for version in ("", "&Version=2009-02-01"):
        assert ask(shared, "", f"{path_of(queue)}?Action=PurgeQueue{version}", "GET").status in (200, 403)


@rule("CreateQueue and ListQueues are not valid on the URL of a queue")
@pytest.mark.parametrize("action", ["CreateQueue", "ListQueues"])
def test_not_on_queue(shared: str, queue: str, action: str) -> None:
    text = refused(ask_query(shared, action, path_of(queue), QueueName="x"), 400, "InvalidAction")
    assert text == f"The action {action} is not valid for this endpoint."


@rule("GetQueueUrl works on the URL of a queue, for any name")
def test_get_queue_url_on_queue(shared: str, queue: str) -> None:
    name = queue.rpartition("/")[2]
    assert ask_query(shared, "GetQueueUrl", "/000000000000/other", QueueName=name).texts("QueueUrl") == [queue]


@rule("without an action the answer is a 404 with UnknownOperationException, in JSON clothes too")
@pytest.mark.parametrize("accept", ["*/*", "application/json"])
def test_no_action(shared: str, accept: str) -> None:
    answer = ask(shared, "", "/", "GET", Accept=accept)
    assert answer.status == 404
    assert answer.body.strip() == b"<UnknownOperationException/>"


@rule("an unknown action is InvalidAction")
def test_unknown_action(shared: str) -> None:
    text = refused(ask_query(shared, "No<Such>"), 400, "InvalidAction")
    assert text == "The action No<Such> is not valid for this endpoint."


@rule("a queue that does not exist has a text of its own in Query")
def test_no_queue(shared: str) -> None:
    answer = ask_query(shared, "PurgeQueue", "/000000000000/none")
    text = refused(answer, 400, "AWS.SimpleQueueService.NonExistentQueue")
    assert text == "The specified queue does not exist for this wsdl version."


@rule("void actions have no result element")
def test_void(shared: str, queue: str) -> None:
    root = ask_query(shared, "PurgeQueue", QueueUrl=queue).xml
    assert [each.tag for each in root] == [f"{NAMESPACE}ResponseMetadata"]


@rule("a receive of nothing is <ReceiveMessageResult/>")
def test_empty_receive(shared: str, queue: str) -> None:
    assert b"<ReceiveMessageResult/>" in ask_query(shared, "ReceiveMessage", QueueUrl=queue).body


@rule("attributes are Attribute.N.Name and .Value, both ways")
def test_attributes(shared: str, queue: str) -> None:
    name = queue.rpartition("/")[2] + "-a"
    url = ask_query(
        shared, "CreateQueue", QueueName=name, Attribute__1__Name="DelaySeconds", Attribute__1__Value="7",
        Attribute__2__Name="VisibilityTimeout", Attribute__2__Value="8",
    ).texts("QueueUrl")[0]  # fmt: skip
    assert url == f"{shared}/000000000000/{name}"
    answer = ask_query(
        shared,
        "GetQueueAttributes",
        QueueUrl=url,
        AttributeName__1="DelaySeconds",
        AttributeName__2="VisibilityTimeout",
    )
    assert dict(zip(answer.texts("Name"), answer.texts("Value"), strict=True)) == {
        "DelaySeconds": "7",
        "VisibilityTimeout": "8",
    }
    assert answer.xml[0][0].tag == f"{NAMESPACE}Attribute"


@rule("numbers need not be contiguous or sorted")
def test_numbers(shared: str, queue: str) -> None:
    names = {"AttributeName__9": "DelaySeconds", "AttributeName__2": "QueueArn"}
    answer = ask_query(shared, "GetQueueAttributes", QueueUrl=queue, **names)
    assert {*answer.texts("Name")} == {"DelaySeconds", "QueueArn"}
    fields = {"10__Id": "b", "10__MessageBody": "x", "2__MessageBody": "x", "2__Id": "a"}
    entries = {f"SendMessageBatchRequestEntry__{name}": value for name, value in fields.items()}
    assert ask_query(shared, "SendMessageBatch", QueueUrl=queue, **entries).texts("Id") == ["a", "b"]


@rule("tags are Tag.N.Key and .Value, TagKey.N removes them")
def test_tags(shared: str, queue: str) -> None:
    ask_query(shared, "TagQueue", QueueUrl=queue, Tag__1__Key="a", Tag__1__Value="1", Tag__2__Key="b", Tag__2__Value="")
    answer = ask_query(shared, "ListQueueTags", QueueUrl=queue)
    assert (answer.texts("Key"), answer.texts("Value")) == (["a", "b"], ["1", None])
    ask_query(shared, "UntagQueue", QueueUrl=queue, TagKey__1="a")
    assert ask_query(shared, "ListQueueTags", QueueUrl=queue).texts("Key") == ["b"]


@rule("permissions are AWSAccountId.N and ActionName.N")
def test_permissions(shared: str, queue: str) -> None:
    more = {"AWSAccountId__1": "123456789012", "ActionName__1": "SendMessage", "ActionName__2": "DeleteMessage"}
    assert ask_query(shared, "AddPermission", QueueUrl=queue, Label="l", **more).status == 200
    policy = ask_query(shared, "GetQueueAttributes", QueueUrl=queue, AttributeName__1="Policy").texts("Value")[0]
    assert json.loads(policy or "")["Statement"][0]["Action"] == ["SQS:SendMessage", "SQS:DeleteMessage"]
    assert ask_query(shared, "RemovePermission", QueueUrl=queue, Label="l").status == 200


@rule("message attributes are MessageAttribute.N.Name, .Value.DataType and so on, both ways; blobs are base64")
def test_message_attributes(shared: str, queue: str) -> None:
    raw = base64.b64encode(b"\0\1").decode()
    given = {
        "MessageAttribute__1__Name": "kind", "MessageAttribute__1__Value__DataType": "String",
        "MessageAttribute__1__Value__StringValue": "new", "MessageAttribute__2__Name": "raw",
        "MessageAttribute__2__Value__DataType": "Binary", "MessageAttribute__2__Value__BinaryValue": raw,
        "MessageSystemAttribute__1__Name": "AWSTraceHeader", "MessageSystemAttribute__1__Value__DataType": "String",
        "MessageSystemAttribute__1__Value__StringValue": "Root=1",
    }  # fmt: skip
    sent = ask_query(shared, "SendMessage", QueueUrl=queue, MessageBody="x", **given)
    assert sent.texts("MD5OfMessageSystemAttributes") != []
    answer = ask_query(
        shared, "ReceiveMessage", QueueUrl=queue, MessageAttributeName__1="All", AttributeName__1="AWSTraceHeader"
    )
    assert answer.texts("Name") == ["AWSTraceHeader", "kind", "raw"]
    assert answer.texts("StringValue") == ["new"]
    assert answer.texts("BinaryValue") == [raw]
    assert answer.texts("DataType") == ["String", "Binary"]
    assert answer.texts("MD5OfMessageAttributes") == sent.texts("MD5OfMessageAttributes")


@rule("MessageSystemAttributeName.N is taken for AttributeName.N")
def test_system_attribute_names(shared: str, queue: str) -> None:
    ask_query(shared, "SendMessage", QueueUrl=queue, MessageBody="x")
    answer = ask_query(shared, "ReceiveMessage", QueueUrl=queue, MessageSystemAttributeName__1="SenderId")
    assert answer.texts("Name") == ["SenderId"]


@rule("an item without a number, and the plural of JSON with one, are taken as kombu writes them")
def test_kombu(shared: str, queue: str) -> None:
    one = ask_query(shared, "SetQueueAttributes", QueueUrl=queue, Attribute__Name="DelaySeconds", Attribute__Value="3")
    assert one.status == 200
    answer = ask_query(shared, "GetQueueAttributes", QueueUrl=queue, AttributeNames__1="DelaySeconds")
    assert answer.texts("Value") == ["3"]


@rule("batches are {Action}RequestEntry.N, with {Action}ResultEntry and BatchResultErrorEntry in the result")
def test_batches(shared: str, queue: str) -> None:
    entry = "SendMessageBatchRequestEntry"
    given = {f"{entry}__1__Id": "a", f"{entry}__1__MessageBody": "x", f"{entry}__2__Id": "b",
             f"{entry}__2__MessageBody": "y", f"{entry}__2__DelaySeconds": "-1"}  # fmt: skip
    answer = ask_query(shared, "SendMessageBatch", QueueUrl=queue, **given)
    assert [each.tag.removeprefix(NAMESPACE) for each in answer.xml[0]] == [
        "SendMessageBatchResultEntry",
        "BatchResultErrorEntry",
    ]
    assert answer.texts("SenderFault") == ["true"]
    assert answer.texts("Code") == ["InvalidParameterValue"]
    [handle] = ask_query(shared, "ReceiveMessage", QueueUrl=queue).texts("ReceiptHandle")
    assert handle is not None
    for action, more in [("ChangeMessageVisibility", {"VisibilityTimeout": "9"}), ("DeleteMessage", {})]:
        entry = f"{action}BatchRequestEntry__1__"
        fields = {f"{entry}{name}": value for name, value in {"Id": "a", "ReceiptHandle": handle, **more}.items()}
        assert ask_query(shared, f"{action}Batch", QueueUrl=queue, **fields).texts("Id") == ["a"]


@rule("Entries= is an empty batch, and other parameters that mean nothing are ignored")
def test_empty_batch(shared: str, queue: str) -> None:
    answer = ask_query(shared, "SendMessageBatch", QueueUrl=queue, Entries="", Nothing__1="x")
    refused(answer, 400, "AWS.SimpleQueueService.EmptyBatchRequest")


@rule("a carriage return is &#xD; in XML, and arrives")
def test_carriage_return(shared: str, queue: str) -> None:
    body = "a\r\nb\rc<&>\"'☃\t"
    ask_query(shared, "SendMessage", QueueUrl=queue, MessageBody=body)
    answer = ask_query(shared, "ReceiveMessage", QueueUrl=queue)
    assert b"&#xD;" in answer.body
    assert answer.texts("Body") == [body]
    assert answer.texts("MD5OfBody") == [hashlib.md5(body.encode()).hexdigest()]


@rule("what XML cannot have at all becomes U+FFFD")
def test_impossible_characters(shared: str) -> None:
    assert xml.text("a\0\x1b\ufffe\ud800b") == "a\ufffd\ufffd\ufffd\ufffdb"
    answer = ask(shared, "", "/?Action=a%00b", "GET")
    assert answer.texts("Message") == ["The action a\ufffdb is not valid for this endpoint."]


@rule("integers are decimal text, anything else is MalformedInput; nothing is absent")
def test_integers(shared: str, queue: str) -> None:
    for text in ("x", "1.5", "0x1", "1_0", "٣", " 1", "9" * 50):
        refused(ask_query(shared, "ReceiveMessage", QueueUrl=queue, MaxNumberOfMessages=text), 400, "MalformedInput")
    assert ask_query(shared, "ReceiveMessage", QueueUrl=queue, MaxNumberOfMessages="").status == 200


@rule("what is not UTF-8, or has too many fields, is MalformedInput")
def test_malformed_forms(shared: str) -> None:
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    for body in (b"Action=ListQueues&QueueNamePrefix=%ff", b"Action=ListQueues&a=\xff", b"a=1&" * 20_000):
        refused(ask(shared, body, **kind), 400, "MalformedInput")


@rule("Accept: application/json renders the tree of XML as JSON")
def test_json_rendering(shared: str, queue: str) -> None:
    ask_query(shared, "SendMessage", QueueUrl=queue, MessageBody="x")
    path = f"{path_of(queue)}?Action="
    answer = ask(shared, "", f"{path}ReceiveMessage&AttributeName.1=SenderId", "GET", Accept="application/json")
    assert answer.headers["content-type"] == "application/json"
    response = answer.json["ReceiveMessageResponse"]
    assert response["ResponseMetadata"] == {"RequestId": answer.headers["x-amzn-requestid"]}
    [message] = response["ReceiveMessageResult"]["messages"]
    assert message["Body"] == "x"
    assert message["Attributes"] == [{"Name": "SenderId", "Value": "000000000000"}]
    answer = ask(shared, "", f"{path}GetQueueAttributes&AttributeName.1=DelaySeconds", "GET", Accept="application/json")
    result = answer.json["GetQueueAttributesResponse"]["GetQueueAttributesResult"]
    assert result == {"Attributes": [{"Name": "DelaySeconds", "Value": "0"}]}
    void = ask(shared, "", f"{path}PurgeQueue", "GET", Accept="application/json").json
    assert void.keys() == {"PurgeQueueResponse"}


@rule("errors too are JSON with Accept: application/json")
def test_json_errors(shared: str) -> None:
    answer = ask(shared, "", "/000000000000/none?Action=PurgeQueue", "GET", Accept="application/json")
    assert answer.status == 400
    assert answer.json["Error"] == {
        "Code": "AWS.SimpleQueueService.NonExistentQueue",
        "Message": "The specified queue does not exist for this wsdl version.",
        "Type": "Sender",
    }
    assert answer.json["RequestId"] == answer.headers["x-amzn-requestid"]


@rule("every form of a queue URL names the same queue")
def test_url_forms(shared: str, queue: str) -> None:
    name = queue.rpartition("/")[2]
    for url in (
        name, queue, f"http://elsewhere:1/000000000000/{name}", f"https://sqs.us-east-1.amazonaws.com/000000000000/{name}",
        f"https://us-east-1.queue.amazonaws.com/000000000000/{name}", f"https://queue.amazonaws.com/000000000000/{name}",
        f"https://host/a/b/000000000000/{name}",
    ):  # fmt: skip
        answer = ask_json(shared, "GetQueueAttributes", {"QueueUrl": url, "AttributeNames": ["QueueArn"]})
        assert answer.json["Attributes"] == {"QueueArn": f"arn:aws:sqs:us-east-1:000000000000:{name}"}


@rule("garbage for a queue URL is a queue that does not exist")
@pytest.mark.parametrize("url", ["", "http://", "http://host/a b", "\n", "x" * 81, "//", "http://h/000000000000/", "☃"])
def test_garbage_urls(shared: str, url: str) -> None:
    code = "AWS.SimpleQueueService.NonExistentQueue"
    refused(ask(shared, "", f"/?Action=PurgeQueue&QueueUrl={quote(url)}", "GET"), 400, code)


@rule("STS GetCallerIdentity is answered in its own namespace, other actions of STS are not known")
def test_sts(shared: str) -> None:
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = ask(shared, "Action=GetCallerIdentity&Version=2011-06-15", **form)
    assert answer.xml.tag == "{https://sts.amazonaws.com/doc/2011-06-15/}GetCallerIdentityResponse"
    assert answer.texts("Account") == ["000000000000"]
    answer = ask(shared, "Action=AssumeRole&Version=2011-06-15", **form)
    assert (answer.status, answer.texts("Code")) == (400, ["InvalidAction"])
    assert answer.xml.tag == "{https://sts.amazonaws.com/doc/2011-06-15/}ErrorResponse"


@rule("other methods than GET and POST are answered 404, HEAD without a body")
@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "HEAD"])
def test_methods(shared: str, method: str) -> None:
    answer = ask(shared, "", "/?Action=ListQueues", method)
    assert answer.status == 404
    assert method != "HEAD" or answer.body == b""
