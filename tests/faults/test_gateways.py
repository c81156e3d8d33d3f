"""Consumers and producers of Node and Python on two processes of a gateway, while Redis fails over and processes die.

Node takes part if its packages are there (make test-clients; RQSQS_CLIENTS names their folder).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import boto3
import pytest

from rqsqs.gateway.keys_editing import NewUser, add_key
from tests.clients.tools import FOLDER, missing
from tests.clusters import Sentinels, until
from tests.faults.test_sentinels import fail_over
from tests.faults.test_sentinels import sentinels as sentinels  # a fixture

pytest.importorskip("uvicorn")

HERE, ROOT = Path(__file__).parent, Path(__file__).parents[2]
ROUNDS = int(os.environ.get("RQSQS_FAILOVERS", "1"))
PATIENCE_S = 120

pytestmark = pytest.mark.timeout(600 + 60 * ROUNDS)


class Client:
    """A program, and what it has told."""

    def __init__(self, command: list[str], env: dict[str, str], log: Path) -> None:
        self.log = log
        self._errors = log.with_suffix(".errors")
        with log.open("wb") as out, self._errors.open("wb") as errors:
            self._process = subprocess.Popen(command, env=env, stdout=out, stderr=errors, cwd=log.parent)

    def told(self) -> list[str]:
        return [line.strip() for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def errors(self) -> str:
        return self._errors.read_text()

    def is_alive(self) -> bool:
        return self._process.poll() is None

    def end(self, number: signal.Signals = signal.SIGKILL) -> None:
        self._process.send_signal(number)
        self._process.wait(PATIENCE_S)


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Callable[..., Client]]:
    clients: list[Client] = []

    def run(name: str, command: list[str], env: dict[str, str]) -> Client:
        clients.append(Client(command, env, tmp_path / f"{name}.log"))
        return clients[-1]

    yield run
    for client in clients:
        client.end()


@contextlib.contextmanager
def two_processes(url: str, prefix: str, keys: Path) -> Iterator[tuple[str, Callable[[], list[int]]]]:
    """A gateway of two processes: its address, and their ids."""
    command = [sys.executable, "-m", "rqsqs", "gateway", "--url", url, "--prefix", prefix, "--port", "0",
               "--processes", "2", "--keys", str(keys)]  # fmt: skip
    env = os.environ | {"PYTHONPATH": str(ROOT), "RQSQS_DURABILITY": "replicas=1,timeout=10,deletes"}
    log = keys.with_name("gateway.errors")
    with log.open("wb") as errors, subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=errors) as process:
        assert process.stdout is not None
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        try:
            address = process.stdout.readline().decode().strip()
            assert address.startswith("http://"), log.read_text()
            yield address, lambda: [int(each) for each in children.read_text().split()]
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


def test_programs_in_other_languages_go_on_and_lose_nothing(
    sentinels: Sentinels, prefix: str, tmp_path: Path, run: Callable[..., Client]
) -> None:
    """Whose send was acknowledged is handled, by the same processes before and after: nobody restarts them."""
    if not Path(f"/proc/self/task/{os.getpid()}/children").exists():
        pytest.skip("needs Linux")
    keys = tmp_path / "keys.toml"
    statement = {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}
    key = add_key(keys, "fleet", NewUser(statements=[statement]))
    with two_processes(sentinels.url, prefix, keys) as (address, processes):
        env = {name: os.environ[name] for name in ("PATH", "HOME", "LANG") if name in os.environ} | {
            "AWS_ENDPOINT_URL_SQS": address,
            "AWS_ACCESS_KEY_ID": key.key_id,
            "AWS_SECRET_ACCESS_KEY": key.secret or "",
            "AWS_DEFAULT_REGION": "us-east-1",
            "AWS_REGION": "us-east-1",
            "AWS_EC2_METADATA_DISABLED": "true",
            "AWS_CONFIG_FILE": str(tmp_path / "none"),
            "AWS_SHARED_CREDENTIALS_FILE": str(tmp_path / "none"),
        }
        sqs: Any = boto3.client(
            "sqs", endpoint_url=address, region_name="us-east-1",
            aws_access_key_id=key.key_id, aws_secret_access_key=key.secret,
        )  # fmt: skip
        url = sqs.create_queue(QueueName="orders")["QueueUrl"]
        program = [sys.executable, str(HERE / "gateway_client.py")]
        producers = [run(f"producer{n}", [*program, "produce", url, f"p{n}"], env) for n in range(2)]
        consumers = [run(f"python{n}", [*program, "consume", url, ""], env) for n in range(2)]
        if missing("node"):
            print(missing("node"))
        else:
            script = tmp_path / "gateway_client.mjs"
            script.write_text((HERE / "gateway_client.mjs").read_text())
            (tmp_path / "node_modules").symlink_to(FOLDER / "node" / "node_modules")
            consumers += [run(f"node{n}", ["node", str(script), url], env) for n in range(2)]
        everybody = [*producers, *consumers]

        def all_go_on() -> None:
            """Everybody tells much that is new, and is who it was."""
            before = {client: len(client.told()) for client in everybody}
            for client in everybody:
                until(
                    lambda client=client: len(client.told()) > before[client] + 25 or not client.is_alive(),  # type: ignore[misc]
                    f"{client.log.name} goes on",
                    PATIENCE_S,
                )
                assert client.is_alive(), client.errors()

        def kill_one() -> None:
            before = processes()
            os.kill(before[0], signal.SIGKILL)
            until(lambda: len(processes()) == 2 and before[0] not in processes(), "another one has started", PATIENCE_S)

        until(lambda: len(processes()) == 2, "both processes run", PATIENCE_S)
        all_go_on()
        for _ in range(ROUNDS):
            kill_one()
            all_go_on()
            fail_over(sentinels)
            all_go_on()
        for producer in producers:
            producer.end()
        acknowledged = {body for producer in producers for body in producer.told()}
        assert len(acknowledged) > 100

        def left() -> set[str]:
            return acknowledged - {body for consumer in consumers for body in consumer.told()}

        end = time.monotonic() + PATIENCE_S
        while left() and time.monotonic() < end:
            time.sleep(0.2)
        assert not left(), f"{len(left())} of {len(acknowledged)} are lost"
        assert all(consumer.is_alive() for consumer in consumers)
        errors = sum(client.errors().count("\n") for client in everybody)
        print(f"{len(acknowledged)} acknowledged, {sum(len(c.told()) for c in consumers)} handled by {len(consumers)}, "
              f"{errors} errors gone over")  # fmt: skip
