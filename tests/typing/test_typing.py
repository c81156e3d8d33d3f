"""What type checkers say of programs that use rqsqs: nothing if they are right, and the line if they are not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
RIGHT, WRONG = HERE / "right.py", HERE / "wrong.py"


def marked() -> set[tuple[str, int, str]]:
    """The lines of wrong.py with `# E: code`."""
    lines = WRONG.read_text().splitlines()
    return {
        (WRONG.name, number, found[1])
        for number, line in enumerate(lines, 1)
        if (found := re.search(r"# E: ([a-z-]+)$", line))
    }


def test_mypy_finds_what_is_wrong_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """In this process, with the cache that `make lint` has filled: a second or two."""
    api = pytest.importorskip("mypy.api")
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("MYPYPATH", str(ROOT))
    out, err, _ = api.run([str(RIGHT), str(WRONG), "--no-error-summary", "--no-pretty", "--follow-imports=silent"])
    found = re.findall(r"(\w+\.py):(\d+): error: .*\[([a-z-]+)\]$", out, re.MULTILINE)
    assert {(name, int(number), code) for name, number, code in found} == marked(), out + err


def test_pyright_finds_what_is_wrong_and_nothing_else() -> None:
    pyright = shutil.which("pyright")
    if pyright is None:
        pytest.skip("pyright is not installed")
    made = subprocess.run(
        [pyright, "--outputjson", str(RIGHT), str(WRONG)], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    found = {
        (Path(d["file"]).name, d["range"]["start"]["line"] + 1)
        for d in json.loads(made.stdout)["generalDiagnostics"]
        if d["severity"] == "error"
    }
    assert found == {(name, number) for name, number, _ in marked()}, made.stdout


def test_the_package_says_that_it_is_typed() -> None:
    assert (ROOT / "rqsqs" / "py.typed").is_file()
