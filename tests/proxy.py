"""A network that misbehaves as a test wants: a TCP proxy in front of a server, or of every master of a cluster.

with Proxy(server.url) as proxy:
    rqsqs.connect(proxy.url)
    proxy.cut()                     # all connections, at once
    proxy.lose_replies(3)           # of the next three answers nothing arrives; their connections are cut
    proxy.delay_s = 0.2             # every answer comes later
    proxy.is_silent = True          # nothing comes through any more, nobody is told
    proxy.is_closed = True          # who connects is cut off
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import threading
from typing import Self
from urllib.parse import urlsplit

from rqsqs._io.sync import clients
from rqsqs._io.urls import place_of


class Proxy:
    """Listens on free loopback ports while the context lasts.

    Args:
        target: URL of a server with a port, or of a cluster, whose masters are named by the proxy's ports then.
    """

    def __init__(self, target: str) -> None:
        self.is_cluster = place_of(target) is not None
        self.targets = [urlsplit(url).port or 0 for url in clients.master_urls(target)]
        self.ports: list[int] = []
        self.delay_s = 0.0
        self.is_silent = False
        self.is_closed = False
        self.connections = 0  # made so far
        self.lost = 0  # answers
        self._to_lose = 0
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    @property
    def url(self) -> str:
        hosts = ",".join(f"127.0.0.1:{port}" for port in self.ports)
        return f"redis+cluster://{hosts}" if self.is_cluster else f"redis://{hosts}/0"

    def cut(self) -> None:
        """Cut all connections."""
        self._loop.call_soon_threadsafe(self._cut)

    def lose_replies(self, count: int) -> None:
        """The server does what it is asked to, and nobody hears of it."""
        self._to_lose = count

    def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    async def _serve(self, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if self.is_closed:
            writer.transport.abort()
            return
        ends = [writer]
        with contextlib.suppress(OSError, asyncio.CancelledError):
            there, back = await asyncio.open_connection("127.0.0.1", target)
            ends.append(back)
            self._writers.update(ends)
            both = [
                asyncio.ensure_future(self._pump(reader, back, is_reply=False)),
                asyncio.ensure_future(self._pump(there, writer, is_reply=True)),
            ]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            for one in both:
                one.cancel()
        for end in ends:
            self._writers.discard(end)
            end.transport.abort()

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, is_reply: bool) -> None:
        with contextlib.suppress(OSError):
            while data := await source.read(1 << 16):
                if self.is_silent:
                    continue
                if is_reply and self._to_lose:
                    self._to_lose -= 1
                    self.lost += 1
                    return
                if is_reply and self.delay_s:
                    await asyncio.sleep(self.delay_s)
                if is_reply and self.is_cluster:
                    for target, port in zip(self.targets, self.ports, strict=True):  # CLUSTER SLOTS and MOVED
                        data = data.replace(b":%d\r\n" % target, b":%d\r\n" % port)
                sink.write(data)
                await sink.drain()

    def _do(self, work: object) -> object:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)  # type: ignore[arg-type]

    def __enter__(self) -> Self:
        self._thread.start()

        async def listen() -> list[asyncio.Server]:
            return [
                await asyncio.start_server(functools.partial(self._serve, target), "127.0.0.1", 0)
                for target in self.targets
            ]

        self._servers: list[asyncio.Server] = self._do(listen())  # type: ignore[assignment]
        self.ports = [server.sockets[0].getsockname()[1] for server in self._servers]
        return self

    def __exit__(self, *exc_info: object) -> None:
        async def hang_up() -> None:
            for server in self._servers:
                server.close()
            self._cut()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self._do(hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
