"""Instrumentations of others work with rqsqs.boto3, and tools of OpenTelemetry find ours: make test-opentelemetry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import rqsqs
from tests.worker.serving import is_empty, until

ROOT = Path(__file__).parents[2]
INTO_MEMORY = """
import json, sys
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
exporter = InMemorySpanExporter()
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(SimpleSpanProcessor(exporter))
"""
USE = """
from rqsqs import boto3
sqs = boto3.client("sqs")
url = sqs.create_queue(QueueName="orders")["QueueUrl"]
exporter.clear()
sqs.send_message(QueueUrl=url, MessageBody="x")
for message in sqs.receive_message(QueueUrl=url)["Messages"]:
    trace.get_tracer("test").start_span("inside").end()
    sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
print(json.dumps([
    [s.name, s.kind.name, s.context.span_id, [link.context.span_id for link in s.links], s.parent and s.parent.span_id]
    for s in exporter.get_finished_spans()
]))
"""


def run(code: str, url: str, prefix: str) -> Any:
    """Run a program; what it printed."""
    env = {**os.environ, "RQSQS_URL": url, "RQSQS_PREFIX": prefix, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=env
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_boto3sqs(valkey_url: str, prefix: str) -> None:
    pytest.importorskip("opentelemetry.instrumentation.boto3sqs")
    code = (
        "from opentelemetry.instrumentation.boto3sqs import Boto3SQSInstrumentor\nBoto3SQSInstrumentor().instrument()\n"
    )
    send, receive, inside, process = run(INTO_MEMORY + code + USE, valkey_url, prefix)
    assert [one[:2] for one in (send, receive, inside, process)] == [
        ["orders send", "PRODUCER"],
        ["orders receive", "CONSUMER"],
        ["inside", "INTERNAL"],
        ["orders process", "CONSUMER"],
    ]
    assert process[3] == [send[2]]  # a link: the context came with the message
    assert inside[4] == process[2]


def test_boto3sqs_and_ours(valkey_url: str, prefix: str) -> None:
    """A worker of ours handles what a client sent that others have instrumented."""
    pytest.importorskip("opentelemetry.instrumentation.boto3sqs")
    code = """
from opentelemetry.instrumentation.boto3sqs import Boto3SQSInstrumentor
Boto3SQSInstrumentor().instrument()
from rqsqs import boto3
import rqsqs, rqsqs.opentelemetry
sqs = boto3.client("sqs")
sqs.send_message(QueueUrl=sqs.create_queue(QueueName="orders")["QueueUrl"], MessageBody="x")
rqsqs.opentelemetry.instrument()
with rqsqs.connect().queue("orders").receive()[0]:
    pass
sent, process = exporter.get_finished_spans()[0], exporter.get_finished_spans()[-1]
print(json.dumps([sent.name, process.name, process.links[0].context.span_id == sent.context.span_id]))
"""
    assert run(INTO_MEMORY + code, valkey_url, prefix) == ["orders send", "process orders", True]


def test_botocore(valkey_url: str, prefix: str) -> None:
    pytest.importorskip("opentelemetry.instrumentation.botocore")
    code = (
        "from opentelemetry.instrumentation.botocore import BotocoreInstrumentor\nBotocoreInstrumentor().instrument()\n"
    )
    spans = run(INTO_MEMORY + code + USE, valkey_url, prefix)
    assert [one[:2] for one in spans] == [
        ["SQS.SendMessage", "CLIENT"],
        ["SQS.ReceiveMessage", "CLIENT"],
        ["inside", "INTERNAL"],
        ["SQS.DeleteMessage", "CLIENT"],
    ]


def test_botocore_and_ours_are_one_trace(valkey_url: str, prefix: str) -> None:
    pytest.importorskip("opentelemetry.instrumentation.botocore")
    code = """
