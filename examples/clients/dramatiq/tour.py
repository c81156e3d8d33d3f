"""Sends messages to the worker of actors.py and waits for what they do: python tour.py"""

import tempfile
import time
from pathlib import Path

import boto3
from actors import broken, broker, note
from botocore.exceptions import ClientError
from dramatiq_sqs import SQSBroker


def wait_until(condition, what: str) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline, f"not in 120 seconds: {what}"
        time.sleep(0.1)


with tempfile.TemporaryDirectory() as folder:
    for number in range(20):
        note.send(folder, str(number))
    note.send_with_options(args=(folder, "delayed"), delay=1000)
    broken.send(folder)
    wait_until(lambda: len(list(Path(folder).glob("[0-9d]*"))) == 21, "all messages were handled")
    queue = broker.sqs.get_queue_by_name(QueueName=f"{broker.namespace}_default_dlq")
    wait_until(lambda: queue.load() or queue.attributes["ApproximateNumberOfMessages"] == "1", "there is a dead letter")
    assert (Path(folder) / "broken").read_text() == "xx"

# A wrong key is refused.
wrong = SQSBroker(namespace=broker.namespace, aws_access_key_id="AKIAWRONGKEY", aws_secret_access_key="wrong")
wrong.declare_queue("default")
try:
    wrong.enqueue(note.message("/", "nobody may write this"))
except ClientError as error:
    assert error.response["Error"]["Code"] == "InvalidClientTokenId"
else:
    raise AssertionError("a wrong key was accepted")

print("dramatiq: done, with boto3", boto3.__version__)
