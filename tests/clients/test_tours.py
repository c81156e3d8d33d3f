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


def test_python_in_the_query_protocol(gateway: RunningGateway, tmp_path: Path) -> None:
    needs("query")
    program = (EXAMPLES / "python" / "boto3_tour.py").read_text("utf-8")
    (tmp_path / "tour.py").write_text(program.replace("MessageSystemAttributeNames", "AttributeNames"), "utf-8")
    assert "done" in run([python_of("query"), "tour.py", "tour-query"], gateway.env, tmp_path)
    check_queues(gateway, "tour-query")


def test_aws_cli(gateway: RunningGateway) -> None:
    needs("awscli", is_slow=True)
    env = gateway.env | {"PATH": f"{python_of('awscli').parent}:{gateway.env['PATH']}"}
    assert "done" in run(["sh", "tour.sh", "tour-awscli"], env, EXAMPLES / "awscli")
    check_queues(gateway, "tour-awscli")


def test_alarms_and_metrics_with_the_aws_cli(gateway: RunningGateway, tmp_path: Path) -> None:
    needs("awscli", is_slow=True)
    env = gateway.env | {"PATH": f"{python_of('awscli').parent}:{gateway.env['PATH']}"}
    assert "done" in run(["sh", EXAMPLES / "awscli" / "cloudwatch.sh", "tour-cloudwatch"], env, tmp_path)


def test_node(gateway: RunningGateway, tmp_path: Path) -> None:
    needs("node")
    shutil.copytree(EXAMPLES / "node", tmp_path / "node")
    (tmp_path / "node" / "node_modules").symlink_to(FOLDER / "node" / "node_modules")
    assert "done" in run(["node", "tour.mjs", "tour-node"], gateway.env, tmp_path / "node")
    check_queues(gateway, "tour-node")
    assert "done" in run(["node", "consumer.mjs", "tour-node-consumer"], gateway.env, tmp_path / "node")


def test_node_finds_the_gateway_by_the_url_of_a_queue(gateway: RunningGateway, tmp_path: Path) -> None:
    """Without an endpoint the SDK sends to the host of QueueUrl, http and the port included."""
    needs("node")
    (tmp_path / "node_modules").symlink_to(FOLDER / "node" / "node_modules")
    (tmp_path / "send.mjs").write_text(
        'import { SQS } from "@aws-sdk/client-sqs";\n'
        'await new SQS().sendMessage({ QueueUrl: process.argv[2], MessageBody: "by URL" });\n',
        "utf-8",
    )
    with gateway.connect() as connection:
        queue = connection.create_queue("tour-node-by-url")
        env = {name: value for name, value in gateway.env.items() if not name.startswith("AWS_ENDPOINT")}
        run(["node", "send.mjs", f"{gateway.address}/000000000000/tour-node-by-url"], env, tmp_path)
        assert queue.counts().visible == 1


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


@pytest.mark.parametrize(
    ("client", "command"),
    [
        ("boto3", [sys.executable, "python/boto3_tour.py"]),
        ("ruby", ["ruby", "ruby/tour.rb"]),
        ("php", ["php", "-d", "curl.cainfo=CERTIFICATE", "php/asyncaws_tour.php"]),
        ("php", ["php", "-d", "curl.cainfo=CERTIFICATE", "php/symfony_tour.php"]),
    ],
)
def test_tls(gateway_with_tls: RunningGateway, client: str, command: list[str]) -> None:
    needs(client)
    certificate = str(gateway_with_tls.certificate)
    words: list[str | Path] = [word.replace("CERTIFICATE", certificate) for word in command]
    assert "done" in run(words, gateway_with_tls.env | {"LANG": "C.UTF-8"}, EXAMPLES)


def test_tls_from_node(gateway_with_tls: RunningGateway, tmp_path: Path) -> None:
    needs("node")
    shutil.copytree(EXAMPLES / "node", tmp_path / "node")
    (tmp_path / "node" / "node_modules").symlink_to(FOLDER / "node" / "node_modules")
    assert "done" in run(["node", "tour.mjs"], gateway_with_tls.env, tmp_path / "node")


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


@pytest.mark.parametrize("client", ["celery", "query"])
def test_celery(gateway: RunningGateway, tmp_path: Path, client: str) -> None:
    needs(client)
    env = gateway.env_of("celery") | {
        "CELERY_BROKER_URL": gateway.address.replace("http://", "sqs://"),
        "CELERY_RESULT_BACKEND": gateway.redis_url.removesuffix("/0") + "/1",
        "CELERY_QUEUE": f"tour-celery-{client}",
    }
    celery = [python_of(client), "-m", "celery", "-A", "tasks", "worker", "--concurrency", "2", "--loglevel", "DEBUG"]
    log = tmp_path / "celery.log"
    with worker(celery, env, EXAMPLES / "celery", log):
        assert "done" in run([python_of(client), "tour.py"], env, EXAMPLES / "celery")
    text = log.read_text("utf-8", "replace")
    assert "Starting Hub" in text, "the asynchronous hub is off"
    assert "Traceback" not in text, text
    with gateway.connect() as connection:
        assert connection.queue(f"tour-celery-{client}").counts() == Counts()


def test_dramatiq(gateway: RunningGateway, tmp_path: Path) -> None:
    needs("dramatiq")
    env = gateway.env | {"DRAMATIQ_NAMESPACE": "tour-dramatiq"}
    dramatiq = [python_of("dramatiq"), "-m", "dramatiq", "actors", "--processes", "1", "--threads", "4"]
    with worker(dramatiq, env, EXAMPLES / "dramatiq", tmp_path / "dramatiq.log"):
        assert "done" in run([python_of("dramatiq"), "tour.py"], env, EXAMPLES / "dramatiq")
    with gateway.connect() as connection:
        assert connection.queue("tour-dramatiq_default").counts() == Counts()
        assert connection.queue("tour-dramatiq_default_dlq").counts().visible == 1
