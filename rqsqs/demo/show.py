"""The show: the application under everything that goes wrong in real life, and a proof that nothing was lost.

producers (2 processes) ──▶ FIFO queue ──▶ consumers (4 processes) ──▶ cache
                                │  one is killed in the middle
                                ▼ received too often
                        dead-letter queue ──▶ back to the queue, once the consumers are repaired
"""

from __future__ import annotations

import json
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import redis
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

import rqsqs
from rqsqs import embedded
from rqsqs.demo import operations
from rqsqs.demo.cache_job import DEAD_LETTERS, Cache, Report, create_queues, held_by
from rqsqs.testing import remove_keys

PRODUCERS, CONSUMERS, POISON = 2, 4, 6
REPEAT = 0.05  # of the batches are sent twice
PATIENCE_S = 120.0  # for any step; a demo that takes longer has failed


class DemoFailed(Exception):
    """A step did not come to its end."""


def run(
    url: str | None, messages: int, *, prefix: str = "rqsqs", as_json: bool = False, console: Console | None = None
) -> int:
    """Run the demo.

    Args:
        url: of the server; None = one of its own, in memory.
        messages: about so many operations.
        prefix: what the names of all keys begin with.
        as_json: print the summary as JSON.
        console: where progress is shown.

    Returns:
        0 if the cache equals what the operations say and all numbers fit, else 1.
    """
    with ExitStack() as stack:
        if url is None or url.startswith("embedded:"):
            server = stack.enter_context(embedded.acquire(url or "embedded://"))
            url = f"unix://{quote(server.socket_path)}"
        prefix = f"{prefix}-demo-{secrets.token_hex(4)}"
        show = Show(url, prefix, messages, console or Console(stderr=True), stack)
        try:
            summary = show.run(quiet=as_json)
        except (DemoFailed, redis.RedisError) as error:
            print(f"rqsqs: the demo failed: {error}", file=sys.stderr)
            return 1
    print(json.dumps(summary) if as_json else "\n".join(summary_lines(summary)))
    return 0 if summary["equal"] else 1


