"""Telemetry that is switched on. Without the SDK of OpenTelemetry there are no tests here."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

import rqsqs
from tests.worker.serving import App

if TYPE_CHECKING:
    from tests.telemetry.recording import Recorder

try:
    import opentelemetry.sdk  # noqa: F401
except ImportError:
    collect_ignore_glob = ["test_*.py"]


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    """Telemetry is on."""
    import rqsqs.opentelemetry
    from tests.telemetry.recording import Recorder

    one = Recorder()
    one.instrument()
    try:
        yield one
    finally:
        rqsqs.opentelemetry.uninstrument()


@pytest.fixture
def connection(valkey_url: str, prefix: str) -> Iterator[rqsqs.Connection]:
    with rqsqs.connect(valkey_url, prefix=prefix) as one:
        yield one


@pytest.fixture
def orders(connection: rqsqs.Connection) -> rqsqs.Queue:
    return connection.create_queue("orders")


@pytest.fixture
def app(valkey_url: str, prefix: str) -> Iterator[App]:
    one = App(valkey_url, prefix)
    with one.stack:
        yield one
