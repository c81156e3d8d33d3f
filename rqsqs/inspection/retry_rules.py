"""Retry policies as rules that people write and read: `1s..5m`, `TimeoutError=10s..1h`, `ValueError=never`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from rqsqs.models import RetryPolicy

from .written import duration, in_short

# The name of an exception, or None for all; base and cap in seconds, or None for never.
Rule = tuple[str | None, tuple[float, float] | None]


def rule(text: str) -> Rule:
    """A rule.

    Raises:
        ValueError: it is none.
    """
    name, _, times = text.rpartition("=")
    if times == "never" and name:
        return name, None
    base, mark, cap = times.partition("..")
    if not mark:
        raise ValueError(f"{text!r} is not a rule: write 1s..5m, TimeoutError=10s..1h or ValueError=never")
    return name or None, (duration(base), duration(cap))


def as_rule(name: str | None, times: tuple[float, float] | None) -> str:
    """A rule as it is written."""
    text = "never" if times is None else f"{in_short(times[0])}..{in_short(times[1])}"
    return text if name is None else f"{name}={text}"


def retry_policy(rules: Sequence[Rule]) -> RetryPolicy | None:
    """The policy that rules make; None = there are none."""
    if not rules:
        return None
    general = next((times for name, times in rules if name is None and times), None)
    policy = RetryPolicy(
        dead_letter=tuple(name for name, times in rules if name and times is None),
        exceptions={name: RetryPolicy(*times) for name, times in rules if name and times},
    )
    return policy if general is None else replace(policy, base=general[0], cap=general[1])


def rules_of(stored: str) -> list[str]:
    """The rules of a policy as queues store it.

    Raises:
        ValueError, LookupError, TypeError, AttributeError: it is damaged.
    """
    policy = json.loads(stored)
    exceptions = [as_rule(name, _times(each)) for name, each in policy.get("exceptions", {}).items()]
    return [as_rule(None, _times(policy)), *exceptions]


def _times(backoff: Any) -> tuple[float, float] | None:
    return None if backoff == "dead" else (backoff["base"] / 1000, backoff["cap"] / 1000)
