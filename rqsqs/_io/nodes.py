"""Servers as the sync runner sees them: their connections, and which of them has what."""

from __future__ import annotations

import contextlib
import functools
import socket
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol
from urllib.parse import urlsplit

import hiredis
import redis.exceptions as rx
from redis.connection import ConnectionPool, UnixDomainSocketConnection

from rqsqs._io import connect, failures, fitness, opening, tls, wire
from rqsqs._io.addresses import Address, Place, directory_of, place_of
from rqsqs._io.counters import Counters
from rqsqs._io.listening import START, START_ANSWERS, Listener, Switch
from rqsqs._io.wire import LOADS, CallSlot
from rqsqs.errors import RqsqsError

IDLE_CHECK_S = 0.5  # a connection that rested longer is looked at before it is used
BLOCKING = 4  # so many connections to a server block, each for one partition; further waiters share one (listening.py)
OWN = 5  # so many connections to a server one call or waiter has to itself for a while; further calls share one
DURABLE = 16  # connections on which sends wait until they are safe enough
HUB_REST_S = 60.0  # so long after the last waiter the connection to listen is kept
RETURN_S = 0.25  # so often somebody who waits for one of these looks
BLOCK_TURNS = 20  # ms; so long a waiter that may block waits for a connection to do so
ASK_S = 2.0  # so long a server may take to tell where others are
FRESH_S = 0.2  # what was just learned is not asked for again
_MORE = object()  # told by a parser that needs more bytes


class BrokenOff(rx.ConnectionError):
    """Somebody waited for a server that is silent, or no master any more."""


class Taken(dict[int, weakref.ref[Any]]):
    """What callers have taken, by id(). It counts as long as somebody holds it: a caller that is interrupted between
    two steps leaves nothing behind."""

    def add(self, thing: Any) -> None:
        """It is taken."""
        key = id(thing)
        self[key] = weakref.ref(thing, functools.partial(self.pop, key))  # in C: no signal handler breaks it off

    def discard(self, thing: Any) -> None:
        """It is not taken any more."""
        self.pop(id(thing), None)

    def things(self) -> Iterator[Any]:
        """What is taken."""
        return (thing for held in list(self.values()) if (thing := held()) is not None)


class _Place:
    """Of a connection that is being opened."""


class Line:
    """A connection that one caller has to itself for a while.

    Attributes:
        pool: where it belongs.
        slot: names its calls.
        is_sent: the request of ask() is on its way.
        rested_at: since when nobody has used it (monotonic).
        client_id: the server's number of it; None as long as nobody asked.
    """

    __slots__ = ("__weakref__", "client_id", "connection", "is_sent", "pool", "rested_at", "slot")

    def __init__(self, connection: Any, pool: Pool) -> None:
        self.connection = connection
        self.pool: Any = pool
        self.slot = CallSlot()
        self.is_sent = False
        self.rested_at = 0.0
        self.client_id: int | None = None

    def ask(self, packed: bytes) -> Any:
        """Send a request and read the answer."""
        self.is_sent = False
        self.connection.send_packed_command([packed], check_health=False)
        self.is_sent = True
        return self.connection.read_response(disable_decoding=True)

    def load_and_ask(self, load: bytes, packed: bytes) -> Any:
        """Let the server know a script, and ask again at once."""
        for turn in range(LOADS):
            self.connection.send_packed_command([load, packed], check_health=False)
            refusal: rx.ResponseError | None = None
            try:
                self.connection.read_response(disable_decoding=True)
            except rx.ResponseError as e:
                refusal = e
            try:
                return self.connection.read_response(disable_decoding=True)
            except rx.NoScriptError:
                if refusal is not None or turn == LOADS - 1:  # or it was flushed again
                    raise refusal or rx.NoScriptError("the script is flushed all the time") from None
        raise AssertionError


