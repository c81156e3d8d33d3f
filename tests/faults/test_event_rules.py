"""Processes that follow events, all at the same time, and are killed: no event is missed, and none acted on twice."""

from __future__ import annotations

import random
import time
from pathlib import Path
from typing import Any

import rqsqs
from rqsqs._core.flows.events import tell
from tests.clusters import until
from tests.faults import evaluator
from tests.faults.conftest import CONTEXT

EVENTS, FOLLOWERS = 400, 3


def test_each_event_is_acted_on_under_one_key_whoever_is_killed(valkey_url: str, prefix: str, tmp_path: Path) -> None:
    CONTEXT.set_forkserver_preload(["tests.faults.evaluator"])
    draw, noted = random.Random(5), tmp_path / "noted"
    noted.touch()

    def start() -> Any:
        process = CONTEXT.Process(target=evaluator.run_rules, args=(valkey_url, prefix, str(noted)), daemon=True)
        process.start()
        return process

    def lines() -> list[tuple[str, ...]]:
        return [tuple(line.split("\t")) for line in noted.read_text().splitlines()]

    kills = 0
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        connection.event_rules.put(rqsqs.EventRule("all", kinds=["queue-purged", "queue-paused"], actions=["log:"]))
        connection.event_rules.put(rqsqs.EventRule("purged", kinds=["queue-purged"], actions=["log:"]))
        space = connection.transport.space
        processes = [start() for _ in range(FOLLOWERS)]
        try:
            for n in range(EVENTS):
                kind = draw.choice(["queue-purged", "queue-paused", "queue-created"])
                connection.transport.run(tell(space, kind, f"q{n}"))
                if draw.random() < 0.05:
                    time.sleep(draw.uniform(0, 0.1))  # in the middle of something
                    which = draw.randrange(FOLLOWERS)
                    processes[which].kill()
                    processes[which].join()
                    processes[which] = start()
                    kills += 1
            kinds = {event.id: event.kind for event in connection.events()}
            wanted = {("all", id) for id, kind in kinds.items() if kind in ("queue-purged", "queue-paused")}
            wanted |= {("purged", id) for id, kind in kinds.items() if kind == "queue-purged"}
            until(lambda: {(rule, id) for _, rule, id in lines()} >= wanted, "all is done", 120)
        finally:
            for process in processes:
                process.kill()
    assert kills > 5
    found: dict[tuple[str, str], set[str]] = {}
    for key, rule, id in lines():
        found.setdefault((rule, id), set()).add(key)
    assert set(found) == wanted
    assert {len(keys) for keys in found.values()} == {1}