from opentelemetry.instrumentation.botocore import BotocoreInstrumentor
BotocoreInstrumentor().instrument()
import rqsqs.opentelemetry
rqsqs.opentelemetry.instrument()
"""
    spans = {one[0]: one for one in run(INTO_MEMORY + code + USE, valkey_url, prefix)}
    assert spans["send orders"][4] == spans["SQS.SendMessage"][2]
    assert spans["receive orders"][3] == [spans["send orders"][2]]


SPAN = '"name": "process orders"'
APP = """
from rqsqs.worker import Worker

worker = Worker(heartbeat_interval=0.2)


@worker.handler("orders")
def handle(message):
    print(message.body, flush=True)
"""


def test_opentelemetry_instrument_finds_ours(valkey_url: str, prefix: str) -> None:
    """By its entry point, as rqsqs is installed here."""
    from importlib.metadata import entry_points

    initialize = pytest.importorskip("opentelemetry.instrumentation.auto_instrumentation")
    assert initialize
    pytest.importorskip("opentelemetry.distro")
    if not any(one.name == "rqsqs" for one in entry_points(group="opentelemetry_instrumentor")):
        pytest.skip("rqsqs is not installed with this entry point")
    code = "import rqsqs; print(len(rqsqs.connect().create_queue('q').send('x').message_id))"
    env = {**os.environ, "RQSQS_URL": valkey_url, "RQSQS_PREFIX": prefix, "OTEL_TRACES_EXPORTER": "console",
           "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}  # fmt: skip
    program = Path(sys.executable).with_name("opentelemetry-instrument")
    done = subprocess.run(
        [program, sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False, env=env
    )
    assert done.stdout.startswith("36\n"), done.stderr
    assert '"name": "send q"' in done.stdout


@pytest.mark.parametrize("processes", ["1", "2"])
def test_workers_with_the_option(valkey_url: str, prefix: str, tmp_path: Path, processes: str) -> None:
    pytest.importorskip("opentelemetry.distro")
    pytest.importorskip("click")
    (tmp_path / "app.py").write_text(APP)
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        queue = connection.create_queue("orders")
        queue.send("hello")
        with _serving(
            tmp_path, valkey_url, prefix, "worker", "app", "--opentelemetry", "--processes", processes
        ) as log:
            until(lambda: is_empty(queue))
    assert SPAN in log.read_text()


@pytest.mark.parametrize("processes", ["1", "2"])
def test_gateways_with_the_option(valkey_url: str, prefix: str, tmp_path: Path, processes: str) -> None:
    pytest.importorskip("opentelemetry.distro")
    pytest.importorskip("uvicorn")
    import boto3

    arguments = ("gateway", "--no-auth", "--port", "0", "--opentelemetry", "--processes", processes)
    with _serving(tmp_path, valkey_url, prefix, *arguments) as log:
        address = until(lambda: [line for line in log.read_text().splitlines() if line.startswith("http")])[0]
        sqs = boto3.client(
            "sqs", endpoint_url=address, region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b"
        )
        sqs.send_message(QueueUrl=sqs.create_queue(QueueName="orders")["QueueUrl"], MessageBody="x")
    assert '"name": "send orders"' in log.read_text()  # what is left is sent at the end


class _serving:
    """A command that serves until the block ends; gives the file that it writes to."""

    def __init__(self, folder: Path, url: str, prefix: str, *arguments: str) -> None:
        self._log = folder / "log"
        env = {**os.environ, "RQSQS_URL": url, "RQSQS_PREFIX": prefix, "PYTHONPATH": str(ROOT),
               "OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none",
               "OTEL_BSP_SCHEDULE_DELAY": "3600000"}  # fmt: skip
        with self._log.open("w") as out:
            command = [sys.executable, "-m", "rqsqs", *arguments]
            self._process = subprocess.Popen(command, stdout=out, stderr=out, env=env, cwd=folder)

    def __enter__(self) -> Path:
        return self._log

    def __exit__(self, *exc_info: object) -> None:
        self._process.send_signal(signal.SIGTERM)
        assert self._process.wait(60) == 0, self._log.read_text()
