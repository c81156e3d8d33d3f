"""Message ids: what scripts store, and the UUIDs users see. Either can be made from the other.

A standard message's id is 16 digits of server time (microseconds) and 8 characters from the sender: 5 of base 64 and a
3-digit position in the batch. A FIFO message's is its stamp, 16 digits. The UUID is a version 7: 48 bits of
milliseconds, 12 bits of microseconds, then what tells messages of one microsecond apart.
"""

from __future__ import annotations

import itertools
import os
import random

_ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"
_NAMES = _ALPHABET.replace("~", "-")
_VALUE = {c: i for i, c in enumerate(_ALPHABET)}
_PAIRS = tuple(a + b for a in _ALPHABET for b in _ALPHABET)
_PAIR_VALUE = {pair: i for i, pair in enumerate(_PAIRS)}
POSITIONS = tuple(f"{i:03d}" for i in range(1000))
_VERSIONS = {text: f"7{int(text):03x}" for text in POSITIONS}  # three digits of a key -> a group of its UUID
_MASK_30 = (1 << 30) - 1


class TailSource:
    """Makes the five characters that tell senders and calls of one microsecond apart."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self.reseed()

    def reseed(self) -> None:
        """Start anew at a random place (so do forked children)."""
        self._next = itertools.count(random.SystemRandom().getrandbits(30)).__next__

    def __call__(self) -> str:
        n = self._next() & _MASK_30
        return _PAIRS[n >> 18] + _PAIRS[(n >> 6) & 4095] + _ALPHABET[n & 63]


tails = TailSource()
os.register_at_fork(after_in_child=tails.reseed)


class CallSlotNames:
    """Names call slots: twelve characters, of which the first six are the process.

    Attributes:
        process: tells this process from all others, on all machines; a forked child has another one.
    """

    __slots__ = ("_next", "process")

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        """Name this process."""
        source = random.SystemRandom()
        self.process = "".join(source.choices(_NAMES, k=6))
        self._next = itertools.count(source.getrandbits(36)).__next__

    def __call__(self) -> str:
        n = self._next()
        return self.process + "".join([_NAMES[(n >> shift) & 63] for shift in (30, 24, 18, 12, 6, 0)])


call_slots = CallSlotNames()
os.register_at_fork(after_in_child=call_slots.begin)


def message_id(key: str, node: int) -> str:
    """The UUID of a message, from its key (of either kind of queue) and its partition's node."""
    if len(key) >= 24 and key[16] not in "+/" and key[16:18] != "q/":  # a tail may begin with q, but not with q/
        tail = _PAIR_VALUE[key[16:18]] << 18 | _PAIR_VALUE[key[18:20]] << 6 | _VALUE[key[20]]
        low = tail << 32 | int(key[21:24]) << 22 | (node & 0x3FFFFF)
    else:
        low = node & 0x3FFFFFFFFFFFFFFF
    digits = f"{int(key[:13]):012x}{1 << 63 | low:016x}"
    return f"{digits[:8]}-{digits[8:12]}-{_VERSIONS[key[13:16]]}-{digits[12:16]}-{digits[16:]}"


def key_of(uuid: str, node: int, is_fifo: bool) -> str | None:
    """The id or stamp behind a UUID, or None if it is not of this partition."""
    text = uuid.replace("-", "")
    try:
        ms, version, us, low = int(text[:12], 16), text[12], int(text[13:16], 16), int(text[16:], 16)
    except (ValueError, IndexError):
        return None
    if len(text) != 32 or version != "7" or us > 999 or low >> 62 != 2:
        return None
    low &= 0x3FFFFFFFFFFFFFFF
    stamp = f"{ms:013d}{us:03d}"
    if is_fifo:
        return stamp if low == node & 0x3FFFFFFFFFFFFFFF else None
    position = (low >> 22) & 1023
    if low & 0x3FFFFF != node & 0x3FFFFF or position > 999:
        return None
    tail = low >> 32
    return stamp + "".join(_ALPHABET[(tail >> shift) & 63] for shift in (24, 18, 12, 6, 0)) + POSITIONS[position]


def sequence_number(stamp: str) -> str:
    """SQS's 20 digits."""
    return "0000" + stamp[:16]