class Show:
    """One run. Processes, files and connections it opens are closed by `stack`."""

    def __init__(self, url: str, prefix: str, messages: int, console: Console, stack: ExitStack) -> None:
        self.url, self.prefix, self.messages, self.console = url, prefix, messages, console
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rqsqs-demo-")))
        self.server = stack.enter_context(redis.Redis.from_url(url))
        connection = stack.enter_context(rqsqs.connect(url, prefix=prefix))
        self.queue, self.dead_letters = create_queues(connection), connection.queue(DEAD_LETTERS)
        self.cache, self.report = Cache(self.server, prefix), Report(self.server, prefix)
        self.processes: list[subprocess.Popen[bytes]] = []
        stack.callback(self.clean_up)

    def run(self, *, quiet: bool) -> dict[str, Any]:
        """All acts; returns the summary."""
        todo = operations.make(self.messages, POISON)
        poison = sum(isinstance(o.get("ttl"), str) for o in todo)
        path = self.folder / "operations.jsonl"
        path.write_text("".join(json.dumps(o) + "\n" for o in todo))
        columns = (TextColumn("{task.description:10}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        is_shown = self.console.is_terminal and not quiet
        with Progress(*columns, console=self.console, disable=not is_shown) as progress:

            def say(text: str) -> None:
                if not quiet:
                    progress.console.print(text, soft_wrap=True)

            sending = progress.add_task("sent", total=len(todo))
            applying = progress.add_task("applied", total=len(todo))

            def look() -> tuple[int, int]:
                counts = self.report.counts()
                sent = counts.get("sent", 0) - counts.get("deduplicated", 0)
                progress.update(sending, completed=sent)
                progress.update(applying, completed=counts.get("applied", 0))
                return sent, counts.get("applied", 0)

            say(f"{len(todo):,} operations on {len({o['key'] for o in todo}):,} keys, {poison} of them poison")
            started = time.monotonic()
            consumers = [self.start("consume", "--without-fix") for _ in range(CONSUMERS)]
            producers = [
                self.start("send", str(path), "--share", f"{i}/{PRODUCERS}", "--repeat", str(REPEAT))
                for i in range(PRODUCERS)
            ]
            say(f"{PRODUCERS} producers send, {CONSUMERS} consumers apply")

            self.wait_until(lambda: look()[1] >= len(todo) // 2, "half of the operations are applied")
            self.kill(consumers.pop(), say)
            self.wait_until(lambda: look()[0] >= len(todo), "all operations are sent")
            self.wait_until(lambda: self.is_drained(look), "the queue is empty")
            seconds = time.monotonic() - started
            for process in producers:
                if process.wait(PATIENCE_S) != 0:
                    raise DemoFailed(f"a producer ended with exit code {process.returncode}")
            dead = self.dead_letters.counts().visible
            say(f"the queue is empty; {dead} messages failed again and again and are in the dead-letter queue")

            self.stop(consumers)
            say("the consumers are repaired and started anew; the dead letters go back")
            task_id = self.dead_letters.redrive()
            consumers = [self.start("consume") for _ in range(CONSUMERS)]
            self.wait_until(lambda: self.task(task_id).status != "RUNNING", "the dead letters are moved")
            self.wait_until(lambda: self.is_drained(look), "the queue is empty again")
            self.stop(consumers)
            look()
        return self.summary(todo, poison, dead, self.task(task_id).moved, seconds)

    def summary(
        self, todo: list[operations.Operation], poison: int, dead: int, redriven: int, seconds: float
    ) -> dict[str, Any]:
        """Numbers, and whether everything is as it must be."""
        counts = self.report.counts()
        latencies = self.report.latencies_ms()
        found, wanted = self.cache.content(), operations.expected(todo)
        wrong = [
            key
            for key in found.keys() | wanted.keys()
            if key not in found
            or key not in wanted
            or found[key][0] != wanted[key][0]
            or not 0 < found[key][1] <= wanted[key][1]
        ]
        stored = counts.get("sent", 0) - counts.get("deduplicated", 0)
        checks = {
            "every operation was stored once": stored == len(todo),
            "every poisonous message became a dead letter": dead == poison,
            "every dead letter went back": redriven == dead,
            "the dead-letter queue is empty": self.total(self.dead_letters) == 0,
            "the cache equals what the operations say": not wrong,
        }
        return {
            "sent": counts.get("sent", 0),
            "deduplicated": counts.get("deduplicated", 0),
            "received": counts.get("received", 0),
            "redelivered": counts.get("redelivered", 0),
            "dead_lettered": dead,
            "redriven": redriven,
            "seconds": round(seconds, 2),
            "messages_per_second": round(stored / seconds),
            "latency_p50_ms": percentile(latencies, 50),
            "latency_p99_ms": percentile(latencies, 99),
            "keys": len({o["key"] for o in todo}),
            "cached": len(found),
            "wrong_keys": sorted(wrong)[:10],
            "failed": [text for text, holds in checks.items() if not holds],
            "equal": all(checks.values()),
        }

    # Processes

    def start(self, *arguments: str) -> subprocess.Popen[bytes]:
        """A producer or consumer."""
        command = [sys.executable, "-m", "rqsqs.demo.cache_job", *arguments, "--url", self.url, "--prefix", self.prefix]
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, start_new_session=True)  # Ctrl-C is for us
        self.processes.append(process)
        return process

    def kill(self, process: subprocess.Popen[bytes], say: Callable[[str], object]) -> None:
        """As the kernel does when memory is short, at a moment when the consumer has messages in hand."""
        held = 0
        for _ in range(500):
            process.send_signal(signal.SIGSTOP)
            held = self.report.counts().get(held_by(process.pid), 0)
            if held:
                break
            process.send_signal(signal.SIGCONT)
            time.sleep(0.002)
        process.kill()
        process.wait()
        self.processes.remove(process)
        say(f"consumer {process.pid} was killed with SIGKILL; the {held} messages it had in hand come again")

    def stop(self, processes: list[subprocess.Popen[bytes]]) -> None:
        """In good order."""
        for process in processes:
            process.send_signal(signal.SIGTERM)
            process.send_signal(signal.SIGCONT)  # it may be stopped, on its way to be killed
        deadline = time.monotonic() + 10
        for process in processes:
            try:
                process.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            if process in self.processes:
                self.processes.remove(process)

    def clean_up(self) -> None:
        """At the end, however it came."""
        self.stop([p for p in self.processes if p.poll() is None])
        with suppress(redis.RedisError):
            remove_keys(self.url, self.prefix)

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait for a step to come to its end."""
        deadline = time.monotonic() + PATIENCE_S
        while not is_so():
            for process in self.processes:
                if process.poll():
                    raise DemoFailed(f"process {process.pid} ended with exit code {process.returncode}")
            if time.monotonic() > deadline:
                raise DemoFailed(f"after {PATIENCE_S:.0f} s it is still not so that {what}")
            time.sleep(0.05)

    def is_drained(self, look: Callable[[], object]) -> bool:
        """Is nothing left in the queue?"""
        look()
        return self.total(self.queue) == 0

    def total(self, queue: rqsqs.Queue) -> int:
        """All messages of a queue."""
        counts = queue.counts()
        return counts.visible + counts.in_flight + counts.delayed

    def task(self, task_id: str) -> rqsqs.MoveTask:
        """How far the redrive is."""
        return next(task for task in self.dead_letters.move_tasks() if task.task_id == task_id)


def percentile(ordered: list[float], percent: int) -> float | None:
    """Of sorted numbers."""
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] if ordered else None


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """The summary for people."""
    p50, p99 = (f"{summary[f'latency_{p}_ms']:,.1f} ms" for p in ("p50", "p99"))
    lines = [
        f"sent            {summary['sent']:>9,}",
        f"deduplicated    {summary['deduplicated']:>9,}   sent twice, stored once",
        f"received        {summary['received']:>9,}",
        f"redelivered     {summary['redelivered']:>9,}   of a killed consumer, or failed",
        f"dead-lettered   {summary['dead_lettered']:>9,}",
        f"redriven        {summary['redriven']:>9,}",
        f"throughput      {summary['messages_per_second']:>9,}   messages/s, sent, applied and deleted",
        f"latency         p50 {p50}, p99 {p99}   from send to receive; those behind the killed consumer wait longest",
    ]
    if summary["equal"]:
        lines.append(f"proof           the cache equals what the operations say: {summary['cached']:,} of "
                     f"{summary['keys']:,} keys are cached, the others were removed")  # fmt: skip
    else:
        lines += [f"FAILED          it is not so that {text}" for text in summary["failed"]]
        if summary["wrong_keys"]:
            lines.append(f"wrong keys      {', '.join(summary['wrong_keys'])}")
    return lines
