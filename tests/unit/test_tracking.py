"""Waiters that share a connection, in every order of events that chance makes: none sleeps while a message waits."""

from __future__ import annotations

import random
from collections import deque
from typing import Any

import hiredis
import pytest
import redis.exceptions as rx

from rqsqs._io import protocol
from rqsqs._io.tracking import Listener, Tracker

LISTS = ["a:wakeups", "b:wakeups", "c:wakeups"]


class Server:
    """Lists of tokens, and a message for each receive that comes in time."""

    def __init__(self) -> None:
        self.tokens: dict[bytes, int] = {}
        self.messages: dict[bytes, int] = {}
        self.tracking: dict[bytes, set[Process]] = {}

    def changed(self, key: bytes, by: Process | None) -> None:
        for process in self.tracking.pop(key, set()):
            if process is not by:
                process.told.append([b"invalidate", [key]])

    def send(self, name: str) -> None:
        key = name.encode()
        self.messages[key] = self.messages.get(key, 0) + 1
        self.put(key, None)

    def put(self, key: bytes, by: Process | None) -> None:
        if not self.tokens.get(key):
            self.tokens[key] = 1
            self.changed(key, by)

    def receive(self, key: bytes, by: Process | None) -> int:
        """One message, and a token if there are more; or none, then the token goes, too."""
        if self.messages.get(key):
            self.messages[key] -= 1
            if self.messages[key]:
                self.put(key, by)
            return 1
        if self.tokens.pop(key, 0):
            self.changed(key, by)
        return 0

    def run(self, process: Process, command: list[bytes]) -> None:
        match command:
            case [b"CLIENT", b"CACHING", b"YES"]:
                process.told.append(b"OK")
            case [b"EXISTS", key]:
                self.tracking.setdefault(key, set()).add(process)
                process.told.append(int(bool(self.tokens.get(key))))
            case [b"LPOP", key]:
                found = self.tokens.pop(key, 0)
                if found:
                    self.changed(key, process)
                process.told.append(b"1" if found else None)
            case [b"RECEIVE", key]:
                process.told.append([self.receive(key, process)])
            case [b"RPUSH" | b"DEL", key, *_]:
                self.changed(key, process)
                process.told.append(1)
            case _:
                raise AssertionError(command)


class Process:
    """One connection, and waiters that come and go."""

    def __init__(self, server: Server, pipelines: bool) -> None:
        self.server, self.pipelines = server, pipelines
        self.tracker = Tracker()
        self.asked: deque[list[bytes]] = deque()
        self.told: deque[Any] = deque()
        self.reader = hiredis.Reader()
        self.waiting: dict[tuple[str, int], Listener] = {}
        self.got = 0

    def ask(self, data: bytes) -> None:
        self.reader.feed(data)
        while (command := self.reader.gets()) is not False:
            self.asked.append(command)

    def listen(self, name: str, number: int) -> None:
        if (name, number) in self.waiting:
            return
        if self.server.receive(name.encode(), None):  # first it looks
            self.got += 1
            return
        packed = protocol.command("RECEIVE", name) if self.pipelines else b""
        listener = self.waiting[name, number] = Listener(packed, lambda: None, None, ())
        self.ask(self.tracker.listen(listener, [name, f"{name[0]}:wake:{random.random()}"]))

    def settle(self) -> None:
        """Waiters whose outcome is known."""
        for (name, number), listener in list(self.waiting.items()):
            if listener.is_done:
                del self.waiting[name, number]
                if not self.pipelines:
                    assert listener.outcome == name
                    self.ask(self.tracker.leave(listener))
                    self.got += self.server.receive(name.encode(), None)
                else:
                    self.got += listener.outcome[0]
                self.listen(name, number)

    def leave(self, name: str, number: int) -> None:
        listener = self.waiting.pop((name, number), None)
        if listener is None:
            return
        listener.finish(None)
        self.ask(self.tracker.leave(listener))

    def hear(self) -> None:
        self.ask(self.tracker.feed(self.told.popleft()))
        for name in self.tracker.to_wake:  # put out again
            self.server.put(name.encode(), None)
        self.tracker.to_wake.clear()
        for listener, reply in self.tracker.unclaimed:
            if reply[0]:  # given back
                self.server.send(_name_of(listener))
        self.tracker.unclaimed.clear()
        self.settle()


def _name_of(listener: Listener) -> str:
    reader = hiredis.Reader()
    reader.feed(listener.packed)
    return str(reader.gets()[1].decode())


@pytest.mark.parametrize("pipelines", [True, False], ids=["receives at once", "wants to know the list"])
def test_nobody_sleeps_while_a_message_waits(pipelines: bool) -> None:
    seed = random.randrange(2**32)
    print("seed", seed)
    random.seed(seed)
    for _ in range(1500):
        server = Server()
        processes = [Process(server, pipelines) for _ in range(random.randint(1, 4))]
        sent = 0
        for _ in range(random.randint(10, 150)):
            process, name = random.choice(processes), random.choice(LISTS)
            match random.randrange(6):
                case 0:
                    server.send(name)
                    sent += 1
                case 1:
                    process.listen(name, random.randrange(2))
                case 2 if random.random() < 0.4:
                    process.leave(name, random.randrange(2))
                case 3 | 4 if process.asked:
                    server.run(process, process.asked.popleft())
                case 5 if process.told:
                    process.hear()
        while any(process.asked or process.told for process in processes):
            process = random.choice(processes)
            if process.asked and random.random() < 0.5:
                server.run(process, process.asked.popleft())
            elif process.told:
                process.hear()
        for name in LISTS:
            if server.messages.get(name.encode()):
                assert not [1 for process in processes for waits, _ in process.waiting if waits == name]
        assert sum(process.got for process in processes) + sum(server.messages.values()) == sent
        assert not any(
            b":wake:" in key for key, found in server.tracking.items() if found and not _used(processes, key)
        )


