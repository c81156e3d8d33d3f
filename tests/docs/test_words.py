"""The docs use the words of docs/glossary.md, and none that it replaced."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted((ROOT / "docs").glob("*.md")),
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "lua/README.md")),
    *sorted((ROOT / "examples").rglob("*.md")),
]
# What it was once called, and what it is called now.
REPLACED = {
    r"faces?": "API",
    r"colou?rs? of": "variant",
    r"lanes?": "call slot, worker queue",
    r"bells?": "wakeup list",
    r"keepers?": "timer owner",
    r"deput(?:y|ies)": "backup",
    r"holes?": "tombstone",
    r"stays of|this stay": "delivery cycle",
    r"pass(?:es)? of|gives? a pass": "migration token",
    r"obeys?": "get a command",
    r"beats": "heartbeats",
    r"grace": "shutdown timeout",
    r"max_hold": "max_extension",
    r"last words": "drain timeout",
    r"bur(?:y|ied|ials?)": "dead-letter",
    r"informants?": "seeds",
    r"troubles?": "error",
    r"patience": "timeout",
    r"goes on": "continues",
    r"so (?:many|long)": "up to N, for N seconds",
}
RESULTS = re.compile(r"<!-- begin of (\w+) -->.*?<!-- end of \1 -->", re.DOTALL)  # written by programs


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_a_page_uses_no_replaced_word(page: Path) -> None:
    text = RESULTS.sub("", page.read_text("utf-8"))
    found = [f"{m[0]!r} (say {new!r})" for old, new in REPLACED.items() for m in re.finditer(rf"\b(?:{old})\b", text)]
    assert not found, f"{page.name}: {', '.join(found)}"
