"""How often one caller may ask, and how many of its receives may wait.

Each caller has a bucket of tokens: a request takes one, `rate` of them come back each second, and no more than `burst`
fit in. SDKs back off from RequestThrottled and try again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager

from .refusals import RequestThrottled

MOST = 10_000  # callers that are remembered
_ANY_NUMBER = contextlib.nullcontext()


class Throttle:
    """Counts requests.

    Args:
        rate: requests a second of one caller; None = any number.
        burst: requests at once; None = those of two seconds.
        polls: receives of one caller that may wait at once; None = any number.
        clock: seconds.
    """

    def __init__(
        self,
        rate: float | None = None,
        burst: int | None = None,
        polls: int | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._rate, self._polls, self._clock = rate, polls, clock
        self._burst = float(burst if burst is not None else max(1.0, 2 * (rate or 0)))
        self._buckets: dict[str, tuple[float, float]] = {}  # caller -> tokens then, and when that was
        self._waiting: dict[str, int] = {}

    def admit(self, caller: str) -> None:
        """Take a token.

        Raises:
            RequestThrottled: there is none.
        """
        if self._rate is None:
            return
        now = self._clock()
        tokens, then = self._buckets.pop(caller, (self._burst, now))
        tokens = min(self._burst, tokens + (now - then) * self._rate)
        if len(self._buckets) >= MOST:
            del self._buckets[next(iter(self._buckets))]  # who was silent longest
        self._buckets[caller] = (tokens - 1 if tokens >= 1 else tokens, now)
        if tokens < 1:
            raise RequestThrottled(
                f"The request was throttled: there may be {self._rate:g} a second for one access key."
            )

    def poll(self, caller: str) -> AbstractContextManager[None]:
        """Hold one of the places for receives that wait.

        Raises:
            RequestThrottled: all are taken.
        """
        return _ANY_NUMBER if self._polls is None else self._counted(caller, self._polls)

    @contextlib.contextmanager
    def _counted(self, caller: str, most: int) -> Iterator[None]:
        waiting = self._waiting.get(caller, 0)
        if waiting >= most:
            raise RequestThrottled(f"The request was throttled: {most} receives of one access key may wait at once.")
        self._waiting[caller] = waiting + 1
        try:
            yield
        finally:
            left = self._waiting[caller] - 1
            if left:
                self._waiting[caller] = left
            else:
                del self._waiting[caller]
