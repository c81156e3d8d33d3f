"""Dead-letter queues and message move tasks through the drop-in."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Callable
from typing import Any

import pytest

NO_SOURCE = "The resource that you specified for the SourceArn parameter doesn't exist."
NO_DESTINATION = "The resource that you specified for the DestinationArn parameter doesn't exist."
ARN_FORMAT = "arn:<partition>:<service>:<region>:<account-id>:<resource-id>"
MISSING_ARN = "arn:aws:sqs:us-east-1:000000000000:missing"


def eventually(check: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait for what happens in the background."""
    deadline = time.monotonic() + seconds
    while not (result := check()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
    return result


# RedrivePolicy


def policy_of(sqs: Any, dlq: str, count: object = 1, **more: object) -> str:
    return json.dumps({"maxReceiveCount": count, "deadLetterTargetArn": sqs.arn(dlq)} | more)


def test_a_redrive_policy_is_shown_in_its_canonical_form_and_can_be_removed(sqs: Any) -> None:
    dlq, url = sqs.queue("dlq"), sqs.queue("q")
    sqs.client.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": policy_of(sqs, dlq, "5")})
    assert sqs.attributes(url)["RedrivePolicy"] == (f'{{"deadLetterTargetArn":"{sqs.arn(dlq)}","maxReceiveCount":5}}')
    assert sqs.client.list_dead_letter_source_queues(QueueUrl=dlq)["queueUrls"] == [url]
    sqs.client.set_queue_attributes(QueueUrl=url, Attributes={"RedrivePolicy": ""})
    assert "RedrivePolicy" not in sqs.attributes(url)
    assert sqs.client.list_dead_letter_source_queues(QueueUrl=dlq)["queueUrls"] == []


def test_a_queue_may_be_its_own_dead_letter_queue(sqs: Any) -> None:
    url = sqs.queue("q")
    sqs.dead_letter(url, url)
    assert json.loads(sqs.attributes(url)["RedrivePolicy"])["deadLetterTargetArn"] == sqs.arn(url)


@pytest.mark.parametrize("through", ["create", "set"])
def test_the_target_must_exist_be_of_the_same_type_and_allow_it(sqs: Any, through: str) -> None:
    def use(target_arn: str, name: str = "q") -> None:
        policy = json.dumps({"deadLetterTargetArn": target_arn, "maxReceiveCount": 1})
        if through == "create":
            sqs.queue(name, RedrivePolicy=policy)
        else:
            sqs.client.set_queue_attributes(QueueUrl=sqs.queue(name), Attributes={"RedrivePolicy": policy})

    def reason(arn: str, text: str) -> str:
        policy = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 1})
        return f"Value {policy} for parameter RedrivePolicy is invalid. Reason: {text}"

    with sqs.invalid(reason(MISSING_ARN, "Dead letter target does not exist.")):
        use(MISSING_ARN)
    with sqs.invalid(reason(f"{MISSING_ARN}.fifo", "Dead letter target does not exist.")):
        use(f"{MISSING_ARN}.fifo")
    fifo = sqs.arn(sqs.queue("dlq.fifo"))
    with sqs.invalid(reason(fifo, "Dead-letter queue must be same type of queue as the source..")):
        use(fifo)
    denying = sqs.arn(sqs.queue("denying", RedriveAllowPolicy='{"redrivePermission":"denyAll"}'))
    with sqs.invalid():
        use(denying)
    allowed = json.dumps(
        {"redrivePermission": "byQueue", "sourceQueueArns": ["arn:aws:sqs:us-east-1:000000000000:friend"]}
    )
    choosy = sqs.arn(sqs.queue("choosy", RedriveAllowPolicy=allowed))
    with sqs.invalid():
        use(choosy)
    use(choosy, "friend")


