"""The gateway as a program, and as an application under other servers."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

import rqsqs
from rqsqs.gateway import Gateway, GatewaySettings, queue_files
from tests.gateway.conftest import PATIENCE_S, ask, ask_json, client_of
from tests.gateway.test_long_polls import begin_receive, gateway_process, receive

ROOT = Path(__file__).parents[2]


def certificate(folder: Path, name: str) -> None:
    """A new certificate in cert.pem, for localhost."""
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
         "-subj", f"/CN={name}", "-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"],
        cwd=folder, check=True, capture_output=True,
    )  # fmt: skip


def name_of_certificate(address: str) -> str:
    parts = urlsplit(address)
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        socket.create_connection((parts.hostname or "", parts.port or 0), timeout=PATIENCE_S) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as connection,
    ):
        return ssl.DER_cert_to_PEM_cert(connection.getpeercert(binary_form=True) or b"")


def test_tls_and_a_new_certificate(valkey_url: str, prefix: str, tmp_path: Path) -> None:
    certificate(tmp_path, "first")
    options = ("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    with gateway_process(valkey_url, prefix, *options) as (process, address):
        assert address.startswith("https://")
        first = (tmp_path / "cert.pem").read_text()
        assert name_of_certificate(address).split() == first.split()
        certificate(tmp_path, "second")
        process.send_signal(signal.SIGHUP)
        end = time.monotonic() + PATIENCE_S
        while name_of_certificate(address).split() != (tmp_path / "cert.pem").read_text().split():
            assert time.monotonic() < end
            time.sleep(0.05)
        (tmp_path / "cert.pem").write_text("nonsense")  # the one before stays
        process.send_signal(signal.SIGHUP)
        assert name_of_certificate(address)


def test_requests_over_tls_have_https_urls(valkey_url: str, prefix: str, tmp_path: Path) -> None:
    certificate(tmp_path, "localhost")
    options = ("--tls-cert", str(tmp_path / "cert.pem"), "--tls-key", str(tmp_path / "key.pem"))
    with gateway_process(valkey_url, prefix, *options) as (_, address):
        import boto3

        client = boto3.client(
            "sqs", endpoint_url=address, region_name="us-east-1", verify=str(tmp_path / "cert.pem"),
            aws_access_key_id="a", aws_secret_access_key="b",
        )  # fmt: skip
        assert client.create_queue(QueueName="orders")["QueueUrl"] == f"{address}/000000000000/orders"


TOML = """
[queues.orders]
VisibilityTimeout = 60
RedrivePolicy = { deadLetterTargetArn = "failed", maxReceiveCount = 3 }
tags = { team = "shop" }

[queues.failed]

[queues."invoices.fifo"]
ContentBasedDeduplication = true
"""
YAML = """
queues:
  orders: {VisibilityTimeout: 60, RedrivePolicy: {deadLetterTargetArn: failed, maxReceiveCount: 3}, tags: {team: shop}}
  failed:
  invoices.fifo: {ContentBasedDeduplication: true}
