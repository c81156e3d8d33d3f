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


@dataclass(frozen=True, slots=True)
class _File:
    """One file below lua/.

    Attributes:
        requires: the modules that it requires.
        is_hot: its first line says so.
    """

    path: str
    lines: tuple[str, ...]
    requires: tuple[str, ...]
    is_hot: bool


def _read(module: str) -> _File:
    path = module.replace(".", "/") + ".lua"
    text = (_folder() / path).read_text("utf-8")
    return _File(path, tuple(text.splitlines()), tuple(_REQUIRE.findall(text)), text.startswith("-- hot\n"))


def _all_of(main: _File) -> dict[str, _File]:
    """The modules that a file requires, and those that they require, each behind its own."""
    modules: dict[str, _File] = {}

    def add(file: _File, trail: tuple[str, ...]) -> None:
        for module in file.requires:
            if module in trail:
                raise ValueError(f"Lua modules require each other: {' -> '.join((*trail, module))}")
            if module not in modules:
                found = _read(module)
                add(found, (*trail, module))
                modules[module] = found

    add(main, ())
    return modules


@functools.cache
def get(name: str) -> Script:
    """Read a script and the modules it requires.

    All modules that rare branches need lie inside of one function, `rare`, each of them once, so that they cost the
    common branch next to nothing: creating a function takes about as long as a small Redis command, and each variable
    that it shares adds half of that. So `rare` shares none: it gets itself as an argument, and keeps what it made in
    KEYS, new in each call. The modules run when they are first required in a call of the script. A module whose first
    line is `-- hot` is one function and stands outside, for common branches; and inside as well if rare ones require
    it, or only there if no other does.
    """
    main = _read(name)
    modules = _all_of(main)
    hot = {module for module in main.requires if modules[module].is_hot}
    for module in reversed(modules):
        if module in hot:
            hot.update(inner for inner in modules[module].requires if modules[inner].is_hot)

    inside = {module for module in modules if module not in hot}
    for module in reversed(modules):
        if module in inside:
            inside.update(modules[module].requires)

    def expand(file: _File, *, is_rare: bool = False) -> list[tuple[str, str]]:
        def call(match: re.Match[str]) -> str:
            identifier = match[1].replace(".", "_")
            return identifier if match[1] in hot and not is_rare else f'rare("{identifier}", rare)'

        return [(_REQUIRE.sub(call, line), f"{file.path}:{n}") for n, line in enumerate(file.lines, 1)]

    common: list[tuple[str, str]] = []
    rare: list[tuple[str, str]] = []
    for module, file in modules.items():
        identifier = module.replace(".", "_")
        if module in hot:
            common += [(re.sub("^return function", f"local function {identifier}", t), at) for t, at in expand(file)]
        if module in inside:
            condition = "elseif" if rare else "if"
            rare.append((f'{condition} name == "{identifier}" then made[name] = (function()', file.path))
            rare += [*expand(file, is_rare=True), ("end)()", file.path)]
    if rare:
        begin = "local function rare(name, rare)", "local made = KEYS.made or {}", "KEYS.made = made"
        begin_and_end = (*begin, "if made[name] == nil then"), ("end end", "return made[name]", "end")
        first, last = ([(line, main.path) for line in some] for some in begin_and_end)
        rare = first + rare + last
    lines = rare + common
    body = expand(main)
    if body[0][0].startswith("#!"):
        lines.insert(0, body[0])
        body[0] = ("", main.path)
    lines += body
    source = "\n".join(line for line, _ in lines) + "\n"
    sha = hashlib.sha1(source.encode()).hexdigest().encode()
    has_slot = "lib.idempotency" in modules or "lib.replay" in modules
    return Script(name, source, sha, tuple(place for _, place in lines), has_slot)
