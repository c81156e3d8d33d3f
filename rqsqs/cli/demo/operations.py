"""What is to be done to the cache. Knows nothing of queues.

An operation is a dict as it travels in a message: {"operation": "store", "key": path, "value": digest, "ttl": seconds}
or {"operation": "remove", "key": path}.
"""

from __future__ import annotations

import hashlib
import random
import sysconfig
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

Operation = dict[str, Any]

READ = 1 << 16  # bytes of a file that count
WORDED_TTL = {"1d": 86_400, "1h": 3600}  # what the first version of the worker does not understand


def source_files(limit: int) -> list[Path]:
    """Files of Python's standard library, in order."""
    folder = Path(sysconfig.get_path("stdlib"))
    found: list[Path] = []
    for path in sorted(folder.rglob("*.py")):
        if "site-packages" not in path.parts and "dist-packages" not in path.parts and path.is_file():
            found.append(path)
            if len(found) == limit:
                break
    return found


def make(about: int, poison: tuple[int, int] = (6, 3), seed: int = 1) -> list[Operation]:
    """About this many operations on the files of the standard library.

    The file seems to grow from round to round: each operation stores the digest of a longer beginning of it. One in
    ten removes the key instead.

    Args:
        poison: how many have a time to live in words, and how many say "delete" for "remove": not every worker
            understands that.
    """
    rng = random.Random(seed)
    files = source_files(max(about // 20, 10))
    rounds = max(about // len(files), 1)
    root = Path(sysconfig.get_path("stdlib"))
    histories: list[list[Operation]] = []
    for path in files:
        content = path.read_bytes()[:READ]
        key = path.relative_to(root).as_posix()
        histories.append([_operation(key, content[: len(content) * i // rounds], rng) for i in range(1, rounds + 1)])
    operations = list(_interleaved(histories, rng))
    stores = [o for o in operations if o["operation"] == "store"]
    removals = [o for o in operations if o["operation"] == "remove"]
    for i, chosen in enumerate(rng.sample(stores, min(poison[0], len(stores)))):
        chosen["ttl"] = list(WORDED_TTL)[i % len(WORDED_TTL)]
    for chosen in rng.sample(removals, min(poison[1], len(removals))):
        chosen["operation"] = "delete"
    return operations


def is_poison(operation: Operation) -> bool:
    """Does the first version of the worker not understand it?"""
    return operation["operation"] == "delete" or isinstance(operation.get("ttl"), str)


def _operation(key: str, content: bytes, rng: random.Random) -> Operation:
    if rng.random() < 0.1:
        return {"operation": "remove", "key": key}
    digest = hashlib.sha256(content).hexdigest()
    return {"operation": "store", "key": key, "value": digest, "ttl": rng.choice([3600, 7200, 86_400])}


def _interleaved(histories: list[list[Operation]], rng: random.Random) -> Iterator[Operation]:
    """One after the other of each history, histories mixed within a window as changes happen in life."""
    for turn in zip(*histories, strict=True):
        mixed = list(turn)
        rng.shuffle(mixed)
        yield from mixed


def expected(operations: Iterable[Operation]) -> dict[str, tuple[str, int]]:
    """What the cache holds when all are done in order: key -> (value, time to live)."""
    cache: dict[str, tuple[str, int]] = {}
    for operation in operations:
        if operation["operation"] in ("remove", "delete"):
            cache.pop(operation["key"], None)
        else:
            ttl = operation["ttl"]
            cache[operation["key"]] = (operation["value"], WORDED_TTL[ttl] if isinstance(ttl, str) else ttl)
    return cache
