"""What is to be done to the cache. Knows nothing of queues.

An operation is a dict as it travels in a message: {"operation": "store", "key": path, "value": digest, "ttl": seconds}
or {"operation": "remove", "key": path}.
"""

from __future__ import annotations

import hashlib
import random
import sysconfig
from collections.abc import Iterable
from itertools import cycle, islice
from pathlib import Path
from typing import Any

Operation = dict[str, Any]

READ = 1 << 16  # bytes of a file that count
WORDED_TTL = {"1d": 86_400, "1h": 3600}  # what the first version of the worker does not understand


def make(about: int) -> list[Operation]:
    """About this many operations on the files of the standard library, the same ones each time.

    The file seems to grow from round to round: each operation stores the digest of a longer beginning of it. One in
    ten removes the key instead. Not every worker understands nine of them: six have a time to live in words, three say
    "delete" for "remove".
    """
    rng = random.Random(1)
    root = Path(sysconfig.get_path("stdlib"))
    paths = (p for p in sorted(root.rglob("*.py")) if not {"site-packages", "dist-packages"} & {*p.parts})
    files = [(p.relative_to(root).as_posix(), p.read_bytes()[:READ], hashlib.sha256())
             for p in islice(filter(Path.is_file, paths), max(about // 20, 10))]  # fmt: skip
    rounds = max(about // len(files), 1)
    operations: list[Operation] = []
    for turn in range(rounds):
        for key, content, digest in rng.sample(files, len(files)):  # mixed, as changes happen in life
            digest.update(content[len(content) * turn // rounds : len(content) * (turn + 1) // rounds])
            if rng.random() < 0.1:
                operations.append({"operation": "remove", "key": key})
            else:
                ttl = rng.choice([3600, 7200, 86_400])
                operations.append({"operation": "store", "key": key, "value": digest.hexdigest(), "ttl": ttl})
    for chosen, worded in zip(rng.sample([o for o in operations if "ttl" in o], 6), cycle(WORDED_TTL)):
        chosen["ttl"] = worded
    for chosen in rng.sample([o for o in operations if o["operation"] == "remove"], 3):
        chosen["operation"] = "delete"
    return operations


def is_poison(operation: Operation) -> bool:
    """Does the first version of the worker not understand it?"""
    return operation != repaired(operation)


def repaired(operation: Operation) -> Operation:
    """What the first version does not understand, as it should be: old producers say "delete", and 1d for a ttl."""
    if operation["operation"] == "delete":
        return operation | {"operation": "remove"}
    return operation | ({"ttl": WORDED_TTL[operation["ttl"]]} if operation.get("ttl") in WORDED_TTL else {})


def expected(operations: Iterable[Operation]) -> dict[str, tuple[str, int]]:
    """What the cache holds when all are done in order: key -> (value, time to live)."""
    cache: dict[str, tuple[str, int]] = {}
    for operation in map(repaired, operations):
        if operation["operation"] == "remove":
            cache.pop(operation["key"], None)
        else:
            cache[operation["key"]] = (operation["value"], operation["ttl"])
    return cache
