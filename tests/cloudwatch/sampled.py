"""Queues with a history, minute by minute, and what to ask about it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from rqsqs._core.flows.metric_history import sample
from rqsqs._core.keys import QueueRef
from rqsqs.errors import RequestError
from tests.cloudwatch.calls import CloudWatch
from tests.lua.conftest import Engine

MINUTE_MS = 60_000


class Sampled:
    """Queues that are sampled once a minute.

    Attributes:
        begin: of the minute in which it began.
    """

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        engine.clock.advance_ms(-engine.clock.ms % (60 * MINUTE_MS))
        self.begin = self.now
        self.cloudwatch = CloudWatch(engine)

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self.engine.clock.ms / 1000, UTC)

    def at(self, minutes: float) -> datetime:
        return self.begin + timedelta(minutes=minutes)

    def queue(self, name: str, **attributes: Any) -> QueueRef:
        return self.engine.queue(name, **attributes)

    def minute(self, q: QueueRef, sent: int = 0, bodies: str = "x") -> None:
        """Send, let a minute pass, and sample it."""
        if sent:
            self.engine.send(q, *[bodies] * sent, **({"group": "g"} if q.is_fifo else {}))
        self.pass_(1)

    def pass_(self, minutes: int) -> None:
        """Minutes in which nothing else happens, each sampled."""
        for _ in range(minutes):
            self.engine.clock.advance_ms(MINUTE_MS)
            assert not self.engine.run(sample(self.engine.transport.space)).errors

    def data(
        self, *queries: dict[str, Any], start: float = 0, end: float | None = None, **params: Any
    ) -> dict[str, Any]:
        """GetMetricData, in minutes since the beginning."""
        found = self.cloudwatch(
            "GetMetricData",
            MetricDataQueries=list(queries),
            StartTime=self.at(start),
            EndTime=self.now if end is None else self.at(end),
            **{"ScanBy": "TimestampAscending"} | params,
        )
        assert found["Messages"] == []
        return found

    def values(self, *queries: dict[str, Any], **params: Any) -> dict[str, dict[float, float]]:
        """The values of each result, by minutes since the beginning."""
        found: dict[str, dict[float, float]] = {}
        for result in self.data(*queries, **params)["MetricDataResults"]:
            assert result["StatusCode"] == "Complete", result
            assert result["Id"] not in found
            times = [(at - self.begin) / timedelta(minutes=1) for at in result["Timestamps"]]
            found[result["Id"]] = dict(zip(times, result["Values"], strict=True))
        return found

    def refused(self, action: str, **params: Any) -> tuple[str, str]:
        """Code and text of a refusal."""
        try:
            answer = self.cloudwatch.unchecked(action, params)
        except RequestError as error:
            return error.sqs_code, error.sqs_message
        raise AssertionError(f"{action} was not refused: {answer}")


def metric(
    id: str,
    name: str,
    queue: str = "orders",
    stat: str = "Sum",
    period: int = 60,
    namespace: str = "AWS/SQS",
    **more: Any,
) -> dict[str, Any]:
    """A query of GetMetricData with a metric."""
    unit = {"Unit": more.pop("Unit")} if "Unit" in more else {}
    named = {
        "Namespace": namespace,
        "MetricName": name,
        "Dimensions": [{"Name": "QueueName", "Value": queue}],
    }
    return {"Id": id, "MetricStat": {"Metric": named, "Period": period, "Stat": stat, **unit}, **more}


def math(id: str, expression: str, **more: Any) -> dict[str, Any]:
    """A query of GetMetricData with an expression."""
    return {"Id": id, "Expression": expression, **more}
