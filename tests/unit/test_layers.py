"""Which module may import which: arrows point down, and there is no circle. What only type checkers see is free."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "rqsqs"
FLOORS = [  # from the ground; a module imports from floors below and from its own
    {
        "_action_targets",
        "_alarm_checks",
        "_alarm_rules",
        "_arns",
        "_causes",
        "_math_expressions",
        "_metric_math",
        "_not_copied",
        "_text",
        "_toml_files",
        "_tracebacks",
        "_watched_files",
        "alarm_models",
        "errors",
        "event_models",
        "event_rule_models",
        "limits",
        "metric_models",
        "models",
        "timeline_models",
    },
    {"_core"},
    {"_io", "embedded"},
    {"_arguments", "_chosen_events", "_periods", "_settings", "_base_message"},
    {"_async", "_sync", "aio", ""},
    {"sqs", "metrics", "alarms", "cloudwatch", "inspection"},
    {"opentelemetry"},
    {"boto3", "gateway", "worker", "testing", "pytest_plugin"},
    {"doctor"},
    {"console"},
    {"cli", "__main__"},
]
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix("__init__").removesuffix("."): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imported(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """The imports of a module, those in functions as well, but for those below `if TYPE_CHECKING`."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for other in node.orelse:
                yield from imported(other)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            yield node
        else:
            yield from imported(node)


def imports(source: str) -> set[str]:
    """The modules of ours that a program imports; "" is the package itself."""
    found: set[str] = set()
    for node in imported(ast.parse(source)):
        names = [alias.name for alias in node.names]
        if isinstance(node, ast.ImportFrom):
            module = node.module or ""
            names = [f"{module}.{name}" if f"{module}.{name}"[6:] in MODULES else module for name in names]
        found |= {name.partition(".")[2] for name in names if name.partition(".")[0] == "rqsqs"}
    return found


IMPORTS = {name: imports(path.read_text("utf-8")) - {name} for name, path in MODULES.items()}


def floor(module: str) -> int:
    return next(n for n, parts in enumerate(FLOORS) if module.partition(".")[0] in parts)


def test_what_is_an_import() -> None:
    source = """
import redis
import rqsqs
from rqsqs import errors, connect
from rqsqs._core.flows import moves, send_messages
if TYPE_CHECKING:
    from rqsqs.cli import output
def late():
    import rqsqs.worker
"""
    assert imports(source) == {"", "errors", "_core.flows.moves", "_core.flows", "worker"}


def test_every_module_has_a_floor() -> None:
    parts = {module.partition(".")[0] for module in MODULES}
    assert parts == set().union(*FLOORS)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_nothing_from_above(module: str) -> None:
    assert {other for other in IMPORTS[module] if floor(other) > floor(module)} == set()


def test_models_import_nothing_of_ours() -> None:
    assert IMPORTS["models"] == IMPORTS["metric_models"] == IMPORTS["event_models"] == IMPORTS["limits"] == set()


def test_there_is_no_circle() -> None:
    left = {name: set(others) for name, others in IMPORTS.items()}
    while leaves := {name for name, others in left.items() if not others & left.keys()}:
        for name in leaves:
            del left[name]
    assert not left, {name: sorted(others & left.keys()) for name, others in left.items()}


@pytest.mark.parametrize(
    "path", sorted([*PACKAGE.rglob("*.py"), *PACKAGE.parent.joinpath("lua").rglob("*.lua")]), ids=str
)
def test_a_file_of_more_than_400_lines_says_why(path: Path) -> None:
    source = path.read_text("utf-8")
    assert source.count("\n") <= 400 or "long module" in source[:2500] or "module is long" in source[:2500]
