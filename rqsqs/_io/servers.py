"""What the connections of both variants know about one server; see sync/servers.py and aio/servers.py. No I/O."""

from __future__ import annotations

from collections.abc import Generator, Iterable
from typing import Any
from urllib.parse import urlsplit

from rqsqs._core.operation import Operation
from rqsqs._io import connect, protocol, server_checks
from rqsqs._io.counters import Counters

Steps = Generator[list[bytes], list[Any], None] | tuple[()]  # nothing, or commands and their replies
SENDS = frozenset({"send_message", "send_message_fifo"})
MOST_FORMATS = 1000  # keys of formats that are remembered for one server


class KnownServer:
    """One server.

    Args:
        pool: the class of redis-py that makes its connections.
        unix_connection: the class of redis-py for its connections over a socket file.

    Attributes:
        where: its URL, for messages.
        opening_s: seconds it has to answer for the first time; None = no limit.
        has_answered: it did, at least once.
        is_checked: it can run the scripts, and takes writes. A replica is checked again, as it may become a master.
        scripts: those that it was given before many calls.
        unawaited: what it said of itself, if it has replicas; None after the first send that did not wait for them.
    """

    def __init__(
        self, url: str, settings: dict[str, Any], counters: Counters, pool: type[Any], unix_connection: type[Any]
    ) -> None:
        self.where = connect.shown(url)
        self.host = urlsplit(url).hostname or ""
        self.pool = connect.open_pool(url, settings, pool, unix_connection)
        self.opening_s = connect.opening_s(self.pool.connection_kwargs)
        self._counters = counters
        self.forget()

    def forget(self) -> None:
        self.has_answered = self.is_checked = self._is_closed = False
        self.unawaited: server_checks.ServerInfo | None = None
        self.scripts: set[str] = set()
        self._formats: dict[str, None] = {}

    def begin(self, then: Steps = ()) -> Generator[list[bytes], list[Any], None]:
        """What to say on a new connection: yields commands, is sent their replies, of which each may be an
        exception. First the server is checked, as far as that was not done."""
        yield from self._check()
        yield from then

    def _check(self) -> Generator[list[bytes], list[Any], None]:
        keys = self._unknown(self._counters.formats)
        if self.is_checked and not keys:
            return
        formats = [protocol.command(*server_checks.format_words(key)) for key in keys]
        info, config, *found = yield [*server_checks.QUESTIONS, *formats]
        self.has_answered = True
        server = server_checks.check(self.where, info, config)
        self.check_formats(keys, found)
        self.is_checked = server.is_master
        self.unawaited = server if server.replicas else None

    def has_format(self, key: str) -> bool:
        """Is the format known, or asked for by the first connection?"""
        return not self.is_checked or not self._unknown([key])

    def check_formats(self, keys: list[str], found: list[Any]) -> None:
        """Check what is stored under keys of formats.

        Raises:
            FormatNewer: a newer version wrote it.
        """
        if any(isinstance(reply, protocol.BROKEN) for reply in found):
            return  # the first operation says why
        server_checks.check_formats(self.where, keys, found)
        self._formats = dict.fromkeys(list(self._formats | dict.fromkeys(keys))[-MOST_FORMATS:])

    def forget_formats(self) -> None:
        """A connection broke: another server may be there."""
        self._formats = {}

    def _unknown(self, keys: Iterable[str]) -> list[str]:
        return sorted(key for key in keys if key not in self._formats)

    def warn(self, operation: Operation) -> None:
        """An operation was answered by a server with replicas: warn once, if it sent messages and did not wait for
        them."""
        server = self.unawaited
        if server is not None and operation.durability is None and operation.script in SENDS:
            server_checks.warn(server, server_checks.unawaited(server.replicas))
            self.unawaited = None
