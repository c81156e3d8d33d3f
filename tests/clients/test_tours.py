"""The programs of examples/clients run against a gateway, each with its own client.

`make test` runs those whose tools are here and that are quick; `make test-clients` installs what it can and runs all.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from rqsqs import Counts
from tests.clients.conftest import PATIENCE_S, RunningGateway, run
from tests.clients.tools import EXAMPLES, FOLDER, ROOT, missing, python_of

ALL = bool(os.environ.get("RQSQS_TEST_CLIENTS"))


def needs(client: str, is_slow: bool = False) -> None:
    """Skip a test whose client is not here, or that only `make test-clients` has the time for."""
    if reason := missing(client):
        pytest.skip(reason)
    if is_slow and not ALL:
        pytest.skip("takes long: make test-clients")


def check_queues(gateway: RunningGateway, name: str) -> None:
    """Look at what a tour left behind, from Python: one dead letter, and nothing else."""
    with gateway.connect() as connection:
        assert connection.queue(name).counts() == Counts()
        assert connection.queue(f"{name}.fifo").counts() == Counts()
        [letter] = connection.queue(f"{name}-dead").peek(10)
        assert letter.body == "broken"


@pytest.mark.parametrize(
    ("client", "program"),
    [("boto3", "boto3_tour.py"), ("aiobotocore", "aiobotocore_tour.py")],
)
def test_python(gateway: RunningGateway, client: str, program: str) -> None:
    needs(client)
    python = sys.executable if client == "boto3" else python_of(client)
    assert "done" in run([python, program, f"tour-{client}"], gateway.env, EXAMPLES / "python")
    check_queues(gateway, f"tour-{client}")


def test_aws_cli(gateway: RunningGateway) -> None:
    needs("awscli", is_slow=True)
    env = gateway.env | {"PATH": f"{python_of('awscli').parent}:{gateway.env['PATH']}"}
    assert "done" in run(["sh", "tour.sh", "tour-awscli"], env, EXAMPLES / "awscli")
    check_queues(gateway, "tour-awscli")


def test_node(gateway: RunningGateway, tmp_path: Path) -> None:
    needs("node")
    shutil.copytree(EXAMPLES / "node", tmp_path / "node")
    (tmp_path / "node" / "node_modules").symlink_to(FOLDER / "node" / "node_modules")
    assert "done" in run(["node", "tour.mjs", "tour-node"], gateway.env, tmp_path / "node")
    check_queues(gateway, "tour-node")
    assert "done" in run(["node", "consumer.mjs", "tour-node-consumer"], gateway.env, tmp_path / "node")


def test_php_asyncaws(gateway: RunningGateway) -> None:
    needs("php")
    assert "done" in run(["php", "asyncaws_tour.php", "tour-php"], gateway.env, EXAMPLES / "php")
    check_queues(gateway, "tour-php")


def test_php_symfony_messenger(gateway: RunningGateway) -> None:
    needs("php")
    assert "done" in run(["php", "symfony_tour.php", "tour-symfony"], gateway.env, EXAMPLES / "php")
    with gateway.connect() as connection:
        assert connection.queue("tour-symfony").counts() == Counts()
        assert connection.queue("tour-symfony.fifo").counts() == Counts()


def test_php_laravel(gateway: RunningGateway) -> None:
    """What the demo does not do: Laravel's suffixes of queue names, sizes, and clearing."""
    needs("php")

    def artisan(*words: str) -> str:
        return run(["php", "artisan", *words], gateway.env | {"SQS_SUFFIX": "-staging"}, EXAMPLES / "php" / "laravel")

    with gateway.connect() as connection:
        queue = connection.create_queue("tour-laravel-staging")
        queue.send_batch(["one", "two", "three"])
        assert artisan("queue:size", "tour-laravel").strip() == "3"
        artisan("queue:clear", "sqs", "--queue", "tour-laravel", "--force")
        assert queue.counts() == Counts()


def test_php_and_python_on_one_cache() -> None:
    needs("php", is_slow=True)
    run([sys.executable, EXAMPLES / "php" / "demo.py"], os.environ | {"PYTHONPATH": str(ROOT)}, ROOT)


def test_go(gateway: RunningGateway, tmp_path: Path) -> None:
    needs("go", is_slow=True)
    env = gateway.env | {"GO111MODULE": "off", "GOPATH": "/usr/share/gocode"}
    run(["go", "build", "-o", tmp_path / "tour", "tour.go"], env, EXAMPLES / "go")
    assert "done" in run([tmp_path / "tour", "tour-go"], env, EXAMPLES / "go")
    check_queues(gateway, "tour-go")


def test_ruby(gateway: RunningGateway) -> None:
    needs("ruby")
    assert "done" in run(["ruby", "tour.rb", "tour-ruby"], gateway.env | {"LANG": "C.UTF-8"}, EXAMPLES / "ruby")
    check_queues(gateway, "tour-ruby")


@contextlib.contextmanager
def worker(command: list[str | Path], env: dict[str, str], cwd: Path, log: Path) -> Iterator[None]:
    """A worker that runs, and ends when it is told to."""
    with log.open("wb") as file, subprocess.Popen(command, env=env, cwd=cwd, stdout=file, stderr=file) as process:
        try:
            yield
            process.terminate()
            assert process.wait(PATIENCE_S) is not None
        finally:
            process.kill()


def test_celery(gateway: RunningGateway, tmp_path: Path) -> None:
    needs("celery")
    env = gateway.env | {
        "CELERY_BROKER_URL": gateway.address.replace("http://", "sqs://"),
        "CELERY_RESULT_BACKEND": gateway.redis_url.removesuffix("/0") + "/1",
        "CELERY_QUEUE": "tour-celery",
    }
    celery = [python_of("celery"), "-m", "celery", "-A", "tasks", "worker", "--concurrency", "2", "--loglevel", "DEBUG"]
    log = tmp_path / "celery.log"
    with worker(celery, env, EXAMPLES / "celery", log):
        assert "done" in run([python_of("celery"), "tour.py"], env, EXAMPLES / "celery")
    text = log.read_text("utf-8", "replace")
    assert "Starting Hub" in text, "the asynchronous hub is off"
    assert "Traceback" not in text, text
    with gateway.connect() as connection:
        assert connection.queue("tour-celery").counts() == Counts()


def test_dramatiq(gateway: RunningGateway, tmp_path: Path) -> None:
    needs("dramatiq")
    env = gateway.env | {"DRAMATIQ_NAMESPACE": "tour-dramatiq"}
    dramatiq = [python_of("dramatiq"), "-m", "dramatiq", "actors", "--processes", "1", "--threads", "4"]
    with worker(dramatiq, env, EXAMPLES / "dramatiq", tmp_path / "dramatiq.log"):
        assert "done" in run([python_of("dramatiq"), "tour.py"], env, EXAMPLES / "dramatiq")
    with gateway.connect() as connection:
        assert connection.queue("tour-dramatiq_default").counts() == Counts()
        assert connection.queue("tour-dramatiq_default_dlq").counts().visible == 1
