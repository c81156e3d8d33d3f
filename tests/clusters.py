"""A real cluster for tests, and a master with Sentinels: processes on free loopback ports.

with Cluster() as cluster:                  # 3 masters, 3 replicas, in memory
    rqsqs.connect(cluster.url)
    cluster.kill_master(key="{orders/0}")   # its replica takes over
"""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis
from redis.cluster import ClusterNode
from redis.crc import key_slot

from rqsqs._io.sync import clients
from rqsqs._io.urls import place_of
from tests.servers import Kind, Server, free_port

ALL_ON_CLUSTER = bool(os.environ.get("RQSQS_TEST_CLUSTER"))
PATIENCE = 60.0


def until(is_so: Any, what: str, patience: float = PATIENCE) -> None:
    """Look again until it is so."""
    deadline = time.monotonic() + patience
    while True:
        with contextlib.suppress(redis.RedisError, OSError):
            if is_so():
                return
        assert time.monotonic() < deadline, f"after {patience} s it is not so that {what}"
        time.sleep(0.02)


def client_of(url: str) -> Any:
    """A plain client of a server or cluster, to look at keys."""
    place = place_of(url)
    if place is None:
        return redis.Redis.from_url(url)
    return redis.RedisCluster(startup_nodes=[ClusterNode(*seed) for seed in place.seeds])


@contextlib.contextmanager
def masters_of(url: str) -> Iterator[list[redis.Redis]]:
    """A plain client of each master; of a single server one."""
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(redis.Redis.from_url(one)) for one in clients.master_urls(url)]


def infos(url: str, section: str) -> list[dict[str, Any]]:
    """INFO of each master."""
    with masters_of(url) as masters:
        found: list[Any] = [master.info(section) for master in masters]
        return found


def blocked(url: str) -> int:
    """How many connections wait for something."""
    return sum(int(info["blocked_clients"]) for info in infos(url, "clients"))


def calls(masters: Sequence[redis.Redis]) -> Counter[str]:
    """How often each command was called, apart from INFO and what replicas say."""
    found: Counter[str] = Counter()
    for master in masters:
        info: Any = master.info("commandstats")
        found.update({name.removeprefix("cmdstat_"): int(values["calls"]) for name, values in info.items()})
    for name in ("info", "replconf"):
        found.pop(name, None)
    return found


