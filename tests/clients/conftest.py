"""A real gateway, in a process of its own, that knows one access key."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import rqsqs
from tests.clients.tools import ROOT
from tests.servers import Server

PATIENCE_S = 60
SECRET = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY"  # with what has to be encoded in DSNs
KEYS = {"tour": "AKIAIOSFODNN7EXAMPLE", "celery": "AKIAIOSFODNN7CELERY", "keda": "AKIAIOSFODNN7KEDA"}


def user(name: str, actions: Collection[str]) -> str:
    """A user of the keys file, and what it may do with queues that begin with tour-, and with alarms and metrics."""
    anywhere = sorted(action for action in actions if action == "sqs:ListQueues" or action.startswith("cloudwatch:"))
    return f"""
[users.{name}]
tags = {{ team = "examples" }}

[[users.{name}.statements]]
Effect = "Allow"
Action = {sorted(set(actions) - set(anywhere))}
Resource = "arn:aws:sqs:us-east-1:000000000000:tour-*"

[[users.{name}.statements]]
Effect = "Allow"
Action = {sorted({"sqs:ListQueues", *anywhere})}
Resource = "*"

[[users.{name}.keys]]
id = "{KEYS[name]}"
secret = "{SECRET}"
"""


def actions_in(page: str) -> list[str]:
    """What a page of docs/clients says that a key has to be allowed."""
    return re.findall(r"`((?:sqs|cloudwatch):\w+)`", (ROOT / "docs" / "clients" / page).read_text("utf-8"))


def keys_file() -> str:
    """One user for the tours, and two that may do what the docs say and no more."""
    return "".join(
        [
            user("tour", ["sqs:*", "cloudwatch:*"]),
            user("celery", actions_in("celery.md")),
            user("keda", actions_in("infrastructure.md")),
            '[[sealing]]\nsecret = "a secret of forty-three characters for tests."\n',
        ]
    )


@dataclass(frozen=True)
class RunningGateway:
    """Where it is, and how clients are told.

    Attributes:
        address: what clients call.
        redis_url: the server behind it.
        certificate: of a gateway with TLS; clients trust it by the variables that the docs name.
    """

    address: str
    redis_url: str
    certificate: Path | None = None

    @property
    def env(self) -> dict[str, str]:
        """The environment of a client."""
        return self.env_of("tour")

    def env_of(self, name: str) -> dict[str, str]:
        """The environment of a client with the key of a user."""
        kept = ("PATH", "HOME", "TMPDIR", "LANG", "GOCACHE", "RQSQS_SERVER_BINARY")
        trusted = str(self.certificate or "")
        trust = {name: trusted for name in ("AWS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE") if trusted}
        return (
            trust
            | {each: os.environ[each] for each in kept if each in os.environ}
            | {
                "AWS_ENDPOINT_URL_SQS": self.address,
                "AWS_ENDPOINT_URL_CLOUDWATCH": self.address,
                "AWS_ENDPOINT_URL_STS": self.address,
                "AWS_ACCESS_KEY_ID": KEYS[name],
                "AWS_SECRET_ACCESS_KEY": SECRET,
                "AWS_DEFAULT_REGION": "us-east-1",
                "AWS_REGION": "us-east-1",
                "AWS_EC2_METADATA_DISABLED": "true",
                "AWS_CONFIG_FILE": os.devnull,
                "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
            }
        )

    def connect(self) -> rqsqs.Connection:
        """The queues as a Python program beside the gateway sees them."""
        return rqsqs.connect(self.redis_url)


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """A gateway with a keys file, on a Valkey of its own."""
    with running(tmp_path_factory.mktemp("gateway")) as gateway:
        yield gateway


@pytest.fixture(scope="session")
def gateway_with_tls(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    """The same with TLS; its certificate is signed by itself."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl")
    folder = tmp_path_factory.mktemp("gateway")
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    names = ["-addext", "subjectAltName=DNS:localhost", "-keyout", "key.pem", "-out", "cert.pem"]
    subprocess.run([*request, *names], cwd=folder, capture_output=True, check=True)
    certificate = folder / "cert.pem"
    with running(folder, "--tls-cert", str(certificate), "--tls-key", str(folder / "key.pem")) as gateway:
        yield dataclasses.replace(gateway, certificate=certificate)


@contextlib.contextmanager
def running(folder: Path, *options: str) -> Iterator[RunningGateway]:
    """A gateway with these options and with keys, on a Valkey of its own."""
    with Server("valkey") as server, launched(folder, server.url, 0, *options) as (gateway, process):
        yield gateway
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


@contextlib.contextmanager
def launched(
    folder: Path, url: str, port: int, *options: str
) -> Iterator[tuple[RunningGateway, subprocess.Popen[str]]]:
    """A gateway with keys, and its process, which is killed at the end."""
    pytest.importorskip("uvicorn")
    keys = folder / "keys.toml"
    keys.write_text(keys_file(), "utf-8")
    keys.chmod(0o600)
    command = [sys.executable, "-m", "rqsqs", "gateway", "--port", str(port), "--keys", str(keys), "--url", url]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    with (
        (folder / "gateway.log").open("w") as log,
        subprocess.Popen([*command, *options], env=env, stdout=subprocess.PIPE, stderr=log, text=True) as process,
    ):
        try:
            assert process.stdout is not None
            address = process.stdout.readline().strip()
            assert address.startswith("http"), (folder / "gateway.log").read_text()
            yield RunningGateway(address, url), process
        finally:
            process.kill()


def run(command: list[str | Path], env: dict[str, str], cwd: Path, timeout: float = 200) -> str:
    """Run a program that must succeed; return what it printed."""
    done = subprocess.run(command, env=env, cwd=cwd, capture_output=True, text=True, timeout=timeout, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout
