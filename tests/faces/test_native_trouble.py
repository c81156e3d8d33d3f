"""Trouble with the server: each kind is an exception of its own that says what to do, and nothing hangs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import redis

import rqsqs
import rqsqs.aio
from rqsqs._io import connect, urls
from rqsqs._io.aio import routing as aio_routing
from rqsqs._io.counters import Counters
from rqsqs._io.sync import routing
from tests.servers import KINDS, Kind, Server, find_binary, free_port


@pytest.fixture(params=KINDS)
def make_server(request: pytest.FixtureRequest) -> Iterator[Callable[..., Server]]:
    """Starts servers with settings of their own, of both kinds."""
    kind: Kind = request.param
    if find_binary(kind) is None:
        pytest.skip(f"no {kind} server program here")
    started: list[Server] = []

    def make(**options: Any) -> Server:
        started.append(Server(kind, **options).start())
        return started[-1]

    yield make
    for server in started:
        server.stop()


@contextlib.contextmanager
def fake_server(answer: Callable[[bytes], bytes | None]) -> Iterator[str]:
    """Something that listens and answers each command as it is told; None = silence."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError):
                while request := client.recv(65_536):
                    reply = answer(request)
                    if reply is not None:
                        client.sendall(reply)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    threading.Thread(target=serve, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield f"redis://127.0.0.1:{listener.getsockname()[1]}/0"
        listener.shutdown(socket.SHUT_RDWR)


def greet(info: str) -> Callable[[bytes], bytes]:
    """Answers INFO with a text and everything else with OK, one answer for each command of a pipeline."""

    def answer(request: bytes) -> bytes:
        if b"INFO" in request:
            return f"${len(info)}\r\n{info}\r\n".encode() + b"+OK\r\n" * (request.count(b"*") - 1)
        return b"+OK\r\n" * request.count(b"*")

    return answer


# The server is not there


def test_nobody_listens() -> None:
    with rqsqs.connect(f"redis://:secret@127.0.0.1:{free_port()}/0") as connection:
        started = time.monotonic()
        with pytest.raises(rqsqs.ConnectionFailed, match="no connection to redis://") as failed:
            connection.exists("orders")
        assert not failed.value.request_sent
        assert "secret" not in str(failed.value)
        assert "nothing was sent: start a server there" in str(failed.value)
        assert "RQSQS_URL=embedded://~" in str(failed.value)
        assert len(traceback.format_exception(failed.value)) < 14  # without the chain of redis-py
        assert time.monotonic() - started < 30


@pytest.mark.parametrize(
    "form",
    [
        "redis://:secret@127.0.0.1:{}",
        "redis://127.0.0.1:{}/3",
        "rediss://127.0.0.1:{}",
        "redis+cluster://127.0.0.1:{}",
        "redis+sentinel://127.0.0.1:{}/mymaster",
    ],
)
@pytest.mark.parametrize("is_async", [False, True])
def test_who_accepts_and_stays_silent_is_tried_once(form: str, is_async: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = form.format(silent.getsockname()[1])
        told = r"did not answer in time.*nothing was sent: .*RQSQS_URL"
        with pytest.raises(rqsqs.ServerTimeout, match=told) as failed:
            ask(url, is_async, socket_connect_timeout=0.3)
        assert not failed.value.request_sent
        assert "secret" not in str(failed.value)
        assert ("redis:// if it has no TLS" in str(failed.value)) == url.startswith("rediss")
        silent.setblocking(False)
        silent.accept()[0].close()
        with pytest.raises(BlockingIOError):  # nobody tried again
            silent.accept()


def ask(url: str, is_async: bool, **options: Any) -> None:
    """The first call of a connection."""

    async def ask_async() -> None:
        async with rqsqs.aio.connect(url, **options) as connection:
            await connection.exists("orders")

    if is_async:
        return asyncio.run(ask_async())
    with rqsqs.connect(url, **options) as connection:
        connection.exists("orders")


@contextlib.contextmanager
def swallowing_port() -> Iterator[int]:
    """A port whose SYNs are dropped: connections to it neither come about nor fail."""
    with contextlib.ExitStack() as opened:
        listener = opened.enter_context(socket.socket())
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        for _ in range(2):  # these fill what it takes without accept()
            client = opened.enter_context(socket.socket())
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(listener.getsockname())
        yield listener.getsockname()[1]


@contextlib.contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[tuple[int, list[int]]]:
    """A port where each connection is served by a function, and the numbers of connections."""
    seen: list[int] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def run(client: socket.socket) -> None:
            with client, contextlib.suppress(OSError):
                serve(client)

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    client, _ = listener.accept()
                    seen.append(len(seen))
                    threading.Thread(target=run, args=(client,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1], seen
        listener.shutdown(socket.SHUT_RDWR)


def stay_silent(client: socket.socket) -> None:
    """Until the other side hangs up."""
    while client.recv(1000):
        pass


def drip(client: socket.socket) -> None:
    """An answer that never ends."""
    client.recv(1000)
    client.sendall(b"$1000000\r\n")
    while True:
        time.sleep(0.1)
        client.sendall(b"x")


@pytest.mark.parametrize("url", ["redis://a", "rediss://a", "redis+cluster://a,b,c,d,e", "redis+sentinel://a,b,c/m"])
def test_opening_has_five_seconds_by_default(url: str) -> None:
    place = urls.place_of(url)
    settings = connect.settings_of(url, {})[0]
    each = connect.opening_s(settings)
    assert each is not None
    assert each * (len(place.seeds) if place else 1) <= 5
    assert routing.Router(url, settings, Counters()).opening_s == 5
    assert aio_routing.Router(url, settings, Counters(), lambda *_: None).opening_s == 5


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    ("form", "told"),
    [
        (
            "redis://127.0.0.1:{}",
            r"did not answer in time: no connection came about within 0\.3 s; nothing was sent: start",
        ),
        ("rediss://127.0.0.1:{}", r"no connection came about within 0\.3 s; .*redis:// if it has no TLS"),
        (
            "redis+cluster://127.0.0.1:{free},127.0.0.1:{}",
            r"127\.0\.0\.1:\d+: Connection refused; 127\.0\.0\.1:\d+: no answer in",
        ),
        ("redis+sentinel://127.0.0.1:{}/m", r"none of 127\.0\.0\.1:\d+ answers; 127\.0\.0\.1:\d+: no answer in time"),
    ],
)
def test_a_network_that_swallows_packets(form: str, told: str, is_async: bool) -> None:
    with swallowing_port() as port, pytest.raises(rqsqs.ServerTimeout, match=told) as failed:
        ask(form.format(port, free=free_port()), is_async, socket_connect_timeout=0.3)
    assert not failed.value.request_sent


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize(
    "form", ["redis://:p@127.0.0.1:{}", "redis+cluster://127.0.0.1:{}", "redis+sentinel://127.0.0.1:{}/m"]
)
def test_an_answer_that_comes_byte_by_byte_has_one_limit(form: str, is_async: bool) -> None:
    with serving(drip) as (port, seen), pytest.raises(rqsqs.ServerTimeout, match="did not answer in time"):
        ask(form.format(port), is_async, socket_connect_timeout=0.5)
    assert len(seen) == 1


@pytest.mark.parametrize("is_async", [False, True])
def test_attempts_that_end_late_are_not_repeated_beyond_the_limit(is_async: bool) -> None:
    def hang_up_late(client: socket.socket) -> None:
        client.recv(1000)
        time.sleep(1.5)

    with serving(hang_up_late) as (port, seen), pytest.raises(rqsqs.ConnectionFailed):
        ask(f"redis://127.0.0.1:{port}", is_async, socket_connect_timeout=2)
    assert len(seen) <= 2  # of four attempts


def test_tasks_that_begin_while_a_connection_is_opened_fail_with_it() -> None:
    async def together(url: str) -> list[Any]:
        async with rqsqs.aio.connect(url, socket_connect_timeout=2) as connection:

            async def begin(after_s: float) -> None:
                await asyncio.sleep(after_s)
                await connection.exists("orders")

            return await asyncio.gather(*(begin(n / 50) for n in range(9)), return_exceptions=True)

    with serving(stay_silent) as (port, seen):
        errors = asyncio.run(together(f"redis://127.0.0.1:{port}"))
    assert {type(error) for error in errors} == {rqsqs.ServerTimeout}
    assert len(seen) == 1


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("form", ["redis+cluster://127.0.0.1:{}", "redis+sentinel://127.0.0.1:{}/m"])
def test_a_master_that_is_named_and_cannot_be_reached_is_tried_once(form: str, is_async: bool) -> None:
    """As when servers in containers tell their addresses in there."""
    with serving(stay_silent) as (master, seen):
        told = {
            b"SLOTS": b"*1\r\n*3\r\n:0\r\n:16383\r\n*2\r\n$9\r\n127.0.0.1\r\n:%d\r\n" % master,
            b"GET-MASTER-ADDR": b"*2\r\n$9\r\n127.0.0.1\r\n$%d\r\n%d\r\n" % (len(str(master)), master),
        }
        greeting = greet("redis_version:7.2.0\r\nrole:master\r\n")

        def answer(request: bytes) -> bytes | None:
            return next((reply for word, reply in told.items() if word in request), greeting(request))

        with (
            fake_server(answer) as url,
            pytest.raises(rqsqs.ServerTimeout, match=f":{master}.* did not answer in time"),
        ):
            ask(form.format(url.split(":")[2].rstrip("/0")), is_async, socket_connect_timeout=0.5)
    assert len(seen) == 1


def test_behind_an_address_that_swallows_packets_may_stand_one_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    with swallowing_port() as port, Server("valkey") as server:
        found = [(2, 1, 6, "", ("127.0.0.1", one)) for one in (port, server.port)]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
        with rqsqs.connect("redis://127.0.0.1/0", socket_connect_timeout=1) as connection:
            assert not connection.exists("there-is-none")


def test_a_name_that_is_not_resolved_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    end = threading.Event()
    real = socket.getaddrinfo

    def look_up(host: str, *args: Any, **options: Any) -> Any:
        if options.get("flags"):  # is it a number?
            return real(host, *args, **options)
        return end.wait(60) and []

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    try:
        with pytest.raises(rqsqs.ServerTimeout, match="did not answer in time: no connection came about"):
            ask("redis://swallowed.invalid:1", False, socket_connect_timeout=0.3)
    finally:
        end.set()


@pytest.mark.parametrize("option", ["ssl_validate_ocsp", "ssl_validate_ocsp_stapled", "ssl_ocsp_expected_cert"])
@pytest.mark.parametrize("is_async", [False, True])
def test_certificates_are_not_checked_by_ocsp(option: str, is_async: bool) -> None:
    told = f"{option} is not an option: certificates are checked without OCSP"
    for url, options in ((f"rediss://a?{option}=true", {}), ("rediss+cluster://a", {option: True})):
        with pytest.raises(rqsqs.UsageError, match=told):
            ask(url, is_async, **options)


@pytest.mark.parametrize("is_async", [False, True])
@pytest.mark.parametrize("url", ["redis://127.0.0.1:1/0?db=-1", "redis+sentinel://127.0.0.1:1/m?db=-1"])
def test_a_database_that_no_server_has(url: str, is_async: bool) -> None:
    with pytest.raises(rqsqs.UsageError, match="db must be the number of a database, 0 or more, got -1"):
        ask(url, is_async)


@pytest.mark.parametrize("is_async", [False, True])
def test_a_database_that_the_server_does_not_have(is_async: bool) -> None:
    with (
        Server("valkey", databases="2") as server,
        pytest.raises(rqsqs.UsageError, match="has no database with this number: the first one is /0"),
    ):
        ask(f"{server.url.rpartition('/')[0]}/2", is_async)


def test_who_mixes_sync_and_asyncio_is_told_what_to_write(valkey_url: str) -> None:
    async def wait_for(connection: Any) -> None:
        await connection

    async def enter(connection: Any) -> None:
        async with connection:
            pass

    with pytest.raises(rqsqs.UsageError, match=r"must not be awaited: write `async with rqsqs\.aio\.connect"):
        asyncio.run(wait_for(rqsqs.aio.connect(valkey_url)))
    mixed: Any = rqsqs.aio.connect(valkey_url)
    with pytest.raises(rqsqs.UsageError, match="must be used with `async with`, got `with`"), mixed:
        pass
    with rqsqs.connect(valkey_url) as connection:
        with pytest.raises(rqsqs.UsageError, match=r"must be used with `with`, got `async with`: .*aio\.connect"):
            asyncio.run(enter(connection))
        with pytest.raises(rqsqs.UsageError, match=r"must not be awaited: .*aio\.connect"):
            asyncio.run(wait_for(connection))


def test_there_is_no_such_socket(tmp_path: Any) -> None:
    with rqsqs.connect(f"unix://{tmp_path}/nothing.sock") as connection, pytest.raises(rqsqs.ConnectionFailed):
        connection.exists("orders")


def test_no_such_host() -> None:
    with rqsqs.connect("redis://host.invalid:6379/0") as connection, pytest.raises(rqsqs.ConnectionFailed):
        connection.exists("orders")


def test_a_server_that_went_away_is_found_again(make_server: Callable[..., Server], tmp_path: Any) -> None:
    server = make_server(folder=tmp_path, appendonly="yes", appendfsync="always")
    with rqsqs.connect(server.url) as connection:
        queue = connection.create_queue("orders")
        queue.send("kept")
        server.kill9()
        with pytest.raises(rqsqs.ConnectionFailed):
            queue.receive()
        server.restart()
        assert [m.body for m in queue.receive()] == ["kept"]


def test_a_waiting_receive_survives_a_restart(make_server: Callable[..., Server], tmp_path: Any) -> None:
    server = make_server(folder=tmp_path, appendonly="yes", appendfsync="always")
    with rqsqs.connect(server.url) as connection:
        queue = connection.create_queue("orders")
        results: list[Any] = []

        def wait() -> None:
            try:
                results.append([m.body for m in queue.receive(wait=30)])
            except (rqsqs.ConnectionFailed, rqsqs.ServerLoading) as error:  # it came back too late, or too early
                results.append(error)

        thread = threading.Thread(target=wait)
        thread.start()
        time.sleep(0.3)
        server.kill9()
        server.restart()
        queue.send("after")
        thread.join(60)
        assert not thread.is_alive()
        assert results == [["after"]] or isinstance(results[0], rqsqs.ServerError)


def test_a_server_that_does_not_answer_in_time(make_server: Callable[..., Server]) -> None:
    server = make_server()
    with rqsqs.connect(server.url, socket_timeout=0.3) as connection:
        queue = connection.create_queue("orders")
        server.freeze()
        try:
            started = time.monotonic()
            with pytest.raises(rqsqs.ServerTimeout, match="did not answer in time") as failed:
                queue.send("x")
            assert time.monotonic() - started < 30
            assert failed.value.request_sent
            assert isinstance(failed.value, rqsqs.ConnectionFailed)
        finally:
            server.thaw()
        queue.send("y")


def test_waiting_longer_than_the_socket_timeout_is_fine(make_server: Callable[..., Server]) -> None:
    with rqsqs.connect(make_server().url, socket_timeout=2) as connection:
        queue = connection.create_queue("orders")
        started = time.monotonic()
        assert queue.receive(wait=3) == []
        assert time.monotonic() - started > 2.9


# The server refuses


def test_a_password_is_missing_or_wrong(make_server: Callable[..., Server]) -> None:
    server = make_server()
    with redis.Redis.from_url(server.url) as admin:
        admin.config_set("requirepass", "right")
    address = f"127.0.0.1:{server.port}/0"
    for url in (f"redis://{address}", f"redis://:wrong@{address}", f"redis://nobody:right@{address}"):
        with rqsqs.connect(url) as connection:
            started = time.monotonic()
            with pytest.raises(rqsqs.AuthenticationFailed, match="put the password into the URL") as failed:
                connection.exists("orders")
            assert "wrong@" not in str(failed.value)
            assert time.monotonic() - started < 30
    with rqsqs.connect(f"redis://:right@{address}") as connection:
        connection.create_queue("orders")


def test_an_acl_user_that_is_limited_to_the_prefix_can_do_everything(make_server: Callable[..., Server]) -> None:
    server = make_server()
    with redis.Redis.from_url(server.url) as admin:
        rules = "on >secret ~app:* resetchannels -@all +@read +@write +time +evalsha +script|load -@dangerous"
        admin.execute_command("ACL", "SETUSER", "app", *rules.split())
    url = f"redis://app:secret@127.0.0.1:{server.port}/0"
    with rqsqs.connect(url, prefix="app") as connection:
        dead = connection.create_queue("dead")
        queue = connection.create_queue("orders", dead_letter_queue=dead, max_receive_count=1)
        fifo = connection.create_queue("orders.fifo", content_based_deduplication=True)
        queue.send_batch(["a", rqsqs.Entry("b", delay=0.1, group="g")])
        fifo.send("c", group="g")
        time.sleep(0.15)
        assert sorted(m.body for m in queue.receive(10, visibility_timeout=0)) == ["a", "b"]
        assert queue.receive(wait=0.2) == []
        assert dead.counts().visible == 2
        task_id = dead.redrive()
        deadline = time.monotonic() + 60
        while dead.move_tasks()[0].status == "RUNNING" and time.monotonic() < deadline:
            time.sleep(0.01)
        assert dead.move_tasks()[0].task_id == task_id
        assert queue.counts().visible == 2
        (message,) = fifo.receive()
        message.change_visibility(5)
        message.delete()
        assert [q.name for q in connection.queues()] == ["dead", "orders", "orders.fifo"]
        for found in list(connection.queues()):
            connection.delete_queue(found)


def test_an_acl_user_who_lacks_what_scripts_call_is_told(make_server: Callable[..., Server]) -> None:
    server = make_server()
    with redis.Redis.from_url(server.url) as admin:
        rules = "on >secret ~app:* -@all +@read +@write +evalsha +script|load -@dangerous"
        admin.execute_command("ACL", "SETUSER", "app", *rules.split())
    url = f"redis://app:secret@127.0.0.1:{server.port}/0"
    with (
        rqsqs.connect(url, prefix="app") as connection,
        pytest.raises(rqsqs.AuthenticationFailed, match=r"ACL user may not do this.*\+time"),
    ):
        connection.create_queue("orders")


def test_an_acl_user_of_another_prefix_is_refused(make_server: Callable[..., Server]) -> None:
    server = make_server()
    with redis.Redis.from_url(server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "app", "on", ">secret", "~app:*", "+@all")
        admin.execute_command("ACL", "SETUSER", "nothing", "on", ">secret", "~*", "-@all")
    for user, prefix in (("app", "other"), ("nothing", "app")):
        with rqsqs.connect(f"redis://{user}:secret@127.0.0.1:{server.port}/0", prefix=prefix) as connection:
            for call in (lambda c=connection: c.create_queue("orders"), lambda c=connection: c.exists("orders")):
                with pytest.raises(rqsqs.AuthenticationFailed, match=r"ACL user may not do this.*it needs ~PREFIX"):
                    call()


def test_a_replica_is_read_only(make_server: Callable[..., Server]) -> None:
    primary = make_server(repl_diskless_sync_delay=0)
    with rqsqs.connect(primary.url) as connection:
        connection.create_queue("orders").send("x")
    replica = make_server(replicaof=f"127.0.0.1 {primary.port}")
    with redis.Redis.from_url(replica.url, decode_responses=True) as client:
        deadline = time.monotonic() + 60
        while client.info("replication")["master_link_status"] != "up" and time.monotonic() < deadline:
            time.sleep(0.02)
    with rqsqs.connect(replica.url) as connection:
        queue = connection.queue("orders")
        for call in (lambda: queue.send("y"), queue.receive, queue.purge):
            with pytest.raises(rqsqs.ServerReadOnly, match="is a read-only replica: connect to the primary"):
                call()


def test_a_full_server_refuses_sends_and_lets_consumers_work(make_server: Callable[..., Server]) -> None:
    server = make_server(maxmemory_policy="noeviction")
    with rqsqs.connect(server.url) as connection, redis.Redis.from_url(server.url) as admin:
        queue = connection.create_queue("orders", visibility_timeout=60)
        fifo = connection.create_queue("orders.fifo")
        queue.send_batch(["x" * 1000] * 100)
        fifo.send("y", group="a", deduplication_id="1")
        admin.config_set("maxmemory", admin.info("memory")["used_memory"] - 10_000)
        for call in (
            lambda: queue.send("z" * 1000),
            lambda: queue.send_batch(["z"] * 10),
            lambda: fifo.send("z", group="a", deduplication_id="2"),
            lambda: connection.create_queue("more"),
        ):
            with pytest.raises(rqsqs.ServerOutOfMemory, match="consume messages, raise maxmemory, or add a node"):
                call()
        assert queue.counts().visible == 100
        messages = queue.receive(100)
        messages[0].change_visibility(30)
        queue.delete_batch(messages)
        fifo.receive()[0].delete()
        assert queue.counts() == fifo.counts() == rqsqs.Counts()
        admin.config_set("maxmemory", 0)
        assert not fifo.send("z", group="a", deduplication_id="2").is_duplicate


@pytest.mark.parametrize(
    ("info", "version"),
    [
        ("# Server\r\nredis_version:6.2.14\r\n", "Redis 6.2.14"),
        ("# Server\r\nredis_version:7.2.4\r\nserver_name:valkey\r\nvalkey_version:7.0.1\r\n", "Valkey 7.0.1"),
    ],
)
def test_a_server_that_is_too_old(info: str, version: str) -> None:
    with fake_server(greet(info)) as url, rqsqs.connect(url) as connection:
        for _ in range(2):
            needed = "rqsqs needs Redis 7.0 or Valkey 7.2 or newer"
            with pytest.raises(rqsqs.ServerTooOld, match=f"is {version}, too old; {needed}"):
                connection.exists("orders")


@pytest.mark.parametrize(
    ("reply", "error", "advice"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", rqsqs.ServerLoading, "try again in a moment"),
        (b"-MASTERDOWN Link with MASTER is down\r\n", rqsqs.ServerLoading, "try again in a moment"),
        (b"-NOREPLICAS Not enough good replicas to write.\r\n", rqsqs.ServerReadOnly, "too few replicas"),
        (b"-MISCONF Redis is configured to save RDB snapshots\r\n", rqsqs.ServerReadOnly, "cannot persist"),
        (b"-OOM command not allowed\r\n", rqsqs.ServerOutOfMemory, "raise maxmemory"),
        (b"-READONLY You can't write\r\n", rqsqs.ServerReadOnly, "connect to the primary"),
        (b"-ERR something nobody expected\r\n", rqsqs.ScriptFailed, "please report it"),
    ],
)
def test_refusals_of_the_server_have_a_type_and_an_advice(reply: bytes, error: type[Exception], advice: str) -> None:
    def answer(request: bytes) -> bytes:
        return reply if b"EVALSHA" in request else greet("redis_version:7.0.0\r\n")(request)

    with fake_server(answer) as url, rqsqs.connect(url) as connection:
        with pytest.raises(error, match=advice) as refused:
            connection.queue("orders").send("x")
        assert type(refused.value) is error
        assert isinstance(refused.value, rqsqs.ServerError)


def test_a_send_that_is_never_answered_is_repeated_and_its_outcome_is_called_unknown() -> None:
    seen: list[bytes] = []

    def answer(request: bytes) -> bytes:
        if b"EVALSHA" in request:
            seen.append(request)
            raise ConnectionResetError
        return greet("redis_version:7.0.0\r\n")(request)

    with fake_server(answer) as url, rqsqs.connect(url) as connection:
        with pytest.raises(rqsqs.ConnectionFailed, match="the outcome of the request is unknown") as failed:
            connection.queue("orders").send("x")
        assert failed.value.request_sent
        assert len(seen) > 1


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (b"-LOADING Redis is loading the dataset in memory\r\n", rqsqs.ServerLoading),
        (b"-NOAUTH Authentication required.\r\n", rqsqs.AuthenticationFailed),
        (b"-READONLY You can't write\r\n", rqsqs.ServerReadOnly),
    ],
)
@pytest.mark.parametrize("is_lost", [False, True])
def test_a_refusal_after_an_answer_was_lost_says_that_the_outcome_is_unknown(
    reply: bytes, error: type[rqsqs.ServerError], is_lost: bool
) -> None:
    seen: list[bytes] = []

    def answer(request: bytes) -> bytes:
        if b"EVALSHA" in request:
            seen.append(request)
            if is_lost and len(seen) == 1:  # a server that crashed comes back like that
                raise ConnectionResetError
            return reply
        return greet("redis_version:7.0.0\r\n")(request)

    with fake_server(answer) as url, rqsqs.connect(url) as connection:
        with pytest.raises(error) as failed:
            connection.queue("orders").send("x")
        assert failed.value.request_sent is is_lost
        assert ("its outcome is unknown" in str(failed.value)) is is_lost


