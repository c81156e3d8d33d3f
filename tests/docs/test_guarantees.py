"""Every cell of the table in docs/guarantees.md names a test, and each of these exists."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "guarantees.md").read_text("utf-8")
CLAIMS = PAGE.partition("\n## ")[0].splitlines()
TABLE = [[cell.strip() for cell in row.strip("|").split("|")] for row in CLAIMS if row.startswith("|")]
LISTED = dict(re.findall(r"^- (\w): (`test_.*?)(?=\n- |\n\n)", PAGE, re.MULTILINE | re.DOTALL))


def test_every_cell_names_a_test() -> None:
    header, _, *rows = TABLE
    assert len(rows) >= 8
    for row in rows:
        assert len(row) == len(header)
        for cell in row[1:]:
            assert re.search(r"\[[a-z](?: [a-z])*\]$", cell), cell


def test_the_letters_are_those_of_the_list() -> None:
    named = set("".join(re.findall(r"\[([a-z](?: [a-z])*)\](?!\()", PAGE)).replace(" ", ""))
    assert named == set(LISTED)


def test_the_tests_it_names_exist() -> None:
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "tests").glob("**/test_*.py"))
    names = set(re.findall(r"`(test_\w+)`", PAGE))
    assert names
    assert {name for name in names if f"def {name}(" not in sources} == set()
    assert all((ROOT / path).exists() for path in re.findall(r"`(tests/[\w/.]+)`", PAGE))
