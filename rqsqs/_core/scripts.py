"""The Lua scripts: find, expand and hash them. Running them is the runners' business."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import Path

_REQUIRE = re.compile(r'require\("([a-z_.]+)"\)')


@dataclass(frozen=True, slots=True)
class Script:
    """One script, ready to be loaded.

    Attributes:
        name: file name without `.lua`.
        source: with all its modules in front.
        sha: hex SHA-1, as EVALSHA wants it.
        lines: for each line of `source` from 1, the file and line it came from.
        has_lane: it is called with a lane in front (lua/lib/once.lua), so that it can be repeated.
    """

    name: str
    source: str
    sha: bytes
    lines: tuple[str, ...]
    has_lane: bool

    def locate(self, message: str) -> str:
        """Rewrite `user_script:LINE` in an error message to the file and line of origin."""

        def place(match: re.Match[str]) -> str:
            number = int(match[1])
            return self.lines[number - 1] if 0 < number <= len(self.lines) else match[0]

        return re.sub(r"user_script:(\d+)", place, message)


def _folder() -> Traversable:
    installed = resources.files("rqsqs") / "lua"
    if installed.is_dir():
        return installed
    return Path(__file__).parents[2] / "lua"  # a checkout


@functools.cache
def names() -> tuple[str, ...]:
    """All script names."""
    return tuple(sorted(f.name[:-4] for f in _folder().iterdir() if f.name.endswith(".lua")))


@functools.cache
def get(name: str) -> Script:
    """Read a script and the modules it requires.

    Every module stands once, as a function in front of its first user; `require` calls it. A module that only a rare
    branch requires therefore costs the common one next to nothing. Modules have no state.

    Raises:
        ValueError: modules require each other in a circle.
    """
    folder = _folder()
    flags: list[str] = []
    body: list[tuple[str, str]] = []
    done: dict[str, str] = {}

    def expand(path: str, text: str, trail: tuple[str, ...]) -> list[tuple[str, str]]:
        out = []
        for number, line in enumerate(text.splitlines(), 1):
            if line.startswith("#!"):
                flags.append(line)
                line = ""
            for module in _REQUIRE.findall(line):
                if module in trail:
                    raise ValueError(f"Lua modules require each other: {' -> '.join((*trail, module))}")
                if module not in done:
                    file = module.replace(".", "/") + ".lua"
                    inner = expand(file, (folder / file).read_text("utf-8"), (*trail, module))
                    done[module] = module.replace(".", "_")
                    body.append((f"local function {done[module]}()", file))
                    body.extend(inner)
                    body.append(("end", file))
                line = line.replace(f'require("{module}")', f"{done[module]}()")
            out.append((line, f"{path}:{number}"))
        return out

    file = f"{name}.lua"
    main = expand(file, (folder / file).read_text("utf-8"), ())
    lines = [(flag, file) for flag in flags[:1]] + body + main
    source = "\n".join(line for line, _ in lines) + "\n"
    sha = hashlib.sha1(source.encode()).hexdigest().encode()
    has_lane = "lib.once" in done or "lib.received" in done
    return Script(name, source, sha, tuple(place for _, place in lines), has_lane)
