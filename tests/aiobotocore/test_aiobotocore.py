"""Clients of aiobotocore and aioboto3, which want a botocore of their own: `make test-aiobotocore` installs them."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

pytest.importorskip("aioboto3", reason="make test-aiobotocore has it")

import aioboto3
import aiobotocore.session
from aiobotocore.config import AioConfig
from botocore.exceptions import ClientError, EndpointConnectionError

import rqsqs.boto3
from rqsqs._io.aio.runner import Link
from tests.servers import free_port

KEYS = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
LIMIT_S = 30


@pytest.fixture(autouse=True)
def no_aws(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


@pytest.fixture
def run() -> Callable[[Awaitable[None]], None]:
    """Run a test in an event loop of its own, and see that it leaves no open connection behind."""

    async def limited(test: Awaitable[None]) -> None:
        await asyncio.wait_for(test, LIMIT_S)

    def run(test: Awaitable[None]) -> None:
        asyncio.run(limited(test))
        gc.collect()  # what was not closed warns, and warnings are errors

    return run


@pytest.fixture
def session(valkey_url: str, prefix: str) -> Any:
    """A session of aiobotocore that is attached."""
    session = aiobotocore.session.get_session()
    rqsqs.boto3.attach(session, valkey_url, prefix=prefix)
    return session


@asynccontextmanager
async def queue_of(session: Any) -> AsyncIterator[tuple[Any, str]]:
    """A client and the URL of a queue."""
    async with session.create_client("sqs", **KEYS) as client:
        yield client, (await client.create_queue(QueueName="q"))["QueueUrl"]


def test_cloudwatch_is_answered_where_it_is_attached(valkey_url: str, prefix: str, run: Any) -> None:
    async def test() -> None:
        session = aiobotocore.session.get_session()
        rqsqs.boto3.attach(session, valkey_url, prefix=prefix)
        dead = {"endpoint_url": "http://127.0.0.1:9", "config": AioConfig(retries={"total_max_attempts": 1}), **KEYS}
        async with session.create_client("cloudwatch", **dead) as client:
            with pytest.raises(EndpointConnectionError):
                await client.describe_alarms()
            rqsqs.boto3.attach(client, valkey_url, prefix=prefix)
            await client.put_composite_alarm(AlarmName="never", AlarmRule="FALSE")
            await client.get_waiter("composite_alarm_exists").wait(
                AlarmNames=["never"], AlarmTypes=["CompositeAlarm"], WaiterConfig={"Delay": 0, "MaxAttempts": 1}
            )
            pages = client.get_paginator("describe_alarms").paginate(AlarmTypes=["CompositeAlarm"])
            found = [each["AlarmName"] async for page in pages for each in page["CompositeAlarms"]]
            assert found == ["never"]
            with pytest.raises(ClientError) as caught:
                await client.set_alarm_state(AlarmName="none", StateValue="OK", StateReason="x")
            assert caught.value.response["Error"]["Code"] == "ResourceNotFound"

    run(test())


def test_clients_resources_and_sessions_are_answered(valkey_url: str, prefix: str, run: Any) -> None:
    async def test() -> None:
        core, session = aiobotocore.session.get_session(), aioboto3.Session(**KEYS)
        for attached in (core, session):
            rqsqs.boto3.attach(attached, valkey_url, prefix=prefix)
        async with core.create_client("sqs", **KEYS) as client:
            url = (await client.create_queue(QueueName="q"))["QueueUrl"]
            for body in "ab":
                await client.send_message(QueueUrl=url, MessageBody=body)
            got = await client.receive_message(QueueUrl=url)
            assert got["Messages"][0]["Body"] == "a"
            assert got["ResponseMetadata"]["HTTPStatusCode"] == 200
        async with session.resource("sqs") as sqs:
            queue = await sqs.get_queue_by_name(QueueName="q")
            (message,) = await queue.receive_messages()
            assert await message.body == "b"
            await message.delete()
        plain = aioboto3.Session(**KEYS)
        async with plain.client("sqs") as client, plain.resource("sqs") as resource:
            for target in (client, resource):
                rqsqs.boto3.attach(target, valkey_url, prefix=prefix)
            assert (await client.list_queues())["QueueUrls"] == [url]
            assert (await resource.get_queue_by_name(QueueName="q")).url == url

    run(test())


def test_errors_events_and_paginators_are_those_of_aiobotocore(session: Any, run: Any) -> None:
    async def test() -> None:
        async with queue_of(session) as (client, url):
            with pytest.raises(client.exceptions.QueueDoesNotExist) as caught:
                await client.get_queue_url(QueueName="none")
            assert caught.value.response["Error"]["Code"] == "AWS.SimpleQueueService.NonExistentQueue"
            assert "message" not in caught.value.response
            with pytest.raises(client.exceptions.ReceiptHandleIsInvalid) as caught:
                await client.delete_message(QueueUrl=url, ReceiptHandle="x")
            assert caught.value.response["message"] == caught.value.response["Error"]["Message"]
            seen = []

            async def after(http_response: Any, parsed: Any, **_: Any) -> None:
                seen.append((http_response.status_code, await http_response.text, await http_response.content))

            client.meta.events.register("after-call.sqs.GetQueueUrl", after)
            assert (await client.get_queue_url(QueueName="q"))["QueueUrl"] == url
            assert seen == [(200, f'{{"QueueUrl": "{url}"}}', f'{{"QueueUrl": "{url}"}}'.encode())]
            client.meta.events.register("provide-client-params.sqs.ListQueues", lambda **_: {"QueueNamePrefix": "no"})
            pages = [page async for page in client.get_paginator("list_queues").paginate()]
            assert [page.get("QueueUrls") for page in pages] == [None]

    run(test())


def test_a_long_poll_leaves_the_loop_alone(session: Any, run: Any) -> None:
    async def test() -> None:
        async with queue_of(session) as (client, url):
            polls = [asyncio.create_task(client.receive_message(QueueUrl=url, WaitTimeSeconds=20)) for _ in range(20)]
            await asyncio.sleep(0.2)
            began, turns = time.monotonic(), 0
            while time.monotonic() - began < 0.5:
                await asyncio.sleep(0)
                turns += 1
            assert turns > 10  # a handler that waits on the loop lets none happen
            entries = [{"Id": str(i), "MessageBody": str(i)} for i in range(10)]
            for _ in range(2):
                await client.send_message_batch(QueueUrl=url, Entries=entries)
            got = await asyncio.gather(*polls)
            assert sorted(answer["Messages"][0]["Body"] for answer in got) == sorted("0123456789" * 2)

    run(test())


def test_a_cancelled_receive_gives_messages_back(session: Any, run: Any) -> None:
    async def test() -> None:
        async with queue_of(session) as (client, url):
            for turn in range(20):
                poll = asyncio.create_task(client.receive_message(QueueUrl=url, WaitTimeSeconds=20))
                await asyncio.sleep(0.005 * (turn % 4))
                send = asyncio.create_task(client.send_message(QueueUrl=url, MessageBody=str(turn)))
                await asyncio.sleep(0.001 * (turn % 3))
                poll.cancel()
                done = (await asyncio.gather(poll, return_exceptions=True))[0]
                await send
                if isinstance(done, asyncio.CancelledError):
                    done = await client.receive_message(QueueUrl=url, WaitTimeSeconds=20)  # visible for 30 s otherwise
                (message,) = done["Messages"]
                assert message["Body"] == str(turn)
                await client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    run(test())


def test_many_clients_in_one_loop_share_a_connection(session: Any, run: Any) -> None:
    async def one(number: int) -> None:
        async with session.create_client("sqs", **KEYS) as client:
            await client.send_message(QueueUrl="q", MessageBody=str(number))

    async def test() -> None:
        async with queue_of(session) as (client, url):
            await asyncio.gather(*(one(number) for number in range(30)))
            assert len(Link._shared[asyncio.get_running_loop()]) == 1
            bodies = set()
            while got := (await client.receive_message(QueueUrl=url, MaxNumberOfMessages=10)).get("Messages"):
                bodies |= {message["Body"] for message in got}
            assert bodies == {str(number) for number in range(30)}

    run(test())


def test_a_closed_client_has_let_go_of_its_connections(session: Any, run: Any) -> None:
    async def test() -> None:
        async with queue_of(session) as (client, _):
            (link,) = Link._shared[asyncio.get_running_loop()].values()
            assert link.users == 1
        assert link.users == 0
        with pytest.raises(rqsqs.UsageError, match="closed"):
            await client.list_queues()
        client = await session.create_client("sqs", **KEYS).__aenter__()
        await client.list_queues()
        await client.close()
        assert all(link.users == 0 for link in Link._shared[asyncio.get_running_loop()].values())

    run(test())


def test_sessions_serve_one_loop_after_the_other(session: Any, run: Any) -> None:
    async def test() -> None:
        async with queue_of(session) as (client, url):
            await client.send_message(QueueUrl=url, MessageBody="x")

    for _ in range(3):
        run(test())


def test_an_embedded_server_keeps_its_queues_between_two_clients(run: Any, prefix: str) -> None:
    async def test() -> None:
        session = aiobotocore.session.get_session()
        rqsqs.boto3.attach(session, "embedded://", prefix=prefix)
        async with queue_of(session) as (client, url):
            await client.send_message(QueueUrl=url, MessageBody="x")
        async with session.create_client("sqs", **KEYS) as client:
            assert (await client.receive_message(QueueUrl=url))["Messages"][0]["Body"] == "x"

    run(test())


def test_a_server_that_cannot_be_reached(run: Any) -> None:
    async def test() -> None:
        session, seen = aiobotocore.session.get_session(), []
        rqsqs.boto3.attach(session, f"redis://:secret@127.0.0.1:{free_port()}/0")
        async with session.create_client("sqs", **KEYS) as client:
            client.meta.events.register("after-call-error", lambda exception, **_: seen.append(exception))
            with pytest.raises(EndpointConnectionError) as caught:
                await client.list_queues()
        assert "secret" not in str(caught.value)
        assert seen == [caught.value]

    run(test())


def test_patch_answers_new_and_existing_clients(valkey_url: str, prefix: str, run: Any) -> None:
    async def test() -> None:
        nowhere = f"http://127.0.0.1:{free_port()}"
        config = AioConfig(retries={"max_attempts": 0}, connect_timeout=5)
        async with aioboto3.Session(**KEYS).client("sqs", endpoint_url=nowhere, config=config) as existing:
            with rqsqs.boto3.patch(valkey_url, prefix=prefix):
                await existing.create_queue(QueueName="q")
                core = aiobotocore.session.get_session()
                async with core.create_client("sqs") as one, aioboto3.Session().client("sqs") as two:
                    for client in (one, two, existing):
                        assert len((await client.list_queues())["QueueUrls"]) == 1
            with pytest.raises(EndpointConnectionError, match=nowhere):
                await existing.list_queues()

    run(test())


LATE = """
import asyncio, sys
import rqsqs.boto3
patch = rqsqs.boto3.patch(sys.argv[1], prefix=sys.argv[2])
assert "aiobotocore" not in sys.modules
import aioboto3, aiobotocore.session

