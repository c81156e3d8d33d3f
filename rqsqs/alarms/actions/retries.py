"""What became of an action, and when it is tried again. Pure: the dice are given, and there is no clock."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from rqsqs.errors import UsageError


@dataclass(frozen=True, slots=True)
class Done:
    """It was done.

    Attributes:
        summary: what happened, for people.
    """

    summary: str


@dataclass(frozen=True, slots=True)
class Failed:
    """It failed, and is to be tried again.

    Attributes:
        reason: for people.
        retry_after_s: seconds until it is to be tried again.
    """

    reason: str
    retry_after_s: float


@dataclass(frozen=True, slots=True)
class GivenUp:
    """It failed, and is not tried again.

    Attributes:
        reason: for people.
    """

    reason: str


Outcome = Done | Failed | GivenUp


class AttemptFailed(Exception):
    """An attempt failed.

    Args:
        reason: for people.
        is_final: whether the next attempt would fail in the same way.
        after_s: not to be tried again before; None = nobody says.
    """

    def __init__(self, reason: str, *, is_final: bool = False, after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason, self.is_final, self.after_s = reason, is_final, after_s


@dataclass(frozen=True, slots=True)
class Retries:
    """When a failed action is tried again: after `first` seconds, twice that, four times that ... up to `longest`.

    Of each time the second half is random, so that actions which failed together are not tried together.

    Attributes:
        attempts: after so many it is given up.
        first, longest: seconds.
    """

    attempts: int = 10
    first: float = 5.0
    longest: float = 600.0

    def __post_init__(self) -> None:
        if isinstance(self.attempts, bool) or not isinstance(self.attempts, int) or not 1 <= self.attempts <= 100:
            raise UsageError(f"attempts must be an int from 1 to 100, got {self.attempts!r:.80}")
        if not 0 < self.first <= self.longest <= 86_400:
            raise UsageError(
                f"first and longest must be seconds up to 86400, first the shorter one, got {self.first!r:.80} and "
                f"{self.longest!r:.80}"
            )

    def delay_s(self, attempt: int, random: Callable[[], float]) -> float:
        """Seconds after a failed attempt, the first one being 1."""
        longest = min(self.longest, self.first * 2.0 ** min(attempt - 1, 60))
        return longest * (0.5 + random() / 2)

    def after(self, failure: AttemptFailed, attempt: int, random: Callable[[], float]) -> Failed | GivenUp:
        """What follows from a failed attempt.

        Args:
            failure: what went wrong.
            attempt: which attempt it was, the first one being 1.
            random: gives a number from 0 to 1.
        """
        if failure.is_final:
            return GivenUp(failure.reason)
        if attempt >= self.attempts:
            return GivenUp(f"{failure.reason}; given up after {attempt} attempts")
        delay = self.delay_s(attempt, random)
        if failure.after_s is not None:
            delay = max(delay, min(failure.after_s, self.longest))
        return Failed(failure.reason, delay)
