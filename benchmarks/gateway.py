"""CPU time of a request to the gateway: beside moto's server, and beside the boto3 API, which has no HTTP at all.

    python -m benchmarks.gateway --moto /path/to/moto_server

All contestants are asked in turns, over 16 connections, so that whatever else the machine does falls on all of them.
The processor time is that of the process that answers. What Redis and clients spend is not counted, except for the
boto3 API, where client and answer are one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from botocore.auth import SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials

import rqsqs.boto3
from benchmarks.client import LOW
from benchmarks.server import percentile
from tests.servers import KINDS, Server, free_port

CONNECTIONS = 16
CREDENTIALS = Credentials("AKIABENCHMARK", "benchmark-secret")
OPERATIONS = ("send", "receive", "delete", "receive ten")
BODY = "x" * 100
KEYS = """
[[sealing]]
secret = "0123456789abcdef0123456789abcdef"

[users.bench]
[[users.bench.statements]]
Effect = "Allow"
Action = "sqs:*"
Resource = ["arn:aws:sqs:*:*:bench*", "arn:aws:sqs:*:*:"]
Condition = { StringEquals = { "aws:RequestedRegion" = "us-east-1" } }
[[users.bench.statements]]
Effect = "Deny"
Action = "sqs:PurgeQueue"
Resource = "*"
[[users.bench.keys]]
id = "AKIABENCHMARK"
secret = "benchmark-secret"
"""


def cpu_of(pid: int) -> float:
    """Seconds that a process has used so far, with all its threads, to the nanosecond: the clock that Linux has for it
    (clock_getcpuclockid)."""
    return time.clock_gettime((~pid) << 3 | 2)


def signed(port: int, action: str, params: dict[str, Any]) -> bytes:
    """A request as boto3 sends it."""
    headers = {
        "X-Amz-Target": f"AmazonSQS.{action}",
        "Content-Type": "application/x-amz-json-1.0",
        "User-Agent": "Boto3/1.44.8 md/Botocore#1.44.8 ua/2.1 os/linux#6.1 md/arch#x86_64 lang/python#3.11.7",
        "x-amzn-query-mode": "true",
        "amz-sdk-invocation-id": "730bd694-5acd-458f-b9d0-ec5ecb6dbd95",
        "amz-sdk-request": "attempt=1",
    }
    body = json.dumps(params).encode()
    request = AWSRequest("POST", f"http://127.0.0.1:{port}/", headers, body)
    SigV4Auth(CREDENTIALS, "sqs", "us-east-1").add_auth(request)
    lines = [f"{name}: {value}" for name, value in request.headers.items()]
    head = "\r\n".join(["POST / HTTP/1.1", f"Host: 127.0.0.1:{port}", *lines, f"Content-Length: {len(body)}", "", ""])
    return head.encode() + body


class Connection:
    """One connection, opened again where a server closes it after each answer."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._writer: asyncio.StreamWriter | None = None

    async def ask(self, request: bytes) -> dict[str, Any]:
        """Send a request and read the answer."""
        if self._writer is None:
            self._reader, self._writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._writer.write(request)
        head = (await self._reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0])
        body = await self._reader.readexactly(length)
        assert head[9:12] == b"200", (head, body)
        if head.startswith(b"http/1.0") or b"connection: close" in head:
            await self.close()
        found: dict[str, Any] = json.loads(body or b"{}")
        return found

    async def close(self) -> None:
        """Close it."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer.close()
            await writer.wait_closed()


class Contestant:
    """What answers, and how much it has spent on what."""

    def __init__(self, name: str, cpu: Callable[[], float]) -> None:
        self.name, self.cpu = name, cpu
        self.samples: dict[str, list[float]] = {operation: [] for operation in OPERATIONS}

    def ask(self, action: str, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """Do requests; the answers. To be measured by `measured`."""
        raise NotImplementedError

    def measured(self, operation: str, action: str, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """The same, and note what it has cost."""
        answers = self.ask(action, requests)
        self.samples[operation].append(self.spent / len(requests) * 1e6)
        return answers

    spent = 0.0

    def round(self, count: int) -> None:
        """Send so many messages, receive half of them one by one and half in tens, and delete them."""
        [made] = self.ask("CreateQueue", [{"QueueName": "bench"}])
        url = {"QueueUrl": made["QueueUrl"]}
        self.measured("send", "SendMessage", [{**url, "MessageBody": BODY}] * count)
        one = {**url, "VisibilityTimeout": 600}
        answers = self.measured("receive ten", "ReceiveMessage", [{**one, "MaxNumberOfMessages": 10}] * (count // 20))
        answers += self.measured("receive", "ReceiveMessage", [one] * (count // 2))
        handles = [message["ReceiptHandle"] for answer in answers for message in answer["Messages"]]
        self.measured("delete", "DeleteMessage", [{**url, "ReceiptHandle": handle} for handle in handles])

    def cost(self, operation: str) -> float:
        """Microseconds of one request, in the lower quarter of the rounds: neighbours on the machine only add to it."""
        return percentile(self.samples[operation], LOW)


class OverHttp(Contestant):
    """A server."""

    def __init__(self, name: str, port: int, pids: Sequence[int]) -> None:
        super().__init__(name, lambda: sum(map(cpu_of, pids)))
        self._port = port

    def ask(self, action: str, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """On all connections at once; signed beforehand."""
        written = [signed(self._port, action, params) for params in requests]
        return asyncio.run(self._ask(written))

    async def _ask(self, written: list[bytes]) -> list[dict[str, Any]]:
        answers: list[dict[str, Any]] = []
        left = iter(written)

        async def work() -> None:
            connection = Connection(self._port)
            for request in left:
                answers.append(await connection.ask(request))
            await connection.close()

        before = self.cpu()
        await asyncio.gather(*(work() for _ in range(CONNECTIONS)))
        self.spent = self.cpu() - before
        return answers


class InProcess(Contestant):
    """The boto3 API."""

    def __init__(self, url: str) -> None:
        super().__init__("boto3 API, client included", time.process_time)
        self._client = rqsqs.boto3.client("sqs", endpoint_url=url, region_name="us-east-1")

    def ask(self, action: str, requests: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
        """One by one."""
        call = getattr(self._client, re.sub(r"(?<!^)(?=[A-Z])", "_", action).lower())
        before = self.cpu()
        answers = [call(**params) for params in requests]
        self.spent = self.cpu() - before
        return answers


def started(stack: ExitStack, command: list[str], port: int) -> int:
    """Start a server; its process id once it listens."""
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    stack.callback(process.wait)
    stack.callback(process.kill)
    end = time.monotonic() + 60
    while True:
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return process.pid
        except OSError:
            if time.monotonic() > end or process.poll() is not None:
                raise
            time.sleep(0.1)


def gateway_command(url: str, prefix: str, port: int, keys: Path | None) -> list[str]:
    """The gateway with a prefix of its own."""
    given = f"url={url!r}, prefix={prefix!r}" + (f", keys=Path({str(keys)!r})" if keys else "")
    script = f"""
