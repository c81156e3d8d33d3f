"""From datapoints to a state. No I/O is here; docs/alarms.md says it for users.

The newest `evaluation_periods` (N) datapoints decide, and `datapoints_to_alarm` (M) of them must breach. Those that are
missing are passed over as long as the evaluation range has others; only then `treat_missing_data` says what they count
as. The rule reproduces both tables of CloudWatch's guide, "Configuring how CloudWatch alarms treat missing data".
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

from rqsqs.alarm_models import DAY_S, Alarm, StateValue, percentile_of

from .statistics import Datapoint

COMPARES: Mapping[str, Callable[[float, float], bool]] = MappingProxyType(
    {
        "GreaterThanThreshold": operator.gt,
        "GreaterThanOrEqualToThreshold": operator.ge,
        "LessThanThreshold": operator.lt,
        "LessThanOrEqualToThreshold": operator.le,
    }
)
_FEW = 10  # samples beyond a percentile, of which there must be that many


@dataclass(frozen=True, slots=True)
class Decision:
    """A state, and what it was decided from.

    Attributes:
        state: "OK", "ALARM" or "INSUFFICIENT_DATA".
        evaluated: the datapoints that decided, the newest first: those with a value, and those that are missing as far
            as they were filled in.
        breaching: those of them that breach the threshold.
        filled: how many missing ones were filled in.
        is_kept: the state is the one before, because there is too little to know better.
    """

    state: StateValue
    evaluated: tuple[Datapoint, ...] = ()
    breaching: tuple[Datapoint, ...] = ()
    filled: int = 0
    is_kept: bool = False

    @property
    def real(self) -> tuple[Datapoint, ...]:
        """Those that have a value, the newest first."""
        return tuple([point for point in self.evaluated if point.value is not None])


def range_of(alarm: Alarm) -> int:
    """How many periods the evaluation range has.

    CloudWatch has more than `evaluation_periods`, too, and does not say how many. Here it is a third more, at least
    two: 5 for 3, as in the examples of its guide.
    """
    return alarm.evaluation_periods + max(2, alarm.evaluation_periods // 3)


def interval_s(alarm: Alarm) -> int:
    """How often it is evaluated: once a minute, or once an hour if its periods take more than a day."""
    return 3_600 if alarm.evaluation_periods * alarm.period_s > DAY_S else 60


def span_of(alarm: Alarm, now_ms: int) -> tuple[int, int]:
    """Begin and end of the evaluation range, epoch ms. It ends with the last full minute."""
    end_ms = now_ms - now_ms % 60_000
    return end_ms - range_of(alarm) * alarm.period_s * 1000, end_ms


def evaluate(alarm: Alarm, datapoints: Sequence[Datapoint], current: StateValue) -> Decision:
    """Decide in which state an alarm is.

    Args:
        datapoints: of its evaluation range, the oldest first.
        current: its present state.
    """
    compare = COMPARES[alarm.comparison_operator]
    number = alarm.evaluation_periods
    needed = alarm.datapoints_to_alarm or number
    newest_first = tuple(reversed(datapoints))
    real = [point for point in newest_first if point.value is not None][:number]
    breaching = tuple([point for point in real if point.value is not None and compare(point.value, alarm.threshold)])
    filled = number - len(real)
    missing = [point for point in newest_first if point.value is None][:filled]
    evaluated = tuple(sorted([*real, *missing], key=lambda point: point.at_ms, reverse=True))

    def decide(state: StateValue, *, is_kept: bool = False) -> Decision:
        return Decision(state, evaluated, breaching, filled, is_kept)

    if _are_too_few(alarm, real):
        return decide(current, is_kept=True)
    if len(breaching) >= needed:
        return decide("ALARM")
    treatment = alarm.treat_missing_data or "missing"
    if filled and treatment == "breaching":
        return decide("ALARM" if len(breaching) + filled >= needed else "OK")
    if not filled or treatment == "notBreaching":
        return decide("OK")
    if not real:
        return decide(current, is_kept=True) if treatment == "ignore" else decide("INSUFFICIENT_DATA")
    if len(breaching) < len(real):
        return decide("OK")
    # All that is known breaches. The next datapoint may be fine; but if the oldest one is so old that M datapoints must
    # have followed it, they are missing because something is wrong.
    age = newest_first.index(breaching[-1]) + 1
    if treatment == "missing" and age >= needed:
        return decide("ALARM")
    return decide(current, is_kept=True)


def enough_samples(percent: float) -> float:
    """How many samples a percentile needs to tell something."""
    beyond = min(percent, 100 - percent) / 100
    return _FEW / beyond if beyond else float("inf")


def _are_too_few(alarm: Alarm, real: Sequence[Datapoint]) -> bool:
    """Are there too few samples for a percentile, so that the state stays?"""
    if alarm.evaluate_low_sample_count_percentile != "ignore":
        return False
    percent = percentile_of(alarm.queries[0].statistic or "") if not alarm.metrics else None
    return percent is not None and any(point.samples < enough_samples(percent) for point in real)
