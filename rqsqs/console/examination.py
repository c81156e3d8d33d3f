"""What the page of the server shows, examined by the checks of `rqsqs doctor`.

These wait for answers, so they run in a thread; and seldom, as some of them take a while.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import redis

import rqsqs
from rqsqs._core.keys import Keyspace, Partition
from rqsqs._io import connect
from rqsqs._io.directory import slot_of
from rqsqs._io.server_checks import Finding
from rqsqs._io.sync import clients
from rqsqs.doctor.facts import Facts, SlowCall, facts_of, slow_calls
from rqsqs.doctor.queues import Examined, examine, unseen
from rqsqs.doctor.server import Refusals, Server, check_server, opened
from rqsqs.errors import RqsqsError
from rqsqs.gateway.settings import GatewaySettings, keyspace_of

QUEUES_S = 3.0  # for which queues are looked at
REFUSED_S = 900.0  # then what was refused is asked for again
MOST_NAMED = 100  # partitions of a server


@dataclass(frozen=True, slots=True)
class SeenServer:
    """A server that has keys.

    Attributes:
        where: its URL without login.
        findings: of the checks.
        facts: what it says of itself; None = it does not answer, or tells nothing.
        slots: of a cluster, the hash slots that it has.
        slow: its slow calls; None = it does not tell.
        holder: who samples the history of queues, if this server has the key that says so; "" = nobody.
    """

    where: str
    findings: tuple[Finding, ...]
    facts: Facts | None = None
    slots: tuple[tuple[int, int], ...] = ()
    slow: tuple[SlowCall, ...] | None = None
    holder: str | None = None


@dataclass(frozen=True, slots=True)
class SeenServers:
    """All servers that have keys.

    Attributes:
        at: when they were looked at, by our clock, s.
        findings: about none of them in particular.
    """

    at: float
    servers: tuple[SeenServer, ...] = ()
    findings: tuple[Finding, ...] = ()


@dataclass(frozen=True, slots=True)
class Held:
    """The partitions of queues that a server has.

    Attributes:
        number: of them.
        tags: what the first are called: their hash tags.
    """

    number: int
    tags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SeenQueues:
    """The queues of an account.

    Attributes:
        queues: those that were looked at.
        is_cut: there are more.
        error: why they could not be looked at; None = they could.
        held: server -> which of their partitions it has.
    """

    queues: tuple[Examined, ...] = ()
    is_cut: bool = False
    error: Finding | None = None
    held: Mapping[str, Held] = field(default_factory=dict)


class Examiner:
    """Looks again and again.

    Args:
        settings: which server, and the prefix of keys.
        is_read_only: nothing is written, so rights cannot be tried.
        clock: seconds.
    """

    def __init__(
        self, settings: GatewaySettings, *, is_read_only: bool = False, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._settings, self._clock = settings, clock
        self._url = connect.resolve(settings.url)
        self._without = ("rights",) if is_read_only else ()
        self._refusals: dict[str, Refusals] = {}
        self._refused_since = clock()

    def servers(self) -> SeenServers:
        """Look at each server."""
        if self._clock() - self._refused_since > REFUSED_S:
            self._refused_since = self._clock()
            for each in self._refusals.values():
                each.reasons.clear()
        at = time.time()
        try:
            masters = clients.masters(self._url, self._settings.options)
        except (RqsqsError, OSError) as error:
            return SeenServers(at, findings=(Finding("connection", "fail", str(error), "is it running?"),))
        return SeenServers(at, tuple([self._server(master) for master in masters]))

    def _server(self, master: clients.Master) -> SeenServer:
        where = connect.shown(master.url)
        space = Keyspace(self._settings.prefix)
        findings: list[Finding] = []
        facts: Facts | None = None
        try:
            with opened(master.url, self._settings.options) as client:
                refusals = self._refusals.setdefault(where, Refusals())
                server = Server(client, space.prefix, is_cluster=bool(master.slots), refusals=refusals)
                findings += check_server(server, self._without)
                info = None if "version" in refusals.reasons else server.told("info", lambda: server.info)
                facts = None if info is None else facts_of(info)
                slow = slow_calls(server, space)
                holder = None
                if not master.slots or _has(master.slots, space.sampler):
                    found = server.told("sampler", lambda: client.get(space.sampler))
                    holder = (found or b"").decode(errors="replace")
                return SeenServer(
                    where, tuple(findings), facts, master.slots, None if slow is None else tuple(slow), holder
                )
        except (RqsqsError, redis.RedisError, OSError) as error:
            text = str(error) if isinstance(error, RqsqsError) else f"it stopped answering: {error}"
            findings.append(Finding("connection", "fail", text, "see its log"))
            return SeenServer(where, tuple(findings), facts, master.slots)

    def queues(self, account: str) -> SeenQueues:
        """Look at the queues of an account, for some seconds at most."""
        settings, until = self._settings, self._clock() + QUEUES_S
        try:
            with rqsqs.connect(self._url, prefix=settings.prefix, **settings.options) as connection:
                connection.transport.space = keyspace_of(connection.transport.space, account)
                queues, is_cut = examine(connection, lambda: self._clock() > until)
            masters = clients.masters(self._url, settings.options)
        except (RqsqsError, OSError) as error:
            return SeenQueues(error=unseen(error))
        partitions = [partition for queue in queues for partition in queue.partitions]
        return SeenQueues(tuple(queues), is_cut, held=_held(partitions, masters))


def _held(partitions: Sequence[Partition], masters: Sequence[clients.Master]) -> dict[str, Held]:
    found: dict[str, list[str]] = {connect.shown(master.url): [] for master in masters}
    for partition in partitions:
        for master in masters:
            if not master.slots or _has(master.slots, partition.wakeups):
                is_shard = partition.tag.rpartition("/")[0] != partition.queue
                found[connect.shown(master.url)].append(
                    f"{partition.tag} (dead letters in {partition.queue})" if is_shard else partition.tag
                )
                break
    return {where: Held(len(tags), tuple(tags[:MOST_NAMED])) for where, tags in found.items()}


def _has(slots: Sequence[tuple[int, int]], key: str) -> bool:
    return any(first <= slot_of(key) <= last for first, last in slots)
