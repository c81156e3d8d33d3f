"""A tour of SQS with boto3: python boto3_tour.py [NAME]

boto3 reads AWS_ENDPOINT_URL_SQS, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_DEFAULT_REGION.
"""

import json
import sys

import boto3
from botocore.exceptions import ClientError

name = sys.argv[1] if len(sys.argv) > 1 else "tour-boto3"
sqs = boto3.client("sqs")

# Queues: what fails twice goes to the dead-letter queue.
dead_url = sqs.create_queue(QueueName=f"{name}-dead")["QueueUrl"]
dead_arn = sqs.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
url = sqs.create_queue(
    QueueName=name,
    Attributes={"RedrivePolicy": json.dumps({"deadLetterTargetArn": dead_arn, "maxReceiveCount": "2"})},
)["QueueUrl"]
fifo_url = sqs.create_queue(QueueName=f"{name}.fifo", Attributes={"FifoQueue": "true"})["QueueUrl"]

# Send, with attributes. It is visible in a second: the receive is a long poll.
sqs.send_message(
    QueueUrl=url,
    MessageBody="hello, wörld",
    DelaySeconds=1,
    MessageAttributes={
        "language": {"DataType": "String", "StringValue": "Python"},
        "priority": {"DataType": "Number", "StringValue": "7"},
        "digest": {"DataType": "Binary", "BinaryValue": b"\x00\xff"},
    },
)
[message] = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20, MessageAttributeNames=["All"])["Messages"]
assert message["Body"] == "hello, wörld"
assert message["MessageAttributes"]["priority"]["StringValue"] == "7"
assert message["MessageAttributes"]["digest"]["BinaryValue"] == b"\x00\xff"

# Extend: it is ours for ten minutes from now on. Then it is done.
sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=600)
sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

# A batch: the answer says which entries failed.
sent = sqs.send_message_batch(
    QueueUrl=url,
    Entries=[
        {"Id": "a", "MessageBody": "one"},
        {"Id": "b", "MessageBody": "two"},
        {"Id": "c", "MessageBody": "too late", "DelaySeconds": 901},
    ],
)
assert [entry["Id"] for entry in sent["Successful"]] == ["a", "b"]
assert [entry["Id"] for entry in sent["Failed"]] == ["c"]
received = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20, MaxNumberOfMessages=10)["Messages"]
assert sorted(message["Body"] for message in received) == ["one", "two"]
deleted = sqs.delete_message_batch(
    QueueUrl=url,
    Entries=[{"Id": str(n), "ReceiptHandle": message["ReceiptHandle"]} for n, message in enumerate(received)],
)
assert len(deleted["Successful"]) == 2

# A dead letter: received and given back twice.
sqs.send_message(
    QueueUrl=url,
    MessageBody="broken",
    MessageAttributes={"language": {"DataType": "String", "StringValue": "Python"}},
)
for receive_count in "1", "2":
    [message] = sqs.receive_message(
        QueueUrl=url, WaitTimeSeconds=20, MessageSystemAttributeNames=["ApproximateReceiveCount"]
    )["Messages"]
    assert message["Attributes"]["ApproximateReceiveCount"] == receive_count
    sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0)
assert "Messages" not in sqs.receive_message(QueueUrl=url)
[letter] = sqs.receive_message(
    QueueUrl=dead_url, WaitTimeSeconds=20, MessageSystemAttributeNames=["DeadLetterQueueSourceArn"]
)["Messages"]
assert letter["Body"] == "broken"
assert letter["Attributes"]["DeadLetterQueueSourceArn"].endswith(f":{name}")
sqs.change_message_visibility(QueueUrl=dead_url, ReceiptHandle=letter["ReceiptHandle"], VisibilityTimeout=0)

# FIFO: in order for each group, and a repeated send is recognised.
for body, deduplication_id in ("first", "1"), ("second", "2"), ("second", "2"), ("third", "3"):
    sqs.send_message(
        QueueUrl=fifo_url, MessageBody=body, MessageGroupId="order-1", MessageDeduplicationId=deduplication_id
    )
received = sqs.receive_message(QueueUrl=fifo_url, WaitTimeSeconds=20, MaxNumberOfMessages=10)["Messages"]
assert [message["Body"] for message in received] == ["first", "second", "third"]
for message in received:
    sqs.delete_message(QueueUrl=fifo_url, ReceiptHandle=message["ReceiptHandle"])

# A wrong key is refused.
try:
    boto3.client("sqs", aws_access_key_id="AKIAWRONGKEY", aws_secret_access_key="wrong").send_message(
        QueueUrl=url, MessageBody="nobody may read this"
    )
except ClientError as error:
    assert error.response["ResponseMetadata"]["HTTPStatusCode"] == 403
    assert error.response["Error"]["Code"] == "InvalidClientTokenId"
else:
    raise AssertionError("a wrong key was accepted")

print("boto3: done")
