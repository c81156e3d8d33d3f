"""The show: the application under everything that goes wrong in real life, and a proof that nothing was lost.

2 producers ──▶ FIFO queue ──▶ 4 workers under `rqsqs worker`, one is killed in the middle ──▶ cache
                     ▲ │
              redrive│ ▼ cannot be applied
              dead-letter queue
"""

from __future__ import annotations

import contextlib
import json
import os
import runpy
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
from rqsqs._io import connect
from rqsqs._io.sync.clients import client_of
from rqsqs._text import printable
from rqsqs.cli import paging
from rqsqs.cli.cause_groups import Kinds
from rqsqs.cli.demo import BEAT_S, CACHE_JOB, operations
from rqsqs.cli.demo.counters import Report, in_hand
from rqsqs.testing import remove_keys

APPLICATION = "rqsqs.cli.demo.application"
PRODUCERS, WORKERS = 2, 4
REPEAT = 0.05  # this part of the batches is sent twice
TIMEOUT_S = 120.0  # for any step; a demo that takes longer has failed
TWO_BEATS_S = 2 * BEAT_S
SLACK_S = 0.25  # between looking at the clock and killing, on a busy machine


class DemoFailed(Exception):
    """A step did not come to its end."""


def run(url: str | None, messages: int, console: Console, *, prefix: str, quiet: bool = False) -> dict[str, Any]:
    """Run the demo.

    Args:
        url: of the server; None = one of its own, in memory.
        messages: about how many operations.
        console: where progress is shown, unless `quiet`.
        prefix: what the names of all keys begin with.

    Returns:
        The summary: `equal` if the cache equals what the operations say and all numbers fit.

    Raises:
        DemoFailed: a step did not come to its end.
    """
    with ExitStack() as stack:
        if url is None or url.startswith("embedded:"):
            server = stack.enter_context(embedded.acquire(url or "embedded://"))
            url = f"unix://{quote(server.socket_path)}"
        url = cache_url = connect.resolve(url)
        if "+cluster:" in url:  # the cache is on a single server
            cache_url = f"unix://{quote(stack.enter_context(embedded.acquire('embedded://')).socket_path)}"
        show = Show(url, cache_url, f"{prefix}-demo-{secrets.token_hex(4)}", messages, console, stack)
        try:
            return show.run(quiet=quiet)
        except redis.RedisError as error:
            raise DemoFailed(str(error)) from error


