"""What was reached of a Durability, read: the least of several answers, and how to say that it is not enough."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from rqsqs._core.sent import SentMessage
from rqsqs.errors import DurabilityNotReached
from rqsqs.models import Durability, DurabilityResult


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