def test_a_message_is_delivered_so_often_and_then_moves(sqs: Any) -> None:
    dlq, url = sqs.queue("dlq"), sqs.queue("q", VisibilityTimeout="1")
    sqs.dead_letter(url, dlq, 2)
    trace = {"AWSTraceHeader": {"DataType": "String", "StringValue": "Root=1"}}
    attributes = {"a": {"DataType": "String", "StringValue": "b"}}
    sent = sqs.send(url, "poison", MessageAttributes=attributes, MessageSystemAttributes=trace)
    [first] = sqs.receive(url)
    sqs.wait(2)
    assert sqs.bodies(url) == ["poison"]
    sqs.wait(2)
    assert sqs.counts(dlq) == (0, 0, 0)
    assert sqs.receive(url) == []
    assert (sqs.counts(url), sqs.counts(dlq)) == ((0, 0, 0), (1, 0, 0))
    [dead] = sqs.receive(dlq)
    assert (dead["MessageId"], dead["Body"], dead["MessageAttributes"]) == (sent["MessageId"], "poison", attributes)
    assert dead["Attributes"] == {
        **first["Attributes"],
        "ApproximateReceiveCount": "3",
        "DeadLetterQueueSourceArn": sqs.arn(url),
    }
    assert dead["Attributes"]["AWSTraceHeader"] == "Root=1"
    with sqs.refused("ReceiptHandleIsInvalid", status=404):
        sqs.delete(dlq, first)
    sqs.delete(url, first)  # the source's handle has no effect on the dead letter
    assert sqs.counts(dlq) == (0, 1, 0)
    sqs.delete(dlq, dead)
    assert sqs.counts(dlq) == (0, 0, 0)


def test_in_a_chain_each_queue_counts_for_itself(sqs: Any) -> None:
    q1, q2, q3 = (sqs.queue(f"q{i}", VisibilityTimeout="0") for i in (1, 2, 3))
    sqs.dead_letter(q1, q2, 1)
    sqs.dead_letter(q2, q3, 1)
    sqs.send(q1, "x")
    counts = []
    for url in (q1, q2):
        [message] = sqs.receive(url)
        counts.append(message["Attributes"]["ApproximateReceiveCount"])
        assert sqs.receive(url) == []
    [message] = sqs.receive(q3)
    assert [*counts, message["Attributes"]["ApproximateReceiveCount"]] == ["1", "2", "3"]
    assert message["Attributes"]["DeadLetterQueueSourceArn"] == sqs.arn(q2)


def test_a_message_sent_to_a_dead_letter_queue_has_no_source(sqs: Any) -> None:
    dlq, url = sqs.queue("dlq"), sqs.queue("q")
    sqs.dead_letter(url, dlq)
    sqs.send(dlq, "by hand")
    [message] = sqs.receive(dlq)
    assert "DeadLetterQueueSourceArn" not in message["Attributes"]


def test_a_dead_letter_frees_its_group_and_goes_by_its_message_id(sqs: Any) -> None:
    dlq = sqs.queue("dlq.fifo")
    url = sqs.queue("q.fifo", ContentBasedDeduplication="true", VisibilityTimeout="1")
    sqs.dead_letter(url, dlq, 1)
    first = sqs.send(url, "1", group="g")
    sqs.send(url, "2", group="g")
    assert sqs.bodies(url, 1) == ["1"]
    sqs.wait(2)
    assert sqs.bodies(url) == ["2"]
    [dead] = sqs.receive(dlq)
    assert dead["MessageId"] == first["MessageId"]
    assert dead["Attributes"]["MessageGroupId"] == "g"
    assert dead["Attributes"]["MessageDeduplicationId"] == first["MessageId"]
    assert sqs.send(url, "1", group="g")["MessageId"] == first["MessageId"]  # still remembered


def test_a_message_stays_when_its_dead_letter_queue_is_gone(sqs: Any) -> None:
    dlq, url = sqs.queue("dlq"), sqs.queue("q", VisibilityTimeout="0")
    sqs.dead_letter(url, dlq, 1)
    sqs.client.delete_queue(QueueUrl=dlq)
    sqs.send(url, "x")
    assert [sqs.bodies(url) for _ in range(3)] == [["x"]] * 3


def test_a_lower_count_acts_on_the_next_receive_and_receives_without_invisibility_count(sqs: Any) -> None:
    dlq, url = sqs.queue("dlq"), sqs.queue("q", VisibilityTimeout="0")
    sqs.dead_letter(url, dlq, 10)
    sqs.send(url, "x")
    assert [sqs.bodies(url) for _ in range(3)] == [["x"]] * 3
    sqs.dead_letter(url, dlq, 3)
    assert sqs.bodies(url) == []
    assert sqs.counts(dlq) == (1, 0, 0)


