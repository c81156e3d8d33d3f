"""Operations that send messages."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from rqsqs._core import ids
from rqsqs._core.keys import Partition
from rqsqs._core.operation import Arg, Operation
from rqsqs._core.sent import Outgoing, SentMessage
from rqsqs.limits import Limits
from rqsqs.models import Durability

SEND = "meta ready wakeups"
SEND_FIFO = "meta available wakeups"
REPEAT_MARK = 1  # the argument of a send to a standard queue that tells of a repetition
MIN_WINDOW_MS = 120_000  # a deduplication window that outlasts all repetitions of a call


def dedup_tail(dedup_id: str) -> str:
    """A deduplication id as part of a key name: short ones as they are, long ones as a digest."""
    if len(dedup_id) <= 32 and dedup_id.isascii():
        return dedup_id
    return "\x00" + hashlib.blake2b(dedup_id.encode(), digest_size=16).hexdigest()


def _due(message: Outgoing) -> str:
    if message.due_ms is not None:
        return f"@{message.due_ms}"
    if message.delay_ms is not None:
        return f"+{message.delay_ms}"
    return ""


class Moved:
    """A message that belongs to another partition.

    Attributes:
        token: its migration token (lua/lib/partition.lua), or "".
    """

    __slots__ = ("token",)

    def __init__(self, token: str) -> None:
        self.token = token


def send_messages(
    p: Partition,
    messages: Sequence[Outgoing],
    limits: Limits,
    news: list[bytes] | None = None,
    token: str = "",
    durability: Durability | None = None,
    *,
    check: bool = False,
) -> Operation:
    """Send one or many; the result is a list in the same order: SentMessage, or Moved if it is not for this partition.

    Args:
        token: the migration token of the partition in which they would have been before (lua/lib/partition.lua).
        news: takes the topology of the queue, if the reply tells it.
        durability: how safe they have to be.
        check: whether the settings of the queue are damaged; the common send reads only one of them.
    """
    now = p.space.now_us()
    size = messages[0].size if len(messages) == 1 else max([m.size for m in messages])
    if p.is_fifo:
        return _send_fifo(p, messages, limits, now, size, token, durability, check)
    tail, node = ids.tails(), p.node
    names = [tail + position for position in ids.POSITIONS[: len(messages)]]
    special = not all([m.is_plain for m in messages])
    args: list[Arg] = [str(size), f"{now}/6/{token}" if special else f"{now}/2/" if now or check else ""]
    if check:
        args[1] = f"{args[1]!s}c"
    for name, m in zip(names, messages, strict=True):
        args.append(name)
        args.append(m.record)
        if special:
            args += (
                _due(m),
                m.group or "",
                dedup_tail(m.dedup_id) if m.dedup_id is not None else "",
                "" if m.dedup_window_ms is None else str(m.dedup_window_ms),
            )

    def parse(reply: bytes | list[bytes]) -> list[SentMessage | Moved]:
        if news is not None and (topology := sent_topology(reply)):
            news.append(topology)
        return parse_sent(reply, names, node)

    return Operation("send_message", p.keys(SEND), tuple(args), parse, durability=durability, repeat_mark=REPEAT_MARK)


def sent_topology(reply: bytes | list[bytes]) -> bytes:
    """The topology in the reply of a send to a standard queue; empty = it does not tell it."""
    return reply[16:] if isinstance(reply, bytes) else reply[1]


def parse_sent(reply: bytes | list[bytes], names: Sequence[str], node: int) -> list[SentMessage | Moved]:
    """What became of messages of a standard queue."""
    if isinstance(reply, bytes):
        stamp = reply[:16].decode()
        return [SentMessage(stamp + name, node) for name in names]
    stamp = reply[0].decode()
    sent: list[SentMessage | Moved] = []
    for name, outcome in zip(names, reply[2:], strict=True):
        if not outcome:
            sent.append(SentMessage(stamp + name, node))
        elif outcome[:1] == b"!":
            sent.append(Moved(outcome[1:].decode()))
        else:
            sent.append(SentMessage(outcome.decode(), node, None, True))
    return sent


def _send_fifo(
    p: Partition,
    messages: Sequence[Outgoing],
    limits: Limits,
    now: str,
    size: int,
    token: str,
    durability: Durability | None,
    check: bool,
) -> Operation:
    all_have_ids = limits.strict or all(
        [m.dedup_id is not None and (m.dedup_window_ms is None or m.dedup_window_ms >= MIN_WINDOW_MS) for m in messages]
    )
    has_more = any([m.due_ms is not None or m.delay_ms is not None or m.dedup_window_ms is not None for m in messages])
    options = ("1" if all_have_ids else "") + ("+" if has_more else "") + ("c" if check else "")
    args: list[Arg] = [now, str(size), f"{options}/{token}" if token else options]
    for m in messages:
        if m.dedup_id is not None:
            tail = dedup_tail(m.dedup_id)
            dedup = f"={len(tail) + 1}:{tail}"
        elif m.content_hash is not None:
            tail = dedup_tail(m.content_hash)
            dedup = f"#{len(tail) + 1}:{tail}"
        else:
            dedup = ""
        args += (m.record, m.group or "", dedup)
        if has_more:
            args += (_due(m), "" if m.dedup_window_ms is None else str(m.dedup_window_ms))

    def parse(reply: list[bytes]) -> list[SentMessage | Moved]:
        sent: list[SentMessage | Moved] = []
        for outcome in reply:
            stamp = outcome.decode()
            if stamp[0] == "!":
                sent.append(Moved(stamp[1:]))
                continue
            is_duplicate = stamp[0] == "="
            if is_duplicate:
                stamp = stamp[1:]
            sent.append(SentMessage(stamp, p.node, ids.sequence_number(stamp), is_duplicate))
        return sent

    return Operation("send_message_fifo", p.keys(SEND_FIFO), tuple(args), parse, durability=durability)
