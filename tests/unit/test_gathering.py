"""Which messages of a sender go out together, and how long one waits for others."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from rqsqs._core.gathering import Gathering, Ticket, same_error
from rqsqs._core.portions import BYTES
from rqsqs._core.sent import Outgoing
from rqsqs.errors import ConnectionFailed, MessageTooLarge, QueueDamaged, ServerTimeout
from rqsqs.models import Durability

SAFE = Durability(replicas=1)


def ticket(size: int = 10, durability: Durability | None = None) -> Ticket:
    return Ticket(Outgoing(b"x" * size, size), durability)


def gathering(tickets: Sequence[Ticket] = (), linger: float = 0.005, most: int = 100) -> Gathering:
    made = Gathering(linger, most)
    for one in tickets:
        made.add(one)
    return made


def taken(waiting: Gathering) -> list[Ticket]:
    batch: list[Ticket] = []
    waiting.take(batch)
    return batch


def test_a_call_takes_the_first_who_wait() -> None:
    tickets = [ticket() for _ in range(5)]
    waiting = gathering(tickets, most=3)
    assert taken(waiting) == tickets[:3]
    assert taken(waiting) == tickets[3:]
    assert taken(waiting) == []


@pytest.mark.parametrize(
    ("sizes", "first"), [((BYTES, 1), 1), ((BYTES - 1, 1, 1), 2), ((BYTES + 1, 1), 1), ((1, BYTES), 1)]
)
def test_a_call_takes_4_mib_at_most_beyond_one_message(sizes: Sequence[int], first: int) -> None:
    tickets = [ticket(size) for size in sizes]
    assert taken(gathering(tickets)) == tickets[:first]


def test_messages_that_have_to_be_as_safe_go_out_together() -> None:
    flush = Ticket(None, None)
    tickets = [ticket(), ticket(durability=SAFE), flush, ticket(durability=Durability(replicas=1)), ticket()]
    waiting = gathering(tickets)
    assert taken(waiting) == tickets[:1]
    assert taken(waiting) == tickets[1:4]
    assert taken(waiting) == tickets[4:]


def test_a_call_that_no_server_answers_fails_for_those_who_waited_all_the_time() -> None:
    waiting = gathering([ticket(), ticket(), Ticket(None, None), ticket(), ticket()], most=1)
    batch, error = taken(waiting), ServerTimeout("no answer", request_sent=True)
    behind, came_later = list(waiting.waiting)[:-1], waiting.waiting[-1]
    outcomes: list[Exception] = [error]
    waiting.fail_behind(batch, outcomes, len(behind))
    assert batch[1:] == behind
    assert list(waiting.waiting) == [came_later]
    assert waiting._flushes == 0
    assert [type(other) for other in outcomes] == [ServerTimeout] * 3
    assert not any(other.request_sent for other in outcomes[1:] if isinstance(other, ServerTimeout))


@pytest.mark.parametrize("outcomes", [[ServerTimeout(""), MessageTooLarge("")], [MessageTooLarge("")], [SAFE], []])
def test_what_fails_alone_leaves_those_who_wait_alone(outcomes: list[Exception]) -> None:
    waiting = gathering([ticket(), ticket()])
    batch: list[Ticket] = []
    waiting.fail_behind(batch, list(outcomes), 2 if outcomes else 0)
    assert batch == []
    assert len(waiting.waiting) == 2


def test_who_is_alone_does_not_wait() -> None:
    waiting = gathering([ticket()])
    assert waiting.is_quiet
    assert waiting.linger == 0
    taken(waiting)
    waiting.took(1, 1.0)
    waiting.add(ticket())
    assert waiting.linger == 0


def test_a_message_waits_until_as_many_are_there_as_lately() -> None:
    waiting = gathering([ticket() for _ in range(3)], linger=0.5)
    waiting.took(len(taken(waiting)), 1.0)
    assert not waiting.is_quiet
    for _ in range(2):
        waiting.add(ticket())
        assert waiting.linger > 0
    waiting.add(ticket())
    assert waiting.linger == 0


def test_those_who_came_during_a_call_are_company_as_well() -> None:
    waiting = gathering([ticket()])
    taken(waiting)
    waiting.add(ticket())
    waiting.took(1, 1.0)
    assert waiting.linger > 0
    waiting.add(ticket())
    assert waiting.linger == 0


def test_a_message_waits_no_longer_than_a_few_calls_take_and_never_longer_than_linger() -> None:
    waiting = gathering([ticket(), ticket()], linger=0.005)
    waiting.took(len(taken(waiting)), 0.0004)
    waiting.add(ticket())
    assert 0 < waiting.linger <= 0.0016
    for _ in range(50):
        waiting.took(2, 3.0)
    assert waiting.linger == 0.005


def test_without_linger_nobody_waits() -> None:
    waiting = gathering([ticket(), ticket()], linger=0)
    waiting.took(len(taken(waiting)), 1.0)
    waiting.add(ticket())
    assert waiting.linger == 0


def test_nobody_waits_for_more_than_one_call_takes() -> None:
    waiting = gathering([ticket() for _ in range(5)], most=2)
    for _ in range(2):
        waiting.took(len(taken(waiting)), 1.0)
    waiting.add(ticket())
    assert waiting.linger == 0


def test_who_flushes_does_not_wait_and_what_is_gone_does_not_count() -> None:
    waiting = gathering([ticket(), ticket()], linger=1)
    waiting.took(len(taken(waiting)), 1.0)
    flush, one = Ticket(None, None), ticket()
    waiting.add(one)
    waiting.add(flush)
    assert waiting.linger == 0
    assert waiting.discard(flush)
    assert not waiting.discard(flush)
    assert waiting.linger > 0
    waiting.add(flush)
    assert waiting.clear() == [one, flush]
    waiting.add(one)
    assert waiting.linger > 0


def test_every_caller_gets_an_error_of_its_own() -> None:
    errors = [
        ConnectionFailed("gone", request_sent=True),
        MessageTooLarge("too large", sqs_message="SQS's", detail="5", queue="q"),
        QueueDamaged("damaged", queue="q"),
    ]
    for error in errors:
        error.__cause__ = ValueError("why")
        twin = same_error(error)
        assert twin is not error
        assert (type(twin), str(twin), vars(twin), twin.__cause__) == (
            type(error),
            str(error),
            vars(error),
            error.__cause__,
        )
    odd = UnicodeDecodeError("utf-8", b"", 0, 1, "what has more arguments")
    assert isinstance(same_error(odd), UnicodeDecodeError)
