"""Clusters as people run them: with TLS, with users who have few rights, with names instead of addresses."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import rqsqs
from rqsqs import aio
from tests.clusters import Cluster, until
from tests.faces.test_rights import promised
from tests.servers import KINDS, Kind, Server, free_port

QUEUES: dict[str, dict[str, Any]] = {
    "plain": {},
    "letters.fifo": {},
    "wide": {"partitions": 4},
    "wide.fifo": {"partitions": 4, "deduplication_scope": "messageGroup"},
}


def waiting(cluster: Cluster) -> int:
    """Connections that wait for something."""
    found = 0
    for server in cluster.servers:
        with cluster.client(server) as client:
            found += client.info("clients")["blocked_clients"]
    return found


def use_sync(url: str, cluster: Cluster, options: dict[str, Any]) -> None:
    """All kinds of queues: a message that is there, and one that comes while somebody waits."""
    with rqsqs.connect(url, **options) as connection:
        for name, settings in QUEUES.items():
            queue = connection.create_queue(name, **settings)
            group = "g" if queue.is_fifo else None
            queue.send(1, group=group)
            for message in queue.receive(wait=5):
                message.change_visibility(60)
                message.delete()
            got: list[Any] = []
            waiter = threading.Thread(target=lambda q=queue, g=got: g.extend(q.receive(wait=30)), daemon=True)
            waiter.start()
            until(lambda: waiting(cluster), "it waits")
            queue.send(2, group=group)
            waiter.join(30)
            assert [message.body for message in got] == [2]
            queue.delete_batch(got)
            assert queue.counts() == rqsqs.Counts()
            until(lambda: not waiting(cluster), "nobody waits any more")
        assert {queue.name for queue in connection.queues()} == set(QUEUES)


def use_aio(url: str, cluster: Cluster, options: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with aio.connect(url, **options) as connection:
            for name, settings in QUEUES.items():
                queue = await connection.create_queue(name, **settings)
                group = "g" if queue.is_fifo else None
                await queue.send(1, group=group)
                for message in await queue.receive(wait=5):
                    await message.change_visibility(60)
                    await message.delete()
                waiter = asyncio.create_task(queue.receive(wait=30))
                await asyncio.to_thread(until, lambda: waiting(cluster), "it waits")
                await queue.send(2, group=group)
                got = await waiter
                assert [message.body for message in got] == [2]
                await queue.delete_batch(got)
                assert await queue.counts() == rqsqs.Counts()
                await asyncio.to_thread(until, lambda: not waiting(cluster), "nobody waits any more")

    asyncio.run(asyncio.wait_for(scenario(), 100))


Use = Callable[[str, Cluster, dict[str, Any]], None]
use = pytest.mark.parametrize("use", [use_sync, use_aio], ids=["sync", "aio"])


# Users


@use
@pytest.mark.parametrize("more", [(), ("+ping", "+client|id", "+client|unblock")], ids=["least", "more"])
def test_a_user_with_the_rights_that_are_promised(
    steady: Cluster, prefix: str, use: Use, more: tuple[str, ...]
) -> None:
    for server in steady.servers:
        with steady.client(server) as client:
            client.execute_command("ACL", "SETUSER", prefix, "reset", "on", ">secret", *promised(prefix), *more)
    use(steady.url.replace("://", f"://{prefix}:secret@"), steady, {"prefix": prefix})


def test_a_user_with_fewer_rights_is_told_which(steady: Cluster, prefix: str) -> None:
    for server in steady.servers:
        with steady.client(server) as client:
            client.execute_command("ACL", "SETUSER", prefix, "reset", "on", ">secret", *promised("other"))
    url = steady.url.replace("://", f"://{prefix}:secret@")
    with rqsqs.connect(url, prefix=prefix) as connection, pytest.raises(rqsqs.AuthenticationFailed, match="it needs ~"):
        connection.create_queue("orders")
    with (
        rqsqs.connect(url.replace(":secret@", ":wrong@")) as connection,
        pytest.raises(rqsqs.AuthenticationFailed, match="refuses the login"),
    ):
        connection.create_queue("orders")


# Names


@use
@pytest.mark.parametrize("endpoint", ["hostname", "unknown-endpoint"])
def test_nodes_are_called_as_they_want_to_be(prefix: str, use: Use, endpoint: str) -> None:
    options: dict[str, Any] = {
        "cluster_announce_hostname": "localhost",
        "cluster_preferred_endpoint_type": endpoint,
    }
    with Cluster(replicas=0, **options) as cluster:
        use(cluster.url, cluster, {"prefix": prefix})
        with rqsqs.connect(cluster.url, prefix=prefix) as connection:
            connection.exists("plain")
            owner = connection.transport.link.router.node(f"{prefix}:{{plain/0}}:meta")
            assert owner.host == ("localhost" if endpoint == "hostname" else "127.0.0.1")


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with ca.crt, and NAME.crt and NAME.key of a server and a client."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here, which makes the certificates")
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words: str) -> None:
        subprocess.run(["openssl", *words], cwd=folder, capture_output=True, check=True)

    new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")
    openssl("req", "-x509", *new, "-days", "2", "-subj", "/CN=rqsqs CA", "-keyout", "ca.key", "-out", "ca.crt")
    (folder / "names").write_text("subjectAltName=DNS:localhost\n")
    for name in ("server", "client"):
        openssl("req", *new, "-subj", f"/CN={name}", "-keyout", f"{name}.key", "-out", f"{name}.csr")
        openssl("x509", "-req", "-in", f"{name}.csr", "-CA", "ca.crt", "-CAkey", "ca.key", "-CAcreateserial",
                "-days", "2", "-extfile", "names", "-out", f"{name}.crt")  # fmt: skip
    return folder


def kind_with_tls(files: dict[str, Any]) -> Kind:
    """The first whose program was built with it."""
    for kind in KINDS:
        with contextlib.suppress(FileNotFoundError, RuntimeError), Server(kind, tls_port=free_port(), **files):
            return kind
    pytest.skip("no server program here was built with TLS")


@pytest.fixture(scope="module")
def encrypted(certificates: Path) -> Iterator[Cluster]:
    """Its nodes talk TLS with each other, want to see certificates, and are called localhost as theirs say."""
    files = {
        "tls_cert_file": str(certificates / "server.crt"),
        "tls_key_file": str(certificates / "server.key"),
        "tls_ca_cert_file": str(certificates / "ca.crt"),
    }
    cluster = Cluster(
        kind_with_tls(files),
        replicas=1,
        **files,
        tls_cluster="yes",
        tls_replication="yes",
        cluster_announce_hostname="localhost",
        cluster_preferred_endpoint_type="hostname",
    )
    for server in cluster.servers:
        server.options["tls_port"] = free_port()
    with cluster:
        yield cluster


def tls_url(cluster: Cluster) -> str:
    ports = [server.options["tls_port"] for server in cluster.servers[:3]]
    return f"rediss+cluster://{','.join(f'localhost:{port}' for port in ports)}"


def trust(certificates: Path, name: str = "client") -> dict[str, Any]:
    return {
        "ssl_ca_certs": str(certificates / "ca.crt"),
        "ssl_certfile": str(certificates / f"{name}.crt"),
        "ssl_keyfile": str(certificates / f"{name}.key"),
        "ssl_check_hostname": True,
    }


@use
def test_tls_with_certificates_of_both_sides(encrypted: Cluster, certificates: Path, prefix: str, use: Use) -> None:
    use(tls_url(encrypted), encrypted, {"prefix": prefix, **trust(certificates)})


def test_tls_options_may_stand_in_the_url(encrypted: Cluster, certificates: Path, prefix: str) -> None:
    options = "&".join(f"{name}={value}" for name, value in trust(certificates).items())
    with rqsqs.connect(f"{tls_url(encrypted)}?{options}", prefix=prefix) as connection:
        connection.create_queue("orders").send("x")


def test_a_certificate_that_nobody_trusts_is_refused(encrypted: Cluster, certificates: Path, prefix: str) -> None:
    with (
        rqsqs.connect(tls_url(encrypted), prefix=prefix) as connection,
        pytest.raises(rqsqs.ConnectionFailed, match=r"(?i)certificate"),
    ):
        connection.exists("orders")
    wrong = tls_url(encrypted).replace("localhost", "127.0.0.1")  # its certificate names localhost
    with (
        rqsqs.connect(wrong, prefix=prefix, **trust(certificates)) as connection,
        pytest.raises(rqsqs.ConnectionFailed, match=r"(?i)certificate.*127\.0\.0\.1"),
    ):
        connection.exists("orders")
