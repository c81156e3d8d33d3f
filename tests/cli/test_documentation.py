"""What docs/cli.md shows works, line by line."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

from rqsqs.cli.program import COMMANDS

DOCUMENT = (Path(__file__).parents[2] / "docs" / "cli.md").read_text()


@pytest.mark.timeout(120)  # many commands, each a process
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_the_examples_run_in_order(valkey_url: str, prefix: str, tmp_path: Path) -> None:
    command = tmp_path / "bin" / "rqsqs"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m rqsqs "$@"\n')
    command.chmod(0o755)
    root = str(Path(__file__).parents[2])
    environment = {
        **os.environ,
        "PATH": f"{command.parent}:{os.environ['PATH']}",
        "PYTHONPATH": root,
        "RQSQS_URL": valkey_url,
        "RQSQS_PREFIX": prefix,
    }
    script = "set -eo pipefail\n" + "".join(re.findall(r"```sh\n(.*?)```", DOCUMENT, re.DOTALL))
    result = subprocess.run(
        ["bash", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=110
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert (tmp_path / "bodies.txt").read_bytes() == b'text\n{"id": 2}\n\x00\x01\n'
    assert "Traceback" not in result.stderr


def test_every_command_is_in_the_table() -> None:
    for name in COMMANDS:
        assert f"`{name}" in DOCUMENT
