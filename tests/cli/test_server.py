"""`rqsqs server`: the embedded server in the foreground."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

import redis

import rqsqs
from rqsqs import embedded
from tests.cli.tools import COMMAND, wait_for
from tests.servers import free_port


class Foreground:
    """`rqsqs server` as a process."""

    def __init__(self, *arguments: str) -> None:
        command = [*COMMAND, "server", *arguments]
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def first_line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()

    def end(self, number: signal.Signals = signal.SIGINT) -> str:
        self.process.send_signal(number)
        return self.process.communicate(timeout=60)[1]


@pytest.fixture
def started() -> Iterator[list[Foreground]]:
    found: list[Foreground] = []
    yield found
    for server in found:
        server.process.kill()
        server.process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_queues_in_a_folder_are_there_again(tmp_path: Path, started: list[Foreground], number: signal.Signals) -> None:
    folder = tmp_path / "queues"
    started.append(server := Foreground(str(folder)))
    url = server.first_line()
    assert url == f"embedded://{folder}"
    with rqsqs.connect(url) as connection:
        connection.create_queue("orders").send("kept")
    said = server.end(number)
    assert server.process.returncode == 0
    assert "Ctrl-C ends it" in said
    assert said.endswith("the server has ended\n")
    assert not embedded._is_alive(folder)
    started.append(server := Foreground(str(folder)))
    with rqsqs.connect(server.first_line()) as connection:
        assert connection.queue("orders").receive()[0].body == "kept"
    server.end(number)


def test_without_a_folder_it_is_in_memory(started: list[Foreground]) -> None:
    started.append(server := Foreground("--json"))
    told = json.loads(server.first_line())
    assert told["url"].startswith("unix://")
    assert told["folder"] is None
    with rqsqs.connect(told["url"]) as connection:
        connection.create_queue("orders").send("x")
    assert server.end().endswith("the server has ended\n")
    assert server.process.returncode == 0
    assert not Path(told["url"].removeprefix("unix://")).parent.exists()


def test_a_port_is_for_this_machine_alone(tmp_path: Path, started: list[Foreground]) -> None:
    port = free_port()
    started.append(server := Foreground(str(tmp_path / "q"), "--port", str(port)))
    assert server.first_line() == f"redis://127.0.0.1:{port}/0"
    with redis.Redis.from_url(f"redis://127.0.0.1:{port}/0") as client:
        assert client.config_get("bind")["bind"] == "127.0.0.1"
    started.append(other := Foreground(str(tmp_path / "q"), "--port", str(free_port())))
    _, said = other.process.communicate(timeout=60)
    assert other.process.returncode == 1
    assert said == f"rqsqs: the server of this folder listens on port {port} already\n"
    started.append(taken := Foreground("--port", str(port)))
    _, said = taken.process.communicate(timeout=60)
    assert taken.process.returncode == 1
    assert said.startswith(f"rqsqs: cannot listen on port {port} of 127.0.0.1: ")


def test_a_server_that_others_use_goes_on_without_the_port(tmp_path: Path, started: list[Foreground]) -> None:
    port = free_port()
    with embedded.acquire(f"embedded://{tmp_path}/q") as held:
        started.append(server := Foreground(str(tmp_path / "q"), "--port", str(port)))
        server.first_line()
        assert server.end().endswith("others use the server still; it ends with the last of them\n")
        assert server.process.returncode == 0
        with redis.Redis(unix_socket_path=held.socket_path) as client:
            assert client.config_get("port")["port"] == "0"


def test_the_end_of_the_server_is_an_error(tmp_path: Path, started: list[Foreground]) -> None:
    started.append(server := Foreground(str(tmp_path / "q"), "--json"))
    pid = json.loads(server.first_line())["pid"]
    subprocess.run(["kill", "-9", str(pid)], check=True)
    wait_for(lambda: server.process.poll() is not None)
    assert server.process.returncode == 1
    assert server.process.stderr is not None
    assert "rqsqs: the server has ended; see " in server.process.stderr.read()
