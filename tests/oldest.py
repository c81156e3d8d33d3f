"""Print the oldest declared version of each dependency, as pip wants it: python -m tests.oldest [EXTRA…]"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path

PROJECT = Path(__file__).parent.parent / "pyproject.toml"


def oldest(project: str, extras: Sequence[str]) -> list[str]:
    """Pins of what a project declares.

    Raises:
        ValueError: a dependency has no lower bound.
    """
    declared = tomllib.loads(project)["project"]
    wanted = [*declared["dependencies"], *(one for extra in extras for one in declared["optional-dependencies"][extra])]
    pins = []
    for requirement in wanted:
        if requirement.startswith(f"{declared['name']}["):
            continue  # another extra, to be named as well
        found = re.match(r"([\w.-]+)(?:\[[\w,-]+\])?\s*>=\s*([\w.]+)", requirement)
        if found is None:
            raise ValueError(f"a dependency must have a lower bound, as in redis>=5.3, got {requirement!r}")
        pins.append(f"{found[1]}=={found[2]}")
    return pins


if __name__ == "__main__":
    print(*oldest(PROJECT.read_text(encoding="utf-8"), sys.argv[1:]))
