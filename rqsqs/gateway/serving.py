"""`rqsqs gateway` as processes: sockets, signals, certificates, and the end.

One process serves by itself. Of several, the first one only looks after the others, which share its socket: it starts
those that die again, and hands signals on. SIGTERM and SIGINT end: waiting receives are answered with nothing, no new
connection is taken, what is at work has the shutdown timeout. SIGHUP reads the certificate again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import socket
import ssl
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import uvicorn

from rqsqs.errors import UsageError

from .app import Gateway
from .http_protocol import LimitedProtocol

log = logging.getLogger("rqsqs.gateway")

KEEP_ALIVE_S = 75  # longer than the pools of SDKs keep idle connections
BACKLOG = 2048
GARBAGE_AFTER = 10_000  # objects; a look at all those of thousands of waits takes long
AGAIN_S = 1.0  # a process that died at once is not started again before
CERTIFICATE_EVERY_S = 5.0


class Served(Protocol):
    """What can be served: a Gateway, or something like one."""

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None: ...
    def drain(self) -> None:
        """Answer what waits."""


@dataclass(frozen=True, slots=True)
class ServingSettings:
    """How the gateway is served; checked when it is made.

    Attributes:
        shutdown_timeout: seconds that requests at work have at the end.
        tls_cert, tls_key: files in PEM; both or none.
    """

    host: str = "127.0.0.1"
    port: int = 9324
    processes: int = 1
    shutdown_timeout: float = 10.0
    tls_cert: Path | None = None
    tls_key: Path | None = None

    def __post_init__(self) -> None:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise UsageError("a certificate and its key must be given together")
        if self.tls_cert is not None and self.tls_key is not None:
            for file in (self.tls_cert, self.tls_key):
                try:
                    file.open("rb").close()
                except OSError as e:
                    raise UsageError(f"{file} must be a file that the gateway can read: {e.strerror}") from None
            try:
                _load_certificate(ssl.create_default_context(), self.tls_cert, self.tls_key)
            except OSError:  # an ssl.SSLError, whose text says less
                raise UsageError(
                    f"{self.tls_cert} and {self.tls_key} must be a certificate and its key in PEM, with no passphrase"
                ) from None


def listen(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        UsageError: the address cannot be had.
    """
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except (OSError, ValueError) as e:  # or no name of a host
        why = getattr(e, "strerror", None) or e
        raise UsageError(f"cannot listen on port {port} of {host}: {why}; choose another port or address") from None
    listener.setblocking(False)
    listener.set_inheritable(True)
    return listener


def serve(
    make: Callable[[int], Served],
    settings: ServingSettings,
    listener: socket.socket,
    metrics_listener: socket.socket | None = None,
) -> None:
    """Serve until a signal comes.

    Args:
        make: makes the application, in the process that runs it; is given its number.
        listener: where clients connect.
        metrics_listener: where scrapers do.
    """
    _allow_many_files()
    gc.set_threshold(GARBAGE_AFTER, 20, 50)
    if settings.processes == 1:
        Server(make(0), settings, metrics_listener=metrics_listener).run([listener])
    else:
        _Processes(make, settings, listener, metrics_listener).run()


