"""DescribeAlarmHistory."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from rqsqs._core.flows.alarm_histories import KEPT_MS, history
from rqsqs._core.operations.alarms import LATEST_MS
from rqsqs.alarm_models import AlarmEvent
from rqsqs.sqs.context import Context, Params, ResponseFlow

from .alarm_answers import history_answer
from .constraints import check
from .errors import InvalidNextToken
from .tokens import place_of, token_of

PAGE = 100  # entries, if MaxRecords does not say how many
_MOST_OF_A_MOMENT = 10_000  # entries of the same millisecond that a token passes by


def describe_alarm_history(ctx: Context, params: Params) -> ResponseFlow:
    """DescribeAlarmHistory: entries of one alarm or all, also of deleted ones, the newest first unless ScanBy says
    otherwise. Composite alarms are only told of if AlarmTypes names them.

    A page begins at a moment, behind some of its entries: what happens meanwhile moves nothing.
    """
    params = check("DescribeAlarmHistory", params)
    oldest_first = params.get("ScanBy") == "TimestampAscending"
    since_ms, until_ms = _ms(params.get("StartDate"), 0), _ms(params.get("EndDate"), LATEST_MS - 1) + 1
    passed = 0
    if place := place_of("DescribeAlarmHistory", params, (int, int)):
        at_ms, passed = place
        if not (0 <= at_ms < LATEST_MS and 0 < passed <= _MOST_OF_A_MOMENT):
            raise InvalidNextToken("NextToken must be the one of the page before.")
        since_ms, until_ms = (max(since_ms, at_ms), until_ms) if oldest_first else (since_ms, min(until_ms, at_ms + 1))
    most = params.get("MaxRecords", PAGE)
    found: list[AlarmEvent] = yield from history(
        ctx.space,
        params.get("AlarmName"),
        since_ms,
        KEPT_MS,
        most + passed + 1,
        until_ms=until_ms,
        oldest_first=oldest_first,
        wanted=lambda event: _is_wanted(event, params),
    )
    page = found[passed : passed + most]
    answer: dict[str, Any] = {"AlarmHistoryItems": [history_answer(ctx, event) for event in page]}
    if len(found) > passed + most:
        last_ms = page[-1].at_ms
        of_last = sum(event.at_ms == last_ms for event in found[: passed + most])
        answer["NextToken"] = token_of("DescribeAlarmHistory", params, [last_ms, of_last])
    return answer


def _is_wanted(event: AlarmEvent, params: Params) -> bool:
    kind = "CompositeAlarm" if event.is_composite else "MetricAlarm"
    is_of_kind = kind in (params.get("AlarmTypes") or ("MetricAlarm",))
    return is_of_kind and params.get("HistoryItemType") in (None, event.kind)


def _ms(when: datetime | None, otherwise: int) -> int:
    return otherwise if when is None else min(max(round(when.timestamp() * 1000), 0), LATEST_MS - 1)
