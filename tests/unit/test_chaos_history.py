"""The proof of `rqsqs chaos` itself: it finds every broken promise in a made-up history, and raises no false alarm."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from rqsqs.cli.chaos.history import Event, Journal, Verdict, check, read

VISIBLE_S = 2.0
PROMISES = {
    "lost": "acknowledged and never delivered",
    "vanished": "delivered, not deleted, and gone",
    "ghosts": "delivered and never sent",
    "risen": "delivered after its delete was acknowledged",
    "early": "delivered again before its visibility timeout was over",
    "doubled": "stored twice",
    "disordered": "delivered out of order",
    "shared": "with two consumers at a time",
}


class Story:
    """A history as it is told: every line is one call, from `at` for `took` seconds."""

    def __init__(self, group: str = "") -> None:
        self.group = group
        self.events: list[Event] = []

    def _add(self, kind: Any, at: float, took: float, number: int, by: str, **more: Any) -> None:
        self.events.append(Event(kind, at, at + took, number, self.group, by=by, **more))

    def send(self, *numbers: int, at: float = 0.0, took: float = 0.01, outcome: str = "sent") -> Story:
        for number in numbers:
            self._add("sending", at, 0, number, "p")
            if outcome:
                self._add(outcome, at, took, number, "p")
        return self

    def receive(self, by: str, *numbers: int, at: float, took: float = 0.01, count: int = 1, copy: str = "m") -> Story:
        for number in numbers:
            more = {"message": f"{copy}{number}", "receives": count, "visible_s": VISIBLE_S}
            self._add("received", at, took, number, by, **more)
        return self

    def delete(
        self, by: str, *numbers: int, at: float, took: float = 0.01, outcome: str = "deleted", copy: str = "m"
    ) -> Story:
        for number in numbers:
            self._add("deleting", at, 0, number, by, message=f"{copy}{number}")
            if outcome:
                self._add(outcome, at, took, number, by, message=f"{copy}{number}")
        return self

    def judged(self, is_drained: bool = True) -> Verdict:
        """In whatever order the journals are read."""
        calls: dict[Any, list[Event]] = {}
        for event in self.events:
            calls.setdefault((event.by, event.began), []).append(event)
        shuffled = list(calls.values())
        random.Random(7).shuffle(shuffled)
        return check([event for call in shuffled for event in call], is_drained)


def keeps(story: Story, **figures: Any) -> None:
    verdict = story.judged()
    assert not verdict.broken
    for name, value in figures.items():
        assert getattr(verdict, name) == value, name


def breaks(story: Story, *promises: str) -> Verdict:
    verdict = story.judged()
    assert set(verdict.broken) == {PROMISES[name] for name in promises}
    return verdict


# What is found


def test_a_message_that_never_came_is_lost() -> None:
    assert breaks(Story().send(1, 2).receive("a", 2, at=1).delete("a", 2, at=2), "lost").lost == [1]


def test_a_message_that_was_delivered_and_is_gone_without_a_delete_has_vanished() -> None:
    assert breaks(Story().send(1).receive("a", 1, at=1), "vanished").vanished == [1]


def test_a_refused_delete_deletes_nothing() -> None:
    story = Story("g").send(1).receive("a", 1, at=1).delete("a", 1, at=4, outcome="kept")
    assert breaks(story, "vanished").vanished == [1]


def test_a_message_whose_send_was_never_made_or_was_refused_is_a_ghost() -> None:
    story = Story().send(1, outcome="refused").receive("a", 1, 9, at=1).delete("a", 1, 9, at=2)
    assert breaks(story, "ghosts").ghosts == [1, 9]


def test_a_delivery_after_the_acknowledged_delete_is_found() -> None:
    story = Story().send(1).receive("a", 1, at=1).delete("a", 1, at=2).receive("b", 1, at=9, count=2)
    assert breaks(story, "risen").risen == [1]


def test_a_message_that_was_stored_again_has_not_risen() -> None:
    story = Story().send(1).receive("a", 1, at=1).delete("a", 1, at=2).receive("b", 1, at=9, copy="n")
    breaks(story.delete("b", 1, at=10, copy="n"), "doubled")
    breaks(story.receive("b", 1, at=19, count=2), "doubled", "risen")


@pytest.mark.parametrize("group", ["", "g"])
def test_two_deliveries_within_a_visibility_timeout_are_found(group: str) -> None:
    story = Story(group).send(1).receive("a", 1, at=1).receive("b", 1, at=2.9, count=2).delete("b", 1, at=3)
    assert breaks(story, "early").early == [1]


def test_a_second_copy_is_found() -> None:
    story = Story().send(1).receive("a", 1, at=1).receive("b", 1, at=5, copy="n").delete("b", 1, at=6)
    assert breaks(story, "doubled").doubled == [1]


def test_a_later_message_before_an_earlier_one_is_found() -> None:
    story = Story("g").send(1, 2).receive("a", 2, at=1).delete("a", 2, at=2).receive("a", 1, at=3)
    assert breaks(story.delete("a", 1, at=4), "disordered").disordered == [("g", 2, 1)]


def test_the_wrong_order_within_one_receive_is_found() -> None:
    story = Story("g").send(1, 2).receive("a", 2, 1, at=1).delete("a", 1, 2, at=2)
    assert breaks(story, "disordered").disordered == [("g", 2, 1)]


def test_a_gap_in_one_receive_is_found() -> None:
    story = Story("g").send(1, 2, 3).receive("a", 1, 3, at=1).delete("a", 1, 3, at=2)
    assert breaks(story.receive("b", 2, at=3).delete("b", 2, at=4), "disordered").disordered == [("g", 3, 2)]


def test_a_later_message_is_not_to_come_when_the_earlier_one_lapsed_but_was_not_deleted() -> None:
    story = Story("g").send(1, 2).receive("a", 1, at=1).receive("b", 2, at=6).delete("b", 2, at=7)
    story.receive("b", 1, at=8, count=2).delete("b", 1, at=9)
    assert breaks(story, "disordered").disordered == [("g", 2, 1)]


def test_two_consumers_in_one_group_are_found() -> None:
    story = Story("g").send(1, 2).receive("a", 1, at=1).receive("b", 2, at=1.5).delete("b", 2, at=1.6)
    found = breaks(story.delete("a", 1, at=2), "disordered", "shared")
    assert found.shared == [("g", 1, 2)]


def test_the_stale_delete_of_somebody_else_does_not_hide_that_two_had_the_group() -> None:
    story = Story("g").send(1, 2).receive("a", 1, at=1).receive("b", 1, at=4, count=2)
    story.delete("a", 1, at=4.1, outcome="").receive("c", 2, at=4.5).delete("c", 2, at=4.6).delete("b", 1, at=5)
    assert breaks(story, "shared").shared == [("g", 1, 2)]


def test_the_first_of_several_in_hand_counts_as_well() -> None:
    story = Story("g").send(1, 2, 3).receive("a", 1, 2, at=1).delete("a", 2, at=1.1)
    story.receive("b", 3, at=1.5).delete("b", 3, at=1.6).delete("a", 1, at=1.8)
    assert ("g", 1, 3) in breaks(story, "disordered", "shared").shared


# What is in order


@pytest.mark.parametrize("group", ["", "g"])
def test_an_ordinary_day(group: str) -> None:
    story = Story(group).send(1).send(2, at=0.1)
    story.receive("a", 1, 2, at=0.2).delete("a", 1, at=0.3).delete("a", 2, at=0.4)
    keeps(story, sent=2, unknown=0, delivered=2, redelivered=0, errors=0)


@pytest.mark.parametrize("group", ["", "g"])
def test_messages_of_a_killed_consumer_come_again(group: str) -> None:
    story = Story(group).send(1, 2, 3).receive("a", 1, 2, at=1)
    story.receive("b", 1, 2, at=3.2, count=2).delete("b", 1, 2, at=4).receive("b", 3, at=5).delete("b", 3, at=6)
    keeps(story, redelivered=2)


def test_part_of_a_receive_that_was_not_written_down() -> None:
    story = Story("g").send(1, 2, 3).receive("a", 1, at=1)  # it was killed before it wrote 2
    keeps(story.receive("b", 1, 2, 3, at=3.2).delete("b", 1, 2, 3, at=4))


def test_a_frozen_consumer_deletes_too_late() -> None:
    story = Story("g").send(1, 2).receive("a", 1, at=1).receive("b", 1, at=3.1, count=2).delete("b", 1, at=3.2)
    story.receive("c", 2, at=3.3).delete("c", 2, at=3.4).delete("a", 1, at=4, outcome="kept")
    keeps(story, redelivered=1)
    late = Story().send(1).receive("a", 1, at=1).receive("b", 1, at=3.1, count=2).delete("a", 1, at=3.2)
    keeps(late.delete("b", 1, at=3.3))  # a standard queue deletes for whoever has a handle


def test_a_receive_whose_answer_came_late() -> None:
    """It was handed out at 1, the visibility timeout was over at 3, and the answer was read at 5."""
    story = Story("g").send(1, 2).receive("a", 1, at=1, took=4)
    story.receive("b", 1, at=3.1, count=2).delete("b", 1, at=3.2).receive("b", 2, at=3.3).delete("b", 2, at=3.4)
    keeps(story.delete("a", 1, at=5.1, outcome="kept"))


def test_a_receive_that_began_to_wait_before_the_delete() -> None:
    keeps(Story().send(1).receive("a", 1, at=1).receive("b", 1, at=2, took=1.2, count=2).delete("a", 1, at=2.1))


def test_the_next_of_a_group_while_the_answer_to_the_delete_is_on_its_way() -> None:
    story = Story("g").send(1, 2).receive("a", 1, at=1).delete("a", 1, at=1.1, took=0.5)
    keeps(story.receive("b", 2, at=1.2).delete("b", 2, at=1.3))


@pytest.mark.parametrize("group", ["", "g"])
def test_a_delete_whose_answer_was_lost_may_have_been_done_or_not(group: str) -> None:
    keeps(Story(group).send(1).receive("a", 1, at=1).delete("a", 1, at=2, outcome=""))
    story = Story(group).send(1).receive("a", 1, at=1).delete("a", 1, at=2, outcome="")
    keeps(story.receive("b", 1, at=4, count=2).delete("b", 1, at=5))


def test_a_send_of_unknown_outcome_may_be_there_or_not() -> None:
    keeps(Story().send(1, outcome=""), sent=0, unknown=1, delivered=0)
    keeps(Story().send(1, outcome="").receive("a", 1, at=1).delete("a", 1, at=2), sent=0, unknown=1, delivered=1)


def test_a_send_that_was_repeated_until_it_succeeded_is_sent() -> None:
    story = Story("g").send(1, outcome="").send(1, at=0.5).send(2, at=0.6).receive("a", 1, 2, at=1)
    keeps(story.delete("a", 1, 2, at=2), sent=2, unknown=0)


def test_a_refused_send_is_not_missed() -> None:
    keeps(Story().send(1, outcome="refused"), sent=0, unknown=0)


def test_a_batch_is_received_at_once_by_one() -> None:
    story = Story("g").send(*range(10)).receive("a", *range(10), at=1)
    keeps(story.delete("a", *range(10), at=1.1), delivered=10)


def test_groups_do_not_wait_for_each_other() -> None:
    one = Story("g").send(1, 3).receive("a", 1, at=1).delete("a", 1, at=2).receive("a", 3, at=3).delete("a", 3, at=4)
    other = Story("h").send(2).receive("b", 2, at=1.1).delete("b", 2, at=1.2)
    one.events += other.events
    keeps(one)


def test_what_is_left_in_the_queue_is_not_lost() -> None:
    story = Story().send(1, 2).receive("a", 1, at=1)
    assert not story.judged(is_drained=False).broken
    assert set(story.judged().broken) == {PROMISES["lost"], PROMISES["vanished"]}


def test_a_pause_counts_while_messages_are_sent() -> None:
    story = Story().send(1).send(2, at=0.5).receive("a", 1, at=1).send(3, at=4.0).delete("a", 1, at=5)
    assert story.judged().longest_pause_s == pytest.approx(3.0)
    assert check([]).longest_pause_s == 0


# Journals


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "p.journal", "p") as journal:
        journal.write("received", 1.0000004, 2.5, number=3, group="g", message="m", receives=2, visible_s=1.5)
        journal.write("error", 3, 4, text="bäd")
    assert list(read(tmp_path)) == [
        Event("received", 1.0, 2.5, 3, "g", "m", 2, 1.5, "p"),
        Event("error", 3, 4, by="p", text="bäd"),
    ]


def test_the_torn_last_line_of_a_killed_process_is_left_out_wherever_it_was_torn(tmp_path: Path) -> None:
    path = tmp_path / "p.journal"
    with Journal(path, "p") as journal:
        journal.write("sent", 1, 2, number=1)
        journal.write("sent", 3, 4, number=2)
    whole = path.read_bytes()
    for length in range(whole.index(b"\n") + 1, len(whole)):
        path.write_bytes(whole[:length])
        assert [e.number for e in read(tmp_path)] == [1]


def test_nonsense_in_a_journal_is_not_overlooked(tmp_path: Path) -> None:
    (tmp_path / "p.journal").write_text('{"kind": "se\n{"kind": "sent", "began": 1, "ended": 2}\n')
    with pytest.raises(json.JSONDecodeError):
        list(read(tmp_path))
