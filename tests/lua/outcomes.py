"""What a worker says of the messages it holds, in short words."""

from __future__ import annotations

from typing import Any

from rqsqs import _settings
from rqsqs._core import flows
from rqsqs._core.delivery import Delivery
from rqsqs._core.keys import QueueRef
from rqsqs._core.operations import Outcome
from rqsqs.models import Failure, RetryPolicy
from tests.lua.conftest import Engine

LATEST = 1_000_000  # the chance that gives the longest delay
LOST, GONE, DEAD_LETTERED = -1, -2, -3


def requeue(d: Delivery) -> Outcome:
    return Outcome(d, "requeue")


def retry(d: Delivery, *kinds: str, wanted_ms: int | None = None, chance: int = LATEST, kind: str = "retry") -> Outcome:
    """`kinds`: names of the exception's class and its bases."""
    kinds = kinds or ("ValueError",)
    cause = Failure(kinds[0], f"no {d.receive_count}", "line 1", "worker", 1, d.failures + 1, d.receive_count)
    return Outcome(d, kind, cause, kinds, wanted_ms, chance)


def dead_letter(d: Delivery, *kinds: str) -> Outcome:
    return retry(d, *kinds, kind="dead-letter")


def release(engine: Engine, q: QueueRef, *outcomes: Outcome) -> list[int]:
    found: list[int] = engine.run(flows.release(q, outcomes))
    return found


def retry_policy(base: float = 1.0, cap: float = 300.0, **options: Any) -> dict[str, str]:
    """The attribute of a retry policy."""
    return {"RetryPolicy": _settings.retry_policy(RetryPolicy(base, cap, **options))}


def group(q: QueueRef, name: str = "g") -> str | None:
    """FIFO messages need one."""
    return name if q.is_fifo else None


def received(engine: Engine, q: QueueRef, body: Any = "a", **options: Any) -> Delivery:
    """Send one message and receive it."""
    engine.send(q, body, group=group(q), **options)
    (d,) = engine.receive(q, visibility_ms=60_000)
    assert d.body == body
    return d


def again(engine: Engine, q: QueueRef, visibility_ms: int = 60_000) -> Delivery:
    """Receive the one message there is."""
    (d,) = engine.receive(q, visibility_ms=visibility_ms)
    return d
