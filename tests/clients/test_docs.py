"""Every fenced snippet of docs/clients stands in a program of examples/clients, which the tests run."""

from __future__ import annotations

import re
import textwrap
from pathlib import Path

import pytest

from tests.clients.tools import EXAMPLES, ROOT

PAGES = sorted((ROOT / "docs" / "clients").glob("*.md"))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
ENDINGS = {
    "python": {".py"},
    "sh": {".sh"},
    "js": {".mjs"},
    "php": {".php"},
    "go": {".go"},
    "ruby": {".rb"},
}


def without_margin(text: str) -> str:
    """Lines without the indentation that all of them have, and without space at their ends."""
    return "\n".join(line.rstrip() for line in textwrap.dedent(text).strip("\n").splitlines())


def stands_in(snippet: str, program: str) -> bool:
    """Whether consecutive lines of a program are a snippet, at any depth."""
    wanted = without_margin(snippet).splitlines()
    lines = program.splitlines()
    return any(
        without_margin("\n".join(lines[at : at + len(wanted)])).splitlines() == wanted
        for at in range(len(lines) - len(wanted) + 1)
    )


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_snippets_stand_in_programs_that_run(page: Path) -> None:
    for language, snippet in FENCE.findall(page.read_text("utf-8")):
        programs = [
            file.read_text("utf-8")
            for file in EXAMPLES.rglob("*")
            if file.suffix in ENDINGS[language] and "node_modules" not in file.parts
        ]
        assert any(stands_in(snippet, program) for program in programs), f"{page.name}: in no program:\n{snippet}"


def test_a_snippet_that_no_program_has_is_found() -> None:
    assert stands_in("    a\n      b\n", "x\n  a\n    b\ny\n")
    assert not stands_in("a\nb\n", "a\n  b\n")
