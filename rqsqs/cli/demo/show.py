"""`rqsqs demo`: the application under everything that goes wrong in real life, and a proof that nothing was lost.

2 producers ──▶ FIFO queue ──▶ 4 workers under `rqsqs worker`, one is killed in the middle ──▶ cache
                     ▲ │
              redrive│ ▼ cannot be applied
              dead-letter queue
"""

from __future__ import annotations

import os
import runpy
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from typing import Any
from urllib.parse import quote

import click
import redis

import rqsqs
from rqsqs import embedded
from rqsqs._io import connect
from rqsqs._io.sync.clients import client_of
from rqsqs.cli import output, paging, signals
from rqsqs.cli.demo import BEAT_S, CACHE_JOB, PRODUCERS, WORKERS, operations
from rqsqs.cli.demo.counters import Report, in_hand
from rqsqs.cli.progress import Meter
from rqsqs.cli.report import OK, REFUSED, Lines, Results
from rqsqs.cli.settings import Settings, reported
from rqsqs.inspection.causes import Kinds
from rqsqs.testing import remove_keys

APPLICATION = "rqsqs.cli.demo.application"
TIMEOUT_S = 120.0  # for any step; a demo that takes longer has failed
TWO_BEATS_S = 2 * BEAT_S
SLACK_S = 0.25  # between looking at the clock and killing, on a busy machine


class DemoFailed(click.ClickException):
    def __init__(self, why: str) -> None:
        super().__init__(f"the demo failed: {why}")


@click.command("demo")
@click.option("--messages", "-n", type=click.IntRange(1000, 1_000_000), default=10_000, metavar="N",
              help="About how many messages [10000].")  # fmt: skip