class Pool:
    """Connections for one caller at a time. They rest in a deque, so that threads take and return them without a lock.

    Args:
        open: makes a connection; see Node.open() for its argument.
        most: so many at most.
    """

    def __init__(self, open: Callable[[float | None], Any], most: int, lost: Callable[[], None]) -> None:
        self._open = open
        self._most = most
        self._lost = lost
        self._idle: deque[Line] = deque()
        self._own = Taken()
        self._guard = threading.Lock()
        self._is_closed = False

    def take(self, beyond: bool = False, until: float | None = None) -> Line | None:
        """A connection that works, as far as one can see; None if all are in use.

        Args:
            beyond: open one even so.
            until: see Node.open().
        """
        while True:
            try:
                line = self._idle.pop()
            except IndexError:
                break
            if time.monotonic() - line.rested_at > IDLE_CHECK_S:
                try:
                    if line.connection.can_read(0):  # nothing should come unasked
                        raise rx.ConnectionError("unexpected data")
                except wire.BROKEN:
                    self.lose(line)
                    continue
            if id(line) in self._own:  # not dropped by somebody who was interrupted
                return line
        place = _Place()
        with self._guard:
            if len(self._own) >= self._most and not beyond:
                return None
            self._own.add(place)
        try:
            line = Line(self._open(until), self)
            self._own.add(line)
        finally:
            self._own.discard(place)
        return line

    def give(self, line: Line) -> None:
        """Back; somebody else may use it."""
        if self._is_closed:
            self.drop(line)
        else:
            line.is_sent = False
            line.rested_at = time.monotonic()
            self._idle.append(line)

    def drop(self, line: Line) -> None:
        """It is of no use any more."""
        self._own.discard(line)
        line.connection.disconnect()

    def lose(self, line: Line, error: BaseException | None = None) -> None:
        """It broke."""
        self.drop(line)
        self._lost()

    def refuse(self, line: Line, error: rx.ResponseError) -> None:
        """Back, after a server refused a request."""
        if isinstance(error, rx.ReadOnlyError):  # a name may point elsewhere by now
            self.drop(line)
        else:
            self.give(line)

    def shrink(self) -> None:
        """Hang up what is beyond the limit."""
        with contextlib.suppress(IndexError):
            while len(self._own) > self._most:
                self.drop(self._idle.pop())

    def close(self) -> None:
        """Hang up."""
        self._is_closed = True
        with contextlib.suppress(IndexError):
            while True:
                self.drop(self._idle.pop())
        for line in self._own.things():  # whoever uses it sees it, also who waits
            with contextlib.suppress(AttributeError, OSError):  # it is being opened, or broke
                line.connection._sock.shutdown(socket.SHUT_RDWR)


class PatientPool(Pool):
    """The same for those who wait until one is free."""

    def __init__(self, open: Callable[[float | None], Any], most: int, lost: Callable[[], None]) -> None:
        super().__init__(open, most, lost)
        self._returned = threading.Condition()

    def take(self, beyond: bool = False, until: float | None = None) -> Line:
        """A connection, as soon as one is free."""
        while (line := super().take(beyond, until)) is None:
            with self._returned:  # what was returned in between, or by somebody who was interrupted, is seen then
                self._returned.wait(RETURN_S)
        return line

    def give(self, line: Line) -> None:
        """Back; somebody else may use it."""
        super().give(line)
        with self._returned:
            self._returned.notify()

    def drop(self, line: Line) -> None:
        """It is of no use any more."""
        super().drop(line)
        with self._returned:
            self._returned.notify()


class SharedLine:
    """A call's turn on a pipe; as Line."""

    __slots__ = ("pool", "slot")

    is_sent = True  # as far as one can tell

    def __init__(self, pipe: Pipe, slot: CallSlot) -> None:
        self.pool: Any = pipe
        self.slot = slot

    @property
    def connection(self) -> Any:
        """That of the pipe."""
        return self.pool.connection

    def ask(self, packed: bytes) -> Any:
        """Send a request and wait for its answer."""
        return self.pool.ask(packed)

    def load_and_ask(self, load: bytes, packed: bytes) -> Any:
        """Let the server know a script, and ask again."""
        for _ in range(LOADS - 1):
            self.pool.ask(load)
            with contextlib.suppress(rx.NoScriptError):  # flushed again
                return self.pool.ask(packed)
        self.pool.ask(load)
        return self.pool.ask(packed)


