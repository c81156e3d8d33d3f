"""GetMetricData: metrics and metric math, in pages. What the queries of a request are is in metric_queries."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rqsqs._core.operation import Flow, Sleep
from rqsqs._metric_math import Array, Queries
from rqsqs.errors import InvalidParameterValue, RequestError
from rqsqs.sqs.context import Context, Params, Response, ResponseFlow

from .constraints import check
from .errors import ValidationError
from .labels import Labelled, Point, default_labels, filled, properties_of, timezone_of
from .measured import Times, Values, now_ms, read
from .metric_queries import Query, queries_of
from .tokens import place_of, token_of

ACTION = "GetMetricData"
MOST_DATAPOINTS = 100_800  # of a page
MOST_WORK = 500_000  # for a page: minutes that are read, and tens of values that expressions look at
PERIODS = 20_000  # that a page looks at if it shall be small; many may have no datapoint
PERIODS_OF_A_DATAPOINT = 5  # if it may be larger


@dataclass(frozen=True, slots=True)
class Series:
    """A series that a query made.

    Attributes:
        points: the oldest first.
        source: the id of the metric that it comes from, if it is one of an array.
        error: why there is none.
    """

    points: Sequence[Point]
    source: str = ""
    error: str = ""


def get_metric_data(ctx: Context, params: Params) -> ResponseFlow:
    """GetMetricData. A page ends where MaxDatapoints are in it, or where reading more would take long."""
    params = check(ACTION, params)
    now = now_ms(ctx.space)
    queries = queries_of(ctx, params, now)
    zone = timezone_of(params)
    most = params.get("MaxDatapoints", MOST_DATAPOINTS)
    if not 1 <= most <= MOST_DATAPOINTS:
        raise ValidationError(f"The parameter MaxDatapoints must be 1 to {MOST_DATAPOINTS}, got {most}.")
    returned = [query for query in queries.values() if query.return_data]
    first, first_part, behind_ms = place_of(ACTION, params, (int, int, int)) or (0, 0, -1)
    made = yield from _make(ctx, _affordable(returned[first:], queries, most), queries, now)

    names = default_labels({id: query.asked for id, query in queries.items() if query.asked})
    is_ascending = params.get("ScanBy") == "TimestampAscending"
    results: list[Response] = []
    room, place = most, None
    for number, query in enumerate(returned):
        if number < first:
            continue
        yield Sleep(0)  # an event loop has other things to do
        for part, series in enumerate(made.get(query.id, [Series(())])):
            if number == first and part < first_part:
                continue
            behind = behind_ms if (number, part) == (first, first_part) else -1
            points = [at for at in series.points if behind < 0 or (at[0] > behind if is_ascending else at[0] < behind)]
            points = points if is_ascending else points[::-1]
            is_whole = place is None and query.id in made and len(points) <= room
            shown = points[:room] if place is None else []
            room -= len(shown)
            if not is_whole and place is None:
                place = [number, part, shown[-1][0] if shown else behind]
            results.append(
                {
                    "Id": query.id,
                    "Label": _label(ctx, query, series, queries, names, now, zone),
                    "Timestamps": [datetime.fromtimestamp(at_ms / 1000, UTC) for at_ms, _ in shown],
                    "Values": [value for _, value in shown],
                    "StatusCode": _status(query, series, is_whole),
                    "Messages": _messages(query, series),
                }
            )
    response: Response = {"MetricDataResults": results, "Messages": []}
    if place is not None:
        response["NextToken"] = token_of(ACTION, params, place)
    return response


def _affordable(wanted: Sequence[Query], queries: Mapping[str, Query], most: int) -> list[Query]:
    """The queries, from the first on, that one page of `most` datapoints may answer."""
    found: list[Query] = []
    work, periods, read = 0, 0, set[str]()
    most_periods = max(PERIODS, PERIODS_OF_A_DATAPOINT * most)
    for query in wanted:
        more = {id for id in query.needs if id not in read}
        work += sum([queries[id].times.work for id in more]) + query.math // 10
        periods += len(query.times.begins_ms)
        if found and (work > MOST_WORK or periods > most_periods):
            break
        read |= more
        found.append(query)
    return found


def _make(
    ctx: Context, wanted: Sequence[Query], queries: Mapping[str, Query], now: int
) -> Flow[dict[str, list[Series]]]:
    """The series of queries, by their ids."""
    needed = list(dict.fromkeys([id for query in wanted for id in query.needs]))
    metrics = [(id, asked) for id in needed if (asked := queries[id].asked) is not None]
    values: list[Values | RequestError] = yield from read(ctx, [asked for _, asked in metrics])
    read_of = dict(zip([id for id, _ in metrics], values, strict=True))
    measured = {id: series for id, series in read_of.items() if not isinstance(series, RequestError)}
    expressions = {query.id: query.expression for query in queries.values() if query.expression}
    calculators: dict[tuple[Times, tuple[str, ...]], tuple[Queries, set[str]]] = {}
    found: dict[str, list[Series]] = {}
    for query in wanted:
        times = query.times
        if missing := [id for id in query.needs if id not in measured]:
            found[query.id] = [Series((), error=str(read_of[missing[0]]))]
            continue
        if query.asked is not None:
            found[query.id] = [Series(_points(times.begins_ms, measured[query.id]))]
            continue
        calculator, calculated = calculators.get((times, query.needs), (None, set[str]()))
        if calculator is None:
            own = {id: measured[id] for id in query.needs}
            begins_ms = _begun(times.begins_ms, own.values(), now)
            own = {id: series[: len(begins_ms)] for id, series in own.items()}
            calculator = Queries(own, expressions, begins_ms, times.period_s)
            calculators[times, query.needs] = calculator, calculated
        try:
            for id in query.order:
                if id not in calculated:
                    calculator.value(id)
                    calculated.add(id)
                    yield Sleep(0)
            value = calculator.value(query.id)
        except InvalidParameterValue as error:
            found[query.id] = [Series((), error=str(error))]
            continue
        array = value if isinstance(value, Array) else Array((calculator.result(query.id),))
        ids = array.ids or ("",) * len(array.series)
        found[query.id] = [
            Series(_points(calculator.begins_ms, series), id) for series, id in zip(array.series, ids, strict=True)
        ]
    return found


def _begun(begins_ms: range, series: Iterable[Values], now: int) -> range:
    """The periods that have begun, by the clock or by what was measured: expressions fill no others."""
    begun = bisect_right(begins_ms, now)
    ahead = [n for values in series for n in range(begun, len(values)) if values[n] is not None]
    return begins_ms[: max([begun, *[n + 1 for n in ahead]])]


def _points(begins_ms: Sequence[int], values: Values) -> list[Point]:
    return [(at_ms, value) for at_ms, value in zip(begins_ms, values, strict=True) if value is not None]


def _label(
    ctx: Context,
    query: Query,
    series: Series,
    queries: Mapping[str, Query],
    names: Mapping[str, str],
    now: int,
    zone: Any,
) -> str:
    default = names.get(query.id, query.id)
    label, source = query.label or default, queries.get(series.source)
    if source is not None:  # one of an array, whose series need different labels
        name = source.label or names.get(source.id, source.id)
        default = name
        label = f"{query.label} {name}" if query.label else name
    if "${" not in label:
        return label
    asked = query.asked or (source.asked if source else None)
    about = Labelled(default, series.points, properties_of(ctx, asked, query.times.period_s), now, zone)
    return filled(label, about)


def _status(query: Query, series: Series, is_whole: bool) -> str:
    if query.is_forbidden:
        return "Forbidden"
    if series.error:
        return "InternalError"
    return "Complete" if is_whole else "PartialData"


def _messages(query: Query, series: Series) -> list[dict[str, str]]:
    if text := series.error or query.message:
        return [{"Code": "ArgumentError", "Value": text}]
    return []