@reported
def demo(settings: Settings, messages: int) -> Results:
    """Show rqsqs at work: a cache kept up to date through a FIFO queue, with everything that goes wrong in real life.

    Producers send operations on a cache, made from the files of Python's own library: store a digest, remove a key.
    Four worker processes apply them, in order for each key. Some messages are sent twice, some cannot be applied and
    end in the dead-letter queue until the bug is fixed, and one worker is killed in the middle. In the end the cache
    is compared with what the operations say; the exit code tells whether it is equal.

    Without --url and RQSQS_URL it brings its own server, in memory, and leaves nothing behind.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as after Ctrl-C: no process stays behind
    summary = run(settings.url, messages, prefix=settings.prefix, quiet=settings.as_json)
    yield Lines(summary_lines(summary), **summary)
    return OK if summary["equal"] else REFUSED


def run(url: str | None, messages: int, *, prefix: str, quiet: bool = False) -> dict[str, Any]:
    """Run the demo on the server of `url`, or on one of its own; the summary has `equal` if the cache equals what the
    operations say and all numbers fit."""
    with ExitStack() as stack:

        def own(url: str) -> str:
            return f"unix://{quote(stack.enter_context(embedded.acquire(url)).socket_path)}"

        if url is None or url.startswith("embedded:"):
            url = own(url or "embedded://")
        url = connect.resolve(url)
        cache_url = own("embedded://") if "+cluster:" in url else url  # the cache is on a single server
        show = Show(url, cache_url, f"{prefix}-demo-{secrets.token_hex(4)}", messages, stack, quiet=quiet)
        try:
            return show.run()
        except redis.RedisError as error:
            raise DemoFailed(str(error)) from error


class Show:
    """One run. Processes, files and connections it opens are closed by `stack`."""

    def __init__(self, url: str, cache_url: str, prefix: str, messages: int, stack: ExitStack, *, quiet: bool) -> None:
        cache = f"{prefix}:cache"
        places = {"RQSQS_URL": url, "RQSQS_PREFIX": prefix, "CACHE_URL": cache_url, "CACHE_PREFIX": cache}
        self.environment = os.environ | places
        self.url, self.prefix, self.messages, self.quiet = url, prefix, messages, quiet
        self.todo = operations.make(messages)
        self.log = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - the stack closes it
        self.server = stack.enter_context(client_of(url))
        connection = stack.enter_context(rqsqs.connect(url, prefix=prefix))
        queues = runpy.run_path(str(CACHE_JOB / "queues.py"))
        self.queue, self.dead_letters = queues["create"](connection), connection.queue(queues["DEAD_LETTERS"])
        self.report = Report(cache_url, cache)
        stack.callback(self.report.server.close)
        self.processes: list[subprocess.Popen[bytes]] = []
        stack.callback(self.clean_up)
        self.meter = stack.enter_context(Meter("applied", len(self.todo), quiet=quiet))

    def run(self) -> dict[str, Any]:
        todo = len(self.todo)
        self.say(f"{todo:,} operations on {len({o['key'] for o in self.todo}):,} keys of a cache, made from real files")
        workers = self.start_workers()
        self.wait_until(lambda _: len(self.living()) == WORKERS, "all workers are ready")
        started = time.monotonic()
        producers = [
            self.start(APPLICATION, str(self.messages), str(number), stdin=subprocess.PIPE)
            for number in range(PRODUCERS)
        ]
        self.say(f"{PRODUCERS} producers send, {WORKERS} workers apply")

        self.wait_until(lambda counts: counts["processed"] >= todo // 3, "a third is processed")
        for process in producers:  # so that there is work, however late this is
            close_input(process)
        held, back_after = self.kill()
        self.wait_until(lambda _: all(p.poll() == 0 for p in producers), "all operations are sent")
        self.wait_until(self.is_drained, "the queue is empty")
        seconds = time.monotonic() - started
        counts = self.report.counts()

        dead = self.dead_letters.counts().visible
        self.say(f"the queue is empty; {dead} operations cannot be applied and are dead letters:")
        self.say_causes()
        self.stop(workers)
        self.say("the workers are repaired and started again; the dead letters go back")
        workers = self.start_workers(CACHE_JOB_REPAIRED="1")
        task_id = self.dead_letters.redrive()
        self.wait_until(lambda _: self.task(task_id).status != "RUNNING", "the dead letters are moved")
        self.wait_until(self.is_drained, "the queue is empty again")
        self.stop(workers)
        return self.summary(
            {
                "seconds": round(seconds, 2),
                "messages_per_second": round(counts["stored"] / seconds),
                "redelivered": counts["redelivered"],
                "killed_worker_held": held,
                "back_after_seconds": round(back_after, 2),
                "dead_lettered": dead,
                "redriven": self.task(task_id).moved,
            },
            {
                "every operation was stored once": counts["stored"] == todo,
                "what the killed worker held came back within two heartbeat intervals": back_after
                <= TWO_BEATS_S + SLACK_S,
                "all of it was received again": counts["redelivered"] >= held,
                "every operation that could not be applied became a dead letter": dead
                == sum(map(operations.is_poison, self.todo)),
            },
        )

    def say(self, text: str) -> None:
        if not self.quiet:
            with self.meter.aside():
                output.note(text)

    def say_causes(self) -> None:
        """What the dead letters died of, as `rqsqs dlq ls` puts it together."""
        kinds = Kinds()
        for _, page in paging.pages(self.dead_letters, ("visible",)):
            for message in page:
                kinds.add(message)
        for kind in kinds.most_frequent_first():
            self.say(f"{kind.count:>4} x {(kind.type or '').rpartition('.')[2]}: {kind.message}")

    def wait_until(self, is_so: Callable[[Counter[str]], bool], what: str) -> None:
        deadline = time.monotonic() + TIMEOUT_S
        while not is_so(counts := self.report.counts()):
            self.meter.reached(min(counts["processed"], len(self.todo)))
            for process in self.processes:
                if process.poll():
                    self.log.seek(0)
                    said = self.log.read().decode(errors="replace")[-2000:]
                    raise DemoFailed(f"process {process.pid} ended with exit code {process.returncode}\n{said}")
            if time.monotonic() > deadline:
                raise DemoFailed(f"after {TIMEOUT_S:.0f} s the step has not ended: {what}")
            time.sleep(0.02)

    def is_drained(self, _: object) -> bool:
        return paging.total(self.queue.counts()) == 0

    def task(self, task_id: str) -> rqsqs.MoveTask:
        return next(task for task in self.dead_letters.move_tasks() if task.task_id == task_id)

    def summary(self, numbers: dict[str, Any], checks: dict[str, bool]) -> dict[str, Any]:
        """What was counted and timed on the way. Is everything as it must be, and the cache above all?"""
        counts, latencies = self.report.counts(), self.report.latencies_ms()
        found, wanted = self.report.cache(), operations.expected(self.todo)
        gone = ("", 0)
        wrong = [
            key
            for key in found.keys() | wanted.keys()
            if (found.get(key, gone)[0] != wanted.get(key, gone)[0])
            or not 0 < found.get(key, gone)[1] <= wanted.get(key, gone)[1]
        ]
        checks |= {
            "every dead letter went back": numbers["redriven"] == numbers["dead_lettered"],
            "the dead-letter queue is empty": paging.total(self.dead_letters.counts()) == 0,
            "the cache equals what the operations say": not wrong,
        }
        return numbers | {
            **{name: counts[name] for name in ("sent", "deduplicated", "processed")},
            "latency_p50_ms": percentile(latencies, 50),
            "latency_p99_ms": percentile(latencies, 99),
            "keys": len({o["key"] for o in self.todo}),
            "cached": len(found),
            "wrong_keys": sorted(wrong)[:10],
            "failed": [text for text, holds in checks.items() if not holds],
            "equal": all(checks.values()),
        }

    # The killed worker

    def kill(self) -> tuple[int, float]:
        """Kill a worker while it holds messages, as the kernel does when memory is short. How many did it hold, and
        after how many seconds was the last of them visible to others?"""
        victim, began = self.kill_one_that_works()
        self.say(f"worker {victim} is killed with SIGKILL; `rqsqs worker` starts another one")
        watched, back = self.in_flight(), list[float]()

        def are_back(_: object) -> bool:
            """A living worker deletes what it holds before, or prolongs its time with the next heartbeat."""
            seen, now = self.in_flight(), self.now()  # in this order: what is not seen was over by now
            back.extend(visible_at for _, visible_at in watched - seen if visible_at <= now)
            watched.intersection_update(seen)
            return not watched

        self.wait_until(are_back, "what the killed worker held comes back")
        if not back:
            raise DemoFailed("the killed worker held messages, and they did not come back")
        seconds = max(back) - began
        self.say(f"it held {len(back)} messages: visible after {seconds:.2f} s "
                 f"(two heartbeat intervals: {TWO_BEATS_S:g} s)")  # fmt: skip
        return len(back), seconds

    def kill_one_that_works(self) -> tuple[int, float]:
        """Its process id, and when (epoch, by the server's clock)."""
        pids = [c.pid for c in self.living()]
        deadline = time.monotonic() + TIMEOUT_S
        while time.monotonic() < deadline:
            try:
                for pid in pids:
                    os.kill(pid, signal.SIGSTOP)
                counts = self.report.counts()
                for pid in pids:
                    if counts[in_hand(pid)] > 0:
                        os.kill(pid, signal.SIGKILL)
                        return pid, self.now()
            finally:
                for pid in pids:
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGCONT)
            time.sleep(0.002)
        raise DemoFailed("no worker was ever at work")

    def now(self) -> float:
        """The clock of the server that has the queue."""
        found: Any = self.server.eval("return redis.call('TIME')", 1, self.queue._ref.home.wakeups)
        return int(found[0]) + int(found[1]) / 1e6

    def living(self) -> list[rqsqs.Consumer]:
        return [c for c in self.queue.consumers() if c.is_alive and c.state == "running"]

    def in_flight(self) -> set[tuple[str, float]]:
        """Message id and time of return of everything that workers hold."""
        pages = paging.pages(self.queue, ("in_flight",))
        return {(m.message_id, m.visible_at.timestamp()) for _, page in pages for m in page if m.visible_at}

    # Processes

    def start_workers(self, **environment: str) -> subprocess.Popen[bytes]:
        command = f"rqsqs worker {APPLICATION} --processes {WORKERS} --log-level warning"
        return self.start(*command.split(), environment=environment)

    def start(
        self, *arguments: str, environment: dict[str, str] | None = None, stdin: int = subprocess.DEVNULL
    ) -> subprocess.Popen[bytes]:
        with signals.deferred():
            process = subprocess.Popen(
                [sys.executable, "-m", *arguments],
                stdin=stdin,
                stdout=self.log,
                stderr=self.log,
                env=self.environment | (environment or {}),
                start_new_session=True,  # Ctrl-C is for us
            )
            self.processes.append(process)
        return process

    def stop(self, *processes: subprocess.Popen[bytes]) -> None:
        """In good order."""
        for process in processes:
            close_input(process)
            process.terminate()
        deadline = time.monotonic() + 10
        for process in processes:
            try:
                process.wait(max(deadline - time.monotonic(), 0))
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            self.processes.remove(process)

    def clean_up(self) -> None:
        self.stop(*self.processes)
        with suppress(redis.RedisError, rqsqs.RqsqsError):
            remove_keys(self.url, self.prefix)