class Pipe:
    """A connection on which requests of many threads follow each other. Each reads its own answer, and then it is the
    next one's turn.

    Args:
        slots: for its calls.
        lost: told when it broke, or (False) is to be used no more.
    """

    def __init__(self, connection: Any, slots: wire.CallSlots, lost: Callable[[Pipe, Exception, bool], None]) -> None:
        tls.share(connection)
        self.connection = connection
        self.failure: BaseException | None = None
        self._slots = slots
        self._lost = lost
        self._guard = threading.Lock()
        self._turns: deque[threading.Lock] = deque()  # of those who wait for an answer; the first one reads

    def line(self) -> SharedLine:
        """For one call."""
        return SharedLine(self, self._slots.take())

    def give(self, line: SharedLine) -> None:
        """Its call was answered."""
        self._slots.give(line.slot)

    def drop(self, line: SharedLine) -> None:
        """Its call was broken off, which the pipe has seen."""

    def lose(self, line: SharedLine, error: Exception) -> None:
        """It broke."""
        self._lost(self, error, True)

    def refuse(self, line: SharedLine, error: rx.ResponseError) -> None:
        """A server refused a request."""
        self.give(line)
        if isinstance(error, rx.ReadOnlyError):  # a name may point elsewhere by now
            self._lost(self, error, False)

    def ask(self, packed: bytes) -> Any:
        """Send a request and wait for its answer.

        Raises:
            ConnectionError, TimeoutError: it broke; so it did for all others.
        """
        turn = threading.Lock()
        since = time.monotonic()
        try:
            with self._guard:
                if self.failure is not None:
                    raise rx.ConnectionError(str(self.failure))
                self.connection.send_packed_command([packed], check_health=False)
                if self._turns:
                    turn.acquire()
                self._turns.append(turn)
            turn.acquire()
            if self.failure is not None:
                raise self._trouble_of(since)
            try:
                reply = self.connection.read_response(disable_decoding=True)
            except rx.ResponseError as e:
                reply = e
            with self._guard:
                if self._turns:
                    self._turns.popleft()
                if self._turns:
                    self._turns[0].release()
        except BaseException as e:  # nobody can tell any more which answer is whose
            is_hung_up = self.failure is not None and isinstance(e, Exception)
            self.fail(e)
            if is_hung_up and not isinstance(e, rx.RedisError):
                raise rx.ConnectionError(str(self.failure)) from e
            raise
        if isinstance(reply, rx.ResponseError):
            raise reply
        return reply

    def _trouble_of(self, since: float) -> rx.RedisError:
        """For somebody who waited since then: whoever did not for long asks a server again that was silent."""
        patience = self.connection.socket_timeout
        is_silent = isinstance(self.failure, rx.TimeoutError) and patience is not None
        if is_silent and time.monotonic() - since >= patience / 2:
            return rx.TimeoutError(str(self.failure))
        return rx.ConnectionError(str(self.failure))

    def fail(self, error: BaseException) -> None:
        """It is of no use any more: for nobody."""
        with self._guard:
            if self.failure is None:
                self.failure = error
            while self._turns:  # also if whoever was about to do so was interrupted
                turn = self._turns.popleft()
                with contextlib.suppress(RuntimeError):  # it is reading
                    turn.release()
        self.connection.disconnect()


