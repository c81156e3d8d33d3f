"""Off costs nothing, and says what is missing where it is to be switched on without the extra."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HIDE = """
import sys
class Hidden:
    def find_spec(self, name, *_):
        if name.split(".")[0] == "opentelemetry":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hidden())
"""


def run(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, timeout=60, check=False, cwd=ROOT
    )


def test_nothing_imports_it_by_itself() -> None:
    code = "import redis, redis.asyncio, redis.asyncio.cluster, redis.cluster, redis.sentinel, sys\n"
    code += "theirs = set(sys.modules)\n"  # redis-py imports an SDK that is installed
    code += "import rqsqs, rqsqs.aio, rqsqs.worker; rqsqs.Queue, rqsqs.connect\n"
    code += "from rqsqs.worker import runtime\nfrom rqsqs import sqs\n"
    code += "print([name for name in sys.modules if 'opentelemetry' in name and name not in theirs])"
    done = run(code)
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_without_the_extra_the_error_says_how_to_get_it() -> None:
    done = run(HIDE + "import rqsqs.opentelemetry")
    assert done.stderr.splitlines()[-1] == (
        "ImportError: rqsqs.opentelemetry needs opentelemetry-api, which is not installed: "
        "pip install 'rqsqs[opentelemetry]'"
    )


@pytest.mark.parametrize("command", [["gateway", "--opentelemetry"], ["worker", "--opentelemetry", "app"]])
def test_commands_say_so_too(command: list[str]) -> None:
    pytest.importorskip("click")
    pytest.importorskip("uvicorn")
    done = run(HIDE + "from rqsqs.cli import main; main()", *command)
    assert done.returncode == 2
    assert "rqsqs.opentelemetry needs opentelemetry-api, which is not installed: pip install" in done.stderr
    assert "Traceback" not in done.stderr