async def main():
    core = aiobotocore.session.get_session()
    async with core.create_client("sqs") as one, aioboto3.Session().client("sqs") as two:
        await one.create_queue(QueueName="q")
        await two.send_message(QueueUrl="q", MessageBody="late")
        print((await one.receive_message(QueueUrl="q", WaitTimeSeconds=20))["Messages"][0]["Body"])

asyncio.run(main())
patch.undo()
assert not aiobotocore.session.AioSession._create_client.__code__.co_filename.endswith("patching.py")
"""


def test_aiobotocore_may_be_imported_after_patch(valkey_url: str, prefix: str) -> None:
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "RQSQS_"))}
    environ |= {"AWS_CONFIG_FILE": os.devnull, "AWS_EC2_METADATA_DISABLED": "true"}
    done = subprocess.run(
        [sys.executable, "-c", LATE, valkey_url, prefix], env=environ, capture_output=True, text=True, check=False
    )
    assert (done.stdout, done.returncode) == ("late\n", 0), done.stderr


def test_an_existing_client_that_was_not_called_is_as_before(valkey_url: str, prefix: str, run: Any) -> None:
    async def test() -> None:
        async with aioboto3.Session(**KEYS).client("sqs") as client:
            before = client._endpoint.http_session
            with rqsqs.boto3.patch(valkey_url, prefix=prefix):
                pass
            assert client._endpoint.http_session is before
            for _ in range(3):
                with rqsqs.boto3.patch(valkey_url, prefix=prefix):
                    await client.list_queues()
            assert client._endpoint.http_session.original is before  # wrapped once, to let go of Redis

    run(test())


def test_boto3_beside_it_is_answered_as_always(valkey_url: str, prefix: str) -> None:
    client = rqsqs.boto3.client("sqs", endpoint_url=valkey_url)
    rqsqs.boto3.attach(client, valkey_url, prefix=prefix)
    with pytest.raises(ClientError):
        client.get_queue_url(QueueName="none")


def test_what_is_no_client_is_refused(session: Any, run: Any) -> None:
    async def test() -> None:
        async with aioboto3.Session(**KEYS).client("s3") as s3:
            for target, what in ((s3, "got a client of s3"), (object(), "got object"), (None, "got None")):
                with pytest.raises(TypeError, match=f"must be a client .* or aiobotocore, {what}"):
                    rqsqs.boto3.attach(target, "redis://127.0.0.1:1")
        context = session.create_client("sqs", **KEYS)
        with pytest.raises(TypeError, match="attach what `async with` gives"):
            rqsqs.boto3.attach(context, "redis://127.0.0.1:1")
        async with context:
            pass

    run(test())


def test_calls_have_spans_and_messages_a_context(session: Any, run: Any) -> None:
    pytest.importorskip("opentelemetry.sdk")
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import SimpleSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    import rqsqs.opentelemetry

    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))

    async def test() -> None:
        async with queue_of(session) as (client, url):
            await client.send_message(QueueUrl=url, MessageBody="x")
            (message,) = (await client.receive_message(QueueUrl=url))["Messages"]
            with rqsqs.opentelemetry.process(message, queue=url):
                await client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])

    rqsqs.opentelemetry.instrument(tracer_provider=provider)
    try:
        run(test())
    finally:
        rqsqs.opentelemetry.uninstrument()
    send, receive, settle, process = exporter.get_finished_spans()
    assert [s.name for s in (send, receive, settle, process)] == ["send q", "receive q", "settle q", "process q"]
    assert [link.context.span_id for link in (*receive.links, *process.links)] == [send.context.span_id] * 2
    assert settle.parent == process.context