def test_time_alone_moves_nothing(sqs: Any) -> None:
    dlq, url = sqs.queue("dlq"), sqs.queue("q", VisibilityTimeout="1")
    sqs.dead_letter(url, dlq, 1)
    sqs.send(url, "x")
    sqs.receive(url)
    sqs.wait(100)
    assert (sqs.counts(url), sqs.counts(dlq)) == ((1, 0, 0), (0, 0, 0))


@pytest.mark.parametrize(("suffix", "is_kept"), [("", False), (".fifo", True)])
def test_retention_of_dead_letters_runs_from_the_send_on_standard_queues_and_from_the_move_on_fifo_queues(
    sqs: Any, suffix: str, is_kept: bool
) -> None:
    dlq = sqs.queue(f"dlq{suffix}", MessageRetentionPeriod="60")
    url = sqs.queue(f"q{suffix}", VisibilityTimeout="1")
    sqs.dead_letter(url, dlq, 1)
    extra = {"group": "g", "MessageDeduplicationId": "d"} if suffix else {}
    sqs.send(url, "x", **extra)
    sqs.wait(40)
    sqs.receive(url)
    sqs.wait(2)
    assert sqs.receive(url) == []
    sqs.wait(30)
    assert sqs.bodies(dlq) == (["x"] if is_kept else [])


def test_purged_messages_do_not_become_dead_letters(sqs: Any) -> None:
    dlq, url = sqs.queue("dlq"), sqs.queue("q", VisibilityTimeout="1")
    sqs.dead_letter(url, dlq, 1)
    sqs.send(url, "x")
    sqs.receive(url)
    sqs.client.purge_queue(QueueUrl=url)
    sqs.wait(2)
    assert sqs.receive(url) == []
    assert sqs.counts(dlq) == (0, 0, 0)


def test_dead_letters_of_many_sources_are_one_queue(sqs: Any) -> None:
    dlq = sqs.queue("dlq")
    urls = [sqs.queue(f"q{i}", VisibilityTimeout="0") for i in range(4)]
    for i, url in enumerate(urls):
        sqs.dead_letter(url, dlq, 1)
        sqs.send(url, str(i))
        sqs.receive(url)
        sqs.receive(url)
    assert sqs.client.list_dead_letter_source_queues(QueueUrl=dlq)["queueUrls"] == urls
    assert sqs.counts(dlq) == (4, 0, 0)
    received = sqs.receive(dlq)
    assert sorted(message["Body"] for message in received) == ["0", "1", "2", "3"]
    entries = [{"Id": str(i), "ReceiptHandle": message["ReceiptHandle"]} for i, message in enumerate(received)]
    assert len(sqs.client.delete_message_batch(QueueUrl=dlq, Entries=entries)["Successful"]) == 4
    assert sqs.counts(dlq) == (0, 0, 0)


# Move tasks


def bury(sqs: Any, url: str, *bodies: str) -> None:
    """Send messages to a queue with maxReceiveCount 1 and let them die."""
    for body in bodies:
        sqs.send(url, body)
    for _ in range(2):
        while sqs.receive(url, VisibilityTimeout=0):
            pass


def newest(sqs: Any, dlq: str) -> dict[str, Any]:
    task: dict[str, Any] = sqs.client.list_message_move_tasks(SourceArn=sqs.arn(dlq))["Results"][0]
    return task


def finished(sqs: Any, dlq: str) -> dict[str, Any]:
    """The newest task of a queue, when it is over."""
    return eventually(lambda: task if (task := newest(sqs, dlq))["Status"] not in ("RUNNING", "CANCELLING") else None)


