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
        has_slot: it is called with a call slot in front (lua/lib/idempotency.lua), so that it can be repeated.
    """

    name: str
    source: str
    sha: bytes
    lines: tuple[str, ...]
    has_slot: bool

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

    Every module stands once, as a function that `require` calls; modules have no state. All that only rare branches
    need lie inside of one function, `rare`, so that they cost the common one next to nothing: creating a function takes
    about as long as a small Redis command. A module whose first line is `-- hot` stands outside, for common branches.

    Raises:
        ValueError: modules require each other in a circle.
    """
    folder = _folder()
    flags: list[str] = []
    modules: dict[str, list[tuple[str, str]]] = {}  # in the order in which they must stand
    hot: set[str] = set()

    def expand(path: str, text: str, trail: tuple[str, ...], is_rare: bool) -> list[tuple[str, str]]:
        out = []
        for number, line in enumerate(text.splitlines(), 1):
            if line.startswith("#!"):
                flags.append(line)
                line = ""
            for module in _REQUIRE.findall(line):
                if module in trail:
                    raise ValueError(f"Lua modules require each other: {' -> '.join((*trail, module))}")
                identifier = module.replace(".", "_")
                if module not in modules:
                    file = module.replace(".", "/") + ".lua"
                    code = (folder / file).read_text("utf-8")
                    if code.startswith("-- hot\n"):
                        hot.add(module)
                    inner = expand(file, code, (*trail, module), module not in hot)
                    modules[module] = [(f"local function {identifier}()", file), *inner, ("end", file)]
                direct = is_rare or module in hot
                line = line.replace(f'require("{module}")', f"{identifier}()" if direct else f'rare("{identifier}")')
            out.append((line, f"{path}:{number}"))
        return out

    file = f"{name}.lua"
    main = expand(file, (folder / file).read_text("utf-8"), (), False)
    lines = [(flag, file) for flag in flags[:1]]
    rare = [module for module in modules if module not in hot]
    if rare:
        lines.append(("local rare, modules", file))
    for module in modules:
        if module in hot:
            lines += modules[module]
    if rare:
        lines += [("function rare(name)", file), ("if not modules then", file)]
        for module in rare:
            lines += modules[module]
        entries = ", ".join(f"{m} = {m}" for m in (module.replace(".", "_") for module in rare))
        lines += [(f"modules = {{{entries}}}", file), ("end", file), ("return modules[name]()", file), ("end", file)]
    lines += main
    source = "\n".join(line for line, _ in lines) + "\n"
    sha = hashlib.sha1(source.encode()).hexdigest().encode()
    has_slot = "lib.idempotency" in modules or "lib.replay" in modules
    return Script(name, source, sha, tuple(place for _, place in lines), has_slot)
