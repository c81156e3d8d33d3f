"""What is imported when: redis-py takes longer than everything else together, and most programs connect late or never."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest

HEAVY = ("redis", "hiredis", "asyncio", "ssl", "rich", "boto3", "botocore", "pytest")


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


def test_the_package_alone_imports_nothing_of_itself() -> None:
    assert {name for name in imported("import rqsqs") if name.startswith("rqsqs")} == {"rqsqs"}


def test_connecting_imports_redis_py_and_not_our_asyncio_side() -> None:
    found = imported("import rqsqs; rqsqs.connect('redis://localhost:1')")
    assert "redis" in found
    assert "rqsqs._io.aio" not in found


def test_the_asyncio_api_has_redis_py_before_there_is_a_loop_to_keep_waiting() -> None:
    assert {"redis", "rqsqs._io.aio"} <= imported("import rqsqs.aio")


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