def test_something_that_is_no_redis_is_trouble_with_the_server() -> None:
    page = b"HTTP/1.1 400 Bad Request\r\n\r\n"
    with fake_server(lambda _: page) as url, rqsqs.connect(url) as connection, pytest.raises(rqsqs.ServerError):
        connection.exists("orders")


# The library itself


def test_a_closed_connection_says_so(server_url: str, prefix: str) -> None:
    connection = rqsqs.connect(server_url, prefix=prefix)
    queue = connection.create_queue("orders")
    connection.close()
    connection.close()
    for call in (lambda: queue.send("x"), queue.receive, lambda: connection.exists("orders")):
        with pytest.raises(rqsqs.UsageError, match="this connection is closed; open a new one"):
            call()


def test_closing_one_connection_leaves_others_of_the_same_server(server_url: str, prefix: str) -> None:
    one, other = rqsqs.connect(server_url, prefix=prefix), rqsqs.connect(server_url, prefix=prefix)
    one.create_queue("orders")
    one.close()
    other.queue("orders").send("x")
    other.close()
    with rqsqs.connect(server_url, prefix=prefix) as again:
        assert again.queue("orders").counts().visible == 1


def test_a_forked_child_goes_on_with_connections_of_its_own(server_url: str, prefix: str) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        queue = connection.create_queue("orders")
        queue.send("from the parent")
        children = []
        for i in range(3):
            child = os.fork()
            if child == 0:
                code = 1
                try:
                    for j in range(20):
                        queue.send(f"{i}-{j}")
                    code = 0
                finally:
                    os._exit(code)
            children.append(child)
        for j in range(20):
            queue.send(f"parent-{j}")
        for child in children:
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        found = [m.body for m in queue.receive(1000)]
        assert len(found) == len(set(found)) == 81


