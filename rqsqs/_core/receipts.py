"""Receipt handles: opaque text for users, inside what the scripts need to find and judge a receive.

A handle names its queue and partition, so that a foreign one is refused before any round trip, and carries a checksum,
so that a damaged one is.
"""

from __future__ import annotations

import binascii
import zlib
from typing import NamedTuple

from rqsqs._core.keys import Partition, QueueRef
from rqsqs.errors import ReceiptHandleIsInvalid

MARK = "~"  # lua/lib/timeline.lua


class Receipt(NamedTuple):
    """What a handle says. `key` is the member of `inflight` (standard) or the key in the group's list (FIFO), with MARK
    in front if its receive is a step of a timeline."""

    partition: Partition
    received_ms: str
    key: str
    receives: str
    group: str

    @property
    def unmarked(self) -> str:
        """The key without the mark."""
        return self.key.removeprefix(MARK)

    @property
    def member(self) -> str:
        """The key for a delete of a standard queue, which is told no time: under a test clock the mark brings it."""
        clock = self.partition.space.clock
        is_told = clock is not None and self.key.startswith(MARK)
        return f"{MARK}@{self.partition.space.now_us()}{self.key}" if is_told else self.key

    @property
    def receipt(self) -> Receipt:
        """Itself: a delivery has one, too."""
        return self

    @property
    def handle(self) -> str:
        """It as text."""
        return encode(*self)


def encode(partition: Partition, received_ms: str, key: str, receives: str | int = 0, group: str = "") -> str:
    """Make a handle."""
    body = f"{partition.queue}\n{partition.tag}\n{received_ms}\n{receives}\n{key}\n{group}".encode()
    return binascii.b2a_base64(zlib.crc32(body).to_bytes(4, "big") + body, newline=False).decode()


def read(queue: QueueRef, handle: Receipt | str) -> Receipt:
    """The receipt for a queue: text from outside is decoded."""
    if not isinstance(handle, Receipt):
        return decode(queue, handle)
    if handle.partition.queue != queue.name:
        return decode(queue, handle.handle)  # which says so
    if handle.partition.space is queue.space:
        return handle
    return handle._replace(partition=queue.partition(handle.partition.tag))  # of another connection


def decode(queue: QueueRef, handle: str) -> Receipt:
    """Read a handle."""
    try:
        raw = binascii.a2b_base64(handle, strict_mode=True)
        body = raw[4:]
        if zlib.crc32(body) != int.from_bytes(raw[:4], "big") or len(raw) < 12:
            raise ValueError
        name, tag, received_ms, receives, key, group = body.decode().split("\n", 5)
    except (ValueError, TypeError, UnicodeError):
        raise ReceiptHandleIsInvalid(
            f"a receipt handle must be passed on unchanged, as a receive gave it, got {_short(handle)}",
            sqs_message=f'The input receipt handle "{handle}" is not a valid receipt handle.',
            detail="malformed",
        ) from None
    if name != queue.name:
        raise ReceiptHandleIsInvalid(
            f"the receipt handle must be of the queue {queue.name!r}, got one of {name!r}",
            sqs_message=f'The receipt handle "{handle}" is not valid for this queue.',
            detail="foreign",
        )
    return Receipt(queue.partition(tag), received_ms, key, receives, group)


def _short(handle: object) -> str:
    text = repr(handle)
    return text if len(text) <= 60 else f"{text[:57]}..."
