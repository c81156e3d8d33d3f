"""Alarms on metrics, their states and what happened to them: frozen data, checked when it is made.

`to_json` and `from_json` have the names of CloudWatch's API (PutMetricAlarm, PutCompositeAlarm, DescribeAlarms,
DescribeAlarmHistory). So alarms are stored, printed and answered in one form. An attribute that is None is left out of
the JSON. The module is long, as each attribute of CloudWatch has its place here.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal

from rqsqs._alarm_checks import (
    WEEK_S,
    as_list,
    as_tuple,
    check_flag,
    check_json,
    check_one_of,
    check_period,
    check_text,
    check_whole,
    dimensions_of,
    given,
    members,
    ms,
    number,
    pairs,
    pairs_of,
    put,
    required,
    seconds,
)
from rqsqs._alarm_rules import references
from rqsqs._math_expressions import parse
from rqsqs._text import did_you_mean, shown
from rqsqs.errors import InvalidParameterValue
from rqsqs.metric_models import CLOUDWATCH


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


StateValue = Literal["OK", "ALARM", "INSUFFICIENT_DATA"]
EventKind = Literal["ConfigurationUpdate", "StateUpdate", "Action"]

STATES: tuple[StateValue, ...] = ("OK", "ALARM", "INSUFFICIENT_DATA")
KINDS: tuple[EventKind, ...] = ("ConfigurationUpdate", "StateUpdate", "Action")
TREATMENTS = ("missing", "ignore", "breaching", "notBreaching")  # of missing data; the first is the default
OPERATORS: Mapping[str, str] = MappingProxyType(
    {
        ">": "GreaterThanThreshold",
        ">=": "GreaterThanOrEqualToThreshold",
        "<": "LessThanThreshold",
        "<=": "LessThanOrEqualToThreshold",
    }
)
STATISTICS = ("SampleCount", "Average", "Sum", "Minimum", "Maximum")

AWS_NAMESPACE, NAMESPACE = "AWS/SQS", "rqsqs"
CREATED = "Unchecked: Initial alarm creation"  # the reason of the first state
COUNTS = frozenset(
    _words(
        "sent received deleted empty_receives deduplicated sent_bytes redelivered redelivered_2 redelivered_3 "
        "redelivered_4 dead_lettered dead_letters expired purged cancelled redriven_out redriven_in reclaimed damaged "
        "failed"
    )
)
GAUGES = frozenset(
    _words(
        "visible in_flight delayed oldest_age_s groups_in_flight noisy_groups visible_in_quiet_groups "
        "in_flight_in_quiet_groups delayed_in_quiet_groups oldest_age_in_quiet_groups_s waiters consumers "
        "consumers_running consumers_draining consumers_evicted consumers_drain consumers_evict consumers_lost"
    )
)
DURATIONS = frozenset({"dwell", "processing"})  # histograms
QUEUE_METRICS = COUNTS | GAUGES | DURATIONS
SERVER_METRICS = frozenset({"memory_used_percent", "memory_used_bytes", "memory_limit_bytes"})  # of no queue
BYTES = "SentMessageSize"  # the name of AWS for sent_bytes; there each message is a sample
UNITS = _words(
    "Seconds Microseconds Milliseconds Bytes Kilobytes Megabytes Gigabytes Terabytes Bits Kilobits Megabits Gigabits "
    "Terabits Percent Count Bytes/Second Kilobytes/Second Megabytes/Second Gigabytes/Second Terabytes/Second "
    "Bits/Second Kilobits/Second Megabits/Second Gigabits/Second Terabits/Second Count/Second None"
)

MOST_NAME, MOST_DESCRIPTION, MOST_REASON, MOST_REASON_DATA = 255, 1_024, 1_023, 4_000
MOST_ACTIONS, MOST_ACTION, MOST_DIMENSIONS, MOST_TAGS = 5, 1_024, 30, 50
MOST_METRICS, MOST_QUERIES = 10, 20
DAY_S, HOUR_S = 86_400, 3_600

_PERCENTILE = re.compile(r"p(\d{1,3}(?:\.\d{1,10})?)")
_OTHER_STATISTIC = re.compile(r"(?:tm|tc|ts|wm)\d|iqm$|(?:pr|tc|tm|ts|wm)\(", re.IGNORECASE)
_ID = re.compile(r"[a-z][A-Za-z0-9_]{0,254}")
_QUEUE = re.compile(r"[A-Za-z0-9_-]{1,80}|[A-Za-z0-9_-]{1,75}\.fifo")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
Sent = Mapping[str, Any]  # JSON objects


def unit_of(metric_name: str) -> str:
    """The unit in which a metric of a queue is measured."""
    name = CLOUDWATCH.get(metric_name, metric_name)
    if name.endswith("_s") or name in DURATIONS:
        return "Seconds"
    if name.endswith("_percent"):
        return "Percent"
    return "Bytes" if name.endswith("_bytes") else "Count"


def percentile_of(statistic: str) -> float | None:
    """99.0 of "p99"; None of a statistic that is no percentile."""
    found = _PERCENTILE.fullmatch(statistic)
    return float(found[1]) if found else None


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricQuery:
    """A metric and its statistic, or an expression of metric math over the other queries of its alarm.

    Attributes:
        id: names it in expressions: a lower-case letter, then letters, digits and underscores.
        metric_name: a metric of a queue, by its name here ("oldest_age_s") or in AWS/SQS
            ("ApproximateAgeOfOldestMessage"); with another namespace any name.
        queue: the name of the queue.
        statistic: "Sum", "Average", "Minimum", "Maximum", "SampleCount", or a percentile such as "p99"; None = "Sum" of
            a count, "p99" of `dwell` and `processing`, "Maximum" of others.
        period: of a point, in seconds: 10, 20, 30 or a multiple of 60. Queues are sampled once a minute, so less than
            60 finds data in one period of a minute at most.
        namespace: None = "AWS/SQS" for the names of AWS, "rqsqs" for those of here.
        dimensions: further ones beside the queue (`QueueName`), as names and values.
        unit: data of another unit does not count; None = any.
        expression: metric math, such as "received / deleted" or "FILL(m1, 0)", instead of a metric.
        label: for people.
        return_data: False = only for expressions. In an alarm one query is the result, the others are not.
    """

    __module__ = "rqsqs"

    id: str = field(kw_only=False)
    metric_name: str | None = None
    queue: str | None = None
    statistic: str | None = None
    period: int | None = None
    namespace: str | None = None
    dimensions: Mapping[str, str] = field(default_factory=dict)
    unit: str | None = None
    expression: str | None = None
    label: str | None = None
    return_data: bool = True

    def __post_init__(self) -> None:
        if not isinstance(self.id, str) or not _ID.fullmatch(self.id):
            rule = "begin with a lower-case letter, then up to 254 letters, digits and underscores"
            raise InvalidParameterValue(f"id of a query must {rule}, got {shown(self.id)}")
        check_flag("return_data", self.return_data)
        if self.label is not None:
            check_text("label", self.label, 10_000, 0)
        if (self.metric_name is None) == (self.expression is None):
            came = "neither" if self.expression is None else "both"
            raise InvalidParameterValue(f"query {self.id} must have either metric_name or expression, got {came}")
        if self.expression is None:
            _check_metric(self)
            return
        for name in ("queue", "statistic", "namespace", "unit"):
            if getattr(self, name) is not None:
                raise InvalidParameterValue(
                    f"{name} must not be given for an expression, got {shown(getattr(self, name))}"
                )
        if self.dimensions:
            raise InvalidParameterValue(f"dimensions must not be given for an expression, got {shown(self.dimensions)}")
        put(self, "dimensions", {})
        check_text("expression", self.expression, 2_048)
        parse(self.expression)
        if self.period is not None:
            check_period(self.period)

    def to_json(self) -> dict[str, Any]:
        """As MetricDataQuery of CloudWatch."""
        found: dict[str, Any] = {"Id": self.id}
        if self.expression is not None:
            found |= given({"Expression": self.expression, "Period": self.period})
        else:
            metric = {
                "Namespace": self.namespace,
                "MetricName": self.metric_name,
                "Dimensions": dimensions_json(self.queue, self.dimensions),
            }
            stat = {"Metric": metric, "Period": self.period, "Stat": self.statistic, "Unit": self.unit}
            found["MetricStat"] = given(stat)
        return found | given({"Label": self.label}) | {"ReturnData": self.return_data}

    @classmethod
    def from_json(cls, data: Sent) -> MetricQuery:
        """From MetricDataQuery of CloudWatch."""
        data = members("query", data, {"Id", "Expression", "MetricStat", "Label", "ReturnData", "Period"})
        options: dict[str, Any] = {"period": data.get("Period")}
        if (stat := data.get("MetricStat")) is not None:
            stat = members("MetricStat", stat, {"Metric", "Period", "Stat", "Unit"})
            metric = members("Metric", stat.get("Metric"), {"Namespace", "MetricName", "Dimensions"})
            queue, dimensions = dimensions_of(metric.get("Dimensions"))
            options = {
                "metric_name": metric.get("MetricName"),
                "queue": queue,
                "statistic": stat.get("Stat"),
                "period": stat.get("Period"),
                "namespace": metric.get("Namespace"),
                "dimensions": dimensions,
                "unit": stat.get("Unit"),
            }
        return cls(
            required(data, "Id"),
            **options,
            expression=data.get("Expression"),
            label=data.get("Label"),
            return_data=data.get("ReturnData", True),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """A threshold for a metric of a queue, or for an expression of metric math.

    Attributes:
        name: 1 to 255 characters. Alarms of a prefix have different names.
        threshold: with what the statistic is compared.
        comparison_operator: ">", ">=", "<" or "<=", or CloudWatch's word for it: "GreaterThanThreshold",
            "GreaterThanOrEqualToThreshold", "LessThanThreshold", "LessThanOrEqualToThreshold", which it becomes.
        metric_name, queue, statistic, period, namespace, dimensions, unit: the metric, as in MetricQuery.
        metrics: instead of these, up to 20 MetricQuery for metric math. One of them has `return_data`.
        evaluation_periods: how many periods are looked at.
        datapoints_to_alarm: how many of these must breach the threshold; None = all.
        treat_missing_data: what a period without data counts as, if there is too little: "missing", "ignore" (the state
            stays), "breaching" or "notBreaching"; None = "missing".
        evaluate_low_sample_count_percentile: of a percentile: "ignore" = the state stays if there are too few samples;
            "evaluate", and None, = it does not.
        description: up to 1,024 characters, for those who are woken.
        actions_enabled: False = the state changes and nothing is done.
        alarm_actions, ok_actions, insufficient_data_actions: what is done when this state begins, up to 5 each.
        tags: names and values that mean something to the owner.
        updated_at_ms: when it was put last, epoch ms; None = it was not read from the server.
    """

    __module__ = "rqsqs"

    name: str = field(kw_only=False)
    threshold: float
    comparison_operator: str
    metric_name: str | None = None
    queue: str | None = None
    statistic: str | None = None
    period: int | None = None
    namespace: str | None = None
    dimensions: Mapping[str, str] = field(default_factory=dict)
    unit: str | None = None
    metrics: Sequence[MetricQuery] = ()
    evaluation_periods: int = 1
    datapoints_to_alarm: int | None = None
    treat_missing_data: str | None = None
    evaluate_low_sample_count_percentile: str | None = None
    description: str | None = None
    actions_enabled: bool = True
    alarm_actions: Sequence[str] = ()
    ok_actions: Sequence[str] = ()
    insufficient_data_actions: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    updated_at_ms: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _check_common(self)
        put(self, "metrics", _queries(self.metrics))
        if bool(self.metrics) == (self.metric_name is not None):
            raise InvalidParameterValue(
                f"an alarm must have either metric_name or metrics, got {'both' if self.metrics else 'neither'}"
            )
        if self.metrics:
            for name in ("queue", "statistic", "period", "namespace", "unit"):
                if getattr(self, name) is not None:
                    raise InvalidParameterValue(
                        f"{name} must stand in the queries of metrics, got {shown(getattr(self, name))} beside them"
                    )
            if self.dimensions:
                raise InvalidParameterValue("dimensions must stand in the queries of metrics, got them beside these")
            put(self, "dimensions", {})
        else:
            _check_metric(self)
        put(self, "threshold", number("threshold", self.threshold))
        operator = (
            OPERATORS.get(self.comparison_operator, self.comparison_operator)
            if isinstance(self.comparison_operator, str)
            else None
        )
        if operator not in OPERATORS.values():
            rule = " or ".join(f"{short!r} ({long})" for short, long in OPERATORS.items())
            raise InvalidParameterValue(f"comparison_operator must be {rule}, got {shown(self.comparison_operator)}")
        put(self, "comparison_operator", operator)
        check_whole("evaluation_periods", self.evaluation_periods)
        self._check_span()
        if self.datapoints_to_alarm is not None:
            check_whole("datapoints_to_alarm", self.datapoints_to_alarm)
            if self.datapoints_to_alarm > self.evaluation_periods:
                raise InvalidParameterValue(
                    f"datapoints_to_alarm must be an int from 1 to evaluation_periods ({self.evaluation_periods}), "
                    f"got {self.datapoints_to_alarm}"
                )
        if self.treat_missing_data is not None:
            check_one_of("treat_missing_data", self.treat_missing_data, TREATMENTS)
        if self.evaluate_low_sample_count_percentile is not None:
            given = self.evaluate_low_sample_count_percentile
            check_one_of("evaluate_low_sample_count_percentile", given, ("evaluate", "ignore"))

    def _check_span(self) -> None:
        period, number = self.period_s, self.evaluation_periods
        most = WEEK_S if period >= HOUR_S else DAY_S
        if period * number > most:
            within = (
                "7 days, with a period of an hour or more" if most == WEEK_S else "a day, with a period below an hour"
            )
            raise InvalidParameterValue(
                f"evaluation_periods times period must be {most} s at most ({within}), got {number} times {period} s"
            )

    @property
    def queries(self) -> tuple[MetricQuery, ...]:
        """`metrics`, or the one metric as a query "m1"."""
        if self.metrics:
            return tuple(self.metrics)
        return (
            MetricQuery(
                "m1",
                metric_name=self.metric_name,
                queue=self.queue,
                statistic=self.statistic,
                period=self.period,
                namespace=self.namespace,
                dimensions=self.dimensions,
                unit=self.unit,
            ),
        )

    @property
    def result(self) -> MetricQuery:
        """The query that is compared with the threshold."""
        return next(query for query in self.queries if query.return_data)

    @property
    def period_s(self) -> int:
        """Of a point, in seconds."""
        return self.period or next(query.period for query in self.metrics if query.period)

    @property
    def queues(self) -> tuple[str, ...]:
        """The names of the queues it looks at, sorted."""
        return tuple(sorted({query.queue for query in self.queries if query.queue is not None}))

    def to_json(self) -> dict[str, Any]:
        """The parameters of CloudWatch's PutMetricAlarm, and AlarmConfigurationUpdatedTimestamp if it is known."""
        found = _common_json(self)
        if self.metrics:
            found["Metrics"] = [query.to_json() for query in self.metrics]
        else:
            is_extended = self.statistic not in STATISTICS
            found |= given(
                {
                    "MetricName": self.metric_name,
                    "Namespace": self.namespace,
                    "ExtendedStatistic" if is_extended else "Statistic": self.statistic,
                    "Period": self.period,
                    "Unit": self.unit,
                }
            )
            found["Dimensions"] = dimensions_json(self.queue, self.dimensions)
        return found | given(
            {
                "EvaluationPeriods": self.evaluation_periods,
                "DatapointsToAlarm": self.datapoints_to_alarm,
                "Threshold": self.threshold,
                "ComparisonOperator": self.comparison_operator,
                "TreatMissingData": self.treat_missing_data,
                "EvaluateLowSampleCountPercentile": self.evaluate_low_sample_count_percentile,
            }
        )

    @classmethod
    def from_json(cls, data: Sent) -> Alarm:
        """From the parameters of CloudWatch's PutMetricAlarm.

        Raises:
            InvalidParameterValue: also if there are others, such as those of anomaly detection.
        """
        data = members("an alarm", data, _COMMON.union(_OF_ALARMS))
        statistic, extended = data.get("Statistic"), data.get("ExtendedStatistic")
        if statistic is not None and extended is not None:
            raise InvalidParameterValue("an alarm must have either Statistic or ExtendedStatistic, got both")
        if statistic is not None:
            check_one_of("Statistic", statistic, STATISTICS)
        queue, dimensions = dimensions_of(data.get("Dimensions"))
        return cls(
            threshold=required(data, "Threshold"),
            comparison_operator=required(data, "ComparisonOperator"),
            metric_name=data.get("MetricName"),
            queue=queue,
            statistic=extended if statistic is None else statistic,
            period=data.get("Period"),
            namespace=data.get("Namespace"),
            dimensions=dimensions,
            unit=data.get("Unit"),
            metrics=[MetricQuery.from_json(query) for query in as_list("Metrics", data.get("Metrics"))],
            evaluation_periods=required(data, "EvaluationPeriods"),
            datapoints_to_alarm=data.get("DatapointsToAlarm"),
            treat_missing_data=data.get("TreatMissingData"),
            evaluate_low_sample_count_percentile=data.get("EvaluateLowSampleCountPercentile"),
            **_common_of(data),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class CompositeAlarm:
    """An alarm whose state follows from the states of others.

    Attributes:
        name: as in Alarm.
        rule: ALARM(name), OK(name), INSUFFICIENT_DATA(name), TRUE and FALSE, with AND, OR, NOT and parentheses. Names
            (or ARNs) with spaces, commas or parentheses stand in double quotes.
        description, actions_enabled, alarm_actions, ok_actions, insufficient_data_actions, tags, updated_at_ms: as in
            Alarm.
    """

    __module__ = "rqsqs"

    name: str = field(kw_only=False)
    rule: str = field(kw_only=False)
    description: str | None = None
    actions_enabled: bool = True
    alarm_actions: Sequence[str] = ()
    ok_actions: Sequence[str] = ()
    insufficient_data_actions: Sequence[str] = ()
    tags: Mapping[str, str] = field(default_factory=dict)
    updated_at_ms: int | None = field(default=None, compare=False)

    def __post_init__(self) -> None:
        _check_common(self)
        if self.name in references(self.rule):
            raise InvalidParameterValue(f"rule must name other alarms, got {self.name!r} itself")

    @property
    def children(self) -> tuple[str, ...]:
        """The names of the alarms in its rule, each once, in the order in which they come."""
        return references(self.rule)

    def to_json(self) -> dict[str, Any]:
        """The parameters of CloudWatch's PutCompositeAlarm, and AlarmConfigurationUpdatedTimestamp if it is known."""
        return _common_json(self) | {"AlarmRule": self.rule}

    @classmethod
    def from_json(cls, data: Sent) -> CompositeAlarm:
        """From the parameters of CloudWatch's PutCompositeAlarm.

        Raises:
            InvalidParameterValue: also if there are others, such as those of a suppressor.
        """
        data = members("a composite alarm", data, _COMMON | {"AlarmRule"})
        return cls(rule=required(data, "AlarmRule"), **_common_of(data))


@dataclass(frozen=True, slots=True)
class AlarmState:
    """In which state an alarm is, and why.

    Attributes:
        value: "OK", "ALARM" or "INSUFFICIENT_DATA".
        reason: for people, up to 1,023 characters.
        reason_data: the same for programs, as JSON of up to 4,000 characters; "" = none.
        updated_at_ms: when the state or its reason were set last, epoch ms.
        transitioned_at_ms: when the value changed last, epoch ms.
    """

    __module__ = "rqsqs"

    value: StateValue
    reason: str = ""
    reason_data: str = ""
    updated_at_ms: int = 0
    transitioned_at_ms: int = 0

    def __post_init__(self) -> None:
        check_one_of("value", self.value, STATES)
        check_text("reason", self.reason, MOST_REASON, 0)
        check_json("reason_data", self.reason_data, MOST_REASON_DATA)
        check_whole("updated_at_ms", self.updated_at_ms, 0)
        check_whole("transitioned_at_ms", self.transitioned_at_ms, 0)

    def to_json(self) -> dict[str, Any]:
        """As in the answers of CloudWatch's DescribeAlarms; timestamps in seconds since 1970."""
        return {
            "StateValue": self.value,
            "StateReason": self.reason,
            **({"StateReasonData": self.reason_data} if self.reason_data else {}),
            "StateUpdatedTimestamp": seconds(self.updated_at_ms),
            "StateTransitionedTimestamp": seconds(self.transitioned_at_ms),
        }

    @classmethod
    def from_json(cls, data: Sent) -> AlarmState:
        """From an answer of CloudWatch's DescribeAlarms."""
        return cls(
            required(data, "StateValue"),
            data.get("StateReason", ""),
            data.get("StateReasonData", ""),
            ms("StateUpdatedTimestamp", data.get("StateUpdatedTimestamp", 0)),
            ms("StateTransitionedTimestamp", data.get("StateTransitionedTimestamp", 0)),
        )


@dataclass(frozen=True, slots=True)
class AlarmEvent:
    """Something that happened to an alarm: an entry of its history.

    Attributes:
        alarm: its name.
        at_ms: when, epoch ms.
        kind: "ConfigurationUpdate", "StateUpdate" or "Action".
        summary: for people, up to 255 characters.
        data: for programs.
        is_composite: it is a composite alarm.
    """

    __module__ = "rqsqs"

    alarm: str
    at_ms: int
    kind: EventKind
    summary: str
    data: Mapping[str, Any] = field(default_factory=dict)
    is_composite: bool = False

    def __post_init__(self) -> None:
        check_text("alarm", self.alarm, MOST_NAME)
        check_whole("at_ms", self.at_ms, 0)
        check_one_of("kind", self.kind, KINDS)
        check_text("summary", self.summary, 255)
        if not isinstance(self.data, Mapping):
            raise InvalidParameterValue(f"data must be a dict, got {shown(self.data)}")
        put(self, "data", dict(self.data))

    def to_json(self) -> dict[str, Any]:
        """As in the answers of CloudWatch's DescribeAlarmHistory; the timestamp in seconds since 1970."""
        return {
            "AlarmName": self.alarm,
            "AlarmType": "CompositeAlarm" if self.is_composite else "MetricAlarm",
            "Timestamp": seconds(self.at_ms),
            "HistoryItemType": self.kind,
            "HistorySummary": self.summary,
            "HistoryData": json.dumps(self.data, separators=(",", ":")),
        }

    @classmethod
    def from_json(cls, data: Sent) -> AlarmEvent:
        """From an answer of CloudWatch's DescribeAlarmHistory."""
        text = data.get("HistoryData", "{}")
        check_json("HistoryData", text, None)
        return cls(
            required(data, "AlarmName"),
            ms("Timestamp", required(data, "Timestamp")),
            required(data, "HistoryItemType"),
            required(data, "HistorySummary"),
            json.loads(text or "{}"),
            data.get("AlarmType") == "CompositeAlarm",
        )


def alarm_of(data: Sent) -> Alarm | CompositeAlarm:
    """An alarm of either kind from its JSON."""
    is_composite = isinstance(data, Mapping) and "AlarmRule" in data
    return CompositeAlarm.from_json(data) if is_composite else Alarm.from_json(data)


def dimensions_json(queue: str | None, dimensions: Mapping[str, str]) -> list[dict[str, str]]:
    """Dimensions of a metric as CloudWatch writes them."""
    pairs = {**({} if queue is None else {"QueueName": queue}), **dimensions}
    return [{"Name": name, "Value": value} for name, value in pairs.items()]


# What alarms of both kinds have

_COMMON_NAMES = {
    "name": "AlarmName",
    "description": "AlarmDescription",
    "actions_enabled": "ActionsEnabled",
    "ok_actions": "OKActions",
    "alarm_actions": "AlarmActions",
    "insufficient_data_actions": "InsufficientDataActions",
}
_COMMON = {*_COMMON_NAMES.values(), "Tags", "AlarmConfigurationUpdatedTimestamp"}
_OF_ALARMS = _words(
    "MetricName Namespace Statistic ExtendedStatistic Dimensions Period Unit EvaluationPeriods DatapointsToAlarm "
    "Threshold ComparisonOperator TreatMissingData EvaluateLowSampleCountPercentile Metrics"
)


def _common_json(alarm: Alarm | CompositeAlarm) -> dict[str, Any]:
    found = {theirs: getattr(alarm, ours) for ours, theirs in _COMMON_NAMES.items()}
    found = {name: list(value) if isinstance(value, tuple) else value for name, value in found.items()}
    if alarm.tags:
        found["Tags"] = [{"Key": key, "Value": value} for key, value in alarm.tags.items()]
    if alarm.updated_at_ms is not None:
        found["AlarmConfigurationUpdatedTimestamp"] = seconds(alarm.updated_at_ms)
    return given(found)


def _common_of(data: Sent) -> dict[str, Any]:
    found: dict[str, Any] = {
        ours: data[theirs] for ours, theirs in _COMMON_NAMES.items() if data.get(theirs) is not None
    }
    if "name" not in found:
        raise InvalidParameterValue("AlarmName must be given")
    found["tags"] = pairs_of("Tags", data.get("Tags"), "Key")
    if (updated := data.get("AlarmConfigurationUpdatedTimestamp")) is not None:
        found["updated_at_ms"] = ms("AlarmConfigurationUpdatedTimestamp", updated)
    return found


def _check_common(alarm: Alarm | CompositeAlarm) -> None:
    check_text("name", alarm.name, MOST_NAME)
    if _CONTROL.search(alarm.name):
        raise InvalidParameterValue(f"name must have no control characters, got {shown(alarm.name)}")
    if alarm.description is not None:
        check_text("description", alarm.description, MOST_DESCRIPTION, 0)
    check_flag("actions_enabled", alarm.actions_enabled)
    for what in ("alarm_actions", "ok_actions", "insufficient_data_actions"):
        actions = as_tuple(what, getattr(alarm, what))
        if len(actions) > MOST_ACTIONS:
            raise InvalidParameterValue(f"{what} must have {MOST_ACTIONS} actions at most, got {len(actions)}")
        for action in actions:
            check_text(f"each of {what}", action, MOST_ACTION)
            if _CONTROL.search(action):
                raise InvalidParameterValue(f"each of {what} must have no control characters, got {shown(action)}")
        put(alarm, what, actions)
    put(alarm, "tags", pairs("tags", alarm.tags, MOST_TAGS, 128, 256, 0))
    if alarm.updated_at_ms is not None:
        check_whole("updated_at_ms", alarm.updated_at_ms, 0)


# Checks


def _check_metric(metric: MetricQuery | Alarm) -> None:
    """Fill in what is not given, too."""
    name = metric.metric_name
    check_text("metric_name", name, 255)
    assert name is not None
    namespace = metric.namespace
    if namespace is None:
        namespace = AWS_NAMESPACE if name in CLOUDWATCH else NAMESPACE
        put(metric, "namespace", namespace)
    check_text("namespace", namespace, 255)
    if namespace.startswith(":"):
        raise InvalidParameterValue(f"namespace must not begin with a colon, got {shown(namespace)}")
    put(metric, "dimensions", pairs("dimensions", metric.dimensions, MOST_DIMENSIONS, 255, 1_024))
    if "QueueName" in metric.dimensions:
        raise InvalidParameterValue(
            f"dimensions must not have QueueName, got {shown(metric.dimensions['QueueName'])}: give it as queue"
        )
    if metric.queue is not None:
        check_text("queue", metric.queue, 1_024)
    if namespace in (AWS_NAMESPACE, NAMESPACE):
        _check_known(metric, namespace, name)
    if metric.unit is not None:
        check_one_of("unit", metric.unit, UNITS)
    if metric.period is None:
        put(metric, "period", 60)
    check_period(metric.period)
    if metric.statistic is None:
        ours = CLOUDWATCH.get(name, name)
        put(metric, "statistic", "p99" if ours in DURATIONS else "Sum" if ours in COUNTS else "Maximum")
    _statistic(name, metric.statistic)


def _check_known(metric: MetricQuery | Alarm, namespace: str, name: str) -> None:
    """Is it a metric that exists? A misspelt one would never have data."""
    known = frozenset(CLOUDWATCH) if namespace == AWS_NAMESPACE else QUEUE_METRICS | SERVER_METRICS
    if name not in known:
        near = did_you_mean(name, known | frozenset(CLOUDWATCH) if metric.namespace == NAMESPACE else known)
        raise InvalidParameterValue(f"metric_name must be a metric of {namespace}, got {shown(name)}{near}")
    if name in SERVER_METRICS:
        if metric.queue is not None:
            raise InvalidParameterValue(f"queue must be None for {name}, which is of the server, got {metric.queue!r}")
        return
    if metric.queue is None:
        raise InvalidParameterValue(f"queue must be the name of the queue whose {name} is meant, got None")
    elif not _QUEUE.fullmatch(metric.queue):
        raise InvalidParameterValue(
            "queue must be a name of 1 to 80 letters, digits, '-' and '_', with '.fifo' at the end for FIFO, "
            f"got {shown(metric.queue)}"
        )


def _statistic(metric_name: str, statistic: Any) -> None:
    percent = percentile_of(statistic) if isinstance(statistic, str) else None
    if statistic not in STATISTICS and (percent is None or percent > 100):
        others = isinstance(statistic, str) and _OTHER_STATISTIC.match(statistic)
        raise InvalidParameterValue(
            f"statistic must be one of {', '.join(STATISTICS)} or a percentile from p0 to p100, got {shown(statistic)}"
            + (": trimmed means and the like are not supported" if others else "")
        )
    if metric_name in DURATIONS and percent is None and statistic != "SampleCount":
        raise InvalidParameterValue(
            f"statistic of {metric_name} must be SampleCount or a percentile such as p99, got {statistic}: "
            "its times are counted by powers of two"
        )
    if metric_name == BYTES and statistic not in ("Sum", "Average", "SampleCount"):
        raise InvalidParameterValue(
            f"statistic of {BYTES} must be Sum, Average or SampleCount, got {statistic}: "
            "the size of each message is not kept"
        )


def _check_types(measured: Sequence[str], expressions: Mapping[str, str], result: str) -> None:
    """Do the expressions fit together? They are tried out."""
    from rqsqs._metric_math import Queries  # only if somebody needs it

    queries = Queries({id: (1.0,) for id in measured}, expressions, (0,), 60)
    for id in expressions:
        queries.value(id)
    queries.result(result)


def _queries(metrics: Any) -> tuple[MetricQuery, ...]:
    queries = as_tuple("metrics", metrics)
    if not queries:
        return ()
    for query in queries:
        if not isinstance(query, MetricQuery):
            raise InvalidParameterValue(f"each of metrics must be a MetricQuery, got {shown(query)}")
    if len(queries) > MOST_QUERIES:
        raise InvalidParameterValue(f"metrics must have {MOST_QUERIES} queries at most, got {len(queries)}")
    measured = [query for query in queries if query.expression is None]
    if not 1 <= len(measured) <= MOST_METRICS:
        rule = f"1 to {MOST_METRICS} queries with a metric_name"
        raise InvalidParameterValue(f"metrics must have {rule}, got {len(measured)} beside the expressions")
    ids = [query.id for query in queries]
    if again := {one for one in ids if ids.count(one) > 1}:
        raise InvalidParameterValue(f"each of metrics must have an id of its own, got {min(again)!r} more than once")
    if len(periods := {query.period for query in queries if query.period is not None}) > 1:
        named = " and ".join(map(str, sorted(periods)))
        raise InvalidParameterValue(f"all metrics of an alarm must have the same period, got {named}")
    if (results := [query.id for query in queries if query.return_data]) and len(results) == 1:
        expressions = {query.id: query.expression for query in queries if query.expression is not None}
        _check_types([query.id for query in measured], expressions, results[0])
        return queries
    raise InvalidParameterValue(
        f"one of metrics must have return_data, which is compared with the threshold, got {len(results)}: "
        "the others need return_data=False"
    )