def test_calls_of_a_forked_child_are_not_taken_for_those_of_its_parent(
    server_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rqsqs._io.tuning.OWN", 0)  # all calls share one connection
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        queue, others = (
            connection.create_queue("q.fifo", content_based_deduplication=True),
            connection.create_queue("q"),
        )
        others.send_batch(range(4))
        for n in range(3):
            queue.send(n, group="g")

        def work(name: str) -> list[int]:
            queue.send(name, group="g")
            return [m.body for m in others.receive(2, delete=True)]

        child = os.fork()
        if child == 0:
            os._exit(sum(work("child")))
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0 + 1  # the bodies that it received
        assert work("parent") == [2, 3]
        assert [m.body for m in queue.receive(10)] == [0, 1, 2, "child", "parent"]


def test_a_forked_child_closes_its_connection_while_threads_of_its_parent_wait(
    server_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("rqsqs._io.tuning.END_S", 600.0)
    connection = rqsqs.connect(server_url, prefix=prefix)
    with rqsqs.connect(server_url, prefix=prefix) as other, ThreadPoolExecutor() as pool:  # the same server
        queue = connection.create_queue("orders")
        waiting = pool.submit(queue.receive, wait=60)
        while not connection.transport.link.waiting.watched():
            time.sleep(0.01)
        child = os.fork()
        if child == 0:
            connection.close()
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        other.queue("orders").send("x")
        assert [m.body for m in waiting.result(60)] == ["x"]
        connection.close()


def test_many_threads_share_a_queue_without_losing_or_doubling(server_url: str, prefix: str) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        queue = connection.create_queue("orders")
        seen: list[int] = []
        failures: list[BaseException] = []

        def guarded(work: Callable[[], None]) -> threading.Thread:
            def run() -> None:
                try:
                    work()
                except BaseException as error:
                    failures.append(error)

            thread = threading.Thread(target=run)
            thread.start()
            return thread

        def produce(start: int) -> None:
            for i in range(start, start + 50):
                queue.send(i)

        def consume() -> None:
            while messages := queue.receive(5, wait=1):
                queue.delete_batch(messages)
                seen.extend(m.body for m in messages)

        threads = [guarded(consume) for _ in range(6)]
        threads += [guarded(lambda n=n: produce(n * 50)) for n in range(4)]  # type: ignore[misc]
        for thread in threads:
            thread.join(30)
        assert failures == []
        assert sorted(seen) == list(range(200))
        assert queue.counts() == rqsqs.Counts()


def test_an_embedded_server_needs_nothing_else(tmp_path: Any) -> None:
    with rqsqs.connect(f"embedded://{tmp_path}/queues") as connection:
        connection.create_queue("orders").send("kept")
    with rqsqs.connect(f"embedded://{tmp_path}/queues") as connection:
        assert [m.body for m in connection.queue("orders").receive()] == ["kept"]


def test_without_a_server_program_embedded_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RQSQS_SERVER_BINARY", "no-such-program")
    with pytest.raises(
        rqsqs.EmbeddedServerUnavailable, match="RQSQS_SERVER_BINARY must name a program, got 'no-such-program'"
    ):
        rqsqs.connect("embedded:///tmp/rqsqs-test-that-is-never-made")


def test_the_url_may_come_from_the_environment(server_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RQSQS_URL", server_url)
    with rqsqs.connect(prefix=prefix) as connection:
        connection.create_queue("orders")
        assert server_url in repr(connection)