class Hub:
    """One connection over which any number of threads listen (listening.py); a thread of its own reads from it.

    Attributes:
        guard: to be held by whoever touches the switch or a listener; one for all hubs.
    """

    def __init__(
        self,
        connection: Any,
        guard: threading.Lock,
        spare: Callable[[list[str]], None],
        orphaned: Callable[[Listener, Any], None],
    ) -> None:
        tls.share(connection)
        self.connection = connection
        self.guard = guard
        self.switch = Switch()
        self.failure: Exception | None = None
        self.ended = threading.Event()
        self._spare = spare
        self._orphaned = orphaned
        self._socket = connection._sock
        self._reader = hiredis.Reader(replyError=connection._parser.parse_error, notEnoughData=_MORE)
        self._owing_since = 0.0  # the server, its next answer; 0 = none
        threading.Thread(target=self._read, name="rqsqs-hub", daemon=True).start()

    def listen(self, listener: Listener, lists: Sequence[str]) -> None:
        """Hear of tokens.

        Raises:
            ConnectionError: it broke.
        """
        with self.guard:
            if self.failure is not None:
                raise rx.ConnectionError(str(self.failure))
            self._tell(lambda: self.switch.listen(listener, lists))

    def leave(self, listener: Listener) -> None:
        """A thread waits no more."""
        with self.guard:
            if self.failure is None:
                self._tell(lambda: self.switch.leave(listener))

    def probe(self) -> None:
        """See to it that a server that is silent is found out."""
        with self.guard:
            if self.failure is None and not self.switch.is_silent:
                self._tell(self.switch.probe)

    def fail(self, error: Exception) -> None:
        """It is of no use any more."""
        with self.guard:
            if self.failure is None:
                self.failure = error
                self.switch.fail(error)
        self.ended.set()
        self._hang_up()

    def _tell(self, what: Callable[[], bytes]) -> None:
        try:
            self._send(what())
        except BaseException:  # interrupted: the switch waits for answers to what was perhaps not sent
            self._hang_up()
            raise

    def _send(self, data: bytes) -> None:
        if not data:
            return
        self._owing_since = self._owing_since or time.monotonic()
        try:
            self._socket.sendall(data)
        except OSError:  # half of it, perhaps: nothing may follow
            self._hang_up()

    def _hang_up(self) -> None:
        with contextlib.suppress(OSError):  # the thread that reads sees it
            self._socket.shutdown(socket.SHUT_RDWR)

    def _read(self) -> None:
        switch, reader = self.switch, self._reader
        heard = time.monotonic()
        try:
            self._socket.settimeout(wire.GRACE_S / 4)
            while True:
                try:
                    data = self._socket.recv(65_536)
                except TimeoutError:
                    with self.guard:
                        if self._owing_since and time.monotonic() - self._owing_since >= wire.GRACE_S:
                            raise rx.TimeoutError("no answer in time") from None
                        if not switch.is_used and time.monotonic() - heard > HUB_REST_S:
                            self.failure = rx.ConnectionError("nobody listens any more")
                            return
                    continue
                if not data:
                    raise rx.ConnectionError("the server closed the connection")
                heard = time.monotonic()
                with self.guard:
                    reader.feed(data)
                    out = b""
                    while (reply := reader.gets(False)) is not _MORE:
                        if isinstance(reply, rx.ConnectionError):
                            raise reply
                        out += switch.told(reply)
                    self._owing_since = time.monotonic() if switch.is_silent else 0.0
                    self._send(out)
                    spare, orphans = switch.spare, switch.orphans
                    switch.spare, switch.orphans = [], []
                if spare or orphans:
                    threading.Thread(target=self._return, args=(spare, orphans), daemon=True).start()
        except Exception as e:  # whatever it is: nobody shall wait for what is not read any more
            self.fail(e)
        finally:
            self.ended.set()
            self.connection.disconnect()

    def _return(self, spare: list[str], orphans: list[tuple[Listener, Any]]) -> None:
        self._spare(spare)
        for orphan in orphans:
            self._orphaned(*orphan)


class _Opening:
    """Somebody opens a connection for all who need it now."""

    def __init__(self) -> None:
        self.going_on = threading.Lock()
        self.going_on.acquire()
        self.made: Any = None
        self.error: Exception | None = None


