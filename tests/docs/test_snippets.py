"""Every Python snippet of the docs runs, file by file, in order, against a server of its own.

README.md, coming-from.md and testing.md have tests that do more: test_readme.py, test_coming_from.py,
plugin/test_pytest_plugin.py.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers import Server

ROOT = Path(__file__).parents[2]
FILES = [page for page in sorted((ROOT / "docs").glob("*.md")) if page.name not in ("coming-from.md", "testing.md")]
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def snippets(path: Path) -> list[str]:
    return FENCE.findall(path.read_text("utf-8"))


@pytest.mark.parametrize("path", [f for f in FILES if snippets(f)], ids=lambda p: p.name)
def test_snippets_run(path: Path, tmp_path: Path) -> None:
    if path.name == "opentelemetry.md":
        pytest.importorskip("opentelemetry.sdk")
    programs = [code for code in snippets(path) if "def test_" not in code]
    tests = [code for code in snippets(path) if "def test_" in code]
    server = Server("valkey").start()
    try:
        env = {"RQSQS_URL": server.url, "PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT)}
        if programs:
            script = tmp_path / "snippets.py"
            script.write_text("\n".join(programs), "utf-8")
            run(sys.executable, str(script), env=env)
        for number, code in enumerate(tests):
            file = tmp_path / f"test_snippet_{number}.py"
            file.write_text(code, "utf-8")
            run(sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(file), env=env)
    finally:
        server.stop()


def run(*command: str, env: dict[str, str]) -> None:
    done = subprocess.run(command, env=env, capture_output=True, text=True, timeout=100, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