def close_input(process: subprocess.Popen[bytes]) -> None:
    if process.stdin is not None:
        process.stdin.close()


def percentile(ordered: list[float], percent: int) -> float | None:
    return ordered[min(len(ordered) * percent // 100, len(ordered) - 1)] if ordered else None


def summary_lines(summary: dict[str, Any]) -> Iterator[str]:
    p50, p99 = (f"{summary[f'latency_{p}_ms']:,.1f} ms" for p in ("p50", "p99"))
    back, held = summary["back_after_seconds"], summary["killed_worker_held"]
    yield f"sent            {summary['sent']:>9,}"
    yield f"deduplicated    {summary['deduplicated']:>9,}   sent twice, stored once"
    yield f"processed       {summary['processed']:>9,}   applied to the cache"
    yield f"redelivered     {summary['redelivered']:>9,}   of the killed worker: it held {held}, back after {back} s"
    yield f"dead-lettered   {summary['dead_lettered']:>9,}   could not be applied"
    yield f"redriven        {summary['redriven']:>9,}   and applied after the repair"
    yield f"throughput      {summary['messages_per_second']:>9,}   messages/s, the wait for the killed worker included"
    yield f"latency         p50 {p50}, p99 {p99}   from sending to applied"
    if summary["equal"]:
        of = f"{summary['cached']:,} of {summary['keys']:,} keys"
        yield f"proof           the cache equals what the operations say: {of}"
    yield from (f"FAILED          it is not so that {text}" for text in summary["failed"])
    if summary["wrong_keys"]:
        yield f"wrong keys      {', '.join(summary['wrong_keys'])}"