"""


@pytest.mark.parametrize(("name", "text"), [("queues.toml", TOML), ("queues.yaml", YAML)])
def test_queues_of_a_file(valkey_url: str, prefix: str, tmp_path: Path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    for timeout in ("60", "61"):  # the second time they exist, one with another value
        (tmp_path / name).write_text(text.replace("60", timeout))
        with gateway_process(valkey_url, prefix, "--queues", str(tmp_path / name)) as (_, address):
            names = [url.rpartition("/")[2] for url in client_of(address).list_queues()["QueueUrls"]]
            assert names == ["failed", "invoices.fifo", "orders"]
            params = {"QueueUrl": "orders", "AttributeNames": ["VisibilityTimeout", "RedrivePolicy"]}
            found = ask_json(address, "GetQueueAttributes", params).json["Attributes"]
            assert found["VisibilityTimeout"] == timeout
            assert json.loads(found["RedrivePolicy"])["deadLetterTargetArn"].endswith(":failed")
            assert ask_json(address, "ListQueueTags", {"QueueUrl": "orders"}).json == {"Tags": {"team": "shop"}}


def test_dead_letter_queues_come_before_those_that_name_them(valkey_url: str, prefix: str, tmp_path: Path) -> None:
    file = tmp_path / "queues.toml"
    chain = [("a", "b"), ("b", "c"), ("c", "arn:aws:sqs:us-east-1:000000000000:d")]
    texts = [
        f"[queues.{name}]\nRedrivePolicy = {{ deadLetterTargetArn = '{target}', maxReceiveCount = 1 }}\n"
        for name, target in chain
    ]
    file.write_text("".join([*texts, "[queues.d]"]))
    queue_files.create(queue_files.read(file), GatewaySettings(url=valkey_url, prefix=prefix), file)
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        policies = {queue.name: queue.info().attributes.get("RedrivePolicy", "") for queue in connection.queues()}
    for name, target in zip("abc", "bcd", strict=True):
        assert json.loads(policies[name])["deadLetterTargetArn"] == f"arn:aws:sqs:us-east-1:000000000000:{target}"
    assert policies["d"] == ""


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "must be TOML"),
        ("[queue.orders]", "must have the table `queues`"),
        ("[queues.orders]\nVisibilityTimeout = 1.5", "must be a text, a number, true or false, got 1.5"),
        ("[queues.orders]\nNothing = 1", "Unknown Attribute Nothing"),
        ("[queues.'a b']", "the queue a b cannot be created"),
        (
            "[queues.a]\nRedrivePolicy = { deadLetterTargetArn = 'b', maxReceiveCount = 1 }\n"
            "[queues.b]\nRedrivePolicy = { deadLetterTargetArn = 'a', maxReceiveCount = 1 }",
            "dead letters must not go in a circle, got ",
        ),
    ],
)
def test_a_file_that_is_wrong(valkey_url: str, prefix: str, tmp_path: Path, text: str, said: str) -> None:
    (tmp_path / "queues.toml").write_text(text)
    done = subprocess.run(
        [sys.executable, "-m", "rqsqs", "gateway", "--url", valkey_url, "--prefix", prefix, "--port", "0",
         "--queues", str(tmp_path / "queues.toml")],
        capture_output=True, text=True, timeout=PATIENCE_S, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 2
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_that_is_taken(valkey_url: str, shared: str) -> None:
    port = str(urlsplit(shared).port)
    done = subprocess.run(
        [sys.executable, "-m", "rqsqs", "gateway", "--url", valkey_url, "--port", port],
        capture_output=True, text=True, timeout=PATIENCE_S, cwd=ROOT,
    )  # fmt: skip
    assert done.returncode == 2
    assert f"cannot listen on port {port} of 127.0.0.1: Address already in use" in done.stderr


def test_the_access_log(valkey_url: str, prefix: str) -> None:
    with gateway_process(valkey_url, prefix, "--access-log") as (process, address):
        ask_json(address, "CreateQueue", {"QueueName": "orders"})
        secret = "Credential=AKIDEXAMPLE/20260101/us-east-1/sqs/aws4_request, SignedHeaders=host, Signature=topsecret"
        ask_json(
            address, "SendMessage", {"QueueUrl": f"{address}/000000000000/orders?x=secret", "MessageBody": "secret"},
            Authorization=f"AWS4-HMAC-SHA256 {secret}",
        )  # fmt: skip
        ask(address, "", "/?Action=PurgeQueue&QueueUrl=none&X-Amz-Signature=topsecret", "GET")
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(3)]
        entries = [json.loads(line) for line in lines]
        assert [each["action"] for each in entries] == ["CreateQueue", "SendMessage", "PurgeQueue"]
        assert [each["status"] for each in entries] == [200, 400, 400]
        assert entries[1]["key"] == "AKIDEXAMPLE"
        assert entries[2]["queue"] == "none"
        assert entries[0].keys() == {"time", "action", "queue", "key", "status", "us", "request_id"}
        assert "secret" not in "".join(lines)


def test_ctrl_c_is_the_way_to_end_it(valkey_url: str, prefix: str) -> None:
    with gateway_process(valkey_url, prefix) as (process, address):
        assert ask_json(address, "ListQueues").status == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(PATIENCE_S) == 0


def test_embedded_with_two_processes(prefix: str) -> None:
    """In memory, and yet both have the same queues."""
    with gateway_process("embedded://", prefix, "--processes", "2") as (process, address):
        ask_json(address, "CreateQueue", {"QueueName": "orders"})
        for _ in range(10):
            assert "QueueUrls" in ask_json(address, "ListQueues").json
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


def test_it_starts_fast(valkey_url: str, prefix: str) -> None:
    """By processor time, over that of imports that it cannot do without: the machine may have more to do."""
    script = "import redis.asyncio, uvicorn, time; print(time.process_time())"
    imports = float(subprocess.run([sys.executable, "-c", script], check=True, capture_output=True).stdout)
    with gateway_process(valkey_url, prefix) as (process, address):
        assert ask(address, "", "/readyz", "GET").status == 200
        if not Path(f"/proc/{process.pid}/stat").exists():
            pytest.skip("needs Linux")
        fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
        seconds = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        assert seconds < 8 * imports  # about 4 times


def test_import_rqsqs_loads_no_gateway() -> None:
    script = "import rqsqs, sys; sys.exit(any('uv' in name or 'gateway' in name for name in sys.modules))"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


@contextlib.contextmanager
def under_hypercorn(app: Any) -> Iterator[str]:
    from hypercorn.asyncio import serve
    from hypercorn.config import Config

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    config = Config()
    config.bind = [f"127.0.0.1:{port}"]
    config.graceful_timeout = 1
    loop = asyncio.new_event_loop()
    ended = asyncio.Event()

    async def run() -> None:
        await serve(app, config, shutdown_trigger=ended.wait)

    thread = threading.Thread(target=lambda: loop.run_until_complete(run()))
    thread.start()
    try:
        yield f"http://localhost:{port}"
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join(PATIENCE_S)
        loop.close()


def mounted(app: Gateway, path: str) -> Callable[..., Any]:
    """An application with the gateway at a path."""

    async def outer(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] == "http" and not scope["path"].startswith(path):
            await send({"type": "http.response.start", "status": 204, "headers": []})
            await send({"type": "http.response.body", "body": b""})
        else:
            await app({**scope, "root_path": path} if scope["type"] == "http" else scope, receive, send)

    return outer


def until_answered(address: str, path: str = "/") -> None:
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            ask(address, "", f"{path}livez", "GET")
            return
        except OSError:
            assert time.monotonic() < end
            time.sleep(0.02)


def test_under_another_server(valkey_url: str, prefix: str) -> None:
    pytest.importorskip("hypercorn")
    with under_hypercorn(Gateway(GatewaySettings(url=valkey_url, prefix=prefix))) as address:
        until_answered(address)
        client = client_of(address)
        url = client.create_queue(QueueName="orders")["QueueUrl"]
        client.send_message(QueueUrl=url, MessageBody="x")
        [message] = client.receive_message(QueueUrl=url, WaitTimeSeconds=5)["Messages"]
        client.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
        begin_receive(address, url).close()  # hangs up
        client.send_message(QueueUrl=url, MessageBody="y")
        assert receive(address, url, 20)[0]["Body"] == "y"


def test_mounted_in_another_application(valkey_url: str, prefix: str) -> None:
    pytest.importorskip("hypercorn")
    app = mounted(Gateway(GatewaySettings(url=valkey_url, prefix=prefix)), "/sqs")
    with under_hypercorn(app) as address:
        until_answered(address, "/sqs/")
        assert ask(address, "", "/other", "GET").status == 204
        client = client_of(f"{address}/sqs")
        url = client.create_queue(QueueName="orders")["QueueUrl"]
        assert url == f"{address}/sqs/000000000000/orders"
        client.send_message(QueueUrl=url, MessageBody="x")
        answer = ask(address, "", "/sqs/000000000000/orders?Action=ReceiveMessage", "GET")
        assert answer.texts("Body") == ["x"]
