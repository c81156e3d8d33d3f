"""What is not allowed is neither shown nor done."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

import rqsqs
from rqsqs import _watched_files
from rqsqs._core import flows
from rqsqs._core.flows.alarms import read_some
from rqsqs.alarms.conditions import alarm_from
from rqsqs.console import Console, ConsoleSettings
from rqsqs.console.pages import ACTIONS, PAGES, alarms, queues
from rqsqs.console.permissions import NEEDS
from rqsqs.gateway import Gateway, GatewaySettings
from rqsqs.gateway.keys_editing import NewUser, add_key
from rqsqs.limits import NATIVE
from tests.console.conftest import Browser, running


def set_policy(connection: rqsqs.Connection, queue: rqsqs.Queue, effect: str, action: str) -> None:
    """Let a queue allow or deny something to everybody."""
    one = {"Effect": effect, "Principal": "*", "Action": action, "Resource": "*"}
    text = json.dumps({"Version": "2012-10-17", "Statement": [one]})
    connection.transport.run(flows.set_attributes(queue._ref, {"Policy": text}, NATIVE))


LogIn = Callable[..., Browser]
ARN = "arn:aws:sqs:us-east-1:000000000000:"
ROUTES = [route for route, needs in NEEDS.items() if needs.permissions]


@pytest.fixture
def as_user(
    valkey_url: str, prefix: str, tmp_path: Path, connection: rqsqs.Connection, monkeypatch: pytest.MonkeyPatch
) -> Iterator[LogIn]:
    """Gives a browser of a user that may do some things: actions, and the queues that they are about."""
    monkeypatch.setattr(_watched_files, "LOOK_EVERY_S", 0)
    keys = tmp_path / "keys.toml"
    add_key(keys, "ann", NewUser(is_root=True))
    with running(ConsoleSettings(GatewaySettings(url=valkey_url, prefix=prefix, keys=keys))) as address:
        number = iter(range(100))

        def log_in(*allowed: tuple[str, str], policy: Sequence[dict[str, object]] = ()) -> Browser:
            made = [
                {"Effect": "Allow", "Action": action, "Resource": resource if resource == "*" else ARN + resource}
                for action, resource in allowed
            ]
            key = add_key(keys, f"user{next(number)}", NewUser(statements=[*made, *policy]))
            browser = Browser(address)
            assert browser.log_in(key.key_id, key.secret).status == 303
            return browser

        yield log_in


def test_nothing_is_done_or_shown_for_whom_nothing_is_allowed(as_user: LogIn, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    browser = as_user(("sqs:SendMessage", "other"))
    for route in ROUTES:
        method, _, path = route.partition(" ")
        path = re.sub(r"\{queue\}", "orders", path)
        path = re.sub(r"\{[^}]*\}", "x", path)
        answer = browser.get(path) if method == "GET" else browser.post(path, {"name": "orders"})
        assert answer.status == 403, route
        assert "is not authorized to perform" in answer.text, route
    page = browser.get("/")
    assert "orders" not in page.text
    assert 'action="/queues"' not in page.html
    assert connection.exists("orders")
    assert [event.kind for event in connection.events()] == ["queue-created"]


def test_a_list_has_what_may_be_seen(as_user: LogIn, connection: rqsqs.Connection) -> None:
    for name in ("orders", "secret", "denied"):
        connection.create_queue(name).send("x")
    browser = as_user(("sqs:GetQueueAttributes", "orders"))
    page = browser.get("/")
    assert "Queues 1" in page.text
    assert "secret" not in page.text
    browser = as_user(("sqs:ListQueues", "*"), ("sqs:GetQueueAttributes", "orders"))
    page = browser.get("/?sort=visible")
    assert "Queues 3 visible 1" in page.text
    assert "secret You may not see its numbers." in page.text
    assert 'href="/queues/secret' not in page.html
    assert browser.get("/queues/secret").status == 403
    assert browser.get("/queues/orders").status == 200


def test_a_queue_leads_to_the_first_page_that_may_be_seen(as_user: LogIn, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders").send("x")
    browser = as_user(("sqs:ListQueues", "*"), ("rqsqs:PeekMessages", "orders"), ("rqsqs:ListConsumers", "orders"))
    page = browser.get("/")
    assert 'href="/queues/orders/messages"' in page.html
    page = browser.get("/queues/orders/messages")
    assert page.status == 200
    assert 'href="/queues/orders/consumers"' in page.html
    assert 'href="/queues/orders"' not in page.html
    assert 'href="/queues/orders/settings"' not in page.html


def test_receipts_that_the_console_did_not_give_out_are_refused(as_user: LogIn, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    queue.send("x")
    (held,) = queue.receive()
    browser = as_user(("sqs:*", "orders"))
    made_up = f"{held.message_id} {held.receipt_handle} "
    page = browser.do("/queues/orders/held/delete", {"held": made_up, "chosen": made_up})
    assert "0 messages deleted" in page.text
    assert queue.counts().in_flight == 1
    queue.change_visibility(held, 0)
    page = browser.post("/queues/orders/receive", {"number": "1"})
    (field,) = re.findall(r'name="held" value="([^"]*)"', page.html)
    assert browser.post("/queues/orders/held/delete", {"held": field, "chosen": field}).status == 303
    assert queue.counts().in_flight == 0


def test_the_policy_of_a_queue_counts(as_user: LogIn, connection: rqsqs.Connection) -> None:
    set_policy(connection, connection.create_queue("open"), "Allow", "sqs:GetQueueAttributes")
    set_policy(connection, connection.create_queue("closed"), "Deny", "sqs:GetQueueAttributes")
    browser = as_user(("sqs:ListQueues", "*"), ("sqs:GetQueueAttributes", "closed"))
    page = browser.get("/")
    assert "closed You may not see its numbers." in page.text
    assert "open 0 0 0" in page.text
    assert browser.get("/queues/closed").status == 403
    assert browser.get("/queues/open").status == 200


@pytest.mark.parametrize("most", [100, 0])
def test_a_queue_is_listed_for_whom_its_own_policy_allows_it(
    as_user: LogIn, connection: rqsqs.Connection, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setattr(queues, "MOST_LEARNED", most)
    set_policy(connection, connection.create_queue("open"), "Allow", "sqs:GetQueueAttributes")
    closed = connection.create_queue("closed")
    closed.send("x")
    set_policy(connection, closed, "Deny", "sqs:GetQueueAttributes")
    connection.create_queue("secret").send("x")
    page = as_user(("sqs:GetQueueAttributes", "closed")).get("/")
    assert "secret" not in page.text
    if most:
        assert "Queues 1 visible 0" in page.text
        assert 'href="/queues/open"' in page.html
        assert "Of so many queues" not in page.text
    else:
        assert 'href="/queues/open"' not in page.html
        assert "closed You may not see its numbers." in page.text
        assert "Of so many queues those are listed that your own policies allow." in page.text
    page = as_user(("sqs:ListQueues", "*")).get("/")
    assert 'href="/queues/open"' in page.html
    assert "secret You may not see its numbers." in page.text


def test_buttons_are_those_that_are_allowed(as_user: LogIn, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders").send("x")
    browser = as_user(("sqs:GetQueueAttributes", "*"), ("sqs:PurgeQueue", "orders"))
    page = browser.get("/queues/orders")
    assert 'action="/queues/orders/purge"' in page.html
    assert "orders/delete" not in page.html
    assert browser.post("/queues/orders/delete", {"name": "orders"}).status == 403
    assert "orders was purged." in browser.do("/queues/orders/purge", {"name": "orders"}).text
    browser = as_user(("sqs:GetQueueAttributes", "*"), ("sqs:DeleteQueue", "orders"))
    page = browser.get("/queues/orders")
    assert "orders/delete" in page.html
    assert "Remove all messages" not in page.text
    browser = as_user(("sqs:GetQueueAttributes", "*"))
    assert "/purge" not in browser.get("/queues/orders").html
    assert connection.exists("orders")


def test_what_is_named_in_a_form_is_asked_for(as_user: LogIn, connection: rqsqs.Connection) -> None:
    browser = as_user(("sqs:CreateQueue", "dev-*"), ("sqs:GetQueueAttributes", "*"))
    assert 'action="/queues"' in browser.get("/").html
    answer = browser.post("/queues", {"name": "orders"})
    assert answer.status == 403
    assert "sqs:createqueue" in answer.text
    assert browser.post("/queues", {"name": "dev-orders"}).status == 303
    assert [queue.name for queue in connection.queues()] == ["dev-orders"]


def test_conditions_count(as_user: LogIn, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    connection.queue("orders").tag({"team": "web"})
    connection.create_queue("invoices")
    of_team = {
        "Effect": "Allow",
        "Action": "sqs:*",
        "Resource": "*",
        "Condition": {"StringEquals": {"aws:ResourceTag/team": "web"}, "IpAddress": {"aws:SourceIp": "127.0.0.0/8"}},
    }
    browser = as_user(policy=[of_team])
    assert browser.get("/queues/orders").status == 200
    assert browser.get("/queues/invoices").status == 403
    elsewhere = {**of_team, "Condition": {"IpAddress": {"aws:SourceIp": "192.0.2.0/24"}}}
    assert as_user(policy=[elsewhere]).get("/queues/orders").status == 403


def test_an_open_page_ends_what_is_not_allowed_any_more(as_user: LogIn, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    browser = as_user(("sqs:GetQueueAttributes", "orders"))
    with browser.live("/queues/orders?live=1") as events:
        assert next(events)[0] == "live"
        set_policy(connection, queue, "Deny", "sqs:*")
        _, text = next(event for event in events if event[0] == "failed")
        assert "is not authorized" in text


def test_what_was_changed_is_told_with_the_key(as_user: LogIn, connection: rqsqs.Connection) -> None:
    browser = as_user(("*", "*"))
    browser.do("/queues", {"name": "orders"})
    (event,) = connection.events()
    assert event.who.api == "console"
    assert event.who.name.startswith("AKIA")
    assert event.who.address == "127.0.0.1"


def test_the_cookie_opens_nothing_but_the_console(
    valkey_url: str, prefix: str, tmp_path: Path, connection: rqsqs.Connection
) -> None:
    connection.create_queue("orders")
    keys = tmp_path / "keys.toml"
    key = add_key(keys, "ann", NewUser(is_root=True))
    settings = GatewaySettings(url=valkey_url, prefix=prefix, keys=keys)
    with running(Gateway(settings, mounted={"/console": Console(ConsoleSettings(settings))})) as address:
        browser = Browser(address)
        browser.get("/console/login")
        answer = browser.post("/console/login", {"key_id": key.key_id, "secret": key.secret})
        assert "Path=/console/" in answer.cookies["rqsqs_session"]
        assert browser.get("/console/queues/orders").status == 200
        api = Browser(address)
        api.cookies = browser.cookies
        body = json.dumps({"QueueName": "orders"}).encode()
        headers = {"content-type": "application/x-amz-json-1.0", "x-amz-target": "AmazonSQS.GetQueueUrl"}
        answer = api.ask("POST", "/", body, **headers)
        assert answer.status == 403
        assert "User: anonymous" in answer.html


def test_every_answer_is_kept_to_itself(as_user: LogIn, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    browser = as_user(("sqs:GetQueueAttributes", "*"))
    stranger = Browser(browser.address)
    answers = [
        browser.get("/queues/orders"),
        browser.get("/queues/orders/nowhere"),
        browser.get("/queues/orders/messages"),
        browser.post("/queues/orders/purge"),
        stranger.get("/queues/orders"),
        stranger.get("/login"),
        stranger.post("/login", {"key_id": "x", "secret": "y"}),
        stranger.post("/login", with_token=False),
        stranger.get("/login", origin="http://evil.example"),
        stranger.get(re.findall(r'src="(/static/[^"]+)"', stranger.get("/login").html)[0]),
    ]
    assert [answer.status for answer in answers] == [200, 404, 403, 403, 303, 200, 403, 403, 403, 200]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "frame-ancestors 'none'" in policy
        assert "form-action 'self'" in policy
        assert "unsafe" not in policy
        assert answer.headers["x-frame-options"] == "DENY"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] in ("no-store", "public, max-age=31536000, immutable")


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://localhost:1", "https://localhost"])
def test_no_action_is_done_for_a_page_of_somebody_else(
    as_user: LogIn, connection: rqsqs.Connection, origin: str
) -> None:
    connection.create_queue("orders")
    browser = as_user(("*", "*"))
    before = [event.id for event in connection.events()]
    for path in ACTIONS:
        path = re.sub(r"\{[^}]*\}", "x", path.replace("{queue}", "orders"))
        fields = {"name": "orders"}
        assert browser.post(path, fields, origin=origin).status == 403
        assert browser.post(path, fields, **{"sec-fetch-site": "cross-site"}).status == 403
        assert browser.post(path, fields, with_token=False).status == 403
        assert browser.post(path, fields | {"token": "x" * 43}).status == 403
    assert [event.id for event in connection.events()] == before


def test_nothing_at_all_is_changed_in_a_read_only_console(
    valkey_url: str, prefix: str, connection: rqsqs.Connection
) -> None:
    connection.create_queue("orders").send("x")
    settings = ConsoleSettings(GatewaySettings(url=valkey_url, prefix=prefix), is_read_only=True)
    before = [event.id for event in connection.events()]
    with running(settings) as address:
        browser = Browser(address)
        for path in ACTIONS:
            path = re.sub(r"\{[^}]*\}", "x", path.replace("{queue}", "orders"))
            answer = browser.post(path, {"name": "orders"})
            assert answer.status == 403
            assert "read-only" in answer.text
        for path in [path for path in PAGES if "{" not in path.replace("{queue}", "")]:
            page = browser.get(path.replace("{queue}", "orders"))
            main = page.html.partition("<main")[2]
            forms = re.findall(r'<form[^>]*action="([^"]*)"[^>]*>(.*?)</form>', main, re.DOTALL)
            shown = {url for url, inside in forms if "<button" in inside} | set(
                re.findall(r'formaction="([^"]*)"', main)
            )
            assert not shown & {action.replace("{queue}", "orders") for action in ACTIONS}, path
    assert [event.id for event in connection.events()] == before


def test_an_alarm_has_the_rights_of_who_put_it(as_user: LogIn, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    set_policy(connection, connection.create_queue("pager"), "Allow", "sqs:SendMessage")
    cloudwatch = {"Effect": "Allow", "Action": "cloudwatch:*", "Resource": "*"}
    browser = as_user(("sqs:SendMessage", "orders"), policy=[cloudwatch])
    fields = {"name": "late", "condition": "oldest_age_s > 300", "queue": "orders"}
    targets = f"{ARN}orders {ARN}pager"
    browser.do("/alarms", fields | {"alarm_actions": targets})
    (found,) = connection.transport.run(read_some(connection.transport.space, ["late"])).alarms.values()
    assert found.put_by is not None
    assert found.put_by.arn.startswith("arn:aws:iam::000000000000:user/user")
    assert found.put_by.relies == ("pager",)
    connection.create_queue("secret")
    assert browser.post("/alarms", fields | {"alarm_actions": f"{ARN}secret"}).status == 403
    forbidden = {"ForAnyValue:StringLike": {"cloudwatch:AlarmActions": "*:orders"}}
    deny = {"Effect": "Deny", "Action": "cloudwatch:PutMetricAlarm", "Resource": "*", "Condition": forbidden}
    browser = as_user(("sqs:SendMessage", "*"), policy=[cloudwatch, deny])
    assert browser.post("/alarms", fields | {"alarm_actions": f"{ARN}orders"}).status == 403
    assert browser.post("/alarms", fields | {"alarm_actions": f"{ARN}secret"}).status == 303


def test_settings_tell_no_more_than_is_allowed(as_user: LogIn, connection: rqsqs.Connection) -> None:
    dead = connection.create_queue("dead")
    dead.tag({"team": "covert-team"})
    connection.create_queue("covert-queue", dead_letter_queue="dead")
    page = as_user(("sqs:GetQueueAttributes", "dead")).get("/queues/dead/settings")
    assert page.status == 200
    assert "covert" not in page.html
    assert "You may not change them." in page.text
    allowed = [(f"sqs:{name}", "dead") for name in ("GetQueueAttributes", "List*")]
    page = as_user(*allowed).get("/queues/dead/settings")
    assert "covert-team" in page.text
    assert "dead letters of covert-queue" in page.text


def test_conditions_on_tags_of_a_request_count(as_user: LogIn, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    own = {"StringEquals": {"aws:RequestTag/team": "web"}, "ForAllValues:StringEquals": {"aws:TagKeys": ["team"]}}
    tag = {"Effect": "Allow", "Action": "sqs:TagQueue", "Resource": "*", "Condition": own}
    browser = as_user(("sqs:GetQueueAttributes", "*"), policy=[tag])
    assert browser.post("/queues/orders/tags", {"name": "team", "value": "other"}).status == 403
    assert browser.post("/queues/orders/tags", {"name": "owner", "value": "web"}).status == 403
    assert browser.post("/queues/orders/tags", {"name": "team", "value": "web"}).status == 303
    assert queue.tags() == {"team": "web"}


def test_only_the_root_user_tries_policies_for_others(as_user: LogIn, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    browser = as_user(("sqs:GetQueueAttributes", "*"))
    form = {"policy": "", "action": "SendMessage"}
    assert "user0 may not" in browser.post("/queues/orders/policy/try", form | {"who": "user0"}).text
    page = browser.post("/queues/orders/policy/try", form | {"who": "ann"})
    assert page.status == 400
    assert "who must be" in page.text
    assert 'value="ann"></option>' not in page.html


def test_a_policy_that_takes_rights_away_counts_at_once(as_user: LogIn, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    browser = as_user(("sqs:*", "orders"))
    deny = {"Effect": "Deny", "Principal": "*", "Action": "sqs:PurgeQueue", "Resource": "*"}
    policy = json.dumps({"Version": "2012-10-17", "Statement": [deny]})
    assert "Remove all messages" in browser.get("/queues/orders").text
    browser.do("/queues/orders/policy", {"policy": policy})
    assert "Remove all messages" not in browser.get("/queues/orders").text
    assert browser.post("/queues/orders/purge", {"name": "orders"}).status == 403
    kinds = [(event.kind, event.who.api) for event in connection.events()]
    assert ("policy-changed", "console") in kinds


def test_an_alarm_tells_no_more_than_is_allowed(
    as_user: LogIn, connection: rqsqs.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def chart(*_: object) -> dict[str, object]:
        return {"title": "visible", "lines": ["visible"], "data": [[0], [7]]}

    monkeypatch.setattr(alarms, "_chart", chart)
    connection.create_queue("orders")
    connection.alarms.put(alarm_from("late", "visible > 3", {"queue": "orders"}))
    see = ("cloudwatch:DescribeAlarms", "*")
    page = as_user(see).get("/alarms/late")
    assert page.status == 200
    assert "History" not in page.text
    assert "data-chart" not in page.html
    page = as_user(see, ("cloudwatch:DescribeAlarmHistory", "*")).get("/alarms/late")
    assert "History" in page.text
    assert "data-chart" not in page.html
    for more in (("cloudwatch:GetMetricData", "*"), ("sqs:GetQueueAttributes", "orders")):
        page = as_user(see, more).get("/alarms/late")
        assert "History" not in page.text
        assert "data-chart" in page.html


def test_dead_letters_tell_no_more_than_is_allowed(as_user: LogIn, connection: rqsqs.Connection) -> None:
    connection.create_queue("dead").send("x")
    connection.create_queue("covert-queue", dead_letter_queue="dead")
    peek = ("rqsqs:PeekMessages", "dead")
    for path in ("/dead-letters", "/queues/dead/dead-letters"):
        page = as_user(peek, ("sqs:GetQueueAttributes", "dead")).get(path)
        assert page.status == 200
        assert "covert" not in page.html, path
        page = as_user(peek, ("sqs:ListDeadLetterSourceQueues", "dead")).get(path)
        assert "covert-queue" in page.text, path


def test_a_redrive_tells_nobody_which_queues_there_are(as_user: LogIn, connection: rqsqs.Connection) -> None:
    connection.create_queue("dead").send("x")
    connection.create_queue("orders", dead_letter_queue="dead")
    connection.create_queue("secret")
    browser = as_user(("sqs:StartMessageMoveTask", "dead"), ("rqsqs:PeekMessages", "dead"), ("sqs:SendMessage", "or*"))
    said = {
        name: browser.get(f"/queues/dead/redrive?to={name}").text for name in ("secret", "nothing", "orx", "orders")
    }
    assert "you may not send messages there" in said["secret"]
    assert said["secret"].replace("secret", "nothing") == said["nothing"]
    assert "this queue does not exist" in said["orx"]
    assert "Would go to 1 sent here orders" in said["orders"]