class Node:
    """One server.

    Attributes:
        calls: connections that one call or waiter has to itself for a while. Calls beyond these share a pipe.
        durable: the same for calls that wait until they are safe enough.
        blocking: connections that block; no more than BLOCKING, unless the server lets nobody listen.
        hub: what listens, if somebody had to.
        copied: what it told, if it has replicas; None after the first send.
        has_answered: it did, at least once.
        opening_s: seconds it has to do so; None = no limit.
    """

    def __init__(self, url: str, settings: dict[str, Any], counters: Counters) -> None:
        self._slots = wire.CallSlots()
        self.where = connect.shown(url)
        self.host = urlsplit(url).hostname or ""
        self.pool = connect.open_pool(url, settings, ConnectionPool, UnixDomainSocketConnection)
        self.copied: fitness.Told | None = None
        self.opening_s = connect.opening_s(self.pool.connection_kwargs)
        self._counters = counters
        self.forget()

    def forget(self) -> None:
        """Begin without connections."""
        self.calls = Pool(self._connect, OWN, self._count_lost)
        self.durable = PatientPool(self._connect, DURABLE, self._count_lost)
        self.blocking = Taken()
        self.is_hub_refused = False
        self.hub: Hub | None = None
        self._pipe: Pipe | None = None
        self._openings: dict[str, _Opening] = {}
        self._guard = threading.Lock()
        self._asking = threading.Lock()
        self.has_answered = self._is_checked = self._is_closed = False
        self._looked = fitness.Looked()

    def _connect(self, until: float | None = None, **options: Any) -> Any:
        connection: Any = self.pool.connection_class(**{**self.pool.connection_kwargs, **options})
        is_new = not self._is_checked  # whoever has answered before may be busy for a while
        if is_new:
            connection.hurry_until(opening.end_of(self.opening_s, until))
        try:
            connection.connect()
            if not self._is_checked or self._looked.missing(self._counters.formats):
                self._check(connection)
        except BaseException as e:
            connection.disconnect()
            if is_new and isinstance(e, rx.TimeoutError | TimeoutError):
                raise opening.silent(self.opening_s, connection.has_connected) from None
            raise
        if is_new:
            connection.calm_down()
        return connection

    def _check(self, connection: Any) -> None:
        formats = self._looked.missing(self._counters.formats)
        questions = [fitness.QUESTIONS, *map(fitness.format_question, formats)]
        connection.send_packed_command(questions, check_health=False)
        replies: list[Any] = []
        for _ in range(2 + len(formats)):
            try:
                replies.append(connection.read_response(disable_decoding=True))
            except rx.ResponseError as e:
                replies.append(e)
        self.has_answered = True
        told = fitness.judge(self.where, *replies[:2])
        fitness.judge_formats(self.where, formats, replies[2:])
        self._is_checked = told.is_master  # what becomes one is asked again
        self._looked.add(formats)
        self.copied = told if told.replicas else None

    def open(self, until: float | None) -> None:
        """Make sure that it answers.

        Args:
            until: when to give up, by time.monotonic(); None = after opening_s.
        """
        line = self.calls.take(until=until)
        if line is None:
            self.pipe(until)
        else:
            self.calls.give(line)

    def look(self, key: str) -> None:
        """Make sure that what is stored has a format that we know, unless the first connection is going to."""
        if not self._is_checked or not self._looked.missing({key}):
            return
        try:
            found = self.ask(*fitness.format_words(key))
        except rx.ResponseError as e:
            found = e
        except wire.BROKEN:
            return  # the first operation says why
        fitness.judge_formats(self.where, [key], [found])
        self._looked.add([key])

    def _count_lost(self) -> None:
        self._counters.count("connections_lost")
        self._looked.forget()

    def pipe(self, until: float | None = None) -> Pipe:
        """The pipe, opened if need be.

        Args:
            until: see open().
        """
        pipe = self._pipe
        if pipe is not None and pipe.failure is None:
            return pipe
        opened: Pipe = self._opened("pipe", lambda: self._open_pipe(until))
        return opened

    def _open_pipe(self, until: float | None) -> Pipe:
        self._pipe = pipe = Pipe(self._connect(until), self._slots, self.lose_pipe)
        return pipe

    def lose_pipe(self, pipe: Pipe, error: Exception, is_lost: bool = True) -> None:
        """Use this pipe no more."""
        with self._guard:
            is_mine, self._pipe = self._pipe is pipe, None if self._pipe is pipe else self._pipe
        if is_mine:
            pipe.fail(error)
            if is_lost:
                self._count_lost()

    def block(self, always: bool = False) -> Line | None:
        """A connection that is going to block; to be followed by vacate(). None if there are enough."""
        place = _Place()
        with self._guard:
            if len(self.blocking) >= BLOCKING and not (always or self.is_hub_refused):
                return None
            self.blocking.add(place)
        for turn in range(BLOCK_TURNS):
            line = self.calls.take(beyond=always or self.is_hub_refused)
            if line is not None:
                self.blocking.add(line)
                self.blocking.discard(place)
                return line
            time.sleep(0.001 * (turn + 1 < BLOCK_TURNS))  # calls are short: one of them is about to give its back
        return None

    def vacate(self, line: Line) -> None:
        """It does not block any more."""
        self.blocking.discard(line)

    def open_hub(self, make: Callable[[Any], Hub]) -> Hub | None:
        """The connection to listen, opened if need be; None if the server does not let us listen."""
        hub = self.hub
        if hub is not None and hub.failure is None:
            return hub
        if self.is_hub_refused:
            return None
        opened: Hub | None = self._opened("hub", lambda: self._open_hub(make))
        return opened

    def _open_hub(self, make: Callable[[Any], Hub]) -> Hub | None:
        try:
            connection = self._connect(protocol=3)
        except rx.ResponseError:
            self.is_hub_refused = True
            return None
        try:
            connection.send_packed_command([START], check_health=False)
            for _ in range(START_ANSWERS):
                connection.read_response(disable_decoding=True)
        except rx.ResponseError as e:
            connection.disconnect()
            if wire.is_elsewhere(e):
                raise rx.ConnectionError(str(e)) from e
            self.is_hub_refused = True
            return None
        except BaseException:
            connection.disconnect()
            raise
        self.hub = hub = make(connection)
        return hub

    def _opened(self, name: str, make: Callable[[], Any]) -> Any:
        """What somebody makes for all who need it now: it is made once, and fails once."""
        mine: _Opening | None = None
        try:
            with self._guard:
                current = getattr(self, "_pipe" if name == "pipe" else "hub")
                if current is not None and current.failure is None:
                    return current
                opening = self._openings.get(name)
                if opening is None:
                    opening = mine = self._openings[name] = _Opening()
            if mine is not None:
                mine.made = make()
        except BaseException as e:
            if mine is not None:
                mine.error = e if isinstance(e, Exception) else rx.ConnectionError("interrupted")
            raise
        finally:
            if mine is not None:
                with self._guard:
                    self._openings.pop(name, None)
                mine.going_on.release()
        if mine is None:
            with opening.going_on:
                pass
            if opening.error is not None:
                raise opening.error
        return opening.made

    def ask(self, *words: Any, until: float | None = None) -> Any:
        """Send one command, with little patience."""
        line = self.calls.take(until=until)
        if line is not None:
            return self._ask(line, words, until)
        with self._asking:  # all are in use: one more for a moment
            try:
                line = self.calls.take(beyond=True, until=until)
                assert line is not None
                return self._ask(line, words, until)
            finally:
                self.calls.shrink()

    def _ask(self, line: Line, words: Sequence[Any], until: float | None) -> Any:
        try:
            line.connection.send_command(*words)
            if not line.connection.can_read(max(opening.end_of(ASK_S, until) - time.monotonic(), 0)):
                raise rx.TimeoutError(f"{self.where} does not answer")
            reply = line.connection.read_response(disable_decoding=True)
        except rx.ResponseError:
            self.calls.give(line)
            raise
        except wire.BROKEN:
            self.calls.lose(line)
            raise
        except BaseException:
            self.calls.drop(line)
            raise
        self.calls.give(line)
        return reply

    def close(self) -> None:
        """Hang up."""
        self._is_closed = True
        self.calls.close()
        self.durable.close()
        if self._pipe is not None:
            self.lose_pipe(self._pipe, rx.ConnectionError("the connection was closed"), is_lost=False)
        if self.hub is not None:
            self.hub.fail(BrokenOff(f"{self.where} is not used any more"))