def test_dead_letters_go_back_to_their_sources(live: Any) -> None:
    dlq, a, b = live.queue("dlq"), live.queue("a"), live.queue("b")
    for url in (a, b):
        live.dead_letter(url, dlq)
        bury(live, url, f"to {url[-1]}")
    assert live.counts(dlq) == (2, 0, 0)
    arn = live.arn(dlq)
    handle = live.client.start_message_move_task(SourceArn=arn)["TaskHandle"]
    parts = json.loads(base64.b64decode(handle))
    assert parts == {"taskId": parts["taskId"], "sourceArn": arn}
    task = finished(live, dlq)
    assert task.pop("StartedTimestamp") > 1_600_000_000_000
    assert task == {
        "Status": "COMPLETED",
        "SourceArn": arn,
        "ApproximateNumberOfMessagesMoved": 2,
        "ApproximateNumberOfMessagesToMove": 2,
    }
    assert live.bodies(a) == ["to a"]
    [message] = live.receive(b)
    assert (message["Body"], message["Attributes"]["ApproximateReceiveCount"]) == ("to b", "1")
    assert "DeadLetterQueueSourceArn" not in message["Attributes"]
    assert live.counts(dlq) == (0, 0, 0)


def test_dead_letters_go_to_a_destination_with_new_ids(live: Any) -> None:
    dlq, url, other = live.queue("dlq"), live.queue("q"), live.queue("other")
    live.dead_letter(url, dlq)
    bury(live, url, "x")
    [dead] = live.receive(dlq, VisibilityTimeout=0)
    live.client.start_message_move_task(SourceArn=live.arn(dlq), DestinationArn=live.arn(other))
    task = finished(live, dlq)
    assert (task["Status"], task["DestinationArn"]) == ("COMPLETED", live.arn(other))
    [message] = live.receive(other)
    assert message["Body"] == "x"
    assert message["MessageId"] != dead["MessageId"]


def test_a_task_can_be_cancelled_while_it_runs(live: Any) -> None:
    dlq, url = live.queue("dlq"), live.queue("q")
    live.dead_letter(url, dlq)
    bury(live, url, *map(str, range(10)))
    arn = live.arn(dlq)
    start = live.client.start_message_move_task
    handle = start(SourceArn=arn, MaxNumberOfMessagesPerSecond=1)["TaskHandle"]
    running = newest(live, dlq)
    assert (running["Status"], running["TaskHandle"]) == ("RUNNING", handle)
    assert running["MaxNumberOfMessagesPerSecond"] == 1
    with live.invalid(
        "There is already a task running. Only one active task is allowed for a source queue arn at a given time."
    ):
        start(SourceArn=arn)
    moved = live.client.cancel_message_move_task(TaskHandle=handle)["ApproximateNumberOfMessagesMoved"]
    assert 0 <= moved < 10
    task = finished(live, dlq)
    assert task["Status"] == "CANCELLED"
    assert "TaskHandle" not in task
    with live.invalid("Only active tasks can be cancelled."):
        live.client.cancel_message_move_task(TaskHandle=handle)
    assert live.counts(dlq)[0] + live.counts(url)[0] == 10


def test_a_task_fails_for_messages_that_have_no_source(live: Any) -> None:
    dlq, url = live.queue("dlq"), live.queue("q")
    live.dead_letter(url, dlq)
    live.send(dlq, "by hand")
    live.client.start_message_move_task(SourceArn=live.arn(dlq))
    task = finished(live, dlq)
    assert (task["Status"], task["FailureReason"]) == ("FAILED", "CouldNotDetermineMessageSource")
    assert live.counts(dlq) == (1, 0, 0)


def test_tasks_are_listed_newest_first(live: Any) -> None:
    dlq, url = live.queue("dlq"), live.queue("q")
    live.dead_letter(url, dlq)
    arn = live.arn(dlq)
    assert live.client.list_message_move_tasks(SourceArn=arn).keys() == {"ResponseMetadata"}
    for _ in range(2):
        live.client.start_message_move_task(SourceArn=arn)
        finished(live, dlq)
    assert len(live.client.list_message_move_tasks(SourceArn=arn)["Results"]) == 1
    started = [
        task["StartedTimestamp"]
        for task in live.client.list_message_move_tasks(SourceArn=arn, MaxResults=10)["Results"]
    ]
    assert len(started) == 2
    assert started == sorted(started, reverse=True)


