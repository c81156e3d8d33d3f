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

    Every module stands once, as a function whose result `require` gives. All that only rare branches need lie inside
    of one function, `rare`, so that they cost the common one next to nothing: creating a function takes about as long
    as a small Redis command. They run when they are first required in a call of the script. A module whose first line
    is `-- hot` stands outside, for common branches, and runs each time it is required.
    """
    folder = _folder()
    flags: list[str] = []
    modules: dict[str, list[tuple[str, str]]] = {}  # in the order in which they must stand
    hot: set[str] = set()

    def expand(path: str, text: str, trail: tuple[str, ...]) -> list[tuple[str, str]]:
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
                    inner = expand(file, code, (*trail, module))
                    if module in hot:
                        begin, end = f"local function {identifier}()", "end"
                    else:
                        begin, end = f'if name == "{identifier}" then made[name] = (function()', "end)()"
                    modules[module] = [(begin, file), *inner, (end, file)]
                call = f"{identifier}()" if module in hot else f'rare("{identifier}")'
                line = line.replace(f'require("{module}")', call)
            out.append((line, f"{path}:{number}"))
        return out

    file = f"{name}.lua"
    main = expand(file, (folder / file).read_text("utf-8"), ())
    lines = [(flag, file) for flag in flags[:1]]
    rare = [module for module in modules if module not in hot]
    if rare:
        lines.append(("local rare, made", file))
    for module in modules:
        if module in hot:
            lines += modules[module]
    if rare:
        lines += [("function rare(name)", file), ("made = made or {}", file), ("if made[name] == nil then", file)]
        for n, module in enumerate(rare):
            (begin, path), *body = modules[module]
            lines += [(f"else{begin}" if n else begin, path), *body]
        lines += [("end end", file), ("return made[name]", file), ("end", file)]
    lines += main
    source = "\n".join(line for line, _ in lines) + "\n"
    sha = hashlib.sha1(source.encode()).hexdigest().encode()
    has_slot = "lib.idempotency" in modules or "lib.replay" in modules
    return Script(name, source, sha, tuple(place for _, place in lines), has_slot)