class Router(Protocol):
    """Knows which server has a key."""

    is_cluster: bool

    @property
    def only(self) -> Node | None:
        """The server, if there is always the same one."""

    @property
    def is_dynamic(self) -> bool:
        """May another server take over?"""

    @property
    def opening_s(self) -> float | None:
        """Seconds for everything that is tried until a server with keys has answered; None = no limit."""

    def node(self, key: str, until: float | None = None) -> Node:
        """The server that has a key.

        Args:
            until: when to give up, by time.monotonic().

        Raises:
            ConnectionError, ResponseError, RqsqsError: nobody says which, and why.
        """

    def refresh(self, age: float = FRESH_S, until: float | None = None) -> None:
        """Find out which server has what, unless that was done in the last `age` seconds. Does not fail; the next call
        says what is wrong."""

    def follow(self, error: rx.ResponseError, key: str, node: Node | None) -> None:
        """A server refused a key: find out why, or whom to ask instead."""

    def after_fork(self) -> None:
        """In a child: the connections are the parent's."""

    def close(self) -> None:
        """Hang up."""


class Fixed:
    """One server, always the same."""

    is_dynamic = is_cluster = False

    def __init__(self, url: str, settings: dict[str, Any], counters: Counters) -> None:
        self.only = Node(url, settings, counters)
        self.after_fork = self.only.forget
        self.close = self.only.close

    @property
    def opening_s(self) -> float | None:
        """That of the server."""
        return self.only.opening_s

    def node(self, key: str, until: float | None = None) -> Node:
        """The server."""
        return self.only

    def refresh(self, age: float = FRESH_S, until: float | None = None) -> None:
        """Nothing to be found out."""

    def follow(self, error: rx.ResponseError, key: str, node: Node | None) -> None:
        """Nowhere to go."""


