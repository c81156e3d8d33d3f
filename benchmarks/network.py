"""Bytes on the wire: what the native API sends and gets for a message, and what goes to each replica."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from typing import Any

import rqsqs
from benchmarks.scripts import STEPS, TURN
from benchmarks.server import Bench
from tests.clusters import until
from tests.servers import Kind, Server

Bytes = tuple[float, float, float]  # per message: to the server, from it, to each replica


def measure(kind: Kind, size: int, batch: int, calls: int) -> dict[tuple[str, str], Bytes]:
    """Bytes per message of `size` bytes, without the headers of TCP and IP.

    Returns:
        By kind of queue and step.
    """
    found: dict[tuple[str, str], Bytes] = {}
    with Bench(kind) as bench, Server(kind, replicaof=f"127.0.0.1 {bench.server.port}", repl_diskless_sync_delay=0):
        until(lambda: bench.client.info("replication")["connected_slaves"] == 1, "there is a replica")
        with closing(rqsqs.connect(bench.server.url)) as connection:
            for name in ("standard", "queue.fifo"):
                queue = connection.create_queue(name)
                for step, per_message in _steps(bench, queue, size, batch, calls):
                    found[name.replace("queue.", ""), step] = per_message
    return found


def _steps(bench: Bench, queue: Any, size: int, batch: int, calls: int) -> Any:
    is_fifo = queue.name.endswith(".fifo")
    numbers = iter(range(10**9))
    received: list[list[Any]] = []

    def send(_: int) -> None:
        batch_: list[Any] = ["x" * size] * batch
        if is_fifo:
            batch_ = [
                rqsqs.Entry("x" * size, group=f"group-{(n := next(numbers)):06d}", deduplication_id=f"message-{n:012d}")
                for _ in range(batch)
            ]
        queue.send_batch(batch_)

    def receive(_: int) -> None:
        received.append(queue.receive(batch))
        assert len(received[-1]) == batch

    def delete(i: int) -> None:
        assert not queue.delete_batch(received[i])

    def turn(i: int) -> None:
        found, failures = queue.delete_and_receive(received[i], batch)
        assert len(found) == batch
        assert not failures
        received[i] = found

    for step in (send, receive, delete):  # scripts
        step(0)
    received.clear()
    works: dict[str, Callable[[int], None]] = dict(zip(STEPS, (send, receive, delete), strict=True))
    for step, work in (("send", send), ("receive", receive), ("send", send), (TURN, turn), ("delete", works["delete"])):
        before = _bytes(bench)
        looking = [after - now for after, now in zip(_bytes(bench), before, strict=True)]
        before = _bytes(bench)
        for i in range(calls):
            work(i)
        after = _bytes(bench)
        yield (
            step,
            tuple((b - a - extra) / calls / batch for a, b, extra in zip(before, after, looking, strict=True)),
        )


def _bytes(bench: Bench) -> Bytes:
    stats, replication = bench.client.info("stats"), bench.client.info("replication")
    return stats["total_net_input_bytes"], stats["total_net_output_bytes"], replication["master_repl_offset"]
