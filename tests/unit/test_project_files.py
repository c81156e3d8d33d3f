"""What stands around the code: workflows, templates, metadata of the package."""

from __future__ import annotations

import itertools
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

import rqsqs

yaml = pytest.importorskip("yaml")

ROOT = Path(__file__).parents[2]
GITHUB = ROOT / ".github"
WORKFLOWS = sorted(GITHUB.glob("workflows/*.yml"))
FILES = [*sorted(GITHUB.rglob("*.yml")), ROOT / ".pre-commit-config.yaml", ROOT / "docker-compose.yml"]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
MAKE_TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


def steps(workflow: Path) -> list[dict[str, Any]]:
    return [step for job in load(workflow)["jobs"].values() for step in job.get("steps", ())]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_it_is_yaml(path: Path) -> None:
    assert isinstance(load(path), dict)


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_a_workflow_takes_no_more_rights_than_it_names_and_pins_what_it_runs(workflow: Path) -> None:
    loaded = load(workflow)
    assert loaded["permissions"] == {}
    assert all("permissions" in job for job in loaded["jobs"].values())
    for line in workflow.read_text("utf-8").splitlines():
        if (used := re.search(r"uses: (\S+)", line)) and not used[1].startswith("./"):
            assert re.search(r"@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line), f"{workflow.name}: {line.strip()}"


@pytest.mark.parametrize("workflow", WORKFLOWS, ids=lambda path: path.name)
def test_what_a_workflow_runs_exists(workflow: Path) -> None:
    commands = "\n".join(step.get("run", "") for step in steps(workflow))
    targets = set(re.findall(r"\bmake (?:\"\$TARGET\"|([a-z-]+))", commands)) - {""}
    for job in load(workflow)["jobs"].values():
        targets |= set(job.get("strategy", {}).get("matrix", {}).get("target", ()))
    assert targets <= MAKE_TARGETS
    assert all((ROOT / path).is_file() for path in re.findall(r"\.github/[\w./-]+\w", commands))


def test_the_matrix_has_every_python_every_server_and_the_oldest_dependencies() -> None:
    matrix = load(GITHUB / "workflows" / "ci.yml")["jobs"]["test"]["strategy"]["matrix"]["include"]
    declared = {name.rpartition(" ")[2] for name in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", name)}
    assert min(declared, key=lambda version: int(version[2:])) == PROJECT["requires-python"].removeprefix(">=")
    assert {row["python"] for row in matrix} >= declared
    assert {row["redis"] for row in matrix} == {"7.0", "7.4", "8"}
    assert {row["valkey"] for row in matrix} == {"7.2", "8", "9"}
    assert {row["dependencies"] for row in matrix} == {"oldest", "newest"}
    pairs = [tuple(row.items()) for row in matrix]
    assert all(one != other for one, other in itertools.combinations(pairs, 2))


def test_zizmor_finds_nothing() -> None:
    program = shutil.which("zizmor", path=f"{Path(sys.executable).parent}")
    if program is None:
        pytest.skip("zizmor is not installed")
    done = subprocess.run(
        [program, "--offline", "--quiet", GITHUB], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_version_changelog_and_licence_agree() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text("utf-8")
    assert re.search(rf"^## \[{re.escape(rqsqs.__version__)}\] - \d{{4}}-\d\d-\d\d$", changelog, re.MULTILINE)
    assert changelog.index("## [Unreleased]") < changelog.index(f"## [{rqsqs.__version__}]")
    assert PROJECT["license"] == "MIT"
    assert not [name for name in PROJECT["classifiers"] if name.startswith("License")]
    assert "MIT License" in (ROOT / "LICENSE").read_text("utf-8")
