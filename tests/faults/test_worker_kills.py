"""Workers that are killed, frozen and restarted while they work. Nothing is lost, nothing is stuck, order holds.

RQSQS_KILLS=300 python -m pytest tests/faults/test_worker_kills.py -s       300 rounds instead of a few
"""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import rqsqs
from rqsqs import Entry, RetryPolicy
from tests.clusters import client_of
from tests.faults import handling
from tests.faults.handling import BEAT_S, Record

ROUNDS = int(os.environ.get("RQSQS_KILLS", "10"))
WORKERS = 4
GROUPS = 20
PATIENCE_S = 40.0
MARGIN_S = 3.0  # a machine may be busy; see the figures that are printed for how it is as a rule
SEED = int(os.environ.get("RQSQS_SEED", "0")) or random.randrange(1 << 30)

pytestmark = pytest.mark.timeout(60 + ROUNDS * 4)


class Run:
    """A queue under load, and the workers that serve it."""

    def __init__(self, url: str, prefix: str, name: str, kind: str) -> None:
        self.url, self.prefix, self.name, self.kind = url, prefix, name, kind
        self.chance = random.Random(SEED)
        self.connection = rqsqs.connect(url, prefix=prefix)
        self.queue = self.connection.create_queue(name, retry_policy=RetryPolicy(base=0.05, cap=0.2))
        self.redis = client_of(url)
        self.log = f"{prefix}:log"
        self.sent: list[Any] = []
        self.workers: list[Any] = []
        self._is_over = threading.Event()
        self._producers = [threading.Thread(target=self._produce, args=(n,), daemon=True) for n in range(2)]

    def _produce(self, who: int) -> None:
        n = 0
        groups = defaultdict(int)
        chance = random.Random(SEED + who)
        while not self._is_over.wait(0.02):
            entries = []
            for _ in range(chance.randint(1, 3)):
                group = f"{who}-{chance.randrange(GROUPS // 2)}" if self.queue.is_fifo else None
                body = [group or str(who), groups[group] if group else n]
                entries.append(Entry(body, group=group, deduplication_id=f"{who}-{n}" if group else None))
                groups[group] += 1
                n += 1
            self.queue.send_batch(entries)
            self.sent += [tuple(e.body) for e in entries]

    def add(self) -> Any:
        """One worker more."""
        self.workers.append(handling.start(self.url, self.prefix, self.name, self.kind, self.log))
        return self.workers[-1]

    def begin(self) -> None:
        for _ in range(WORKERS):
            self.add()
        for producer in self._producers:
            producer.start()
        self.wait_for(lambda: len({pid for _, pid, *_ in self.records()}) == WORKERS, "not all have begun")

    def wait_for(self, is_so: Callable[[], Any], what: str) -> Any:
        deadline = time.monotonic() + PATIENCE_S
        while not (found := is_so()):
            assert time.monotonic() < deadline, (what, f"RQSQS_SEED={SEED}", self.queue.counts())
            time.sleep(0.02)
        return found

    def records(self) -> list[Record]:
        return handling.records(self.redis, self.log)

    def stop_producing(self) -> None:
        self._is_over.set()
        for producer in self._producers:
            producer.join()

    def end(self) -> list[Record]:
        """Until everything is handled; then all workers are stopped. Returns all records."""
        self.stop_producing()
        self.wait_for(self.is_empty, "something is stuck")
        for worker in self.workers:
            self.terminate(worker)
        for worker in self.workers:
            worker.join(PATIENCE_S)
            assert worker.exitcode == 0
        assert self.is_empty()
        assert not {w.pid for w in self.workers} & {c.pid for c in self.queue.consumers()}, "they signed off"
        found = self.records()
        ended = {tuple(body) for what, _, body, *_ in found if what == "end"}
        assert ended == set(self.sent), f"lost: {set(self.sent) - ended}, RQSQS_SEED={SEED}"
        return found

    def terminate(self, worker: Any) -> None:
        """Ask a worker to stop, once it listens to signals."""
        self.wait_for(lambda: worker.pid in {c.pid for c in self.queue.consumers()}, "it has not begun")
        worker.terminate()

    def is_empty(self) -> bool:
        counts = self.queue.counts()
        return (counts.visible, counts.in_flight, counts.delayed) == (0, 0, 0)

    def close(self) -> None:
        self._is_over.set()
        for worker in self.workers:
            worker.kill()
        for worker in self.workers:
            worker.join()
        self.redis.close()
        self.connection.close()


@pytest.fixture(params=["q-plain", "q-coroutine", "q.fifo-plain", "q.fifo-coroutine"])
def run(request: pytest.FixtureRequest, valkey_url: str, prefix: str) -> Iterator[Run]:
    name, kind = request.param.split("-")
    one = Run(valkey_url, prefix, name, kind)
    yield one
    one.close()