class Show:
    """One run. Processes, files and connections it opens are closed by `stack`."""

    def __init__(
        self, url: str, cache_url: str, prefix: str, messages: int, console: Console, stack: ExitStack
    ) -> None:
        cache = f"{prefix}:cache"
        places = {"RQSQS_URL": url, "RQSQS_PREFIX": prefix, "CACHE_URL": cache_url, "CACHE_PREFIX": cache}
        self.environment = os.environ | places
        self.url, self.prefix, self.messages, self.console = url, prefix, messages, console
        self.folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rqsqs-demo-")))
        self.log = self.folder / "log"
        self.server = stack.enter_context(client_of(url))
        connection = stack.enter_context(rqsqs.connect(url, prefix=prefix))
        queues = runpy.run_path(str(CACHE_JOB / "queues.py"))
        self.queue, self.dead_letters = queues["create"](connection), connection.queue(queues["DEAD_LETTERS"])
        self.report = Report(cache_url, cache)
        stack.callback(self.report.server.close)
        self.processes: list[subprocess.Popen[bytes]] = []
        stack.callback(self.clean_up)

    def run(self, *, quiet: bool) -> dict[str, Any]:
        """All acts; returns the summary."""
        todo = operations.make(self.messages)
        poison = sum(map(operations.is_poison, todo))
        path = self.folder / "operations.jsonl"
        path.write_text("".join(json.dumps(o) + "\n" for o in todo))
        columns = (TextColumn("{task.description:9}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        is_shown = self.console.is_terminal and not quiet
        progress = Progress(*columns, console=self.console, disable=not is_shown)
        with progress if is_shown else contextlib.nullcontext():  # older versions end a disabled one with a line

            def say(text: str) -> None:
                if not quiet:
                    progress.console.print(printable(text), soft_wrap=not is_shown, markup=False, highlight=False)

            sending = progress.add_task("sent", total=len(todo))
            processing = progress.add_task("processed", total=len(todo))

            def look() -> dict[str, int]:
                counts = self.report.counts()
                counts["stored"] = counts.get("sent", 0) - counts.get("deduplicated", 0)
                progress.update(sending, completed=counts["stored"])
                progress.update(processing, completed=min(counts.get("processed", 0), len(todo)))
                return counts

            def is_drained() -> bool:
                look()
                return paging.total(self.queue.counts()) == 0

            say(f"{len(todo):,} operations on {len({o['key'] for o in todo}):,} keys of a cache, made from real files")
            workers = self.start_workers()
            self.wait_until(lambda: len(self.living()) == WORKERS, "all workers are ready")
            started = time.monotonic()
            producers = [self.start_producer(path, i) for i in range(PRODUCERS)]
            say(f"{PRODUCERS} producers send, {WORKERS} workers apply")

            self.wait_until(lambda: look().get("processed", 0) >= len(todo) // 3, "a third is processed")
            held, back_after = self.kill(say, look)
            self.wait_until(lambda: look()["stored"] >= len(todo), "all operations are sent")
            self.wait_until(is_drained, "the queue is empty")
            seconds = time.monotonic() - started
            for process in producers:
                if process.wait(TIMEOUT_S) != 0:
                    raise DemoFailed(f"a producer ended with exit code {process.returncode}")
            redelivered = look().get("redelivered", 0)

            dead = self.dead_letters.counts().visible
            say(f"the queue is empty; {dead} operations cannot be applied and are dead letters:")
            for line in self.causes():
                say(line)
            self.stop([workers])
            say("the workers are repaired and started again; the dead letters go back")
            workers = self.start_workers(CACHE_JOB_REPAIRED="1")
            task_id = self.dead_letters.redrive()
            self.wait_until(lambda: self.task(task_id).status != "RUNNING", "the dead letters are moved")
            self.wait_until(is_drained, "the queue is empty again")
            self.stop([workers])
            counts = look()
        return self.summary(todo, counts) | self.proof(
            todo,
            {
                "seconds": round(seconds, 2),
                "messages_per_second": round(counts["stored"] / seconds),
                "redelivered": redelivered,
                "killed_worker_held": held,
                "back_after_seconds": round(back_after, 2),
                "dead_lettered": dead,
                "redriven": self.task(task_id).moved,
            },
            {
                "every operation was stored once": counts["stored"] == len(todo),
                "what the killed worker held came back within two heartbeat intervals": back_after
                <= TWO_BEATS_S + SLACK_S,
                "all of it was received again": redelivered >= held,
                "every operation that could not be applied became a dead letter": dead == poison,
            },
        )

    def summary(self, todo: list[operations.Operation], counts: dict[str, int]) -> dict[str, Any]:
        """What was counted and timed on the way."""
        latencies = self.report.latencies_ms()
        return {
            "sent": counts.get("sent", 0),
            "deduplicated": counts.get("deduplicated", 0),
            "processed": counts.get("processed", 0),
            "latency_p50_ms": percentile(latencies, 50),
            "latency_p99_ms": percentile(latencies, 99),
            "keys": len({o["key"] for o in todo}),
        }

    def proof(
        self, todo: list[operations.Operation], numbers: dict[str, Any], checks: dict[str, bool]
    ) -> dict[str, Any]:
        """Is everything as it must be, and the cache above all?"""
        found, wanted = self.report.cache(), operations.expected(todo)
        wrong = [
            key
            for key in found.keys() | wanted.keys()
            if key not in found
            or key not in wanted
            or found[key][0] != wanted[key][0]
            or not 0 < found[key][1] <= wanted[key][1]
        ]
        checks |= {
            "every dead letter went back": numbers["redriven"] == numbers["dead_lettered"],
            "the dead-letter queue is empty": paging.total(self.dead_letters.counts()) == 0,
            "the cache equals what the operations say": not wrong,
        }
        return numbers | {
            "cached": len(found),
            "wrong_keys": sorted(wrong)[:10],
            "failed": [text for text, holds in checks.items() if not holds],
            "equal": all(checks.values()),
        }

    def causes(self) -> list[str]:
        """What the dead letters died of, as `rqsqs dlq ls` puts it together."""
        kinds = Kinds()
        for _, page in paging.pages(self.dead_letters, ("visible",)):
            for message in page:
                kinds.add(message)
        return [
            f"{kind.count:>4} x {(kind.type or '').rpartition('.')[2]}: {kind.message}"
            for kind in kinds.most_frequent_first()
        ]

    # The killed worker

    def kill(self, say: Callable[[str], object], look: Callable[[], object]) -> tuple[int, float]:
        """Kill a worker while it holds messages, as the kernel does when memory is short.

        Returns:
            How many it held, and after how many seconds the last of them was visible to others.
        """
        victim, began = self.kill_one_that_works()
        say(f"worker {victim} is killed with SIGKILL; `rqsqs worker` starts another one")
        back = self.come_back(look)
        if not back:
            raise DemoFailed("the killed worker held messages, and they did not come back")
        seconds = max(back) - began
        say(f"it held {len(back)} messages: visible after {seconds:.2f} s "
            f"(two heartbeat intervals: {TWO_BEATS_S:g} s)")  # fmt: skip
        return len(back), seconds

    def kill_one_that_works(self) -> tuple[int, float]:
        """Its process id, and when (epoch, by the server's clock)."""
        pids = [c.pid for c in self.living()]
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
                try:
                    if self.report.counts().get(in_hand(pid), 0) > 0:
                        os.kill(pid, signal.SIGKILL)
                        return pid, self.now()
                finally:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
            time.sleep(0.002)
        raise DemoFailed("no worker was ever at work")

    def come_back(self, look: Callable[[], object]) -> list[float]:
        """When the messages that are in flight now and whose worker is dead become visible (epoch).

        A living worker deletes them before, or prolongs their time with its next heartbeat.
        """
        back: list[float] = []
        watched = self.in_flight()
        deadline = time.monotonic() + TIMEOUT_S
        while watched:
            time.sleep(0.02)
            look()
            seen, now = self.in_flight(), self.now()  # in this order: what is not seen was over by now
            back += [visible_at for (_, visible_at) in watched - seen if visible_at <= now]
            watched &= seen
            if time.monotonic() > deadline:
                raise DemoFailed("what the killed worker held does not come back")
        return back

    def now(self) -> float:
        """The clock of the server that has the queue."""
        found: Any = self.server.eval("return redis.call('TIME')", 1, self.queue._ref.home.wakeups)
        return int(found[0]) + int(found[1]) / 1e6

    def living(self) -> list[rqsqs.Consumer]:
        """The workers, those that were seen last in front."""
        return sorted(
            (c for c in self.queue.consumers() if c.is_alive and c.state == "running"), key=lambda c: -c.started_at_ms
        )

    def in_flight(self) -> set[tuple[str, float]]:
        """Message id and time of return of everything that workers hold."""
        pages = paging.pages(self.queue, ("in_flight",))
        return {(m.message_id, m.visible_at.timestamp()) for _, page in pages for m in page if m.visible_at}

    # Processes

    def start_workers(self, **environment: str) -> subprocess.Popen[bytes]:
        """Several, and their supervisor."""
        command = f"rqsqs worker {APPLICATION} --processes {WORKERS} --log-level warning"
        return self.start(*command.split(), **environment)

    def start_producer(self, path: Path, number: int) -> subprocess.Popen[bytes]:
        """One that sends its share of the operations."""
        share = f"{number}/{PRODUCERS}"
        return self.start(APPLICATION, str(path), "--share", share, "--repeat", str(REPEAT))

    def start(self, *arguments: str, **environment: str) -> subprocess.Popen[bytes]:
        """A process that runs a module of ours."""
        with open(self.log, "ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=self.environment | environment,
                start_new_session=True,  # Ctrl-C is for us
            )
        self.processes.append(process)
        return process

    def stop(self, processes: list[subprocess.Popen[bytes]]) -> None:
        """In good order."""
        for process in processes:
            process.send_signal(signal.SIGTERM)
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
        with suppress(redis.RedisError, rqsqs.RqsqsError):
            remove_keys(self.url, self.prefix)

    def wait_until(self, is_so: Callable[[], bool], what: str) -> None:
        """Wait for a step to come to its end."""
        deadline = time.monotonic() + TIMEOUT_S
        while not is_so():
            for process in self.processes:
                if process.poll():
                    said = self.log.read_text(errors="replace")[-2000:]
                    raise DemoFailed(f"process {process.pid} ended with exit code {process.returncode}\n{said}")
            if time.monotonic() > deadline:
                raise DemoFailed(f"after {TIMEOUT_S:.0f} s the step has not ended: {what}")
            time.sleep(0.05)

    def task(self, task_id: str) -> rqsqs.MoveTask:
        """How far the redrive is."""
        return next(task for task in self.dead_letters.move_tasks() if task.task_id == task_id)


def percentile(ordered: list[float], percent: int) -> float | None:
    """Of sorted numbers."""
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] if ordered else None


def summary_lines(summary: dict[str, Any]) -> list[str]:
    """The summary for people."""
    p50, p99 = (f"{summary[f'latency_{p}_ms']:,.1f} ms" for p in ("p50", "p99"))
    back, held = summary["back_after_seconds"], summary["killed_worker_held"]
    lines = [
        f"sent            {summary['sent']:>9,}",
        f"deduplicated    {summary['deduplicated']:>9,}   sent twice, stored once",
        f"processed       {summary['processed']:>9,}   applied to the cache",
        f"redelivered     {summary['redelivered']:>9,}   of the killed worker: it held {held}, back after {back} s",
        f"dead-lettered   {summary['dead_lettered']:>9,}   could not be applied",
        f"redriven        {summary['redriven']:>9,}   and applied after the repair",
        f"throughput      {summary['messages_per_second']:>9,}   messages/s, the wait for the killed worker included",
        f"latency         p50 {p50}, p99 {p99}   from sending to applied",
    ]
    if summary["equal"]:
        lines.append(f"proof           the cache equals what the operations say: {summary['cached']:,} of "
                     f"{summary['keys']:,} keys")  # fmt: skip
    else:
        lines += [f"FAILED          it is not so that {text}" for text in summary["failed"]]
        if summary["wrong_keys"]:
            lines.append(f"wrong keys      {', '.join(summary['wrong_keys'])}")
    return lines