def test_starting_a_task_has_rules(live: Any) -> None:
    dlq, url, plain, fifo = live.queue("dlq"), live.queue("q"), live.queue("plain"), live.queue("f.fifo")
    live.dead_letter(url, dlq)
    arn = live.arn(dlq)
    start = live.client.start_message_move_task
    with live.missing("SourceArn"):
        start(SourceArn="")
    with live.invalid(f"You must use this format to specify the SourceArn: {ARN_FORMAT}"):
        start(SourceArn="dlq")
    for text in ("", "q"):
        with live.invalid(f"You must use this format to specify the DestinationArn: {ARN_FORMAT}"):
            start(SourceArn=arn, DestinationArn=text)
    for rate in (0, 501, -1):
        with live.invalid(
            "Value for parameter MaxNumberOfMessagesPerSecond is invalid. Reason: You must enter a number that's "
            "between 1 and 500."
        ):
            start(SourceArn=arn, MaxNumberOfMessagesPerSecond=rate)
    for missing in (MISSING_ARN, "arn:aws:sqs:us-east-1:000000000000:no/name"):
        with live.refused("ResourceNotFoundException", NO_SOURCE, status=404):
            start(SourceArn=missing)
        with live.refused("ResourceNotFoundException", NO_DESTINATION, status=404):
            start(SourceArn=arn, DestinationArn=missing)
    for more in ({}, {"DestinationArn": live.arn(plain)}, {"DestinationArn": live.arn(fifo)}):
        with live.invalid("Source queue must be configured as a Dead Letter Queue."):
            start(SourceArn=live.arn(plain), **more)
    with live.invalid("Source queue arn and destination queue arn cannot be the same."):
        start(SourceArn=arn, DestinationArn=arn)
    with live.invalid("The source queue and destination queue must be of the same queue type."):
        start(SourceArn=arn, DestinationArn=live.arn(fifo))


def test_listing_and_cancelling_tasks_has_rules(sqs: Any) -> None:
    arn = sqs.arn(sqs.queue("q"))
    listing, cancel = sqs.client.list_message_move_tasks, sqs.client.cancel_message_move_task
    with sqs.refused("ResourceNotFoundException", NO_SOURCE, status=404):
        listing(SourceArn=MISSING_ARN)
    for count in (0, 11):
        with sqs.invalid():
            listing(SourceArn=arn, MaxResults=count)
    with sqs.missing("TaskHandle"):
        cancel(TaskHandle="")

    def handle(**parts: str) -> str:
        return base64.b64encode(json.dumps(parts).encode()).decode()

    for bad in ("garbage", "AAAA", handle(), handle(taskId="x"), handle(taskId="x", sourceArn="q")):
        with sqs.invalid("Value for parameter TaskHandle is invalid."):
            cancel(TaskHandle=bad)
    with sqs.refused("ResourceNotFoundException", NO_SOURCE, status=404):
        cancel(TaskHandle=handle(taskId="x", sourceArn=MISSING_ARN))
    with sqs.refused("ResourceNotFoundException", "Task does not exist.", status=404):
        cancel(TaskHandle=handle(taskId="00000000-0000-4000-8000-000000000000", sourceArn=arn))


def test_a_task_fails_when_its_destination_is_deleted(live: Any) -> None:
    dlq, url, other = live.queue("dlq"), live.queue("q"), live.queue("other")
    live.dead_letter(url, dlq)
    bury(live, url, *map(str, range(5)))
    live.client.start_message_move_task(
        SourceArn=live.arn(dlq), DestinationArn=live.arn(other), MaxNumberOfMessagesPerSecond=2
    )
    live.client.delete_queue(QueueUrl=other)
    task = finished(live, dlq)
    assert (task["Status"], task["FailureReason"]) == ("FAILED", "AWS.SimpleQueueService.NonExistentQueue")


def test_fifo_dead_letters_go_back_in_order(live: Any) -> None:
    dlq = live.queue("dlq.fifo")
    url = live.queue("q.fifo", ContentBasedDeduplication="true")
    live.dead_letter(url, dlq)
    for i in range(5):
        live.send(url, str(i), group="g")
    for _ in range(2):
        while live.receive(url, VisibilityTimeout=0):
            pass
    assert live.counts(dlq) == (5, 0, 0)
    live.client.start_message_move_task(SourceArn=live.arn(dlq))
    assert finished(live, dlq)["Status"] == "COMPLETED"
    received = live.receive(url)
    assert [message["Body"] for message in received] == ["0", "1", "2", "3", "4"]
    assert {message["Attributes"]["MessageGroupId"] for message in received} == {"g"}
