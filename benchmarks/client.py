"""CPU time of the client per call: our faces over the least that a call of the same kind can cost.

The native API is compared with a held connection that runs a trivial EVALSHA with the same keys and arguments, the
drop-in with a boto3 client that answers nothing. Short slices take turns.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable
from typing import Any

from benchmarks.contestants import QUEUE, DropIn, HeldFloor, Native
from benchmarks.server import percentile
from rqsqs._core import envelope, operations, receipts
from rqsqs.limits import NATIVE

BODY = "x" * 100
STEPS = ("send", "receive", "delete")
LOW = 0.25

Costs = dict[tuple[str, str], list[float]]  # (who, step) -> µs per call, one value for each slice


def _timed(costs: Costs, who: str, step: str, call: Callable[[int], Any], count: int) -> list[Any]:
    began = time.thread_time_ns()
    results = [call(i) for i in range(count)]
    costs[who, step].append((time.thread_time_ns() - began) / 1000 / count)
    return results


def native(url: str, slices: int, count: int = 50) -> dict[str, tuple[float, float]]:
    """For each step: µs per call of the native API and of the held connection."""
    ours, floor = Native(url), HeldFloor(url)
    ours.create()
    floor.create()
    queue, ref = ours.queue, ours.queue._ref
    costs: Costs = defaultdict(list)
    for _ in range(slices):
        sent = operations.send_messages(ref.home, [envelope.outgoing(BODY)], NATIVE)
        asked = operations.receive_messages(ref.home, NATIVE, 1, None, "", "")
        _timed(costs, "ours", "send", lambda _: queue.send(BODY), count)
        _timed(costs, "floor", "send", lambda _, o=sent: floor.call(o.keys, o.args), count)
        found = _timed(costs, "ours", "receive", lambda _: queue.receive(wait=0)[0], count)
        _timed(costs, "floor", "receive", lambda _, o=asked: floor.call(o.keys, o.args), count)
        assert [m.body for m in found] == [BODY] * count
        deleted = operations.delete_messages(ref.home, [receipts.decode(ref, found[0].receipt_handle)], NATIVE)
        _timed(costs, "ours", "delete", lambda i, found=found: found[i].delete(), count)
        _timed(costs, "floor", "delete", lambda _, o=deleted: floor.call(o.keys, o.args), count)
    ours.close()
    floor.close()
    return _lows(costs)


def drop_in(url: str, slices: int, count: int = 20) -> dict[str, tuple[float, float]]:
    """For each step: µs per call of the drop-in client, and of a boto3 client whose handler makes a trivial EVALSHA, so
    that it waits for a server as well, and then answers with a constant."""
    import boto3
    from botocore.awsrequest import AWSResponse

    ours = DropIn(url)
    ours.create()
    address = ours.address
    floor = boto3.client("sqs", region_name="us-east-1", aws_access_key_id="none", aws_secret_access_key="none")
    metadata = {"RequestId": "none", "HTTPStatusCode": 200, "HTTPHeaders": {}, "RetryAttempts": 0}
    constants = {
        "SendMessage": {"MessageId": "none", "MD5OfMessageBody": "none", "ResponseMetadata": metadata},
        "ReceiveMessage": {
            "Messages": [{"MessageId": "none", "ReceiptHandle": "none", "MD5OfBody": "none", "Body": BODY}],
            "ResponseMetadata": metadata,
        },
        "DeleteMessage": {"ResponseMetadata": metadata},
    }
    http: Any = AWSResponse("https://sqs.us-east-1.amazonaws.com", 200, {}, None)  # type: ignore[arg-type]

    held = HeldFloor(url)
    held.create()

    def answer(model: Any, **_: Any) -> Any:
        held.call((QUEUE,), (BODY,))
        return http, constants[model.name]

    floor.meta.events.register_last("before-call", answer)
    costs: Costs = defaultdict(list)
    for _ in range(slices):
        handles: list[str] = []
        for who, sqs in (("ours", ours.sqs), ("floor", floor)):
            _timed(costs, who, "send", lambda _, s=sqs: s.send_message(QueueUrl=address, MessageBody=BODY), count)
        for who, sqs in (("floor", floor), ("ours", ours.sqs)):
            got = _timed(costs, who, "receive", lambda _, s=sqs: s.receive_message(QueueUrl=address), count)
            handles = [answer["Messages"][0]["ReceiptHandle"] for answer in got]
        for who, sqs in (("ours", ours.sqs), ("floor", floor)):

            def delete(i: int, sqs: Any = sqs, handles: list[str] = handles) -> None:
                sqs.delete_message(QueueUrl=address, ReceiptHandle=handles[i])

            _timed(costs, who, "delete", delete, count)
    for client in (ours, floor, held):
        client.close()
    return _lows(costs)


def _lows(costs: Costs) -> dict[str, tuple[float, float]]:
    return {step: (percentile(costs["ours", step], LOW), percentile(costs["floor", step], LOW)) for step in STEPS}
