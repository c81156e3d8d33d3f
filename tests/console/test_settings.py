"""The settings of a queue, its tags, its policy, and where its partitions lie."""

from __future__ import annotations

import html
import json
import re

import pytest

import rqsqs
from rqsqs._core import flows
from rqsqs.limits import NATIVE
from tests.cli.tools import wait_for
from tests.console.conftest import Browser, Page

HOSTILE = '"><script>alert(1)</script>'


def filled_in(page: Page) -> dict[str, str]:
    """The form as a browser sends it if nobody changes anything."""
    found = {
        name: html.unescape(text) for name, text in re.findall(r'<input[^>]*name="(\w+)" value="([^"]*)"', page.html)
    }
    found |= {
        name: html.unescape(text.removeprefix("\n"))
        for name, text in re.findall(r'<textarea name="(\w+)"[^>]*>(.*?)</textarea>', page.html, re.DOTALL)
    }
    for name, options in re.findall(r'<select name="(\w+)"[^>]*>(.*?)</select>', page.html, re.DOTALL):
        chosen = re.search(r'value="(\w+)" selected', options)
        assert chosen
        found[name] = chosen[1]
    found.pop("token", None)
    found.pop("q", None)
    return found


def test_settings_are_shown_and_changed(browser: Browser, connection: rqsqs.Connection) -> None:
    connection.create_queue("dead")
    queue = connection.create_queue("orders", visibility_timeout=90, retention=86_400, dead_letter_queue="dead")
    page = browser.get("/queues/orders/settings")
    form = filled_in(page)
    assert form["visibility_timeout"] == "90s"
    assert form["retention"] == "1d"
    assert form["dead_letter_queue"] == "dead"
    assert form["max_receive_count"] == "10"
    assert "content_based_deduplication" not in form
    changes = {
        "visibility_timeout": "2m",
        "max_receive_count": "3",
        "partitions": "4",
        "metrics": "full",
        "retry_policy": "1s..5m\r\nTimeoutError=10s..1h\r\nValueError=never",
    }
    page = browser.do("/queues/orders/settings", form | changes)
    assert "Changed: Visibility timeout, Dead-letter queue, Receives before that" in page.text
    attributes = queue.info().attributes
    assert attributes["VisibilityTimeout"] == "120"
    assert attributes["MessageRetentionPeriod"] == "86400"
    assert json.loads(attributes["RedrivePolicy"])["maxReceiveCount"] == 3
    assert json.loads(attributes["RetryPolicy"])["exceptions"]["ValueError"] == "dead"
    form = filled_in(page)
    assert form["retry_policy"].split() == ["1s..5m", "TimeoutError=10s..1h", "ValueError=never"]
    assert form["metrics"] == "full"
    assert page.html.count("<td>messages</td>") == 4
    page = browser.do("/queues/orders/settings", form | {"dead_letter_queue": "", "metrics": "basic"})
    assert "RedrivePolicy" not in queue.info().attributes
    assert "Metrics" not in queue.info().attributes
    changed_at = queue.info().modified_at_ms
    assert "Nothing was changed." in browser.do("/queues/orders/settings", filled_in(page)).text
    assert queue.info().modified_at_ms == changed_at


