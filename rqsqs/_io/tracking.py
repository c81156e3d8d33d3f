"""How any number of waiters listen for wakeup tokens over one connection to a server. No I/O.

A blocking command occupies its connection, names keys of one hash slot only, and must be sent again with all keys when
one is added. So only the first few waiters block. For the others the server remembers which wakeup lists this
connection has looked at (CLIENT TRACKING), and says when one of them changes. Then a token is taken from that list, if
it is still there, and the waiter's receive follows at once. All processes that listen hear of a token; one takes it.

    EXISTS list          0: from now on the server says when it changes
      <- invalidate list
    LPOP list, EVALSHA   the token, and behind it the receive of the first waiter of the list

A process that came too late for the last token of a list takes the next one before it sends its receive.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Any

import redis.exceptions as rx

from rqsqs._core.operation import Operation
from rqsqs._io import protocol, tuning

_TRACK = protocol.command("CLIENT", "CACHING", "YES")
_LASTING = (b":wakeups", b":backup")  # lists with these names are used again


def start_listening() -> Generator[list[bytes], list[Any], None]:
    """What to say on a connection of RESP3, on which messages of the server come between the answers. With OPTIN the
    server does not track what a receive reads.

    Raises:
        ResponseError: the server does not allow it.
    """
    track = protocol.command("CLIENT", "TRACKING", "ON", "OPTIN", "NOLOOP")
    for reply in (yield [track, _TRACK]):
        if isinstance(reply, Exception):
            raise reply


class Listener:
    """One waiter.

    Attributes:
        packed: the receive that follows a token; b"" = the waiter wants to know which list had one.
        operation: the same, not packed.
        wakeup_lists: those that get a token again if the outcome comes too late.
        is_receiving: its receive is on its way, or answered.
        is_done: it has stopped listening: the outcome is a reply, the list that had a token, or an error.
    """

    __slots__ = ("_done", "is_done", "is_receiving", "lists", "operation", "outcome", "packed", "wakeup_lists")

    def __init__(
        self, packed: bytes, done: Callable[[], object], operation: Operation | None, wakeup_lists: tuple[str, ...]
    ) -> None:
        self.packed = packed
        self._done = done
        self.operation = operation
        self.wakeup_lists = wakeup_lists
        self.is_receiving = self.is_done = False
        self.outcome: Any = None
        self.lists: list[tuple[Tracker, bytes]] = []

    def finish(self, outcome: Any) -> bool:
        """The outcome is known. False if there was one before."""
        if self.is_done:
            return False
        self.is_done, self.outcome = True, outcome
        self._done()
        return True


class Tracker:
    """What one connection listens to. Its methods return what must be sent there, in that order.

    Attributes:
        to_wake: wakeup lists that get a token again, as one was taken that no waiter needed.
        unclaimed: receives that were answered when their waiter was gone: listener and reply.
    """

    def __init__(self) -> None:
        self._at: dict[bytes, list[Listener]] = {}
        self._expected: deque[tuple[Callable[..., bytes], Any]] = deque()
        self._trying: set[bytes] = set()
        self._lost: set[bytes] = set()  # lists whose last token another process had first
        self._receiving: set[Listener] = set()
        self.to_wake: list[str] = []
        self.unclaimed: list[tuple[Listener, Any]] = []

    def listen(self, listener: Listener, lists: Iterable[str]) -> bytes:
        """Listen for tokens of these lists, including those that are there already."""
        out = b""
        for name in lists:
            key = name.encode()
            self._at.setdefault(key, []).append(listener)
            listener.lists.append((self, key))
            out += self._track(key)
        return out

    def leave(self, listener: Listener) -> bytes:
        """A waiter leaves. A receive that is on its way still has an outcome."""
        out = b""
        for tracker, key in listener.lists:
            if tracker is self:
                out += self._unhook(listener, key)
        listener.lists = [one for one in listener.lists if one[0] is not self]
        return out

    @property
    def lists(self) -> list[str]:
        return [key.decode() for key in self._at]

    @property
    def is_used(self) -> bool:
        return bool(self._at or self._receiving)

    @property
    def is_silent(self) -> bool:
        return bool(self._expected)

    def probe(self) -> bytes:
        """Ask something, to find out whether the server answers."""
        for key in self._at:
            return self._track(key)
        return b""

    def fail(self, error: Exception, lists: Iterable[str] | None = None) -> None:
        """End the waits for some lists, or all of them, with an error."""
        for key in list(self._at) if lists is None else [name.encode() for name in lists]:
            for listener in self._at.pop(key, ()):
                listener.finish(error)
        if lists is None:
            for listener in self._receiving:
                listener.finish(error)
            self._receiving.clear()

    def feed(self, reply: Any) -> bytes:
        if isinstance(reply, list) and len(reply) == 2 and reply[0] == b"invalidate":
            out = b""
            for key in list(self._at) if reply[1] is None else reply[1]:  # None: everything was flushed
                out += self._try(key)
            return out
        if not self._expected:
            raise rx.InvalidResponse("an answer without a question")
        take, about = self._expected.popleft()
        return take(about, reply)

    def _track(self, key: bytes) -> bytes:
        self._expected.append((self._ignore, None))
        self._expected.append((self._tracked, key))
        return _TRACK + protocol.command("EXISTS", key)

    def _ignore(self, about: Any, reply: Any) -> bytes:
        return b""

    def _tracked(self, key: bytes, reply: Any) -> bytes:
        if isinstance(reply, Exception):
            self.fail(reply, [key.decode()])
            return b""
        return self._try(key) if reply else b""

    def _try(self, key: bytes) -> bytes:
        """Take a token, if there is one, and receive; then track the list again for the other waiters."""
        if key in self._trying or key not in self._at:
            return b""
        self._trying.add(key)
        first = self._at[key][0]
        out = protocol.command("LPOP", key)
        if first.packed and key not in self._lost:
            self._expected.append((self._taken, (key, first)))
            out += self._receive(first)
        else:
            self._expected.append((self._taken, (key, None)))
        if key in self._at:
            out += self._track(key)
        return out

    def _receive(self, listener: Listener) -> bytes:
        listener.is_receiving = True
        self._receiving.add(listener)
        self._expected.append((self._received, listener))
        return listener.packed + self.leave(listener)

    def _taken(self, about: tuple[bytes, Listener | None], reply: Any) -> bytes:
        key, receiver = about
        self._trying.discard(key)
        if isinstance(reply, Exception):
            self.fail(reply, [key.decode()])
            return b""
        if reply is None:
            self._lost.add(key)
            return b""
        self._lost.discard(key)
        if receiver is not None:
            return b""
        out = b""
        while key in self._at:
            first = self._at[key][0]
            if first.packed:
                out += self._receive(first)
                return out + self._track(key) if key in self._at else out  # the server does not report our own changes
            out += self.leave(first)
            if first.finish(key.decode()):
                return out
        self._wake_another(key)
        return out

    def _wake_another(self, key: bytes) -> None:
        """No waiter needs a token: let another process look."""
        if key.endswith(_LASTING):
            self.to_wake.append(key.rpartition(b":")[0].decode() + ":wakeups")

    def _received(self, listener: Listener, reply: Any) -> bytes:
        self._receiving.discard(listener)
        if not listener.finish(reply) and not isinstance(listener.outcome, Exception):  # then it asks again
            self.unclaimed.append((listener, reply))
        return b""

    def _unhook(self, listener: Listener, key: bytes) -> bytes:
        others = self._at.get(key)
        if others is None or listener not in others:
            return b""
        others.remove(listener)
        if others:
            return b""
        del self._at[key]
        if key.endswith(_LASTING):
            return b""
        self._lost.discard(key)
        # A name that is not used again: the server forgets that it is tracked when it changes.
        self._expected.append((self._ignore, None))
        self._expected.append((self._ignore, None))
        return protocol.command("RPUSH", key, "1") + protocol.command("DEL", key)


class HubState:
    """What the hubs of both variants know; see sync/hubs.py and aio/hubs.py.

    Args:
        wake: puts out tokens of wakeup lists.
        give_back: takes a receive that was answered when its waiter was gone.
    """

    def __init__(
        self, connection: Any, wake: Callable[[list[str]], object], give_back: Callable[[Listener, Any], None]
    ) -> None:
        self.connection = connection
        self.tracker = Tracker()
        self.failure: Exception | None = None
        self._wake = wake
        self._give_back = give_back
        self._reader = protocol.reader_of(connection)
        self._owing_since = 0.0  # the server, its next answer; 0 = none

    def _take_in(self, data: bytes) -> bytes:
        """Take what came, and return what must be sent."""
        if not data:
            raise rx.ConnectionError("the server closed the connection")
        self._reader.feed(data)
        out = b""
        while (reply := self._reader.gets(False)) is not protocol.MORE:
            if isinstance(reply, rx.ConnectionError):
                raise reply
            out += self.tracker.feed(reply)
        self._owing_since = time.monotonic() if self.tracker.is_silent else 0.0
        return out

    def _check_owed(self) -> None:
        """Nothing came for a while: was there anything to come?"""
        if self._owing_since and time.monotonic() - self._owing_since >= tuning.GRACE_S:
            raise rx.TimeoutError("no answer in time")
