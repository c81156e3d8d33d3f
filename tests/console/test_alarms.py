"""Alarms in the console."""

from __future__ import annotations

import pytest

import rqsqs
from tests.console.conftest import Browser

HOSTILE = '<b>"late"</b> & co'


def test_an_alarm_is_set_tested_and_deleted(browser: Browser, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    page = browser.do(
        "/alarms",
        {
            "name": HOSTILE,
            "condition": "oldest_age_s > 300",
            "queue": "orders",
            "evaluation_periods": "5",
            "datapoints_to_alarm": "3",
            "alarm_actions": "log:\ncommand:page",
            "description": "<i>wake up</i>",
        },
    )
    assert f"{HOSTILE} was set." in page.text
    assert "<b>" not in page.html
    assert "<i>wake" not in page.html
    info = connection.alarms.get(HOSTILE)
    assert isinstance(info.alarm, rqsqs.Alarm)
    assert (info.alarm.queue, info.alarm.threshold, info.alarm.datapoints_to_alarm) == ("orders", 300, 3)
    assert info.alarm.alarm_actions == ("log:", "command:page")
    path = f"/alarms/{'%3Cb%3E%22late%22%3C%2Fb%3E%20%26%20co'}"
    assert browser.get(path).status == 200
    assert "is ALARM until it is evaluated" in browser.do(f"{path}/change", {"do": "ALARM"}).text
    assert connection.alarms.get(HOSTILE).state.value == "ALARM"
    page = browser.get("/alarms?state=ALARM")
    assert HOSTILE in page.text
    assert "Nobody evaluates alarms" in page.text
    assert "No alarm is in this state" in browser.get("/alarms?state=OK").text
    browser.do(f"{path}/change", {"do": "disable"})
    assert not connection.alarms.get(HOSTILE).alarm.actions_enabled
    browser.do(f"{path}/change", {"do": "enable"})
    assert connection.alarms.get(HOSTILE).alarm.actions_enabled
    assert "type the name of the alarm" in browser.post(f"{path}/change", {"do": "delete", "name": "other"}).text
    assert [info.name for info in connection.alarms.list()] == [HOSTILE]
    assert "was deleted" in browser.do(f"{path}/change", {"do": "delete", "name": HOSTILE}).text
    assert connection.alarms.list() == []
    assert browser.get(path).status in (400, 404)


def test_a_rule_over_others_and_the_defaults_of_a_queue(browser: Browser, connection: rqsqs.Connection) -> None:
    connection.create_queue("dead")
    connection.create_queue("orders", dead_letter_queue="dead", max_receive_count=3)
    page = browser.do("/alarms/defaults", {"queue": "orders"})
    assert f"{len(connection.alarms.list())} alarms for orders were set" in page.text
    browser.do("/alarms", {"name": "page", "condition": "ALARM(orders-dead-letters) OR ALARM(orders-in-flight)"})
    page = browser.get("/alarms/page")
    assert "orders-dead-letters" in page.text
    assert page.html.count('href="/alarms/orders-in-flight"') == 1


@pytest.mark.parametrize(
    ("fields", "says"),
    [
        ({"name": "late", "condition": "nonsense"}, "a condition must be"),
        ({"name": "late", "condition": "visible > 1", "queue": "orders", "period": "x"}, "period must be"),
        ({"name": "late", "condition": "ALARM(a)", "queue": "orders"}, "must have no queue"),
        ({"name": "", "condition": "visible > 1", "queue": "orders"}, "name must be"),
        ({"name": "late", "condition": "visible > 1", "queue": "orders", "alarm_actions": "ftp://x"}, "ftp://x"),
    ],
)
def test_what_is_refused_is_said_and_nothing_set(
    browser: Browser, connection: rqsqs.Connection, fields: dict[str, str], says: str
) -> None:
    page = browser.post("/alarms", fields)
    assert page.status == 400
    assert says in page.text
    assert connection.alarms.list() == []


def test_events_are_shown_filtered_and_live(browser: Browser, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders", tags={"<b>": "</table>"})
    connection.create_queue("other").purge()
    page = browser.get("/events")
    told = page.html.partition('id="live"')[2]
    assert told.index("queue-purged") < told.index("queue-created")
    assert "<b>" not in page.html
    assert "other" not in browser.get("/events?queue=orders").text
    assert "queue-created" not in browser.get("/events?kind=queue-purged").html.partition('id="live"')[2]
    assert "Nothing happened" in browser.get("/events?who=nobody").text
    with browser.live("/events?live=1") as events:
        next(events)
        connection.create_queue("third")
        assert any(">third<" in text for _, text in events)