def test_settings_of_fifo_queues(browser: Browser, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders.fifo")
    form = filled_in(browser.get("/queues/orders.fifo/settings"))
    changes = {
        "content_based_deduplication": "true",
        "deduplication_scope": "messageGroup",
        "deduplication_window": "10m",
    }
    browser.do("/queues/orders.fifo/settings", form | changes)
    attributes = queue.info().attributes
    assert attributes["ContentBasedDeduplication"] == "true"
    assert attributes["DeduplicationScope"] == "messageGroup"
    assert attributes["DeduplicationWindow"] == "600"


def test_what_somebody_else_changed_meanwhile_stays(browser: Browser, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    form = filled_in(browser.get("/queues/orders/settings"))
    queue.configure(delay=60)
    browser.do("/queues/orders/settings", form | {"visibility_timeout": "1m"})
    attributes = queue.info().attributes
    assert (attributes["VisibilityTimeout"], attributes["DelaySeconds"]) == ("60", "60")


@pytest.mark.parametrize(
    ("field", "text", "told"),
    [
        ("visibility_timeout", "soon", "is not a duration"),
        ("maximum_message_size", "many", "must be a whole number"),
        ("maximum_message_size", "0", "maximum_message_size must be"),
        ("partitions", "0", "partitions must be"),
        ("dead_letter_queue", "nowhere", "nowhere"),
        ("retry_policy", "often", "is not a rule"),
        ("visibility_timeout", HOSTILE, "is not a duration"),
    ],
)
def test_what_cannot_be_is_refused(
    browser: Browser, connection: rqsqs.Connection, field: str, text: str, told: str
) -> None:
    queue = connection.create_queue("orders")
    before = queue.info()
    form = filled_in(browser.get("/queues/orders/settings"))
    page = browser.post("/queues/orders/settings", form | {field: text})
    assert page.status == 400
    assert told in page.text
    assert "<script>alert" not in page.html
    assert queue.info() == before


def test_damaged_settings_are_shown_as_they_are(browser: Browser, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    changes: dict[str, str | None] = {"RetryPolicy": HOSTILE, "Other": HOSTILE}
    connection.transport.run(flows.set_attributes(queue._ref, changes, NATIVE))
    page = browser.get("/queues/orders/settings")
    assert page.status == 200
    assert "<script>alert" not in page.html
    assert filled_in(page)["retry_policy"] == HOSTILE


def test_partitions_say_where_they_lie(browser: Browser, connection: rqsqs.Connection, valkey_url: str) -> None:
    connection.create_queue("dead")
    queue = connection.create_queue("orders", dead_letter_queue="dead", partitions=2)
    queue.send("x")
    page = browser.get("/queues/dead/settings")
    assert "dead letters of orders" in page.text
    assert "orders/0" in page.text
    page = browser.get("/queues/orders/settings")
    assert any(server in page.text for server in valkey_url.partition("//")[2].partition("/")[0].split(","))
    rows = re.findall(r'<tr><th scope="row" class="mono">(.*?)</th>', page.html)
    assert rows[0] == "orders/0"
    assert len(rows) == 2


def test_tags_are_set_and_removed(browser: Browser, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    assert "The tag team was set." in browser.do("/queues/orders/tags", {"name": "team", "value": "web"}).text
    page = browser.do("/queues/orders/tags", {"name": HOSTILE, "value": HOSTILE + "\u202e"})
    assert "<script>alert" not in page.html
    assert "\u202e" not in page.html
    assert queue.tags() == {"team": "web", HOSTILE: HOSTILE + "\u202e"}
    browser.do("/queues/orders/untag", {"name": HOSTILE})
    assert queue.tags() == {"team": "web"}
    kinds = [event.kind for event in connection.events()]
    assert kinds.count("tags-changed") == 3


def policy_of(effect: str = "Allow", action: str = "sqs:SendMessage") -> str:
    one = {"Sid": "one", "Effect": effect, "Principal": {"AWS": "123456789012"}, "Action": action, "Resource": "*"}
    return json.dumps({"Version": "2012-10-17", "Statement": [one]}, indent=2)


def test_a_policy_is_tried_set_and_removed(browser: Browser, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    form = {"policy": policy_of().replace("\n", "\r\n"), "who": "123456789012", "action": "SendMessage"}
    page = browser.post("/queues/orders/policy/try", form)
    assert page.status == 200
    assert "arn:aws:iam::123456789012:root may sqs:SendMessage" in page.text
    assert "statement 1 (one) of the queue policy" in page.text
    assert "which was not saved" in page.text
    assert "Policy" not in queue.info().attributes
    page = browser.post("/queues/orders/policy/try", form | {"action": "sqs:DeleteMessage"})
    assert "may not sqs:DeleteMessage" in page.text
    assert "is not among its actions" in page.text
    page = browser.post("/queues/orders/policy/try", form | {"who": ""})
    assert "anonymous may not" in page.text
    assert "The policy was set." in browser.do("/queues/orders/policy", form).text
    assert json.loads(queue.info().attributes["Policy"]) == json.loads(policy_of())
    page = browser.get("/queues/orders/policy")
    assert json.loads(filled_in(page)["policy"]) == json.loads(policy_of())
    assert "The policy was removed." in browser.do("/queues/orders/policy", {"policy": ""}).text
    assert not queue.info().attributes.get("Policy")


def test_conditions_of_a_trial_are_given(browser: Browser, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    policy = json.loads(policy_of())
    policy["Statement"][0]["Condition"] = {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}
    form = {"policy": json.dumps(policy), "who": "123456789012", "action": "SendMessage"}
    page = browser.post("/queues/orders/policy/try", form)
    assert "its condition on aws:sourceip does not hold" in page.text
    page = browser.post("/queues/orders/policy/try", form | {"conditions": "aws:SourceIp=192.0.2.7\r\n"})
    assert "root may sqs:SendMessage" in page.text


@pytest.mark.parametrize(
    ("field", "text"),
    [
        ("policy", "{"),
        ("policy", HOSTILE),
        ("policy", "[" * 5000),
        ("policy", '{"Statement": [], "Statement": []}'),
        ("who", HOSTILE),
        ("action", HOSTILE),
        ("action", "rqsqs:Nothing"),
        ("conditions", HOSTILE),
    ],
)
def test_a_trial_that_cannot_be_is_refused(
    browser: Browser, connection: rqsqs.Connection, field: str, text: str
) -> None:
    queue = connection.create_queue("orders")
    form = {"policy": policy_of(), "who": "", "action": "SendMessage"} | {field: text}
    page = browser.post("/queues/orders/policy/try", form)
    assert page.status == 400
    assert 'role="alert"' in page.html
    assert "<script>alert" not in page.html
    if field == "policy":
        page = browser.post("/queues/orders/policy", form)
        assert page.status == 400
        assert "Policy" not in queue.info().attributes
        assert filled_in(page)["policy"] == text


def test_a_policy_that_sqs_would_refuse_is_not_set(browser: Browser, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    statement = json.loads(policy_of())["Statement"][0]
    many = [statement | {"Sid": f"s{n}"} for n in range(30)]
    form = {"policy": json.dumps({"Version": "2012-10-17", "Statement": many})}
    page = browser.post("/queues/orders/policy", form)
    assert page.status == 400
    assert "Statements" in page.text


def test_a_queue_says_whose_dead_letters_may_come(browser: Browser, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    dead = connection.create_queue("dead")
    path = "/queues/dead/sources"
    page = browser.do(path, {"permission": "byQueue", "sources": "orders\r\ninvoices"})
    assert "whose dead letters may come here" in page.text
    policy = json.loads(dead.info().attributes["RedriveAllowPolicy"])
    assert policy["redrivePermission"] == "byQueue"
    assert [arn.rpartition(":")[2] for arn in policy["sourceQueueArns"]] == ["orders", "invoices"]
    form = filled_in(page)
    assert form["permission"] == "byQueue"
    assert form["sources"].split() == ["orders", "invoices"]
    for wrong in ({"permission": HOSTILE}, {"permission": "byQueue", "sources": ""}):
        answer = browser.post(path, wrong)
        assert answer.status == 400
        assert "<script>alert" not in answer.html
    browser.do(path, {"permission": "denyAll"})
    assert json.loads(dead.info().attributes["RedriveAllowPolicy"])["redrivePermission"] == "denyAll"


def test_settings_of_encryption_are_explained(browser: Browser, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    set_attributes = flows.set_attributes(queue._ref, {"KmsMasterKeyId": "alias/<b>key</b>"}, NATIVE)
    connection.transport.run(set_attributes)
    wait_for(lambda: "nothing is encrypted by them" in browser.get("/queues/orders/settings").text)
    page = browser.get("/queues/orders/settings")
    assert "KmsMasterKeyId alias/<b>key</b>" in page.text
    assert "<b>key</b>" not in page.html
