"""Connections that are not used again, and options that are refused."""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterator

import pytest

import rqsqs
from rqsqs import aio

INFO = b"redis_version:7.0.0\r\n"


class Fake:
    """Something that listens, greets, and refuses every script in the same words."""

    def __init__(self, listener: socket.socket, refusal: bytes) -> None:
        self.listener = listener
        self.refusal = refusal
        self.greeted = 0
        self.calls = 0
        self.url = f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self.listener.accept()
                self.greeted += 1
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):
            while request := client.recv(65_536):
                for command in re.split(rb"(?m)^\*\d+\r\n", request)[1:]:
                    if b"EVALSHA" in command:
                        self.calls += 1
                        client.sendall(self.refusal)
                    elif b"INFO\r\n" in command and b"CLIENT" not in command:
                        client.sendall(b"$%d\r\n%s\r\n" % (len(INFO), INFO))
                    else:
                        client.sendall(b"+OK\r\n")


@pytest.fixture
def fake(request: pytest.FixtureRequest) -> Iterator[Fake]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield Fake(listener, request.param)
        listener.shutdown(socket.SHUT_RDWR)


READ_ONLY = b"-READONLY You can't write against a read only replica.\r\n"
REFUSED = b"-QUEUE_NOT_FOUND x\r\n"


@pytest.mark.parametrize(
    ("fake", "error", "calls", "connections"),
    [(READ_ONLY, rqsqs.ServerReadOnly, 3, 3), (REFUSED, rqsqs.QueueDoesNotExist, 6, 1)],  # is it gone, or damaged?
    indirect=["fake"],
    ids=["read only", "another refusal"],
)
def test_a_server_that_became_a_replica_is_looked_up_anew(
    fake: Fake, error: type[Exception], calls: int, connections: int
) -> None:
    with rqsqs.connect(fake.url) as connection:
        queue = connection.queue("orders")
        for _ in range(3):
            with pytest.raises(error):
                queue.send("x")
    assert (fake.calls, fake.greeted) == (calls, connections)


@pytest.mark.parametrize(
    ("fake", "error", "calls", "connections"),
    [(READ_ONLY, rqsqs.ServerReadOnly, 3, 3), (REFUSED, rqsqs.QueueDoesNotExist, 6, 1)],  # is it gone, or damaged?
    indirect=["fake"],
    ids=["read only", "another refusal"],
)
def test_a_server_that_became_a_replica_is_looked_up_anew_by_tasks(
    fake: Fake, error: type[Exception], calls: int, connections: int
) -> None:
    async def scenario() -> None:
        async with aio.connect(fake.url) as connection:
            queue = connection.queue("orders")
            for _ in range(3):
                with pytest.raises(error):
                    await queue.send("x")

    started = time.monotonic()
    asyncio.run(asyncio.wait_for(scenario(), 100))
    assert (fake.calls, fake.greeted) == (calls, connections)
    assert time.monotonic() - started < 30


@pytest.mark.parametrize("how", ["option", "url"])
def test_a_number_of_connections_is_not_an_option(valkey_url: str, how: str) -> None:
    url = valkey_url + ("?max_connections=3" if how == "url" else "")
    options = {"max_connections": 3} if how == "option" else {}
    with pytest.raises(rqsqs.UsageError, match="max_connections must be left out"), rqsqs.connect(url, **options):  # type: ignore[arg-type]
        pass

    async def scenario() -> None:
        async with aio.connect(url, **options) as connection:  # type: ignore[arg-type]
            await connection.exists("orders")

    with pytest.raises(rqsqs.UsageError, match="max_connections must be left out"):
        asyncio.run(scenario())


def test_a_queue_remembers_deduplication_ids_for_a_minute_at_least(valkey_url: str, prefix: str) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        with pytest.raises(rqsqs.RqsqsError, match="deduplication_window"):
            connection.create_queue("q.fifo", deduplication_window=59)
        assert not connection.exists("q.fifo")
        connection.create_queue("q.fifo", deduplication_window=60)
