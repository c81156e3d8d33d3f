"""What became of a call, read: how safe it is (the least of several answers), its results, or what failed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

from rqsqs._core.sent import SentMessage
from rqsqs.errors import BatchFailed, DurabilityNotReached
from rqsqs.models import Durability, DurabilityResult, FailedEntry

T = TypeVar("T")


def for_deletes(durability: Durability | None) -> Durability | None:
    """How safe deletes have to be."""
    return durability if durability is not None and durability.deletes else None


def least(results: Iterable[Any]) -> DurabilityResult | None:
    """The least that was reached, among the results of an operation: SentMessages, DurabilityResult, and others."""
    found = [r.durability if isinstance(r, SentMessage) else r for r in results]
    told = [r for r in found if isinstance(r, DurabilityResult)]
    return min(told, key=lambda r: (r.is_enough, r.aof is not False, r.replicas), default=None)


def not_reached(
    durability: Durability | None, results: list[Any], done: str, had: str = "had done so"
) -> DurabilityNotReached | None:
    """The exception for results that are not as safe as required; None if they are.

    Args:
        done: what was done nevertheless.
        had: that, of a replica.
    """
    reached = None if durability is None else least(results)
    if durability is None or not durability.required or reached is None or reached.is_enough:
        return None
    disk = "" if reached.aof is None else f", {'' if reached.aof else 'not '}on the server's disk"
    error = f" ({reached.error})" if reached.error else ""
    sent = [r for r in results if not isinstance(r, DurabilityResult)]
    return DurabilityNotReached(
        f"{done}, but within {durability.timeout:g} s {reached.replicas} of {durability.replicas} replicas {had}"
        f"{disk}{error}",
        reached,
        sent if any([isinstance(r, SentMessage) for r in sent]) else (),
    )


def one_done(
    result: FailedEntry | DurabilityResult | None, durability: Durability | None, done: str
) -> DurabilityResult | None:
    """What was reached for a message, if deletes have to be safe.

    Raises:
        RqsqsError: what its FailedEntry tells.
        DurabilityNotReached: it is `done`, but not as safely.
    """
    if isinstance(result, FailedEntry):
        raise result.error
    return result and _as_safe([result], durability, done)


def all_done(
    results: Sequence[FailedEntry | DurabilityResult | None], durability: Durability | None, done: str
) -> DurabilityResult | None:
    """What was reached for all messages of a batch.

    Raises:
        BatchFailed: some have a FailedEntry.
        DurabilityNotReached: they are `done`, but not as safely.
    """
    return _as_safe(without_failures(results), durability, done)


def without_failures(results: Sequence[FailedEntry | T]) -> list[T]:
    """The results of a batch."""
    failures = [r for r in results if isinstance(r, FailedEntry)]
    if failures:
        raise BatchFailed(
            f"{len(failures)} of {len(results)} entries failed; the first is number {failures[0].index}: "
            f"{failures[0].error}",
            list(results),
        )
    return list(results)  # type: ignore[arg-type]


def _as_safe(results: list[Any], durability: Durability | None, done: str) -> DurabilityResult | None:
    weak = not_reached(durability, results, done)
    if weak is not None:
        raise weak
    return least(results)
