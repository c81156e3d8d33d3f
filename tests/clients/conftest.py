"""A real gateway, in a process of its own, that knows one access key."""

from __future__ import annotations

import os
import queue
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import rqsqs
from tests.clients.tools import ROOT
from tests.servers import Server

PATIENCE_S = 60
KEY_ID, SECRET = (
    "AKIAIOSFODNN7EXAMPLE",
    "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
)  # with what has to be encoded in DSNs
KEYS_FILE = f"""
[users.tour]
tags = {{ team = "examples" }}

[[users.tour.statements]]
Effect = "Allow"
Action = "sqs:*"
Resource = "arn:aws:sqs:us-east-1:000000000000:tour-*"

[[users.tour.statements]]
Effect = "Allow"
Action = "sqs:ListQueues"
Resource = "*"

[[users.tour.keys]]
id = "{KEY_ID}"
secret = "{SECRET}"

[[sealing]]
secret = "a secret of forty-three characters for tests."
"""


@dataclass(frozen=True)
class RunningGateway:
    """Where it is, and how clients are told.

    Attributes:
        address: what clients call.
        redis_url: the server behind it.
    """

    address: str
    redis_url: str

    @property
    def env(self) -> dict[str, str]:
        """The environment of a client."""
        names = ("PATH", "HOME", "TMPDIR", "LANG", "GOCACHE", "RQSQS_SERVER_BINARY")
        return {name: os.environ[name] for name in names if name in os.environ} | {
            "AWS_ENDPOINT_URL_SQS": self.address,
            "AWS_ENDPOINT_URL_STS": self.address,
            "AWS_ACCESS_KEY_ID": KEY_ID,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": os.devnull,
            "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        }

    def connect(self) -> rqsqs.Connection:
        """The queues as a Python program beside the gateway sees them."""
        return rqsqs.connect(self.redis_url)


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway with a keys file, on a Valkey of its own."""
    pytest.importorskip("uvicorn")
    keys = tmp_path_factory.mktemp("gateway") / "keys.toml"
    keys.write_text(KEYS_FILE, "utf-8")
    keys.chmod(0o600)
    with Server("valkey") as server:
        command = [sys.executable, "-m", "rqsqs", "gateway", "--port", "0", "--keys", str(keys), "--url", server.url]
        env = os.environ | {"PYTHONPATH": str(ROOT)}
        with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            address, heard = _first_line(process)
            try:
                assert address.startswith("http://"), heard()
                yield RunningGateway(address, server.url)
            finally:
                process.terminate()
                assert process.wait(PATIENCE_S) == 0, heard()


def _first_line(process: subprocess.Popen[str]) -> tuple[str, object]:
    """What it prints first, and a function that returns all that it said on stderr."""
    lines: queue.Queue[str] = queue.Queue()
    said: list[str] = []

    def read_stdout() -> None:
        assert process.stdout is not None
        for line in process.stdout:
            lines.put(line)
        lines.put("")

    def read_stderr() -> None:
        assert process.stderr is not None
        said.extend(process.stderr)

    for read in (read_stdout, read_stderr):
        threading.Thread(target=read, daemon=True).start()
    return lines.get(timeout=PATIENCE_S).strip(), lambda: "".join(said)


def run(command: list[str | Path], env: dict[str, str], cwd: Path, timeout: float = 200) -> str:
    """Run a program that must succeed; return what it printed."""
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
