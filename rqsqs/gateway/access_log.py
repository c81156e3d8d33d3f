"""The access log: one JSON object per line for each request.

    {"time": "2026-11-27T11:22:33.123Z", "action": "SendMessage", "queue": "000000000000/orders", "key": "AKID",
     "status": 200, "us": 412, "request_id": "..."}

Requests of CloudWatch that are about one alarm have its name beside that, as `alarm`.
Bodies, secrets and query strings, which may be presigned, are not in it. Lines are written a few times a second.
"""

from __future__ import annotations

import asyncio
import functools
import time
from collections import deque
from typing import TYPE_CHECKING, BinaryIO

from .protocols.json import dumps

if TYPE_CHECKING:
    from .exchange import Exchange

EVERY_S = 0.2
MOST_LINES = 500  # before they are written at once
ATOMIC = 4096  # bytes that processes can write into one pipe without mixing them (PIPE_BUF)


@functools.lru_cache(maxsize=2)
def _stamp(seconds: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds))


class AccessLog:
    """Writes to a stream."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lines: deque[bytes] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, exchange: Exchange, status: int) -> None:
        """Note a request that was answered; 499 = its client did not wait."""
        now = time.time()
        line = {
            "time": f"{_stamp(int(now))}.{int(now * 1000) % 1000:03d}Z",
            "action": exchange.action,
            "queue": "/".join(exchange.queue.partition("?")[0].rsplit("/", 2)[-2:])[-200:],
            "key": exchange.key_id,
            "status": status,
            "us": int((time.perf_counter() - exchange.started) * 1e6),
            "request_id": exchange.request_id,
        }
        if exchange.alarm:
            line["alarm"] = exchange.alarm[:200]
        self._lines.append(dumps(line))
        if len(self._lines) >= MOST_LINES:
            self.flush()
        elif self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(EVERY_S, self.flush)

    def flush(self) -> None:
        """Write what is left."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        lines, self._lines = self._lines, deque()
        try:
            while lines:
                part, size = [], 0
                while lines and size + len(lines[0]) < ATOMIC:
                    part.append(lines.popleft())
                    size += len(part[-1]) + 1
                self._stream.write(b"\n".join([*(part or [lines.popleft()]), b""]))
                self._stream.flush()
        except (OSError, ValueError):  # the disk is full, the reader of the pipe is gone: requests matter more
            pass
