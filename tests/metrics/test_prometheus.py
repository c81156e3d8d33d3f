"""The text for Prometheus, read back by prometheus-client's own parsers."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("prometheus_client")

from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families

from rqsqs.metric_models import Histogram, QueueMetrics
from rqsqs.metrics.exposition import END, OPENMETRICS, TEXT, Family, Format, format_for, labels, takes_gzip
from rqsqs.metrics.prometheus import COUNTERS, GAUGES, HISTOGRAMS, PAGE, write

Series = dict[tuple[str, frozenset[tuple[str, str]]], float]

EVERYTHING = QueueMetrics(
    queue="orders.fifo",
    at_ms=1_790_000_060_000,
    created_at_ms=1_790_000_000_250,
    is_paused=True,
    is_dead_letter_queue=True,
    visible=1,
    in_flight=2,
    delayed=3,
    oldest_sent_at_ms=1_790_000_030_000,
    oldest_age_s=30.5,
    groups_in_flight=4,
    noisy_groups=5,
    visible_in_quiet_groups=6,
    in_flight_in_quiet_groups=7,
    delayed_in_quiet_groups=8,
    oldest_age_in_quiet_groups_s=0.125,
    sent=2**53 - 1,
    received=10,
    deleted=11,
    empty_receives=12,
    deduplicated=13,
    sent_bytes=14,
    redelivered=(15, 16, 17),
    dead_lettered=18,
    dead_letters=19,
    expired=20,
    purged=21,
    cancelled=22,
    redriven_out=23,
    redriven_in=24,
    reclaimed=25,
    failed=31,
    damaged=26,
    dwell=Histogram((1, 2, 4, 0, *[0] * 17, 8, 16, 32)),
    processing=Histogram((0, 3)),
    consumers={"running": 27, "draining": 28, "lost": 29},
    waiters=30,
)
OTHERS = [QueueMetrics(f"queue-{i:03}", 1_790_000_000_000, 1_780_000_000_000, visible=i) for i in range(2 * PAGE + 1)]
EXPECTED = {
    "rqsqs_queue_messages": {"state=visible": 1, "state=in_flight": 2, "state=delayed": 3},
    "rqsqs_queue_oldest_message_age_seconds": {"": 30.5},
    "rqsqs_queue_created_timestamp_seconds": {"": 1_790_000_000.25},
    "rqsqs_queue_paused": {"": 1},
    "rqsqs_queue_takes_dead_letters": {"": 1},
    "rqsqs_queue_groups_in_flight": {"": 4},
    "rqsqs_queue_noisy_groups": {"": 5},
    "rqsqs_queue_quiet_messages": {"state=visible": 6, "state=in_flight": 7, "state=delayed": 8},
    "rqsqs_queue_quiet_oldest_message_age_seconds": {"": 0.125},
    "rqsqs_waiting_receives": {"": 30},
    "rqsqs_consumers": {"state=running": 27, "state=draining": 28, "state=lost": 29},
    "rqsqs_messages_sent_total": {"": 2**53 - 1},
    "rqsqs_messages_received_total": {"": 10},
    "rqsqs_messages_deleted_total": {"": 11},
    "rqsqs_messages_redelivered_total": {"receive=second": 15, "receive=third": 16, "receive=later": 17},
    "rqsqs_messages_dead_lettered_total": {"": 18},
    "rqsqs_dead_letters_total": {"": 19},
    "rqsqs_messages_expired_total": {"": 20},
    "rqsqs_messages_purged_total": {"": 21},
    "rqsqs_messages_cancelled_total": {"": 22},
    "rqsqs_messages_deduplicated_total": {"": 13},
    "rqsqs_messages_redriven_total": {"direction=out": 23, "direction=in": 24},
    "rqsqs_messages_failed_total": {"": 31},
    "rqsqs_messages_reclaimed_total": {"": 25},
    "rqsqs_messages_damaged_total": {"": 26},
    "rqsqs_sent_bytes_total": {"": 14},
    "rqsqs_empty_receives_total": {"": 12},
}
FORMATS = pytest.mark.parametrize("format", [TEXT, OPENMETRICS], ids=lambda format: format.name)


def families(text: str, format: Format) -> Iterator[Any]:
    if format.is_openmetrics:
        return openmetrics_parser.text_string_to_metric_families(text)
    return text_string_to_metric_families(text)


def series(text: str, format: Format) -> Series:
    """All samples; no two of them are the same series."""
    found: Series = {}
    for family in families(text, format):
        assert family.documentation
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in found
            found[key] = sample.value
    return found


def text_of(queues: list[QueueMetrics], format: Format, **options: bool) -> str:
    return "".join(write(queues, format, **options)) + (END if format.is_openmetrics else "")


def of_queue(found: Series, queue: str) -> dict[str, dict[str, float]]:
    """Its samples by name and other labels."""
    of: dict[str, dict[str, float]] = {}
    for (name, key), value in found.items():
        with_queue = dict(key)
        if with_queue.pop("queue") == queue:
            of.setdefault(name, {})[",".join(f"{name}={value}" for name, value in with_queue.items())] = value
    return of


@FORMATS
def test_every_value_is_read_back(format: Format) -> None:
    found = of_queue(series(text_of([*OTHERS, EVERYTHING], format, with_histograms=False), format), "orders.fifo")
    assert found == EXPECTED


def test_every_metric_of_a_queue_is_written() -> None:
    """A field that comes is not forgotten: another value of it makes another text."""
    derived = {"at_ms", "oldest_sent_at_ms"}
    before = text_of([EVERYTHING], TEXT)
    for field in dataclasses.fields(QueueMetrics):
        value = getattr(EVERYTHING, field.name)
        other = {
            bool: lambda value: not value,
            str: lambda value: value + "x",
            tuple: lambda value: (*value[:-1], value[-1] + 1),
            Histogram: lambda value: value + value,
            dict: lambda value: {**value, "running": 1000},
        }.get(type(value), lambda value: value + 1)(value)
        after = text_of([dataclasses.replace(EVERYTHING, **{field.name: other})], TEXT)
        assert (after != before) is (field.name not in derived), field.name


@FORMATS
def test_what_a_queue_does_not_have_is_left_out(format: Format) -> None:
    found = of_queue(series(text_of([OTHERS[7]], format), format), "queue-007")
    assert found["rqsqs_queue_messages"]["state=visible"] == 7
    without = {
        "rqsqs_queue_oldest_message_age_seconds",
        "rqsqs_queue_groups_in_flight",
        "rqsqs_queue_noisy_groups",
        "rqsqs_queue_quiet_messages",
        "rqsqs_queue_quiet_oldest_message_age_seconds",
        "rqsqs_consumers",
        "rqsqs_sent_bytes_total",
    }
    histogram = {f"rqsqs_dwell_seconds_{part}" for part in ("bucket", "count", "sum")}
    assert found.keys() == EXPECTED.keys() - without | histogram
    assert not {name for name in found if "processing" in name}
    assert "rqsqs_queue_noisy_groups" not in text_of([OTHERS[7]], format)  # no head of nothing either


@FORMATS
def test_histograms_are_cumulative(format: Format) -> None:
    found = of_queue(series(text_of([*OTHERS, EVERYTHING], format), format), "orders.fifo")
    buckets = {float(label[3:]): value for label, value in found["rqsqs_dwell_seconds_bucket"].items()}
    bounds = sorted(buckets)
    assert bounds == [*[2**power / 1000 for power in range(22)], math.inf]
    assert [buckets[bound] for bound in bounds] == [1, 3, *[7] * 19, 15, 63]
    assert found["rqsqs_dwell_seconds_count"] == {"": 63}
    assert found["rqsqs_dwell_seconds_sum"][""] == pytest.approx(
        (1 * 0.5 + 2 * 1.5 + 4 * 3 + 8 * 0.75 * 2**21 + 16 * 0.75 * 2**22 + 32 * 0.75 * 2**23) / 1000
    )
    assert found["rqsqs_processing_seconds_bucket"]["le=0.001"] == 0
    assert found["rqsqs_processing_seconds_count"] == {"": 3}
    assert found["rqsqs_processing_seconds_sum"][""] == pytest.approx(0.0045)


def test_openmetrics_says_since_when_if_asked() -> None:
    found = of_queue(series(text_of([EVERYTHING], OPENMETRICS, with_created=True), OPENMETRICS), "orders.fifo")
    counted = [family.name for family, _ in COUNTERS] + [family.name for family, _ in HISTOGRAMS]
    for name in counted:
        assert set(found[f"{name}_created"].values()) == {1_790_000_000.25}
    assert {name for name in found if name.endswith("_created")} == {f"{name}_created" for name in counted}
    assert "_created{" not in text_of([EVERYTHING], OPENMETRICS)
    assert "_created{" not in text_of([EVERYTHING], TEXT, with_created=True)  # which does not know them


@FORMATS
def test_no_queues_are_an_empty_text(format: Format) -> None:
    assert list(write([], format)) == []


def test_kinds_and_units() -> None:
    parsed = {family.name: family for family in families(text_of([EVERYTHING], OPENMETRICS), OPENMETRICS)}
    for family in [*[f for f, _ in GAUGES], *[f for f, _ in COUNTERS], *[f for f, _ in HISTOGRAMS]]:
        assert (parsed[family.name].type, parsed[family.name].documentation) == (family.kind, family.help)
        unit = family.name.rpartition("_")[2]
        assert parsed[family.name].unit == (unit if unit in ("seconds", "bytes") else "")


@FORMATS
def test_label_values_are_escaped(format: Format) -> None:
    name = 'a "quoted" \\ back\\nslash\nand a line'
    family = Family("rqsqs_test", "gauge", "A test.")
    text = family.written(format, [(labels(host=name, other="plain"), 1.5)]) + (END if format.is_openmetrics else "")
    assert series(text, format) == {("rqsqs_test", frozenset({("host", name), ("other", "plain")})): 1.5}


@FORMATS
def test_info(format: Format) -> None:
    family = Family("rqsqs_build", "info", "A version.")
    text = family.written(format, [(labels(version="1"), 1)]) + (END if format.is_openmetrics else "")
    assert series(text, format) == {("rqsqs_build_info", frozenset({("version", "1")})): 1}


def test_openmetrics_parser_is_strict() -> None:
    """What these tests lean on: it refuses a text without an end, and a family in two parts."""
    with pytest.raises(ValueError, match="Missing # EOF"):
        list(families("".join(write([EVERYTHING], OPENMETRICS)), OPENMETRICS))


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", TEXT),
        ("*/*", TEXT),
        ("text/html,application/xhtml+xml,*/*;q=0.8", TEXT),
        ("application/openmetrics-text", OPENMETRICS),
        ("application/openmetrics-text; version=1.0.0; charset=utf-8, text/plain;q=0.5", OPENMETRICS),
        # Prometheus 2.42 and 3
        (
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,"
            "text/plain;version=0.0.4;q=0.5,*/*;q=0.1",
            OPENMETRICS,
        ),
        (
            "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited;q=0.5,"
            "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.4,text/plain;version=0.0.4;q=0.2",
            OPENMETRICS,
        ),
        ("text/plain;version=0.0.4;q=0.9,application/openmetrics-text;version=1.0.0;q=0.5", TEXT),
        ("application/openmetrics-text;version=2.0.0", TEXT),
        ("application/openmetrics-text;q=0", TEXT),
        ("application/openmetrics-text;q=x, text/plain", TEXT),
        (";;,=;q", TEXT),
    ],
)
def test_the_format_is_negotiated(accept: str, expected: Format) -> None:
    assert format_for(accept) == expected


def test_gzip_is_negotiated() -> None:
    assert takes_gzip("gzip")
    assert takes_gzip("deflate, GZIP;q=0.5")
    assert not takes_gzip("")
    assert not takes_gzip("gzip;q=0, br")
    assert not takes_gzip("identity")
