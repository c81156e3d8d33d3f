"""Errors say what must be and what came: "group must be a str of 1 to 128 characters, got 5"."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "rqsqs"
OLD = [
    r"\b(?:is|are|has|have|of|and|takes|gives|gave) \{\}[^:;]*[:;] (?:it|they|these|that|a)\b",  # group is 5: it is
    r"\{\}[^:;]* (?:is|are) (?:not|no) [^:;{]*[:;] (?:it|they|\d|a|an|there)\b",  # 'a b' is not a name: 1 to 80 letters
    r"\bit (?:is|has|takes|maps) (?:a|an|one|text|True|None|between|\d|'|\{\})[^;:]*$",  # ...: it is between 1 and 10
    r"\{\}[^:;]*, (?:of )?which (?:is|are|must|it must) not\b",
    r"\{\} (?:is not understood|is not valid)\b",
    r"\bis \{\}, not an?\b",
]


def sentences(source: str) -> Iterator[tuple[int, str]]:
    """The texts of the errors that a program raises or makes; {} stands for a value."""
    for node in ast.walk(ast.parse(source)):
        made = node if isinstance(node, ast.Call) else None
        if made is None or not re.search(r"(Error|[A-Z]\w+)$", ast.unparse(made.func).rpartition(".")[2]):
            continue
        for argument in made.args[:1]:
            yield node.lineno, text_of(argument)


def text_of(node: ast.AST) -> str:
    if isinstance(node, ast.JoinedStr):
        return "".join(text_of(part) for part in node.values)
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else "{}"
    if isinstance(node, ast.BinOp):
        return text_of(node.left) + text_of(node.right)
    return "{}"


def old_ones(source: str) -> list[tuple[int, str]]:
    """Those that do not say what must be and what came."""
    return [
        (line, text)
        for line, text in sentences(source)
        if not re.search(r"\bmust\b.*\bgot\b", text) and any(re.search(old, text) for old in OLD)
    ]


@pytest.mark.parametrize(
    "text",
    [
        "{what} is {shown(value)}: it is text",
        "{what} is {value:.15g} s: it is between 0 and {maximum_ms / 1000:.15g} s",
        "the batch has {total} bytes: it has at most {limit}",
        "delay is {delay!r} and at is {at!r}: give one of them; it is one",
        "{name!r} is not a queue name: 1 to 80 letters",
        "{shown(kind)} is no exception: it is a class or the name of one",
        "{what} {shown(value)} is not valid Unicode",
        "{what} {value} holds a line break, which it must not",
        "{attribute!r} is {kind}, not a Worker",
        "a batch handler gave {outcome!r} for a message: it is None or an exception",
    ],
)
def test_the_old_form_is_found(text: str) -> None:
    assert old_ones(f"def check():\n    raise InvalidParameterValue(f{text!r})")


@pytest.mark.parametrize(
    "text",
    [
        "{what} must be an int from {minimum} to {maximum}, got {value}",
        "cannot connect to {url}: a URL begins with redis://",
        "the queue {queue} is paused: its messages wait until somebody resumes it",
    ],
)
def test_the_new_form_is_none(text: str) -> None:
    assert not old_ones(f"def check():\n    raise InvalidParameterValue(f{text!r})")


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=lambda path: str(path.relative_to(PACKAGE)))
def test_errors_say_what_must_be_and_what_came(path: Path) -> None:
    found = old_ones(path.read_text("utf-8"))
    assert not found, "say what must be and what came: 'group must be a str of 1 to 128 characters, got 5'"
