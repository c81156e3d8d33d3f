"""What is imported when: redis-py takes longer than all the rest, and many programs connect late or never."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

HEAVY = ("redis", "hiredis", "asyncio", "ssl", "rich", "boto3", "botocore", "pytest")
CALL = """
from rqsqs.cli.program import program
import contextlib, io
with contextlib.redirect_stdout(io.TextIOWrapper(io.BytesIO())), contextlib.suppress(SystemExit):
    program()
"""


def imported(code: str) -> set[str]:
    """The heavy modules that a fresh Python has after running some code, and the modules of ours."""
    code += "\nimport sys; print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return {name for name in found.stdout.split() if name in HEAVY or name.startswith("rqsqs")}


@pytest.mark.parametrize(
    "code",
    [
        "import rqsqs",
        "import rqsqs; rqsqs.connect, rqsqs.Queue, rqsqs.Message, rqsqs.Durability, rqsqs.errors",
        "from rqsqs import *",
        "import rqsqs.worker",
        "from rqsqs.worker import Worker\nw = Worker()\n@w.handler('orders')\ndef handle(message): ...",
    ],
)
def test_nothing_heavy_is_imported_before_somebody_connects(code: str) -> None:
    assert imported(code).isdisjoint(HEAVY)


def test_the_native_api_does_not_import_alarms() -> None:
    assert "rqsqs.alarm_models" not in imported("import rqsqs; rqsqs.connect('redis://localhost:1')")


def test_the_package_alone_imports_nothing_of_itself() -> None:
    assert {name for name in imported("import rqsqs") if name.startswith("rqsqs")} == {"rqsqs"}


def test_connecting_imports_redis_py_and_not_our_asyncio_side() -> None:
    found = imported("import rqsqs; rqsqs.connect('redis://localhost:1')")
    assert "redis" in found
    assert "rqsqs._io.aio.runner" not in found


def test_the_asyncio_api_has_redis_py_before_there_is_a_loop_to_keep_waiting() -> None:
    assert {"redis", "rqsqs._io.aio.runner"} <= imported("import rqsqs.aio")


def test_boto3_alone_imports_next_to_nothing_of_ours() -> None:
    found = imported("from rqsqs import boto3; boto3.Session(region_name='eu-north-1')")
    assert {name for name in found if name.startswith("rqsqs")} == {
        "rqsqs",
        "rqsqs.boto3",
        "rqsqs.boto3.aliases",
        "rqsqs.boto3.session",
    }


@pytest.mark.parametrize(
    "code",
    [
        "boto3.client('sqs', endpoint_url='redis://localhost:1')",
        "boto3.client('cloudwatch', endpoint_url='redis://localhost:1')",
        "boto3.attach(boto3.client('sqs'), 'redis://localhost:1')",
        "boto3.patch('redis://localhost:1')",
    ],
)
def test_a_client_of_boto3_imports_what_answers_with_its_first_request(code: str) -> None:
    found = imported(f"from rqsqs import boto3\n{code}")
    assert found.isdisjoint({"redis", "asyncio", "rqsqs.sqs", "rqsqs.cloudwatch", "rqsqs._core.operation"})


def test_a_request_of_boto3_imports_neither_alarms_nor_our_asyncio_side() -> None:
    code = """
from rqsqs import boto3
from botocore.config import Config
from botocore.exceptions import EndpointConnectionError
try:
    boto3.client("sqs", endpoint_url="redis://127.0.0.1:1", config=Config(connect_timeout=1)).list_queues()
except EndpointConnectionError:
    import redis
"""
    found = imported(code)
    assert {"redis", "rqsqs.sqs.actions"} <= found
    assert found.isdisjoint(
        {"rqsqs.alarm_models", "rqsqs.cloudwatch", "rqsqs._io.aio.runner", "rqsqs.embedded", "rqsqs.worker"}
    )


def test_threads_that_connect_first_at_the_same_time_all_can() -> None:
    code = """
import threading, rqsqs
start, made = threading.Barrier(8), []
def connect():
    start.wait()
    made.append(rqsqs.connect("redis://localhost:1"))
threads = [threading.Thread(target=connect) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(made) == 8
"""
    assert "redis" in imported(code)


def test_names_stay_once_they_were_imported() -> None:
    import rqsqs

    first = rqsqs.Connection
    others: list[object] = []
    threads = [threading.Thread(target=lambda: others.append(rqsqs.Connection)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(other is first for other in others)
    assert "Connection" in vars(rqsqs)


@pytest.mark.parametrize("arguments", ["--help", "--version", "no-such-command"])
def test_what_needs_no_server_and_no_table_imports_neither(arguments: str) -> None:
    found = imported(f"import sys; sys.argv[1:] = {arguments.split()}; {CALL}")
    assert found.isdisjoint(HEAVY)
    assert not any(name.startswith(("rqsqs._core.", "rqsqs.worker")) for name in found)


def test_a_command_imports_no_other_and_draws_nothing_into_a_pipe() -> None:
    found = imported(f"import sys; sys.argv[1:] = ['ls', '--url', 'redis://localhost:1']; {CALL}")
    assert {"redis", "rqsqs.cli.queues"} <= found
    assert found.isdisjoint({"rich", "rqsqs.cli.messages", "rqsqs.cli.top", "rqsqs.worker", "rqsqs.embedded"})


def test_completion_of_commands_imports_no_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("_RQSQS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "rqsqs rec")
    monkeypatch.setenv("COMP_CWORD", "1")
    found = imported(CALL)
    assert found.isdisjoint(HEAVY)
    assert "rqsqs.cli.messages" not in found
