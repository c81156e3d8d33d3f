"""`rqsqs server`: the embedded server in the foreground."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import click
import redis

from rqsqs import embedded
from rqsqs._io.sync import clients
from rqsqs.cli import output
from rqsqs.cli.parameter_types import FILE
from rqsqs.cli.report import OK, Lines, Result, Results
from rqsqs.cli.settings import Settings, reported

LOOK_S = 0.2


@click.command("server")
@click.argument("folder", required=False, type=FILE)
@click.option("--port", type=click.IntRange(1, 65_535), metavar="N", help="Also listen on this port of 127.0.0.1.")
@click.option("--appendfsync", type=click.Choice(["always", "everysec", "no"]),
              help="When messages are safe on disk: at once, a second later, some time [always].")  # fmt: skip
@reported
def server(settings: Settings, folder: str | None, port: int | None, appendfsync: str | None) -> Results:
    """Run a server for queues in the foreground, until Ctrl-C, and print the URL that programs use.

    With FOLDER the queues are kept there and are there again at the next start; a server that runs on FOLDER already is
    joined, and runs as long as others use it. Without FOLDER they are kept where --url or RQSQS_URL says, if that is
    embedded://~ or another folder; else they are in memory and gone at the end.

    It listens on a unix socket that only your user can open. With --port every user of this machine can connect, and
    nobody from outside. It needs no configuration; for several machines run Valkey or Redis themselves.

    \b
    Examples:
      rqsqs server ~/queues
      rqsqs server --url embedded://~
      rqsqs server --port 6400 &      then: export RQSQS_URL=redis://127.0.0.1:6400/0
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    url = _url(folder, settings.url, appendfsync)
    try:
        with embedded.acquire(url) as running:
            listening = _listen(running, port)
            try:
                yield _about(running, url, port)
                sys.stdout.flush()
                while _is_alive(running.pid):
                    time.sleep(LOOK_S)
            except KeyboardInterrupt:
                if listening:
                    with clients.at_socket(running.socket_path) as client:
                        client.config_set("port", 0)
            else:
                raise click.ClickException(
                    f"the server has ended{f'; see {running.folder}/server.log' if running.folder else ''}"
                )
    except KeyboardInterrupt:  # while it started
        return OK
    is_shared = running.folder is not None and not _ends(running.pid)
    output.note("others use the server still; it ends with the last of them" if is_shared else "the server has ended")
    return OK


def _url(folder: str | None, named: str | None, appendfsync: str | None) -> str:
    if folder is not None and folder.startswith("embedded:"):
        url = folder
    elif folder is not None:
        url = Path(folder).absolute().as_uri().replace("file:", "embedded:", 1)
    else:
        url = named if named is not None and named.startswith("embedded:") else "embedded://"
    if appendfsync is None:
        return url
    if embedded.parse_url(url).folder is None:
        raise click.UsageError("--appendfsync goes with a FOLDER: without one the queues are in memory")
    return f"{url.partition('?')[0]}?appendfsync={appendfsync}"


def _listen(running: embedded.EmbeddedServer, port: int | None) -> bool:
    """Open the port; False if there is nothing to close later."""
    if port is None:
        return False
    with clients.at_socket(running.socket_path) as client:
        found: dict[Any, Any] = client.config_get("port")
        before = int(found["port"])
        if before == port:
            return False
        if before:
            raise click.ClickException(f"the server of this folder listens on port {before} already")
        try:
            client.config_set("bind", "127.0.0.1")
            client.config_set("port", port)
        except redis.ResponseError as error:
            raise click.ClickException(f"cannot listen on port {port} of 127.0.0.1: {error}") from None
    return True


def _about(running: embedded.EmbeddedServer, url: str, port: int | None) -> Result:
    addresses = [f"unix://{running.socket_path}"]
    if running.folder is not None:
        addresses.insert(0, url.partition("?")[0])
    if port is not None:
        addresses.insert(0, f"redis://127.0.0.1:{port}/0")
    kept = f"kept in {running.folder}" if running.folder is not None else "in memory, gone at the end"
    output.note(f"server {running.pid} runs, its queues are {kept}; Ctrl-C ends it")
    return Lines(addresses, url=addresses[0], urls=addresses, pid=running.pid, folder=running.folder)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _ends(pid: int) -> bool:
    """Wait a moment for the end of a process."""
    for _ in range(5):
        if not _is_alive(pid):
            return True
        time.sleep(LOOK_S)
    return False
