"""An application with a queue, and its worker as a process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

import rqsqs
from tests.servers import Server
from tests.worker.programs import APP, Program
from tests.worker.serving import App

Start = Callable[..., Program]  # keywords are variables of its environment


@pytest.fixture
def orders(valkey_url: str, prefix: str) -> Iterator[rqsqs.Queue]:
    """The queue that the application serves."""
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        yield connection.create_queue("orders")


@pytest.fixture
def start(valkey_url: str, prefix: str, tmp_path: Path) -> Iterator[Start]:
    """Start `rqsqs worker` with some arguments where app.py is."""
    pytest.importorskip("click")
    pytest.importorskip("rich")
    (tmp_path / "app.py").write_text(APP)
    environment = {"RQSQS_URL": valkey_url, "RQSQS_PREFIX": prefix}
    with ExitStack() as stack:
        yield lambda *arguments, **extra: stack.enter_context(Program(tmp_path, environment | extra, *arguments))


@pytest.fixture
def app(valkey_url: str, prefix: str) -> Iterator[App]:
    """Queues on a server, and workers in threads; all is ended with the test."""
    one = App(valkey_url, prefix)
    with one.stack:
        yield one


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """One that keeps what it was told."""
    with Server("valkey", folder=tmp_path, appendonly="yes", appendfsync="always") as one:
        yield one


@pytest.fixture
def own(server: Server, prefix: str) -> Iterator[App]:
    """An application on a server of its own."""
    one = App(server.url, prefix)
    with one.stack:
        yield one
