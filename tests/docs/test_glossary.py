"""docs/glossary.md has every public name, every command and option, and every key."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator
from dataclasses import is_dataclass
from pathlib import Path
from types import ModuleType
from typing import is_typeddict

import pytest

import rqsqs
import rqsqs.aio
import rqsqs.worker

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "glossary.md").read_text("utf-8")
CODE = set(re.findall(r"`([^`]+)`", PAGE))
WORDS = {word for code in CODE for word in re.findall(r"[\w-]+", code)}
MADE_BY_USERS = (rqsqs.worker.Worker, rqsqs.worker.Retry, rqsqs.worker.DeadLetter)  # whose arguments are public, too


def public_names(module: ModuleType) -> Iterator[tuple[str, str]]:
    """What users of a module write, and where it is."""
    for name in module.__all__:
        thing = getattr(module, name)
        yield name, f"{module.__name__}.{name}"
        if is_typeddict(thing):
            yield from ((option, f"{module.__name__}.{name}") for option in thing.__annotations__)
        elif inspect.isclass(thing):
            is_error = issubclass(thing, BaseException)
            for member in set(dir(thing)) - set(dir(Exception if is_error else object)):
                is_helper = is_error and callable(getattr(thing, member))  # only we make errors
                if not member.startswith("_") and not is_helper:
                    yield member, f"{module.__name__}.{name}.{member}"
                    yield from arguments(getattr(thing, member), f"{module.__name__}.{name}.{member}()")
            if thing in MADE_BY_USERS or is_dataclass(thing):
                yield from arguments(thing.__init__, f"{module.__name__}.{name}()")
        else:
            yield from arguments(thing, f"{module.__name__}.{name}()")


def arguments(function: object, where: str) -> Iterator[tuple[str, str]]:
    if inspect.isroutine(function):
        for name in inspect.signature(function).parameters:
            if name not in ("self", "cls", "args", "kwargs"):
                yield name, f"{where}, argument {name}"


def report(missing: dict[str, str]) -> str:
    named = "; ".join(f"{name} ({where})" for name, where in sorted(missing.items()))
    return f"docs/glossary.md does not define {named}"


@pytest.mark.parametrize("module", [rqsqs, rqsqs.aio, rqsqs.worker], ids=lambda module: module.__name__)
def test_it_has_every_public_name(module: ModuleType) -> None:
    missing = {name: where for name, where in public_names(module) if name not in WORDS}
    assert not missing, report(missing)


def test_it_has_every_command_and_option() -> None:
    click = pytest.importorskip("click")
    from rqsqs.cli.program import program

    missing = {}

    def visit(command: object, path: str) -> None:
        for option in (one for one in command.params if isinstance(one, click.Option) and not one.hidden):
            spelled = [name for name in option.opts if name.startswith("--")]
            if not any(name in CODE or name[2:].replace("-", "_") in WORDS for name in spelled):
                missing[spelled[0]] = f"rqsqs {path}".strip()
        for name in command.list_commands(context) if isinstance(command, click.Group) else ():
            child = command.get_command(context, name)
            child_path = f"{path} {name}".strip()
            if child_path not in CODE and not isinstance(child, click.Group):
                missing[child_path] = "command"
            visit(child, child_path)

    context = click.Context(program)
    visit(program, "")
    assert not missing, report(missing)


def test_it_has_every_key() -> None:
    """Those of the key table, those that scripts put together, and those of rqsqs/_core/keys.py."""
    found = {}
    table = (ROOT / "lua" / "README.md").read_text("utf-8").partition("\n## Keys\n")[2].partition("\n## ")[0]
    for name in re.findall(r"^\| `([\w:.]+)` \| [A-Z]+ \|", table, re.MULTILINE):
        found[name.partition(":")[0]] = "lua/README.md"
    assert len(found) > 20
    for script in sorted((ROOT / "lua").rglob("*.lua")):
        for name in re.findall(r'\bbase \.\. "([a-z_]+)', script.read_text("utf-8")):
            found[name] = str(script.relative_to(ROOT))
    source = (ROOT / "rqsqs" / "_core" / "keys.py").read_text("utf-8")
    for name in re.findall(r'(?:\bbase \+ "|\bbase\}|\{queues\}\}:)([a-z_]+)', source):
        found[name] = "rqsqs/_core/keys.py"
    assert {"meta", "dedup", "format"} <= set(found)
    missing = {name: where for name, where in found.items() if name not in WORDS}
    assert not missing, report(missing)


def test_each_term_is_defined_once() -> None:
    heads = re.findall(r"^- \*\*(.*?)\*\*", PAGE, re.MULTILINE)
    terms = [term for head in heads for term in head.lower().split(", ")]
    assert len(terms) > 100
    again = {term for term in terms if terms.count(term) > 1}
    assert not again


def test_the_names_it_defines_exist() -> None:
    files = [*(ROOT / "rqsqs").rglob("*.py"), *(ROOT / "lua").rglob("*.lua")]
    known = {word for path in files for word in re.findall(r"[\w-]+", path.read_text("utf-8"))}
    placeholders = {"SLOT", "WAITER", "ID", "NAME"}  # of keys
    gone = {word for word in WORDS - known - placeholders if not word.startswith("--")}
    assert not gone