def _used(processes: list[Process], key: bytes) -> bool:
    return any(key.decode() in process.tracker.lists for process in processes)


def test_an_answer_nobody_asked_for_is_an_error() -> None:
    with pytest.raises(rx.InvalidResponse):
        Tracker().feed(b"OK")


def test_a_refusal_is_told_to_those_who_listen_to_the_list() -> None:
    tracker = Tracker()
    done: list[Listener] = []
    moved, other = [Listener(b"", lambda: done.append(moved), None, ()), Listener(b"", lambda: None, None, ())]
    tracker.listen(moved, ["a:wakeups"])
    tracker.listen(other, ["b:wakeups"])
    error = rx.MovedError("1 127.0.0.1:1")
    assert tracker.feed(b"OK") + tracker.feed(error) == b""
    assert done == [moved]
    assert (moved.outcome, other.is_done, tracker.lists) == (error, False, ["b:wakeups"])


def commands(packed: bytes) -> list[list[bytes]]:
    reader = hiredis.Reader()
    reader.feed(packed)
    found = []
    while (command := reader.gets()) is not False:
        found.append(command)
    return found


TRACK = [b"CLIENT", b"CACHING", b"YES"], [b"EXISTS", b"a:wakeups"]
LPOP = [b"LPOP", b"a:wakeups"]
RECEIVES = [protocol.command("RECEIVE", name) for name in "12"]
INVALIDATED = [b"invalidate", [b"a:wakeups"]]


def listening(*receives: bytes) -> tuple[Tracker, list[Listener]]:
    """Waiters of one list, which had no token."""
    tracker = Tracker()
    listeners = [Listener(packed, lambda: None, None, ()) for packed in receives]
    for listener in listeners:
        assert commands(tracker.listen(listener, ["a:wakeups"])) == [*TRACK]
        assert tracker.feed(b"OK") + tracker.feed(0) == b""
    return tracker, listeners


def test_a_list_is_tracked_again_behind_the_receive_for_those_who_go_on() -> None:
    """The server forgets whom to tell as soon as it has told, and does not tell of what a connection changes itself."""
    tracker, (first, second) = listening(*RECEIVES)
    assert commands(tracker.feed(INVALIDATED)) == [LPOP, [b"RECEIVE", b"1"], *TRACK]
    assert tracker.feed(b"1") + tracker.feed([b"message 1"]) + tracker.feed(b"OK") == b""
    assert first.outcome == [b"message 1"]
    assert commands(tracker.feed(1)) == [LPOP, [b"RECEIVE", b"2"]]  # there is a token again; and nobody goes on
    assert tracker.feed(b"1") + tracker.feed([b"message 2"]) == b""
    assert second.outcome == [b"message 2"]
    assert not tracker.is_used
    assert not tracker.is_silent


def test_a_list_is_tracked_again_behind_a_receive_that_waited_for_the_token() -> None:
    tracker, _ = listening(*RECEIVES, *RECEIVES)
    tracker.feed(INVALIDATED)
    assert (
        tracker.feed(None) + tracker.feed([]) + tracker.feed(b"OK") + tracker.feed(0) == b""
    )  # another process had it
    assert commands(tracker.feed(INVALIDATED)) == [LPOP, *TRACK]  # now it makes sure first
    assert commands(tracker.feed(b"1")) == [[b"RECEIVE", b"2"], *TRACK]


def test_a_token_that_nobody_has_use_for_is_put_out_again() -> None:
    tracker, (listener,) = listening(b"")
    assert commands(tracker.feed(INVALIDATED)) == [LPOP, *TRACK]
    assert listener.finish(None)  # the time is over
    assert tracker.leave(listener) == b""
    assert tracker.feed(b"1") == b""
    assert tracker.to_wake == ["a:wakeups"]


def test_a_token_is_not_spent_on_a_waiter_that_is_done() -> None:
    tracker, (done, waits) = listening(b"", b"")
    tracker.feed(INVALIDATED)
    done.finish(None)  # about to leave
    assert tracker.feed(b"1") == b""
    assert waits.outcome == "a:wakeups"
    assert tracker.to_wake == []


def test_the_token_of_a_backup_wakes_another_waiter_and_one_for_a_single_waiter_nobody() -> None:
    for name, to_wake in (("a:backup", ["a:wakeups"]), ("a:wake:1", [])):
        tracker = Tracker()
        listener = Listener(b"", lambda: None, None, ())
        tracker.listen(listener, [name])
        tracker.feed(b"OK")
        tracker.feed(1)
        tracker.leave(listener)
        tracker.feed(b"1")
        assert tracker.to_wake == to_wake


@pytest.mark.parametrize("outcome", [None, rx.TimeoutError("no answer in time")])
def test_what_a_late_receive_got_is_given_back_unless_its_waiter_asks_again(outcome: Exception | None) -> None:
    """Asked again, the server gives the same answer: then the waiter has it."""
    tracker, (listener,) = listening(RECEIVES[0])
    tracker.feed(INVALIDATED)
    tracker.feed(b"1")
    assert listener.is_receiving
    assert listener.finish(outcome)
    tracker.feed([b"message"])
    assert tracker.unclaimed == ([(listener, [b"message"])] if outcome is None else [])