def check_order(found: list[Record]) -> None:
    """In each group a message is begun when the one before has ended, and never again when a later one was begun."""
    begun: dict[str, int] = defaultdict(lambda: -1)
    ended: dict[str, int] = defaultdict(lambda: -1)
    for what, _, (group, n), receives, _ in found:
        if what == "begin":
            told = f"message {n} of group {group} (receive {receives}), RQSQS_SEED={SEED}"
            assert n >= begun[group], f"{told} is begun after {begun[group]}"
            assert n == 0 or ended[group] >= n - 1, f"{told} is begun while {n - 1} has not ended"
            begun[group] = max(begun[group], n)
        elif what == "end":
            ended[group] = max(ended[group], n)


def redelivery_times(found: list[Record], killed: dict[int, float]) -> list[float]:
    """Seconds from the death of a worker to the next begin of each message it was handling."""
    open_ones: dict[tuple[Any, ...], int] = {}
    times = []
    for what, pid, body, _, at in found:
        key = tuple(body)
        if what == "begin":
            victim = open_ones.get(key)
            if victim in killed and victim != pid:
                times.append(at - killed[victim])
            open_ones[key] = pid
        else:
            open_ones.pop(key, None)
    return sorted(times)


def test_workers_are_killed_at_any_moment(run: Run) -> None:
    run.begin()
    killed: dict[int, float] = {}
    for _ in range(ROUNDS):
        time.sleep(run.chance.uniform(0.02, 0.6))
        victim = run.workers.pop(run.chance.randrange(WORKERS))
        killed[victim.pid] = time.time()
        victim.kill()
        run.add()
        victim.join()
    found = run.end()
    if run.queue.is_fifo:
        check_order(found)
    times = redelivery_times(found, killed)
    twice = sum(count - 1 for count in Counter(tuple(body) for what, _, body, *_ in found if what == "begin").values())
    print(f"\n{run.name} {run.kind}: {ROUNDS} kills, {len(run.sent)} messages, {twice} begun again")
    if times:
        p50, p95 = times[len(times) // 2], times[len(times) * 95 // 100]
        print(f"{len(times)} redelivered after {p50:.3f} s (p50), {p95:.3f} s (p95), {times[-1]:.3f} s (longest)")
        assert times[-1] < 2 * BEAT_S + MARGIN_S, times
        assert p50 < 2 * BEAT_S + 0.3, times


def test_a_frozen_worker_learns_that_it_lost_its_messages(run: Run) -> None:
    run.begin()
    frozen: list[tuple[int, float, float]] = []
    for _ in range(max(ROUNDS // 5, 2)):
        time.sleep(run.chance.uniform(0.1, 0.4))
        victim = run.workers[run.chance.randrange(WORKERS)]
        os.kill(victim.pid, signal.SIGSTOP)
        since = time.time()
        time.sleep(4 * BEAT_S)
        frozen.append((victim.pid, since, time.time()))
        os.kill(victim.pid, signal.SIGCONT)
    found = run.end()
    latest: dict[Any, int] = defaultdict(int)
    stale = []
    for what, pid, body, receives, at in found:
        if what == "begin":
            if receives < latest[tuple(body)]:
                stale.append((pid, body, receives, at))
            latest[tuple(body)] = max(latest[tuple(body)], receives)
    print(f"\n{run.name} {run.kind}: frozen {len(frozen)} times, {len(stale)} begun though another had it meanwhile")
    # One may be lost in the moment between the last look and its begin, on a machine that is very busy.
    assert len(stale) <= max(len(frozen) // 10, 1), f"begun though another had it meanwhile: {stale}"
    for pid, since, until in frozen:
        assert not [1 for _, who, _, _, at in found if who == pid and since + 0.05 < at < until]
        assert [1 for _, who, _, _, at in found if who == pid and at > until], "it goes on"


def test_a_rolling_restart_touches_no_message_twice(run: Run) -> None:
    run.begin()
    gone = []
    for _ in range(max(ROUNDS // 5, 1) * WORKERS // 2):
        time.sleep(run.chance.uniform(0.02, 0.2))
        run.add()
        oldest = run.workers.pop(0)
        run.terminate(oldest)
        gone.append(oldest)
    for worker in gone:
        worker.join(PATIENCE_S)
        assert worker.exitcode == 0
    found = run.end()
    if run.queue.is_fifo:
        check_order(found)
    begun = Counter(tuple(body) for what, _, body, *_ in found if what == "begin")
    assert begun == Counter(run.sent), f"RQSQS_SEED={SEED}"
    assert {receives for _, _, _, receives, _ in found} == {1}
