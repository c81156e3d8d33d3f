"""Every page leads home, the index has them all, and no link leads nowhere."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
INDEX = ROOT / "docs" / "README.md"
PAGES = [
    *sorted((ROOT / "docs").rglob("*.md")),
    ROOT / "lua" / "README.md",
    *sorted((ROOT / "examples").rglob("*.md")),
    ROOT / "CONTRIBUTING.md",
    ROOT / "SECURITY.md",
]
LINK = re.compile(r"\]\(\s*(?!https?://|mailto:)([^)#\s]*)(?:#([^)\s]*))?\s*\)")


def text_of(page: Path) -> str:
    """Without what is code."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.MULTILINE | re.DOTALL)
    return re.sub(r"^    .*", "", text, flags=re.MULTILINE)


def links_of(page: Path) -> list[tuple[Path, str]]:
    return [((page.parent / path).resolve() if path else page, anchor) for path, anchor in LINK.findall(text_of(page))]


@functools.cache
def anchors_of(page: Path) -> set[str]:
    """As GitHub makes them of headings."""
    found: dict[str, int] = {}
    anchors = set()
    for heading in re.findall(r"^#+ +(.*)", text_of(page), re.MULTILINE):
        shown = re.sub(r"\[(.*?)\]\(.*?\)", r"\1", heading)
        anchor = re.sub(r"[^\w\- ]", "", shown.lower()).replace(" ", "-")
        again = found.get(anchor, 0)
        found[anchor] = again + 1
        anchors.add(f"{anchor}-{again}" if again else anchor)
    return anchors


@pytest.mark.parametrize("page", [ROOT / "README.md", ROOT / "CHANGELOG.md", *PAGES], ids=lambda page: page.parent.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in links_of(page):
        assert target.exists(), f"{page.name} links to {target}"
        if anchor and target.suffix == ".md":
            assert anchor in anchors_of(target), f"{page.name} links to {target.name}#{anchor}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_every_page_leads_home(page: Path) -> None:
    title, empty, line, *_ = page.read_text("utf-8").splitlines()
    assert title.startswith("# ")
    assert not empty
    targets = {(page.parent / path).resolve() for path, _ in LINK.findall(line)}
    assert ROOT / "README.md" in targets
    assert page == INDEX or INDEX in targets


def test_the_index_has_every_page() -> None:
    listed = re.findall(r"^- \[[^\]]+\]\(([^)]+)\): \S.*\.$", INDEX.read_text("utf-8"), re.MULTILINE)
    assert sorted((INDEX.parent / path).resolve() for path in listed) == sorted(p for p in PAGES if p != INDEX)
