"""How scripts look: luacheck says the rest, where it is installed (make lint)."""

from __future__ import annotations

from importlib.resources.abc import Traversable

import pytest

from rqsqs._core import scripts

COLUMNS = 120
FILES = sorted(
    (file for folder in (scripts._folder(), scripts._folder() / "lib") for file in folder.iterdir()),
    key=lambda file: file.name,
)


@pytest.mark.parametrize("file", [f for f in FILES if f.name.endswith(".lua")], ids=lambda file: file.name)
def test_lines_are_short_and_clean(file: Traversable) -> None:
    lines = file.read_text("utf-8").splitlines(keepends=True)
    assert [line for line in lines if len(line.rstrip("\n")) > COLUMNS or line != line.rstrip() + "\n"] == []