from pathlib import Path
from rqsqs.gateway import Gateway, GatewaySettings
from rqsqs.gateway.serving import ServingSettings, listen, serve
serve(lambda _: Gateway(GatewaySettings({given})), ServingSettings(), listen("127.0.0.1", {port}))
"""
    return [sys.executable, "-c", script]


def contestants(stack: ExitStack, url: str, moto: str | None) -> list[Contestant]:
    """All of them, running."""
    found: list[Contestant] = []
    keys = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "keys.toml"
    keys.write_text(KEYS)
    keys.chmod(0o600)
    for name, file in (("gateway", None), ("gateway, signed, with policies", keys)):
        port = free_port()
        pid = started(stack, gateway_command(url, f"bench{len(found)}", port, file), port)
        found.append(OverHttp(name, port, [pid]))
    found.append(InProcess(url))
    if moto is not None:
        port = free_port()
        pid = started(stack, [moto, "-H", "127.0.0.1", "-p", str(port)], port)
        found.append(OverHttp("moto's server", port, [pid]))
    return found


def table(found: list[Contestant]) -> str:
    """The result in Markdown."""
    base = found[0]
    lines = ["| CPU of a request, µs | " + " | ".join(OPERATIONS) + " |", "|---|" + "---:|" * len(OPERATIONS)]
    for each in found:
        cells = []
        for operation in OPERATIONS:
            times = each.cost(operation) / base.cost(operation)
            cells.append(f"{each.cost(operation):,.0f}" + (f" (×{times:.1f})" if each is not base else ""))
        lines.append(f"| {each.name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main(argv: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--server", choices=KINDS, default="valkey")
    parser.add_argument("--moto", metavar="PROGRAM", help="moto_server of an environment of its own")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--count", type=int, default=300, help="requests of a kind in a round")
    args = parser.parse_args(argv)
    with ExitStack() as stack:
        server = stack.enter_context(Server(args.server))
        found = contestants(stack, server.url, args.moto)
        for n in range(args.rounds + 1):
            for each in found:
                each.round(args.count)
                if n == 0:  # to warm up
                    each.samples = {operation: [] for operation in OPERATIONS}
        print(table(found))
        if args.moto:
            ratios = [found[-1].cost(each) / found[0].cost(each) for each in OPERATIONS[:3]]
            mean = statistics.geometric_mean(ratios)
            print(f"\nmoto over the gateway, geometric mean of send, receive and delete: {mean:.1f}")


if __name__ == "__main__":
    main()
