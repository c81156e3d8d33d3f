"""A tour of SQS with aiobotocore: python aiobotocore_tour.py [NAME]

aiobotocore reads AWS_ENDPOINT_URL_SQS, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_DEFAULT_REGION.
"""

import asyncio
import json
import sys

from aiobotocore.session import get_session
from botocore.exceptions import ClientError

name = sys.argv[1] if len(sys.argv) > 1 else "tour-aiobotocore"


async def main() -> None:
    async with get_session().create_client("sqs") as sqs:
        # Queues: what fails twice goes to the dead-letter queue.
        dead_url = (await sqs.create_queue(QueueName=f"{name}-dead"))["QueueUrl"]
        found = await sqs.get_queue_attributes(QueueUrl=dead_url, AttributeNames=["QueueArn"])
        policy = {"deadLetterTargetArn": found["Attributes"]["QueueArn"], "maxReceiveCount": "2"}
        created = await sqs.create_queue(QueueName=name, Attributes={"RedrivePolicy": json.dumps(policy)})
        url = created["QueueUrl"]
        fifo_url = (await sqs.create_queue(QueueName=f"{name}.fifo", Attributes={"FifoQueue": "true"}))["QueueUrl"]

        # A consumer waits in a long poll before anything is sent.
        receive = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20, MessageAttributeNames=["All"])
        waiting = asyncio.create_task(receive)
        await asyncio.sleep(0.5)
        language = {"language": {"DataType": "String", "StringValue": "Python"}}
        await sqs.send_message(QueueUrl=url, MessageBody="hello, wörld", MessageAttributes=language)
        [message] = (await waiting)["Messages"]
        assert message["Body"] == "hello, wörld"
        assert message["MessageAttributes"]["language"]["StringValue"] == "Python"

        # Extend: it is ours for ten minutes from now on. Then it is done.
        handle = message["ReceiptHandle"]
        await sqs.change_message_visibility(QueueUrl=url, ReceiptHandle=handle, VisibilityTimeout=600)
        await sqs.delete_message(QueueUrl=url, ReceiptHandle=handle)

        # A batch: the answer says which entries failed.
        entries = [{"Id": "a", "MessageBody": "one"}, {"Id": "b", "MessageBody": "two", "DelaySeconds": 901}]
        sent = await sqs.send_message_batch(QueueUrl=url, Entries=entries)
        assert [entry["Id"] for entry in sent["Successful"]] == ["a"]
        assert [entry["Id"] for entry in sent["Failed"]] == ["b"]
        [message] = (await sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20))["Messages"]
        done = [{"Id": "a", "ReceiptHandle": message["ReceiptHandle"]}]
        assert (await sqs.delete_message_batch(QueueUrl=url, Entries=done))["Successful"]

        # A dead letter: received and given back twice.
        await sqs.send_message(QueueUrl=url, MessageBody="broken", MessageAttributes=language)
        for _ in range(2):
            [message] = (await sqs.receive_message(QueueUrl=url, WaitTimeSeconds=20))["Messages"]
            await sqs.change_message_visibility(
                QueueUrl=url, ReceiptHandle=message["ReceiptHandle"], VisibilityTimeout=0
            )
        assert "Messages" not in await sqs.receive_message(QueueUrl=url)
        [letter] = (await sqs.receive_message(QueueUrl=dead_url, WaitTimeSeconds=20))["Messages"]
        assert letter["Body"] == "broken"
        await sqs.change_message_visibility(
            QueueUrl=dead_url, ReceiptHandle=letter["ReceiptHandle"], VisibilityTimeout=0
        )

        # FIFO: in order for each group, and a repeated send is recognised.
        for body in "first", "second", "second", "third":
            await sqs.send_message(
                QueueUrl=fifo_url, MessageBody=body, MessageGroupId="order-1", MessageDeduplicationId=body
            )
        received = await sqs.receive_message(QueueUrl=fifo_url, WaitTimeSeconds=20, MaxNumberOfMessages=10)
        assert [message["Body"] for message in received["Messages"]] == ["first", "second", "third"]
        for message in received["Messages"]:
            await sqs.delete_message(QueueUrl=fifo_url, ReceiptHandle=message["ReceiptHandle"])

    # A wrong key is refused.
    wrong = get_session().create_client("sqs", aws_access_key_id="AKIAWRONGKEY", aws_secret_access_key="wrong")
    async with wrong as sqs:
        try:
            await sqs.send_message(QueueUrl=url, MessageBody="nobody may read this")
        except ClientError as error:
            assert error.response["Error"]["Code"] == "InvalidClientTokenId"
        else:
            raise AssertionError("a wrong key was accepted")


asyncio.run(main())
print("aiobotocore: done")
