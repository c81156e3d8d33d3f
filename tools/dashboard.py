"""Make deploy/grafana/dashboards/rqsqs.json: the dashboard, from the list of panels below.

    python tools/dashboard.py            writes the file
    python tools/dashboard.py --check    says whether it is up to date

Several processes may tell of the same queues: `max without (instance, job)` makes one series of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, NamedTuple

TARGET = Path(__file__).parents[1] / "deploy" / "grafana" / "dashboards" / "rqsqs.json"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
QUEUE = '{queue=~"$queue"'
WIDTH = 24  # columns of Grafana's grid


def now(metric: str, more: str = "") -> str:
    """The value of a gauge, by queue."""
    return f"max without (instance, job) ({metric}{QUEUE}{more}}})"


def once(metric: str) -> str:
    """The value of a gauge that several processes tell of, and that belongs to no queue."""
    return f"max without (instance, job) ({metric})"


def rate(metric: str, more: str = "") -> str:
    """How much of a counter comes each second, by queue."""
    return f"max without (instance, job) (rate({metric}{QUEUE}{more}}}[$__rate_interval]))"


def messages(state: str) -> str:
    return now("rqsqs_queue_messages", f', state="{state}"')


def percentiles(metric: str, by: str = "", selector: str = f"{QUEUE}}}") -> list[tuple[str, str]]:
    """Three of a histogram, of all chosen queues together."""
    legend = f" {{{{{by}}}}}" if by else ""
    return [
        (
            f"histogram_quantile({quantile}, sum by (le{f', {by}' if by else ''}) "
            f"(rate({metric}_bucket{selector}[$__rate_interval])))",
            f"p{round(quantile * 100)}{legend}",
        )
        for quantile in (0.5, 0.95, 0.99)
    ]


class Panel(NamedTuple):
    """One panel: its title, what is in it, and how it is drawn."""

    title: str
    series: list[tuple[str, str]]  # expressions and their legends
    unit: str = "short"
    kind: str = "timeseries"
    about: str = ""
    width: int = 8
    bad_above: float | None = None  # of a single number


DEAD = "on (queue) max without (instance, job) (rqsqs_queue_takes_dead_letters) == 1"
ROWS: dict[str, list[Panel]] = {
    "Now": [
        Panel("Server", [("min(rqsqs_up)", "")], kind="stat", width=4, about="1: Redis or Valkey answers."),
        Panel("Visible", [(f"sum({messages('visible')})", "")], kind="stat", width=4),
        Panel("In flight", [(f"sum({messages('in_flight')})", "")], kind="stat", width=4),
        Panel(
            "Oldest message",
            [(f"max({now('rqsqs_queue_oldest_message_age_seconds')})", "")],
            "s",
            "stat",
            width=4,
            bad_above=900,
        ),
        Panel("Dead letters", [(f"sum({messages('visible')} and {DEAD})", "")], kind="stat", width=4, bad_above=1),
        Panel("Paused queues", [(f"sum({now('rqsqs_queue_paused')})", "")], kind="stat", width=4, bad_above=1),
    ],
    "Depth and age": [
        Panel("Visible", [(messages("visible"), "{{queue}}")]),
        Panel("In flight", [(messages("in_flight"), "{{queue}}")]),
        Panel("Delayed", [(messages("delayed"), "{{queue}}")]),
        Panel(
            "Age of the oldest message", [(now("rqsqs_queue_oldest_message_age_seconds"), "{{queue}}")], "s", width=12
        ),
        Panel(
            "Time to drain",
            [(f"{messages('visible')} / ignoring (state) {rate('rqsqs_messages_deleted_total')}", "{{queue}}")],
            "s",
            width=12,
            about="How long it takes to delete what is visible, at the rate of now.",
        ),
    ],
    "Rates": [
        Panel("Sent", [(rate("rqsqs_messages_sent_total"), "{{queue}}")], "mps"),
        Panel("Received", [(rate("rqsqs_messages_received_total"), "{{queue}}")], "mps"),
        Panel("Deleted", [(rate("rqsqs_messages_deleted_total"), "{{queue}}")], "mps"),
        Panel("Bytes sent", [(rate("rqsqs_sent_bytes_total"), "{{queue}}")], "Bps"),
        Panel("Duplicates", [(rate("rqsqs_messages_deduplicated_total"), "{{queue}}")], "mps"),
        Panel("Empty receives", [(rate("rqsqs_empty_receives_total"), "{{queue}}")], "reqps"),
    ],
    "Waiting and processing": [
        Panel(
            "Dwell time",
            percentiles("rqsqs_dwell_seconds"),
            "s",
            about="From when a message is visible to its first receive; of all chosen queues. With more than 200 "
            "queues the scrape has to ask for it: histograms=1.",
        ),
        Panel(
            "Processing time",
            percentiles("rqsqs_processing_seconds"),
            "s",
            about="Of the handlers of workers, as their heartbeats tell it.",
        ),
        Panel(
            "Processing time by outcome, as workers tell",
            percentiles("rqsqs_worker_processing_seconds", "outcome"),
            "s",
        ),
    ],
    "Failures": [
        Panel("Failed", [(rate("rqsqs_messages_failed_total"), "{{queue}}")], "mps"),
        Panel("Received again", [(rate("rqsqs_messages_redelivered_total"), "{{queue}} {{receive}} time")], "mps"),
        Panel("Reclaimed from workers", [(rate("rqsqs_messages_reclaimed_total"), "{{queue}}")], "mps"),
        Panel(
            "Gone unhandled",
            [
                (rate("rqsqs_messages_expired_total"), "{{queue}} expired"),
                (rate("rqsqs_messages_purged_total"), "{{queue}} purged"),
                (rate("rqsqs_messages_cancelled_total"), "{{queue}} cancelled"),
                (rate("rqsqs_messages_damaged_total"), "{{queue}} damaged"),
            ],
            "mps",
            width=24,
        ),
    ],
    "Dead letters": [
        Panel("Dead letters that lie there", [(f"{messages('visible')} and {DEAD}", "{{queue}}")]),
        Panel(
            "Dead-lettered",
            [
                (rate("rqsqs_messages_dead_lettered_total"), "from {{queue}}"),
                (rate("rqsqs_dead_letters_total"), "to {{queue}}"),
            ],
            "mps",
        ),
        Panel("Moved", [(rate("rqsqs_messages_redriven_total"), "{{queue}} {{direction}}")], "mps"),
    ],
    "Consumers": [
        Panel("Consumers", [(now("rqsqs_consumers"), "{{queue}} {{state}}")]),
        Panel("Waiting receives", [(now("rqsqs_waiting_receives"), "{{queue}}")]),
        Panel(
            "Slots of workers",
            [
                ("sum by (instance) (rqsqs_worker_slots)", "{{instance}}"),
                ("sum by (instance) (rqsqs_worker_busy)", "{{instance}} busy"),
            ],
        ),
        Panel(
            "Messages of workers",
            [
                (
                    f"sum by (queue) (rate(rqsqs_worker_messages_{name}_total{QUEUE}}}[$__rate_interval]))",
                    "{{queue}} " + text,
                )
                for name, text in (("succeeded", "succeeded"), ("retried", "retried"), ("given_back", "given back"))
            ],
            "mps",
        ),
        Panel(
            "Connections of workers lost",
            [("rate(rqsqs_worker_connections_lost_total[$__rate_interval])", "{{instance}} {{process}}")],
            "reqps",
        ),
        Panel("Workers that are ready", [("sum by (instance) (rqsqs_worker_ready)", "{{instance}}")]),
    ],
    "Message groups": [
        Panel("Groups in flight", [(now("rqsqs_queue_groups_in_flight"), "{{queue}}")]),
        Panel("Noisy groups", [(now("rqsqs_queue_noisy_groups"), "{{queue}}")]),
        Panel(
            "Oldest message of quiet groups",
            [(now("rqsqs_queue_quiet_oldest_message_age_seconds"), "{{queue}}")],
            "s",
            about="Fair queues: what those who are not noisy wait.",
        ),
    ],
    "Gateways": [
        Panel(
            "Requests",
            [("sum by (action) (rate(rqsqs_gateway_requests_total[$__rate_interval]))", "{{action}}")],
            "reqps",
        ),
        Panel(
            "Refused and failed",
            [
                (
                    'sum by (action, status) (rate(rqsqs_gateway_requests_total{status!="200"}[$__rate_interval]))',
                    "{{action}} {{status}}",
                ),
                ("sum(rate(rqsqs_gateway_throttled_requests_total[$__rate_interval]))", "throttled"),
            ],
            "reqps",
        ),
        Panel(
            "Duration",
            percentiles("rqsqs_gateway_request_duration_seconds", "action", '{action!="ReceiveMessage"}')[1:2],
            "s",
            about="The time of 95 % of the requests; receives are left out, as they may wait.",
        ),
        Panel("Receives that wait", [("rqsqs_gateway_open_polls", "{{instance}}")], width=6),
        Panel("Connections", [("rqsqs_gateway_connections", "{{instance}}")], width=6),
        Panel("Scrapes", [("rqsqs_scrape_duration_seconds", "{{instance}}")], "s", width=6),
        Panel("Versions", [("count by (version) (rqsqs_build_info)", "{{version}}")], kind="stat", width=6),
    ],
    "Alarms": [
        Panel(
            "Last evaluation",
            [
                (f"{once('rqsqs_alarms_evaluation_age_seconds')}", "age"),
                (f"time() - {once('rqsqs_alarms_evaluated_timestamp_seconds')}", "age now"),
            ],
            "s",
            about="How long ago alarms were evaluated. Above 180 s nobody does it, and nobody is woken.",
        ),
        Panel(
            "Alarms",
            [(once("rqsqs_alarms"), "alarms"), (once("rqsqs_alarms_not_evaluated"), "that could not be evaluated")],
        ),
        Panel(
            "Actions",
            [
                (once("rqsqs_alarm_actions_waiting"), "wait"),
                (once("rqsqs_alarm_actions_overdue_seconds"), "overdue, seconds"),
                (
                    "max without (instance, job) (increase(rqsqs_alarm_action_attempts_total[$__rate_interval]))",
                    "{{outcome}}",
                ),
            ],
        ),
    ],
}


def panel(number: int, one: Panel, x: int, y: int, height: int) -> dict[str, Any]:
    """A panel as Grafana has it."""
    defaults: dict[str, Any] = {"unit": one.unit, "min": 0}
    options: dict[str, Any] = {"tooltip": {"mode": "multi", "sort": "desc"}, "legend": {"displayMode": "list"}}
    if one.kind == "stat":
        steps: list[dict[str, Any]] = [{"color": "green", "value": None}]
        if one.bad_above is not None:
            steps.append({"color": "red", "value": one.bad_above})
        defaults |= {"thresholds": {"mode": "absolute", "steps": steps}}
        options = {"reduceOptions": {"calcs": ["lastNotNull"]}, "colorMode": "value", "graphMode": "area"}
    return {
        "id": number,
        "type": one.kind,
        "title": one.title,
        "description": one.about,
        "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": one.width, "h": height},
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "targets": [
            {"refId": chr(ord("A") + n), "datasource": SOURCE, "expr": expression, "legendFormat": legend or "__auto"}
            for n, (expression, legend) in enumerate(one.series)
        ],
    }


def panels() -> list[dict[str, Any]]:
    """Rows and panels, laid out from left to right."""
    found: list[dict[str, Any]] = []
    y = 0
    for title, row in ROWS.items():
        grid = {"x": 0, "y": y, "w": WIDTH, "h": 1}
        found.append(
            {"id": len(found) + 1, "type": "row", "title": title, "collapsed": False, "gridPos": grid, "panels": []}
        )
        x, y, height = 0, y + 1, 4 if all(one.kind == "stat" for one in row) else 8
        for one in row:
            if x + one.width > WIDTH:
                x, y = 0, y + height
            found.append(panel(len(found) + 1, one, x, y, height))
            x += one.width
        y += height
    return found


def dashboard() -> dict[str, Any]:
    """All of it."""
    return {
        "uid": "rqsqs",
        "title": "rqsqs",
        "description": "Queues, workers and gateways of rqsqs.",
        "tags": ["rqsqs", "sqs", "queues"],
        "schemaVersion": 39,
        "editable": True,
        "graphTooltip": 1,
        "refresh": "30s",
        "time": {"from": "now-3h", "to": "now"},
        "templating": {
            "list": [
                {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
                {
                    "name": "queue",
                    "label": "Queue",
                    "type": "query",
                    "datasource": SOURCE,
                    "query": {"query": "label_values(rqsqs_queue_messages, queue)", "refId": "queue"},
                    "refresh": 2,
                    "sort": 1,
                    "multi": True,
                    "includeAll": True,
                    "allValue": ".*",
                    "current": {"text": "All", "value": "$__all"},
                },
            ]
        },
        "annotations": {
            "list": [
                {
                    "name": "Alerts",
                    "datasource": SOURCE,
                    "enable": True,
                    "iconColor": "red",
                    "expr": 'ALERTS{alertname=~"Rqsqs.*", alertstate="firing"}',
                    "titleFormat": "{{alertname}}",
                    "textFormat": "{{queue}}",
                }
            ]
        },
        "panels": panels(),
    }


def main() -> int:
    text = json.dumps(dashboard(), indent=2) + "\n"
    if "--check" in sys.argv[1:]:
        is_same = TARGET.exists() and TARGET.read_text("utf-8") == text
        print("up to date" if is_same else f"{TARGET} is not what tools/dashboard.py makes")
        return 0 if is_same else 1
    TARGET.write_text(text, "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
