"""What is almost a request: bytes with mistakes."""

from __future__ import annotations

import random

JUNK = [b"", b"\0", b"\r\n", b"\n", b" ", b"\t", b",", b";", b"=", b"&", b"/", b"%", b"%2", b"%00", b"%2F", b"+",
        b"\xff", b"\xc3\xa9", b"\xe2\x80\xa8", b".", b"..", b"//", b":", b"*", b"?", b"${", b"}", b"[", b"]", b"{",
        b'"', b"\\u", b"\\ud800", b"9" * 30, b"a" * 300, b"host", b"X-Amz-Signature=", b"Credential="]  # fmt: skip


def mutated(text: bytes, rng: random.Random) -> bytes:
    """The text with a few bytes that are others, absent, repeated or new."""
    found = bytearray(text)
    for _ in range(rng.randint(1, 4)):
        place = rng.randrange(len(found) + 1)
        match rng.randrange(5):
            case 0:
                found[place : place + 1] = rng.randbytes(1)
            case 1:
                del found[place : place + rng.randint(1, 12)]
            case 2:
                found[place:place] = rng.choice(JUNK)
            case 3:
                found[place:place] = found[place : place + rng.randint(1, 60)]
            case _:
                end = min(len(found), place + rng.randint(1, 8))
                found[place:end] = bytes(found[place:end]).swapcase()
    return bytes(found)
