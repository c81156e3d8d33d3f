"""Docs, docstrings and help texts use the words of docs/glossary.md, and none that it replaced."""

from __future__ import annotations

import importlib.util
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import rqsqs
import rqsqs.aio
import rqsqs.embedded
import rqsqs.limits
import rqsqs.testing
import rqsqs.worker

ROOT = Path(__file__).parents[2]
PAGES = [
    *sorted((ROOT / "docs").rglob("*.md")),
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
    r"so (?:many|long|often)": "up to N, for N seconds, N times",
    r"(?:within|for|after|than) two heartbeats": "two heartbeat intervals",
    r"idempotency slots?": "call slot",
}
RESULTS = re.compile(r"<!-- begin of (\w+) -->.*?<!-- end of \1 -->", re.DOTALL)  # written by programs


@pytest.mark.parametrize("page", PAGES, ids=lambda page: f"{page.parent.name}/{page.name}")
def test_a_page_uses_no_replaced_word(page: Path) -> None:
    text = RESULTS.sub("", page.read_text("utf-8"))
    found = [f"{m[0]!r} (say {new!r})" for old, new in REPLACED.items() for m in re.finditer(rf"\b(?:{old})\b", text)]
    assert not found, f"{page.name}: {', '.join(found)}"


def public_texts() -> Iterator[tuple[str, str]]:
    """The docstrings of the API, and the help of the command line."""
    for module in (rqsqs, rqsqs.aio, rqsqs.worker, rqsqs.testing, rqsqs.embedded, rqsqs.limits):
        yield module.__name__, inspect.getdoc(module) or ""
        for name in getattr(module, "__all__", None) or [name for name in vars(module) if name[0] != "_"]:
            thing = getattr(module, name)
            yield f"{module.__name__}.{name}", inspect.getdoc(thing) or ""
            for member in vars(thing) if inspect.isclass(thing) and thing.__module__.startswith("rqsqs") else ():
                if not member.startswith("_"):
                    yield f"{module.__name__}.{name}.{member}", inspect.getdoc(getattr(thing, member)) or ""
    if importlib.util.find_spec("click") is None:
        return
    import click

    from rqsqs.cli.program import program

    context = click.Context(program)
    commands = [("rqsqs", program)]
    for path, command in commands:
        yield path, " ".join(filter(None, [command.help, *(getattr(one, "help", None) for one in command.params)]))
        if isinstance(command, click.Group):
            names = command.list_commands(context)
            commands += [(f"{path} {name}", command.get_command(context, name)) for name in names]


def test_docstrings_and_help_use_no_replaced_word() -> None:
    used = [
        f"{where}: {m[0]!r} (say {new!r})"
        for where, text in public_texts()
        for old, new in REPLACED.items()
        for m in re.finditer(rf"\b(?:{old})\b", text)
    ]
    assert not used, "\n".join(used)
