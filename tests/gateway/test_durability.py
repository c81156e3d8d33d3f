"""How safe messages are before a gateway answers: RQSQS_DURABILITY, as everywhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from rqsqs import Durability
from rqsqs.errors import InvalidParameterValue
from rqsqs.gateway import GatewaySettings
from tests.gateway.conftest import ask_json

SAFE = "replicas=5,timeout=0.05"  # more than any server of the tests has


@pytest.mark.parametrize("how", ["variable", "setting"])
def test_a_send_that_is_not_safe_enough_is_told(
    start: Callable[..., str], monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    if how == "variable":
        monkeypatch.setenv("RQSQS_DURABILITY", SAFE)
        address = start()
    else:
        address = start(durability=SAFE)
    ask_json(address, "CreateQueue", {"QueueName": "orders"})
    answer = ask_json(address, "SendMessage", {"QueueUrl": "orders", "MessageBody": "x"})
    assert (answer.status, answer.json["__type"].rpartition("#")[2]) == (400, "DurabilityNotReached")
    assert answer.headers["x-rqsqs-durability"].startswith("not-reached; replicas=")


def test_the_answer_says_what_was_reached(start: Callable[..., str]) -> None:
    address = start(durability=Durability(replicas=5, timeout=0.05, required=False))
    ask_json(address, "CreateQueue", {"QueueName": "orders"})
    answer = ask_json(address, "SendMessage", {"QueueUrl": "orders", "MessageBody": "x"})
    assert answer.status == 200
    assert answer.headers["x-rqsqs-durability"].startswith("not-reached; replicas=")


def test_nonsense_is_refused_at_the_start() -> None:
    with pytest.raises(InvalidParameterValue):
        GatewaySettings(durability="replicas=many")
