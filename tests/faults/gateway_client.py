"""Works on a queue with boto3, unchanged, until it is ended: python gateway_client.py consume|produce QUEUE_URL NAME

Each line that it prints is the body of a message that was handled, or whose send was acknowledged. What boto3 raises is
logged, and the work goes on: that is all that a careful program does.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import time
from collections.abc import Iterator

import boto3
from botocore.exceptions import BotoCoreError, ClientError


@contextlib.contextmanager
def noted() -> Iterator[None]:
    """Go on after an error."""
    try:
        yield
    except (BotoCoreError, ClientError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
        time.sleep(0.1)


def consume(url: str, _: str) -> None:
    sqs = boto3.client("sqs")
    while True:
        with noted():
            received = sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=5, WaitTimeSeconds=5, VisibilityTimeout=10)
            for message in received.get("Messages", ()):
                print(message["Body"], flush=True)
                sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])


def produce(url: str, name: str) -> None:
    sqs = boto3.client("sqs")
    for n in itertools.count():
        with noted():
            sqs.send_message(QueueUrl=url, MessageBody=f"{name}-{n}")
            print(f"{name}-{n}", flush=True)
        time.sleep(0.01)


if __name__ == "__main__":
    {"consume": consume, "produce": produce}[sys.argv[1]](*sys.argv[2:4])
