"""What a gateway tells of its clients: who changed a queue, and who was denied again and again."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import rqsqs
from rqsqs.gateway import denials
from rqsqs.gateway.actions import _TOLD
from rqsqs.gateway.exchange import ACTIONS
from rqsqs.gateway.keys_editing import NewUser, add_key
from tests.gateway.direct import Direct

OWN, OTHER = "000000000000", "123456789012"
ANYTHING = {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}


class Town:
    def __init__(self, url: str, prefix: str, path: Path) -> None:
        self.url, self.prefix = url, prefix
        self.ann = add_key(path, "ann", NewUser(statements=(ANYTHING,), account=OWN))
        self.eve = add_key(path, "eve", NewUser(statements=(ANYTHING,), account=OTHER))
        self.bob = add_key(path, "bob", NewUser(account=OWN))
        self.at = Direct(url=url, prefix=prefix, keys=path)

    def events(self, account: str = OWN, **options: Any) -> list[rqsqs.Event]:
        prefix = self.prefix if account == OWN else f"{self.prefix}/{account}"
        with rqsqs.connect(self.url, prefix=prefix) as connection:
            return list(connection.events(**options))


@pytest.fixture
def town(valkey_url: str, prefix: str, tmp_path: Path) -> Iterator[Town]:
    town = Town(valkey_url, prefix, tmp_path / "keys.toml")
    with contextlib.closing(town.at):
        yield town


def test_each_account_has_its_events_with_the_key_that_did_it(town: Town) -> None:
    for key, account in ((town.ann, OWN), (town.eve, OTHER)):
        status, answer = town.at.call(key, "CreateQueue", QueueName="orders", Attributes={"DelaySeconds": "5"})
        assert status == 200
        url = answer["QueueUrl"]
        town.at.call(key, "SendMessage", QueueUrl=url, MessageBody="x")
        town.at.call(key, "SetQueueAttributes", QueueUrl=url, Attributes={"DelaySeconds": "6"})
        town.at.call(key, "TagQueue", QueueUrl=url, Tags={"a": "b"})
        town.at.call(key, "PurgeQueue", QueueUrl=url)
        town.at.call(key, "DeleteQueue", QueueUrl=url)
        found = town.events(account)
        assert [event.kind for event in found] == [
            "queue-created", "settings-changed", "tags-changed", "queue-purged", "queue-deleted",
        ]  # fmt: skip
        assert {(event.who.api, event.who.name, event.who.account) for event in found} == {
            ("gateway", key.key_id, account)
        }
        assert (found[1].before, found[1].after) == ({"DelaySeconds": "5"}, {"DelaySeconds": "6"})


def test_who_asks_is_known_for_every_action_that_can_tell_something() -> None:
    of_messages = {action for action in ACTIONS if action.removesuffix("Batch").endswith(("Message", "Visibility"))}
    reading = {action for action in ACTIONS if action.startswith(("Get", "List", "Describe"))}
    reading.remove("ListMessageMoveTasks")  # which ends what was interrupted
    assert set(ACTIONS) - of_messages - reading == _TOLD


def test_repeated_denials_are_counted_by_caller_and_action(town: Town) -> None:
    town.at.call(town.ann, "CreateQueue", QueueName="orders")
    for _ in range(denials.REPEATEDLY):
        assert town.at.call(town.bob, "DeleteQueue", QueueUrl=f"http://h/{OWN}/orders")[0] == 403
    for _ in range(denials.REPEATEDLY + 2):
        assert town.at.call(dataclasses.replace(town.ann, secret="wrong"), "ListQueues")[0] == 403
    for _ in range(denials.REPEATEDLY - 1):
        town.at.call(town.bob, "PurgeQueue", QueueUrl=f"http://h/{OWN}/orders")
    assert town.events(kind="access-denied") == []  # of a minute
    town.at._run(town.at.actions._denials._tell())
    found = [(event.who.name, event.detail) for event in town.events(kind="access-denied")]
    assert found == [
        (town.ann.key_id, {"action": "ListQueues", "code": "SignatureDoesNotMatch", "count": 7, "within_s": 60}),
        (
            town.bob.key_id,
            {
                "action": "DeleteQueue",
                "code": "AccessDenied",
                "count": 5,
                "within_s": 60,
                "last_queue": f"http://h/{OWN}/orders",
            },
        ),
    ]


def test_nobody_fills_the_stream_with_bad_requests(town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
    periods = []
    for _ in range(8):
        for n in range(30):
            for _ in range(denials.REPEATEDLY):
                town.at.call(dataclasses.replace(town.ann, key_id=f"AKIA{n:016}"), "ListQueues")
        periods.append(town.at.actions._denials._period_s)
        town.at._run(town.at.actions._denials._tell())
    assert periods == [60, 120, 240, 480, 960, 1920, 3600, 3600]
    assert len(town.events(kind="access-denied")) == 8 * denials.MOST_TOLD
    assert town.at.actions._denials._found == {}
    monkeypatch.setattr(denials, "MOST", 20)
    for n in range(100):
        town.at.call(dataclasses.replace(town.ann, key_id=f"AKIA{n:016}"), "ListQueues")
    assert len(town.at.actions._denials._found) == 20
