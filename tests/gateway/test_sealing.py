"""Sealed handles and tokens: only what this gateway gave out, for this account and queue, comes in again."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from rqsqs._core import receipts
from rqsqs._core.keys import Keyspace
from rqsqs.errors import ReceiptHandleIsInvalid
from rqsqs.gateway.sealing import USED_AFTER_S, Sealer, SealingSecret

ORDERS = Keyspace().queue("orders")
HANDLE = receipts.encode(ORDERS.home, "1800000000000", "abc", 1)
ACCOUNT, OTHER = "111111111111", "222222222222"


class Secrets:
    """Some now, more when somebody looks again."""

    def __init__(self, *now: SealingSecret, later: Sequence[SealingSecret] = ()) -> None:
        self.now, self.later, self.looks = list(now), list(later), 0

    def __call__(self, again: bool) -> Sequence[SealingSecret]:
        if again:
            self.looks += 1
            self.now += self.later
            self.later = []
        return self.now


OLD, NEW = SealingSecret(b"old" * 20, 1000.0), SealingSecret(b"new" * 20, 2000.0)


def sealer(*secrets: SealingSecret, at: float = 10_000.0, later: Sequence[SealingSecret] = ()) -> Sealer:
    return Sealer(Secrets(*secrets or (OLD,), later=later), clock=lambda: at)


def sealed(one: Sealer, account: str = ACCOUNT, handle: str = HANDLE) -> str:
    response: dict[str, Any] = {"Messages": [{"ReceiptHandle": handle, "Body": "x"}]}
    result: str = one.seal("ReceiveMessage", account, "orders", response)["Messages"][0]["ReceiptHandle"]
    return result


def unsealed(
    one: Sealer, handle: str, account: str = ACCOUNT, action: str = "DeleteMessage", queue: str = "orders"
) -> str:
    result: str = one.unseal(action, account, queue, {"ReceiptHandle": handle})["ReceiptHandle"]
    return result


def test_a_handle_comes_back_as_it_was() -> None:
    one = sealer()
    handle = sealed(one)
    assert handle != HANDLE
    assert unsealed(one, handle) == HANDLE
    assert unsealed(sealer(), handle, action="ChangeMessageVisibility") == HANDLE  # another process, the same file
    params = {"Entries": [{"Id": "a", "ReceiptHandle": handle}, {"Id": "b", "ReceiptHandle": "no"}, {"Id": "c"}]}
    entries = one.unseal("DeleteMessageBatch", ACCOUNT, "orders", params)["Entries"]
    assert entries == [{"Id": "a", "ReceiptHandle": HANDLE}, {"Id": "b", "ReceiptHandle": "no"}, {"Id": "c"}]
    assert params["Entries"][0]["ReceiptHandle"] == handle  # the request itself stays


@pytest.mark.parametrize(
    "change",
    [
        lambda handle: HANDLE,  # guessed: what the Python API would give
        lambda handle: HANDLE + "~",
        lambda handle: HANDLE + "~" + OLD.secret_id,
        lambda handle: handle[:-1] + ("A" if handle[-1] != "A" else "B"),
        lambda handle: handle.replace(HANDLE, receipts.encode(ORDERS.home, "1800000000000", "abd", 1)),
        lambda handle: handle + "=",
        lambda handle: "\ud800" + handle,
        lambda handle: "",
    ],
)
def test_what_was_changed_or_guessed_is_refused_in_the_words_of_sqs(change: Any) -> None:
    one = sealer()
    handle = change(sealed(one))
    inside = unsealed(one, handle)
    if handle:
        with pytest.raises(ReceiptHandleIsInvalid, match="must be passed on unchanged"):
            receipts.decode(ORDERS, inside)
    else:
        assert inside == ""


def test_of_another_account_or_gateway_or_queue() -> None:
    one = sealer()
    for refused in (unsealed(one, sealed(one), account=OTHER), unsealed(sealer(NEW), sealed(one))):
        with pytest.raises(ReceiptHandleIsInvalid) as caught:
            receipts.decode(ORDERS, refused)
        assert "is not a valid receipt handle" in caught.value.sqs_message
    other = Keyspace().queue("other")
    with pytest.raises(ReceiptHandleIsInvalid) as caught:
        receipts.decode(other, unsealed(one, sealed(one), queue="other"))
    assert "is not valid for this queue" in caught.value.sqs_message


def test_a_token_of_pages_belongs_to_its_account_and_queue() -> None:
    one = sealer()
    token = one.seal("ListDeadLetterSourceQueues", ACCOUNT, "orders-dead", {"NextToken": "b3JkZXJz"})["NextToken"]
    for action, account, queue, is_fine in (
        ("ListDeadLetterSourceQueues", ACCOUNT, "orders-dead", True),
        ("ListDeadLetterSourceQueues", OTHER, "orders-dead", False),
        ("ListDeadLetterSourceQueues", ACCOUNT, "other-dead", False),
        ("ListQueues", ACCOUNT, "", False),
    ):
        inside = one.unseal(action, account, queue, {"NextToken": token})["NextToken"]
        assert (inside == "b3JkZXJz") is is_fine
    assert (
        one.unseal("ListQueues", ACCOUNT, "", {"NextToken": "b3JkZXJz"})["NextToken"] != "b3JkZXJz"
    )  # not base64 any more


def test_handles_of_move_tasks() -> None:
    one = sealer()
    started = one.seal("StartMessageMoveTask", ACCOUNT, "dead", {"TaskHandle": "eyJ0IjoxfQ=="})["TaskHandle"]
    listed = one.seal(
        "ListMessageMoveTasks", ACCOUNT, "dead", {"Results": [{"TaskHandle": "eyJ0IjoxfQ=="}, {"Status": "x"}]}
    )
    assert listed["Results"] == [{"TaskHandle": started}, {"Status": "x"}]
    assert one.unseal("CancelMessageMoveTask", ACCOUNT, "", {"TaskHandle": started}) == {"TaskHandle": "eyJ0IjoxfQ=="}
    forged = one.unseal("CancelMessageMoveTask", ACCOUNT, "", {"TaskHandle": "eyJ0IjoxfQ=="})["TaskHandle"]
    assert forged == "eyJ0IjoxfQ==~"


def test_rotation_seals_with_a_new_secret_after_a_minute_and_opens_with_all() -> None:
    early, late = (sealer(OLD, NEW, at=NEW.created + after) for after in (USED_AFTER_S - 1, USED_AFTER_S))
    by_old, by_new = sealed(early), sealed(late)
    assert (by_old, by_new) == (sealed(sealer(OLD)), sealed(sealer(NEW)))
    for one in (early, late):
        assert [unsealed(one, each) for each in (by_old, by_new)] == [HANDLE, HANDLE]
    assert sealed(sealer(NEW, at=NEW.created)) == by_new  # the only one there is


def test_a_secret_that_is_not_known_yet_is_looked_for() -> None:
    secrets = Secrets(OLD, later=[NEW])
    assert unsealed(Sealer(secrets), sealed(sealer(NEW))) == HANDLE
    assert secrets.looks == 1


def test_errors_say_what_was_sent() -> None:
    one = sealer()
    handle = sealed(one)
    sent = {"ReceiptHandle": handle}
    inside = one.unseal("DeleteMessage", ACCOUNT, "orders", sent)
    text = f'The receipt handle "{HANDLE}" is not valid for this queue.'
    assert one.as_sent("DeleteMessage", sent, inside, text) == text.replace(HANDLE, handle)
    batch = {"Entries": [{"Id": "a", "ReceiptHandle": handle}]}
    assert one.as_sent(
        "DeleteMessageBatch", batch, one.unseal("DeleteMessageBatch", ACCOUNT, "orders", batch), text
    ) == (text.replace(HANDLE, handle))


def test_other_actions_are_left_alone() -> None:
    params, response = {"ReceiptHandle": "x"}, {"MessageId": "y"}
    assert sealer().unseal("SendMessage", ACCOUNT, "orders", params) is params
    assert sealer().seal("SendMessage", ACCOUNT, "orders", response) is response