class Several:
    """Servers of which a directory tells. One thread at a time asks for news."""

    only = None

    def __init__(self, place: Place, settings: dict[str, Any], counters: Counters) -> None:
        self.directory = directory_of(place)
        self._counters = counters
        self.is_cluster = place.kind == "cluster"
        self._settings = settings
        self._nodes: dict[Address, Node] = {}
        self._guard = threading.Lock()
        self._learned = -FRESH_S
        self._is_open = False
        for seed in place.seeds:  # tells at once whether the options exist
            self._at(seed)

    @property
    def is_dynamic(self) -> bool:
        """May another server take over? Not before one has answered: what is wrong with the URL, or with what servers
        tell of each other, shall not be tried for long."""
        if not self._is_open:
            found = [self._nodes.get(address) for address in self.directory.masters()]
            self._is_open = any(node is not None and node.has_answered for node in found)
        return self._is_open

    @property
    def opening_s(self) -> float | None:
        """At least the default, as each of the servers has a part of that."""
        each = self._at(self.directory.place.seeds[0]).opening_s
        return None if each is None else max(each, connect.OPENING_S)

    def node(self, key: str, until: float | None = None) -> Node:
        """The server that has a key."""
        address = self.directory.owner(key)
        if address is None:
            self.refresh(until=until)
            address = self.directory.owner(key)
            if address is None:
                raise self.directory.trouble
        return self._at(address)

    def _at(self, address: Address) -> Node:
        node = self._nodes.get(address)
        if node is None:
            url, settings = self.directory.access(address, self._settings)
            node = self._nodes.setdefault(address, Node(url, settings, self._counters))
        return node

    def refresh(self, age: float = FRESH_S, until: float | None = None) -> None:
        """Find out what has changed, unless somebody just did."""
        asked = time.monotonic()
        with self._guard:
            if self._learned < asked - age:
                self._learn(until)
                self._learned = time.monotonic()

    def _learn(self, until: float | None) -> None:
        before = set(self.directory.masters())
        for number, address in enumerate(self.directory.informants()):
            if number and until is not None and time.monotonic() >= until:
                break
            try:
                reply = self._at(address).ask(*self.directory.question, until=until)
            except (*wire.BROKEN, rx.ResponseError, RqsqsError) as e:
                self.directory.failed(address, e)
            else:
                if self.directory.told(address, reply):
                    break
        self._counters.count("failovers", len(before.difference(self.directory.masters())))
        for gone in self._nodes.keys() - self.directory.addresses():
            self._nodes.pop(gone).close()

    def follow(self, error: rx.ResponseError, key: str, node: Node | None) -> None:
        """Ask for news, and believe what the server said about this key."""
        self.refresh()
        if isinstance(error, rx.MovedError) and node is not None:
            self.directory.moved(key, error, node.host)

    def after_fork(self) -> None:
        """In a child: the connections are the parent's."""
        self._guard = threading.Lock()
        for node in self._nodes.values():
            node.forget()

    def close(self) -> None:
        """Hang up."""
        for node in list(self._nodes.values()):
            node.close()


def router_of(url: str, settings: dict[str, Any], counters: Counters) -> Router:
    """The router of a URL."""
    place = place_of(url)
    return Fixed(url, settings, counters) if place is None else Several(place, settings, counters)


def master_urls(url: str) -> list[str]:
    """The URL of each server that has keys.

    Raises:
        RqsqsError: nobody says which.
    """
    place = place_of(url)
    if place is None:
        return [url]
    several = Several(place, connect.settings_of(url, {})[0], Counters())
    try:
        several.refresh()
        trouble, found = several.directory.trouble, several.directory.masters()
    finally:
        several.close()
    if found:
        return [several.directory.access(address, {})[0] for address in found]
    raise failures.server(trouble, sent=False, where=connect.shown(url)) or trouble
