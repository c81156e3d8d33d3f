"""Dead letters: by cause, and their way back."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

import pytest

import rqsqs
from rqsqs._core.operations import moves
from rqsqs.console import ConsoleSettings, letters
from rqsqs.console.pages import dead_letters
from rqsqs.gateway import GatewaySettings
from rqsqs.gateway.keys_editing import NewUser, add_key
from tests.cli.tools import die_of, die_silently, wait_for
from tests.clusters import client_of
from tests.console.conftest import Browser, running

HOSTILE = '"><script>alert(1)</script> \x1b[31m \u202e{{ 7 * 7 }}'


@pytest.fixture
def dead(connection: rqsqs.Connection) -> rqsqs.Queue:
    return connection.create_queue("dead")


@pytest.fixture
def orders(connection: rqsqs.Connection, dead: rqsqs.Queue) -> rqsqs.Queue:
    return connection.create_queue("orders", dead_letter_queue=dead, max_receive_count=1)


def moved(queue: rqsqs.Queue) -> rqsqs.MoveTask:
    """The last move out of a queue, when it has ended."""
    wait_for(lambda: queue.move_tasks()[0].status not in ("RUNNING", "CANCELLING"))
    return queue.move_tasks()[0]


def hidden_fields(page: str) -> dict[str, str]:
    """What the last form of a page holds beside what is typed."""
    form = page.rpartition("<main")[2]
    found = re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form)
    return {name: html.unescape(text) for name, text in found if name != "token"}


def test_causes_are_put_together_with_their_numbers(
    browser: Browser, connection: rqsqs.Connection, orders: rqsqs.Queue, dead: rqsqs.Queue
) -> None:
    bills = connection.create_queue("bills", dead_letter_queue=dead, max_receive_count=1)
    for number in (1, 22):
        die_of(orders, 2, "KeyError", f"order {number} has no price")
    die_of(bills, 1, "KeyError", "order 4 has no price")
    die_silently(orders, 3)
    dead.send("x")
    page = browser.get("/queues/dead/dead-letters").text
    assert "Dead letters of bills , orders" in page
    assert "9 messages" in page
    assert re.search(r"4 KeyError: order … has no price orders", page)
    assert re.search(r"1 KeyError: order 4 has no price bills", page)
    assert re.search(r"3 ReceivedTooOften: 1 receive ended without a word.* orders", page)
    assert "1 none: sent here, not a dead letter sent here" in page
    page = browser.get("/dead-letters").text
    assert re.search(r"dead 9 .* bills , orders", page)
    page = browser.get("/queues/orders/dead-letters").text
    assert "received too often go to dead" in page
    assert browser.get("/queues/nothing/dead-letters").status == 404


def test_causes_lead_to_their_messages(browser: Browser, orders: rqsqs.Queue, dead: rqsqs.Queue) -> None:
    die_of(orders, 2, "KeyError", HOSTILE)
    die_of(orders, 1, "ValueError", "other")
    page = browser.get("/queues/dead/dead-letters")
    assert "<script>alert" not in page.html
    links = re.findall(r'href="(/queues/dead/dead-letters/messages\?cause=[^"]*)"', page.html)
    page = browser.get(links[0].replace("&amp;", "&"))
    assert page.html.count('name="message"') == 2
    assert "<script>alert" not in page.html
    assert "\x1b" not in page.html
    assert "\u202e" not in page.html
    assert "{{ 7 * 7 }}" in page.text
    assert "in handle" in page.text
    assert browser.get(links[1].replace("&amp;", "&")).html.count('name="message"') == 1
    assert browser.get("/queues/dead/dead-letters/messages").html.count('name="message"') == 3
    assert browser.get("/queues/dead/dead-letters/messages?state=delayed").html.count('name="message"') == 0
    assert browser.get("/queues/dead/dead-letters/messages?at=nonsense").status == 400


def test_messages_come_page_by_page(browser: Browser, orders: rqsqs.Queue, dead: rqsqs.Queue) -> None:
    die_of(orders, 130, "KeyError", "a")
    page = browser.get("/queues/dead/dead-letters/messages")
    following = re.search(r'rel="next" href="([^"]*)"', page.html)
    assert following
    seen = re.findall(r'name="message" value="([^"]*)"', page.html)
    page = browser.get("/queues/dead/dead-letters/messages" + following[1].replace("&amp;", "&"))
    seen += re.findall(r'name="message" value="([^"]*)"', page.html)
    assert len(set(seen)) == 130
    assert 'rel="next"' not in page.html


def test_what_a_redrive_would_do_is_said_first(
    browser: Browser, connection: rqsqs.Connection, orders: rqsqs.Queue, dead: rqsqs.Queue
) -> None:
    die_of(orders, 3, "KeyError", "a")
    dead.send("x")
    page = browser.do("/queues/dead/redrive", {"do": "look", "rate": "2", "limit": "3"})
    assert "It moves 3 messages of 4 in about 2 s" in page.text
    assert "3 orders orders" in page.text
    assert "1 sent here – (sent here: it has no source to go back to)" in page.text
    assert "name a queue to move them to" in page.text
    assert 'value="2"' in page.html
    page = browser.do("/queues/dead/redrive", {"do": "look", "to": "nowhere"})
    assert "this queue does not exist" in page.text
    assert not dead.move_tasks()
    for field, text in (("rate", "501"), ("rate", "many"), ("limit", "0"), ("limit", "-1")):
        answer = browser.post("/queues/dead/redrive", {"do": "move", field: text})
        assert answer.status == 400
        assert f"got '{text}'" in answer.text
    assert "nowhere" in browser.post("/queues/dead/redrive", {"do": "move", "to": "nowhere"}).text
    assert "is not the dead-letter queue" in browser.get("/queues/orders/redrive").text
    assert browser.post("/queues/orders/redrive", {"do": "move"}).status == 400
    assert not dead.move_tasks()


def test_all_go_back(browser: Browser, orders: rqsqs.Queue, dead: rqsqs.Queue) -> None:
    die_of(orders, 5, "KeyError", "a")
    page = browser.do("/queues/dead/redrive", {"do": "move", "to": "", "rate": "", "limit": ""})
    assert "The redrive has started." in page.text
    assert moved(dead).moved == 5
    assert orders.counts().visible == 5
    wait_for(lambda: "completed" in browser.get("/queues/dead/moves").text)
    wait_for(lambda: "It is empty." in browser.get("/queues/dead/dead-letters").text)


def test_those_of_one_cause_go_back(
    browser: Browser, connection: rqsqs.Connection, orders: rqsqs.Queue, dead: rqsqs.Queue
) -> None:
    bills = connection.create_queue("bills", dead_letter_queue=dead, max_receive_count=1)
    for number in range(4):
        die_of(orders, 1, "KeyError", f"order {number} {HOSTILE}")
        die_of(bills, 1, "KeyError", f"order {number} {HOSTILE}")
        die_of(orders, 1, "ValueError", "other")
    page = browser.get("/queues/dead/dead-letters")
    links = re.findall(r'href="(/queues/dead/redrive\?cause=[^"]*source=orders)"', page.html)
    form = browser.get(links[0].replace("&amp;", "&"))
    assert "It moves 4 messages" in form.text
    fields = hidden_fields(form.html)
    browser.do("/queues/dead/redrive", fields | {"do": "move"})
    task = moved(dead)
    assert (task.status, task.moved, task.to_move) == ("COMPLETED", 4, 4)
    assert (orders.counts().visible, bills.counts().visible, dead.counts().visible) == (4, 0, 8)
    page = browser.get("/queues/dead/moves")
    assert "KeyError: order … " in page.text
    assert "<script>alert" not in page.html
    answer = browser.post("/queues/dead/redrive", fields | {"do": "move"})
    assert "no such message can be moved now" in answer.text


def test_chosen_ones_go_where_they_are_told_to(
    browser: Browser, connection: rqsqs.Connection, orders: rqsqs.Queue, dead: rqsqs.Queue
) -> None:
    other = connection.create_queue("other")
    die_of(orders, 4, "KeyError", "a")
    first, second, third, _ = [message.message_id for message in dead.peek(4)]
    dead.cancel(third)
    form = urlencode([("token", ""), ("message", first), ("message", second), ("message", third), ("to", "other")])
    browser.get("/")
    body = form.replace("token=", f"token={browser.cookies['rqsqs_token']}")
    answer = browser.ask(
        "POST",
        "/queues/dead/redrive/messages",
        body.encode(),
        **{"content-type": "application/x-www-form-urlencoded"},
    )
    page = browser.get(answer.headers["location"])
    assert "2 messages moved; 1 not moved: not there any more." in page.text
    assert (other.counts().visible, dead.counts().visible) == (2, 1)
    assert "choose at least one message" in browser.post("/queues/dead/redrive/messages").text


def test_chosen_ones_are_moved_by_another_console_if_the_first_is_gone(
    browser: Browser, orders: rqsqs.Queue, dead: rqsqs.Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_of(orders, 5, "KeyError", "a")
    chosen = [(message.message_id, None) for message in dead.peek(3)]
    gone = ("00000000-0000-7000-8000-000000000000", None)
    with monkeypatch.context() as context:
        context.setattr(moves, "SILENCE_MS", -1)  # the one that began it is dead at once
        dead._run(moves.start(dead._ref, "a-task", "", None, 4, chosen=[*chosen, gone]))
    assert "4 chosen messages" in browser.get("/queues/dead/moves").text
    task = moved(dead)
    assert (task.status, task.moved, task.not_moved) == ("COMPLETED", 3, {"NotFound": 1})
    assert (orders.counts().visible, dead.counts().visible) == (3, 2)
    wait_for(lambda: "3 of 4 1 not moved: not there any more" in browser.get("/queues/dead/moves").text)


def test_very_many_chosen_ones_are_moved_behind_the_page(
    browser: Browser, orders: rqsqs.Queue, dead: rqsqs.Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dead_letters, "SOON_S", 0)
    die_of(orders, 3, "KeyError", "a")
    ids = [message.message_id for message in dead.peek(3)]
    answer = browser.post("/queues/dead/redrive/messages", {"message": ids})
    assert answer.headers["location"] == "/queues/dead/moves"
    assert moved(dead).moved == 3


def test_a_redrive_shows_how_far_it_is_and_is_cancelled(
    browser: Browser, connection: rqsqs.Connection, orders: rqsqs.Queue, dead: rqsqs.Queue
) -> None:
    die_of(orders, 50, "KeyError", "a")
    browser.do("/queues/dead/redrive", {"do": "move", "rate": "1"})
    wait_for(lambda: dead.move_tasks()[0].moved >= 1)
    page = browser.get("/queues/dead/dead-letters")
    assert "A redrive is running" in page.text
    for path in ("/queues/dead/moves", "/moves"):
        page = browser.get(path)
        assert re.search(r"\d+ of 50", page.text)
        assert re.search(r'<progress max="50" value="\d+"', page.html)
        assert "Cancel" in page.text
    task = dead.move_tasks()[0].task_id
    assert "is running; there can be one at a time" in browser.post("/queues/dead/redrive", {"do": "move"}).text
    assert "is being cancelled" in browser.do("/queues/dead/moves/cancel", {"task": task}).text
    assert moved(dead).status == "CANCELLED"
    (event,) = connection.events(kind="redrive-cancelled")
    assert (event.who.api, event.detail["task"]) == ("console", task)
    assert browser.post("/queues/dead/moves/cancel", {"task": "none"}).status == 400
    assert browser.post("/queues/dead/moves/cancel", {"task": task}).status == 400


def test_pages_are_live(browser: Browser, orders: rqsqs.Queue, dead: rqsqs.Queue) -> None:
    die_of(orders, 1, "KeyError", "a")
    for path in ("/dead-letters", "/moves", "/queues/dead/dead-letters", "/queues/dead/redrive", "/queues/dead/moves"):
        with browser.live(f"{path}?live=1") as events:
            name, text = next(events)
            assert name == "live"
            assert "token" not in text
    with browser.live("/queues/dead/dead-letters?live=1") as events:
        assert ">1 message<" in next(events)[1]
        die_of(orders, 1, "ValueError", "b")
        assert any("ValueError: b" in text for _, text in events)


def test_a_read_only_console_moves_nothing(
    valkey_url: str, prefix: str, orders: rqsqs.Queue, dead: rqsqs.Queue
) -> None:
    die_of(orders, 1, "KeyError", "a")
    settings = ConsoleSettings(GatewaySettings(url=valkey_url, prefix=prefix), is_read_only=True)
    with running(settings) as address:
        browser = Browser(address)
        for path in ("dead-letters", "dead-letters/messages", "redrive", "moves"):
            page = browser.get(f"/queues/dead/{path}")
            assert page.status == 200
            assert "<button" not in page.html.partition("<main")[2].partition("</main")[0]
            assert "Redrive…" not in page.text
        for path in ("redrive", "redrive/messages", "moves/cancel"):
            assert browser.post(f"/queues/dead/{path}", {"do": "move"}).status == 403
    assert dead.counts().visible == 1


def test_what_cannot_be_read_is_counted_and_moved(
    browser: Browser, orders: rqsqs.Queue, dead: rqsqs.Queue, valkey_url: str, prefix: str
) -> None:
    orders.send_batch(["bad", "good"])
    client_of(valkey_url).lset(f"{prefix}:{{orders/0}}:orders:ready", 1, b"\xc1")
    assert [message.body for message in orders.receive(2, visibility_timeout=0)] == ["good"]
    assert not orders.receive(2)
    page = browser.get("/queues/dead/dead-letters")
    assert "1 MessageDamaged: its record" in page.text
    links = re.findall(r'href="(/queues/dead/redrive\?cause=MessageDamaged[^"]*)"', page.html)
    form = browser.get(html.unescape(links[0]))
    assert "It moves 1 message ;" in form.text
    assert browser.get("/queues/dead/dead-letters/messages").html.count('name="message"') == 2
    browser.do("/queues/dead/redrive", hidden_fields(form.html) | {"do": "move"})
    assert moved(dead).moved == 1
    assert [message.body for message in dead.peek(10)] == ["good"]


def test_another_console_goes_on_with_a_redrive(
    valkey_url: str, prefix: str, orders: rqsqs.Queue, dead: rqsqs.Queue, monkeypatch: pytest.MonkeyPatch
) -> None:
    die_of(orders, 20, "KeyError", "a")
    die_of(orders, 2, "ValueError", "b")
    monkeypatch.setattr(moves, "SILENCE_MS", 2_000)  # until a process counts as dead
    settings = ConsoleSettings(GatewaySettings(url=valkey_url, prefix=prefix))
    with running(settings) as address:
        browser = Browser(address)
        browser.do("/queues/dead/redrive", {"do": "move", "cause": "KeyError: a", "rate": "5"})
    client = client_of(valkey_url)
    (task_id, before), *_ = client.hgetall(f"{prefix}:{{dead/0}}:dead:tasks").items()
    assert json.loads(before)["status"] == "RUNNING"
    assert json.loads(before)["moved"] < 20
    read_only = ConsoleSettings(GatewaySettings(url=valkey_url, prefix=prefix), is_read_only=True)
    wait_for(lambda: any(is_orphan for _, is_orphan in dead._run(moves.list_tasks(dead._ref))))
    with running(read_only) as address:  # that only looks
        browser = Browser(address)
        for path in ("/moves", "/queues/dead/moves", "/queues/dead/dead-letters"):
            assert browser.get(path).status == 200
    assert json.loads(client.hget(f"{prefix}:{{dead/0}}:dead:tasks", task_id)) == json.loads(before)
    with running(settings) as address:
        browser = Browser(address)
        wait_for(lambda: "completed" in browser.get("/moves").text)
    assert (orders.counts().visible, dead.counts().visible) == (20, 2)
    assert dead.move_tasks()[0].task_id == task_id.decode()


SEE = ("rqsqs:PeekMessages", "sqs:ListMessageMoveTasks", "rqsqs:ListGroups", "rqsqs:ListConsumers")
MOVE = ("sqs:StartMessageMoveTask", "sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes")


@pytest.fixture
def as_user(valkey_url: str, prefix: str, tmp_path: Path) -> Iterator[Callable[..., Browser]]:
    """Somebody who may do some actions with the queues that begin with `dead`, and others with orders."""
    keys = tmp_path / "keys.toml"
    made = {}
    for name, actions in {"sees": SEE, "moves": (*SEE, *MOVE), "sends": (*SEE, *MOVE)}.items():
        statements: list[dict[str, object]] = [
            {"Effect": "Allow", "Action": list(actions), "Resource": "arn:aws:sqs:*:*:dead*"}
        ]
        if name == "sends":
            statements.append({"Effect": "Allow", "Action": "sqs:SendMessage", "Resource": "arn:aws:sqs:*:*:orders"})
        made[name] = add_key(keys, name, NewUser(statements=statements))
    with running(ConsoleSettings(GatewaySettings(url=valkey_url, prefix=prefix, keys=keys))) as address:

        def log_in(name: str) -> Browser:
            browser = Browser(address)
            assert browser.log_in(made[name].key_id, made[name].secret).status == 303
            return browser

        yield log_in


def test_what_is_not_allowed_is_neither_shown_nor_done(
    as_user: Callable[..., Browser], connection: rqsqs.Connection, orders: rqsqs.Queue, dead: rqsqs.Queue
) -> None:
    secret = connection.create_queue("secret-dead")
    bills = connection.create_queue("bills", dead_letter_queue=secret, max_receive_count=1)
    die_of(bills, 1, "KeyError", "hidden")
    die_of(orders, 2, "KeyError", "a")
    browser = as_user("sees")
    page = browser.get("/dead-letters").text
    assert "dead 2" in page
    assert "secret-dead" not in page
    assert browser.get("/queues/secret-dead/dead-letters").status == 403
    page = browser.get("/queues/dead/dead-letters")
    assert "KeyError: a" in page.text
    assert "Redrive…" not in page.text
    assert 'type="checkbox"' not in browser.get("/queues/dead/dead-letters/messages").html
    for path in ("redrive", "redrive/messages", "moves/cancel", "groups/pause", "consumers/evict", "pause"):
        assert browser.post(f"/queues/dead/{path}", {"do": "move"}).status == 403
    assert browser.get("/queues/dead/redrive").status == 403
    browser = as_user("moves")
    assert browser.post("/queues/dead/redrive", {"do": "move"}).status == 403  # it may not send to orders
    assert browser.post("/queues/dead/redrive", {"do": "move", "to": "orders"}).status == 403
    first = dead.peek()[0].message_id
    assert browser.post("/queues/dead/redrive/messages", {"message": first}).status == 403
    assert not dead.move_tasks()
    browser = as_user("sends")
    assert "1 message moved." in browser.do("/queues/dead/redrive/messages", {"message": first}).text
    assert "The redrive has started." in browser.do("/queues/dead/redrive", {"do": "move"}).text
    assert moved(dead).moved == 1
    assert [event.who.api for event in connection.events() if event.kind == "redrive-started"] == ["console"] * 2


def test_a_queue_is_counted_by_parts_where_messages_are_large(
    browser: Browser, connection: rqsqs.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    dead = connection.create_queue("dead")
    orders = connection.create_queue("orders", dead_letter_queue=dead, max_receive_count=1)
    die_of(orders, 40, "KeyError", "a")
    monkeypatch.setattr(letters, "QUICK_S", 0)  # as if each call took long
    monkeypatch.setattr(letters, "BUDGET_S", 0)
    monkeypatch.setattr(letters, "PAGE", 4)
    page = browser.get("/queues/dead/dead-letters").text
    assert "0 counted" in page
    monkeypatch.setattr(letters, "BUDGET_S", 0.05)
    wait_for(lambda: "40 KeyError: a" in browser.get("/queues/dead/dead-letters").text)
    monkeypatch.setattr(dead_letters, "MOST_S", 0)
    seen, path = set[str](), "/queues/dead/dead-letters/messages"
    while path:
        page_of = browser.get(path)
        seen |= set(re.findall(r'name="message" value="([^"]*)"', page_of.html))
        following = re.search(r'rel="next" href="([^"]*)"', page_of.html)
        path = "/queues/dead/dead-letters/messages" + html.unescape(following[1]) if following else ""
    assert len(seen) == 40
