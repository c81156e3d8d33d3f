"""What became of the entries of a call, read: results, or the exception that tells what failed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from rqsqs._core.durability import least, not_reached
from rqsqs.errors import BatchFailed
from rqsqs.models import Durability, DurabilityResult, FailedEntry

T = TypeVar("T")


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
