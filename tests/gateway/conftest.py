"""A gateway in a thread, and clients for it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import boto3
import pytest
from botocore.config import Config

pytest.importorskip("uvicorn")

from rqsqs.gateway import Gateway, GatewaySettings
from rqsqs.gateway.serving import ServingSettings, _Server, listen

PATIENCE_S = 60


@contextlib.contextmanager
def running(settings: GatewaySettings, serving: ServingSettings | None = None) -> Iterator[str]:
    """A gateway on a free port; its address."""
    serving = serving or ServingSettings(grace=5)
    listener = listen("127.0.0.1", 0)
    server = _Server(Gateway(settings), serving)
    thread = threading.Thread(target=server.run, args=([listener],))
    thread.start()
    scheme = "https" if serving.tls_cert else "http"
    try:
        yield f"{scheme}://localhost:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(PATIENCE_S)
        listener.close()
        assert not thread.is_alive()


def client_of(address: str, key: str = "test", secret: str = "secret", service: str = "sqs", **options: Any) -> Any:
    """boto3's client."""
    return boto3.client(
        service,
        endpoint_url=address,
        region_name="us-east-1",
        aws_access_key_id=key,
        aws_secret_access_key=secret,
        config=Config(retries={"total_max_attempts": 1}, **options),
    )


@pytest.fixture
def start(valkey_url: str, prefix: str) -> Iterator[Callable[..., str]]:
    """Starts a gateway with the settings given; returns its address."""
    with contextlib.ExitStack() as stack:

        def start(**given: Any) -> str:
            return stack.enter_context(running(GatewaySettings(**{"url": valkey_url, "prefix": prefix, **given})))

        yield start


@pytest.fixture
def address(start: Callable[..., str]) -> str:
    """The address of a gateway that asks nobody who they are."""
    return start()


@pytest.fixture
def client(address: str) -> Any:
    """A client of it."""
    return client_of(address)