class Cluster:
    """Masters with one replica each, or none.

    Args:
        kind: `valkey` or `redis`.
        masters: how many.
        replicas: of each master, 0 or 1.
        node_timeout: ms until a node that does not answer is suspected.
        options: of the servers.

    Attributes:
        servers: all, masters first.
        masters: those that are masters as long as none fails.
    """

    def __init__(
        self, kind: Kind = "valkey", masters: int = 3, replicas: int = 1, node_timeout: int = 1000, **options: str | int
    ) -> None:
        self.servers = [
            Server(
                kind,
                cluster_enabled="yes",
                cluster_port=free_port(),
                cluster_config_file="nodes.conf",
                cluster_node_timeout=node_timeout,
                repl_diskless_sync_delay=0,
                **options,
            )
            for _ in range(masters * (1 + replicas))
        ]
        self.masters = self.servers[:masters]

    @property
    def url(self) -> str:
        """The URL of the cluster, with three seeds."""
        seeds = ",".join(f"127.0.0.1:{s.port}" for s in self.masters[:3])
        return f"redis+cluster://{seeds}"

    def client(self, server: Server) -> redis.Redis:
        """A plain client of one server."""
        return redis.Redis(port=server.port, socket_timeout=5)

    def start(self) -> Self:
        """Start and join everything; returns when all slots are served and all replicas in step."""
        try:
            return self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> Self:
        for server in self.servers:
            try:
                server.start()
            except RuntimeError:  # somebody took the port of its bus
                server.options["cluster_port"] = free_port()
                server.start()
        clients = [self.client(s) for s in self.servers]
        count = len(self.masters)
        share = 16_384 // count
        for i, client in enumerate(clients[:count]):
            last = 16_383 if i == count - 1 else (i + 1) * share - 1
            client.execute_command("CLUSTER", "ADDSLOTSRANGE", i * share, last)
            client.execute_command("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        for client in clients[1:]:
            first = self.servers[0]
            client.execute_command("CLUSTER", "MEET", "127.0.0.1", first.port, first.options["cluster_port"])
        until(
            lambda: all(_field(c, "cluster_known_nodes") == str(len(clients)) for c in clients), "all know each other"
        )
        for i, client in enumerate(clients[count:]):
            number = _text(clients[i].execute_command("CLUSTER", "MYID"))
            until(lambda c=client, n=number: _ok(c.execute_command("CLUSTER", "REPLICATE", n)), "it replicates")
        until(lambda: all(_field(c, "cluster_state") == "ok" for c in clients), "all slots are served")
        until(
            lambda: all(c.info("replication").get("master_link_status") == "up" for c in clients[count:]),
            "replicas are in step",
        )
        for client in clients:
            client.close()
        return self

    def stop(self) -> None:
        """End all."""
        for server in self.servers:
            server.kill9()
            server.stop()

    def owner(self, key: str) -> Server:
        """The master that has a key."""
        return self.owner_as_told_by(self.servers, key)

    def owner_as_told_by(self, servers: Sequence[Server], key: str) -> Server:
        """The master that has a key, as the first of some servers says that answers."""
        slot = key_slot(key.encode())
        for server in servers:
            if server.process is None:
                continue
            with contextlib.suppress(redis.RedisError, OSError), self.client(server) as client:
                for first, last, master, *_ in client.execute_command("CLUSTER SLOTS"):
                    if first <= slot <= last:
                        port = int(master[1])
                        return next(s for s in self.servers if s.port == port)
        raise AssertionError(f"nobody has slot {slot}")

    def is_replica(self, server: Server) -> bool:
        """Has it become one?"""
        with self.client(server) as client:
            return client.info("replication")["role"] == "slave"

    def replicates(self, server: Server, master: Server) -> bool:
        """Is it a replica of that master?"""
        with self.client(server) as client:
            return client.info("replication").get("master_port") == master.port

    def is_up(self, servers: Sequence[Server]) -> bool:
        """Do all of these say that all slots are served?"""
        with contextlib.ExitStack() as stack:
            return all(_field(stack.enter_context(self.client(s)), "cluster_state") == "ok" for s in servers)

    def kill_master(self, key: str) -> Server:
        """SIGKILL the master of a key; returns it."""
        server = self.owner(key)
        server.kill9()
        return server

    def name_on(self, server: Server, stem: str = "q") -> str:
        """The name of a queue that lives on a master."""
        names = (f"{stem}{i}" for i in itertools.count())
        return next(name for name in names if self.owner(home_of(name)) is server)

    def migrate(self, key: str, target: Server, between: Callable[[], Any] = lambda: None) -> None:
        """Move the slot of a key to another master, key by key, while everybody works.

        Args:
            between: called when the slot is open, before its keys move, and again when half of them have moved.
        """
        slot, source = key_slot(key.encode()), self.owner(key)
        with self.client(source) as old, self.client(target) as new:
            ids = [_text(client.execute_command("CLUSTER", "MYID")) for client in (old, new)]
            new.execute_command("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[0])
            old.execute_command("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[1])
            between()
            first = True
            while keys := old.execute_command("CLUSTER", "GETKEYSINSLOT", slot, 1 if first else 100):
                old.execute_command("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
                if first:
                    between()
                first = False
            for client in (new, old):
                client.execute_command("CLUSTER", "SETSLOT", slot, "NODE", ids[1])
        until(lambda: self._know(key, target, ids[1]), "the slot has moved")
        until(lambda: self.owner(key) is target, "the slot has moved")

    def _know(self, key: str, target: Server, target_id: str) -> bool:
        """Do all servers say that another one has the slot of a key? Those who do not are told, as redis-cli does: what
        they hear of two moves at a time may confuse them, the source and the target as well."""
        others = []
        for server in self.servers:
            if server.process is None:
                continue
            with contextlib.suppress(redis.RedisError, OSError), self.client(server) as client:
                try:
                    client.exists(key)
                    owner = server.port
                except redis.exceptions.MovedError as moved:
                    owner = moved.port
                if owner != target.port:
                    others.append(server)
                    client.execute_command("CLUSTER", "SETSLOT", key_slot(key.encode()), "NODE", target_id)
        return not others

    def await_failover(self, key: str, old: Server) -> None:
        """Until another one has the key's slot."""
        until(lambda: self.owner(key) is not old, "a replica has taken over")

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


class Sentinels:
    """A master, a replica, and three Sentinels that watch over the service "mymaster"."""

    def __init__(self, kind: Kind = "valkey", down_after: int = 500, **options: str | int) -> None:
        self.down_after = down_after
        self.servers = [Server(kind, repl_diskless_sync_delay=0, **options) for _ in range(2)]
        self.master, self.replica = self.servers
        self.ports = [free_port() for _ in range(3)]
        self._folder = Path(tempfile.mkdtemp(prefix="sentinels-"))
        self._processes: list[subprocess.Popen[bytes]] = []

    @property
    def url(self) -> str:
        """The URL of the service."""
        return f"redis+sentinel://{','.join(f'127.0.0.1:{port}' for port in self.ports)}/mymaster"

    def known(self) -> int:
        """The port of the master, as two of the Sentinels say at least; 0 if they do not agree."""
        told = []
        for port in self.ports:
            with contextlib.suppress(redis.RedisError, OSError), redis.Redis(port=port, socket_timeout=2) as client:
                told.append(int(client.execute_command("SENTINEL", "GET-MASTER-ADDR-BY-NAME", "mymaster")[1]))
        return next((port for port in told if told.count(port) > 1), 0)

    def start(self) -> Self:
        """Start everything; returns when all know each other and the replica is in step."""
        try:
            return self._start()
        except BaseException:
            self.stop()
            raise

    def _start(self) -> Self:
        for server in self.servers:
            server.start()
        with redis.Redis(port=self.replica.port) as replica:
            replica.replicaof("127.0.0.1", self.master.port)
            until(lambda: replica.info("replication")["master_link_status"] == "up", "the replica is in step")
        for port in self.ports:
            path = self._folder / f"{port}.conf"
            path.write_text(
                f"port {port}\nbind 127.0.0.1\ndir {self._folder}\nlogfile {self._folder / f'{port}.log'}\n"
                f"sentinel monitor mymaster 127.0.0.1 {self.master.port} 2\n"
                f"sentinel down-after-milliseconds mymaster {self.down_after}\n"
                "sentinel failover-timeout mymaster 3000\n"
            )
            self._processes.append(subprocess.Popen([self.master.binary, str(path), "--sentinel"]))
        for port in self.ports:
            with redis.Redis(port=port, socket_timeout=2) as client:
                until(lambda c=client: _knows_all(c), "the Sentinels know each other")
        return self

    def stop(self) -> None:
        """End all."""
        for process in self._processes:
            process.kill()
            process.wait()
        for server in self.servers:
            server.kill9()
            server.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()


def home_of(queue: str) -> str:
    """A key in the slot where a queue is at home."""
    return f"{{{queue}/0}}"


def _knows_all(sentinel: redis.Redis) -> bool:
    raw: Any = sentinel.execute_command("SENTINEL", "MASTER", "mymaster")
    fields = raw if isinstance(raw, dict) else dict(zip(raw[::2], raw[1::2], strict=True))
    named = {_text(name).replace("_", "-"): _text(value) for name, value in fields.items()}
    return named["num-other-sentinels"] == "2" and named["num-slaves"] == "1"


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _ok(value: Any) -> bool:
    return value is True or _text(value) == "OK"


def _field(client: redis.Redis, name: str) -> str:
    info: Any = client.execute_command("CLUSTER INFO")
    if isinstance(info, dict):
        return str(info[name])
    return dict(line.split(":", 1) for line in _text(info).split() if ":" in line)[name]
