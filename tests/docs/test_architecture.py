"""Files and folders that the pages for contributors name exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ["docs/architecture.md", "docs/glossary.md", "CONTRIBUTING.md", "SECURITY.md", "lua/README.md"]
NAMED = re.compile(r"(?<![\w/.{}:-])(?:rqsqs|lua|tests|docs|tools|examples|benchmarks|\.github)/[\w./-]*\w")


@pytest.mark.parametrize("page", PAGES)
def test_the_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text("utf-8")
    text = re.sub(r"https?://\S+", "", text)
    gone = {name for name in NAMED.findall(text) if not (ROOT / name).exists()}
    assert not gone, f"{page} names {', '.join(sorted(gone))}: moved or renamed; name the file that has it now"


def test_the_architecture_names_a_file_of_every_part() -> None:
    named = NAMED.findall((ROOT / "docs" / "architecture.md").read_text("utf-8"))
    for part in ("rqsqs/_core/", "rqsqs/_io/", "rqsqs/worker/", "rqsqs/sqs/", "lua/", "lua/lib/"):
        assert any(name.startswith(part) for name in named), part