class Server(uvicorn.Server):
    """uvicorn with an end that does not wait for long polls, and with nothing to do while nothing happens.

    Args:
        parent: a pipe that breaks when the process does that started this one, which then ends as well.
        metrics_listener: where scrapers connect; shared with other processes.
    """

    def __init__(
        self,
        app: Served,
        settings: ServingSettings,
        parent: int | None = None,
        metrics_listener: socket.socket | None = None,
    ) -> None:
        super().__init__(
            uvicorn.Config(
                app,
                http=LimitedProtocol,
                ws="none",
                lifespan="on",
                log_config=None,
                access_log=False,
                server_header=False,
                date_header=False,  # the application's: uvicorn looks at the time ten times a second
                proxy_headers=False,
                backlog=BACKLOG,
                timeout_keep_alive=KEEP_ALIVE_S,
                timeout_graceful_shutdown=max(1, round(settings.shutdown_timeout)),
                ssl_certfile=settings.tls_cert,
                ssl_keyfile=settings.tls_key,
            )
        )
        logging.getLogger("uvicorn.error").setLevel(logging.ERROR)
        self._app = app
        self._settings = settings
        self._parent = parent
        self._metrics_listener = metrics_listener
        self._scrapes = contextlib.ExitStack()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ended: asyncio.Event | None = None
        self._seen: object = None

    def end(self) -> None:
        """Begin the end; from any thread and from signal handlers. A second time it does not wait for requests."""
        self.force_exit = self.should_exit
        self.should_exit = True
        if self._loop is not None and self._ended is not None:
            with contextlib.suppress(RuntimeError):  # it is closed
                self._loop.call_soon_threadsafe(self._ended.set)

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """End when a signal says so, as a success: uvicorn would die of it."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, lambda *_: self.end()) for number in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Also listen to SIGHUP, and look at the certificate."""
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        await super().startup(sockets)
        if self._metrics_listener is not None:
            self._scrapes.enter_context(self._answering_scrapes(self._loop, self._metrics_listener))
        if self._parent is not None:
            self._loop.add_reader(self._parent, self._orphaned)
        if self._settings.tls_cert is not None:
            self._seen = self._stamp()
            if threading.current_thread() is threading.main_thread():
                self._loop.add_signal_handler(signal.SIGHUP, self._reload)
            self._loop.call_later(CERTIFICATE_EVERY_S, self._look)

    async def main_loop(self) -> None:
        """Wait for the end."""
        assert self._ended is not None
        gc.freeze()  # what is there by now stays
        if not self.should_exit:
            await self._ended.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer waiting receives first."""
        self._scrapes.close()
        self._app.drain()
        await super().shutdown(sockets)

    def _answering_scrapes(
        self, loop: asyncio.AbstractEventLoop, listener: socket.socket
    ) -> contextlib.AbstractContextManager[None]:
        """In threads of their own, so that no client has to wait for them; what they read is read in the loop."""
        from rqsqs.metrics.exporter import in_loop
        from rqsqs.metrics.listener import Listener

        assert isinstance(self._app, Gateway)
        return Listener(in_loop(loop, self._app.metrics.answer), listening=listener).running()

    def _orphaned(self) -> None:
        if self._loop is not None and self._parent is not None:
            self._loop.remove_reader(self._parent)
        self.end()

    def _stamp(self) -> object:
        stats = [os.stat(path) for path in (self._settings.tls_cert, self._settings.tls_key) if path is not None]
        return [(each.st_mtime_ns, each.st_ino, each.st_size) for each in stats]

    def _look(self) -> None:
        with contextlib.suppress(OSError):
            if self._stamp() != self._seen:
                self._reload()
        if self._loop is not None and not self.should_exit:
            self._loop.call_later(CERTIFICATE_EVERY_S, self._look)

    def _reload(self) -> None:
        """Use the certificate that is in the files now, for connections to come."""
        cert, key, context = self._settings.tls_cert, self._settings.tls_key, self.config.ssl
        if cert is None or key is None or context is None:
            return
        try:
            self._seen = self._stamp()
            _load_certificate(ssl.create_default_context(), cert, key)  # half of it may be written yet
            _load_certificate(context, cert, key)
        except OSError as e:  # an ssl.SSLError as well
            log.error("the certificate could not be read again, the old one stays: %s", e)
        else:
            log.warning("the certificate was read again")


class _Processes:
    """Several processes on one socket."""

    def __init__(
        self,
        make: Callable[[int], Served],
        settings: ServingSettings,
        listener: socket.socket,
        metrics_listener: socket.socket | None,
    ) -> None:
        self._make, self._settings = make, settings
        self._listener, self._metrics_listener = listener, metrics_listener
        self._started: dict[int, tuple[int, float]] = {}  # the number of each process, and when it began
        self._ends_at: float | None = None
        self._pipe = os.pipe()  # nobody writes; it breaks when this process ends, however it does

    def run(self) -> None:
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._handle)
        signal.signal(signal.SIGALRM, lambda *_: None)
        for process in range(self._settings.processes):
            self._start(process)
        while self._started:
            try:
                pid, status = os.waitpid(-1, 0 if self._ends_at is None else os.WNOHANG)
            except ChildProcessError:
                break
            if pid == 0:
                if self._ends_at is not None and time.monotonic() > self._ends_at:
                    self._signal(signal.SIGKILL)
                time.sleep(0.02)
                continue
            found = self._started.pop(pid, None)
            if self._ends_at is None and found is not None:
                process, began = found
                log.error("a process of the gateway ended with status %s; another one starts", status)
                time.sleep(max(0.0, began + AGAIN_S - time.monotonic()))
                if self._ends_at is None:
                    self._start(process)

    def _start(self, process: int) -> None:
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            self._started[pid] = process, time.monotonic()
            return
        code = 1
        try:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGALRM):
                signal.signal(number, signal.SIG_DFL)
            os.close(self._pipe[1])
            Server(self._make(process), self._settings, self._pipe[0], self._metrics_listener).run([self._listener])
            code = 0
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else 1
        except BaseException:
            log.exception("a process of the gateway failed")
        finally:
            os._exit(code)

    def _handle(self, number: int, _: Any) -> None:
        if number == signal.SIGHUP:
            if self._settings.tls_cert is not None:
                self._signal(number)
        else:
            self._ends_at = time.monotonic() + self._settings.shutdown_timeout + 2
            self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        for pid in list(self._started):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)


def _load_certificate(context: ssl.SSLContext, cert: Path, key: Path) -> None:
    """Load it; a key with a passphrase is refused, as OpenSSL would ask for it on the terminal."""
    context.load_cert_chain(cert, key, password=str)


def _allow_many_files() -> None:
    """As many connections as the system lets us have."""
    with contextlib.suppress(ImportError, ValueError, OSError):
        import resource

        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
