"""What a shell completes."""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

import rqsqs
from tests.cli.tools import COMMAND, Run, records


def completed(words: str, **environment: str) -> list[str]:
    """What stands behind the last word."""
    asked = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split(" ")) - 1), "_RQSQS_COMPLETE": "bash_complete"}
    result = subprocess.run(
        COMMAND, env={**os.environ, **asked, **environment}, capture_output=True, text=True, timeout=60, check=False
    )
    assert result.stderr == ""
    return [line.partition(",")[2] for line in result.stdout.splitlines() if line]


@pytest.mark.usefixtures("environment")
def test_names_of_queues_are_completed(connection: rqsqs.Connection) -> None:
    for name in ("orders", "orders-dead", "bills"):
        connection.create_queue(name)
    assert completed("rqsqs send ord") == ["orders", "orders-dead"]
    assert completed("rqsqs dlq redrive orders-") == ["orders-dead"]
    assert completed("rqsqs rm orders ord") == ["orders-dead"]
    assert completed("rqsqs create x --dlq b") == ["bills"]
    assert completed("rqsqs --prefix other stats ") == []
    assert completed("rqsqs exp") == ["export"]


def test_a_server_that_does_not_answer_is_no_error(tmp_path: Path) -> None:
    start = time.monotonic()
    assert completed("rqsqs send o", RQSQS_URL="redis://localhost:1/0") == []
    assert completed("rqsqs send o", RQSQS_URL="nonsense") == []
    assert completed("rqsqs send o", RQSQS_URL="", XDG_DATA_HOME=str(tmp_path)) == []
    assert list(tmp_path.iterdir()) == []
    assert time.monotonic() - start < 30


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_each_shell_gets_a_script_that_says_where_it_goes(run: Run, shell: str) -> None:
    script = run("completion", shell).stdout
    assert script.startswith("# ")
    assert f"rqsqs completion {shell}" in script.partition("\n")[0]
    assert "_RQSQS_COMPLETE" in script
    (record,) = records(run("completion", shell, "--json"))
    assert record["script"] + "\n" == script
    run("completion", "csh", code=2)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_takes_its_script(run: Run) -> None:
    script = run("completion", "bash").stdout + "complete -p rqsqs\n"
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True, timeout=60, check=True)
    assert "-F _rqsqs_completion rqsqs" in result.stdout
