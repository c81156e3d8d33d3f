"""Finding the worker that a command line names."""

from __future__ import annotations

import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path

import pytest

import rqsqs
from rqsqs.worker import Worker, loading


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The current directory; what is imported from it is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [entry for entry in sys.path if entry])
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


WORKER = "from rqsqs.worker import Worker\nworker = Worker()\nclass Inner: other = worker\n"


@pytest.mark.parametrize(
    ("file", "target"),
    [
        ("app_1.py", "app_1:worker"),
        ("app_2.py", "app_2"),
        ("app_3.py", "app_3:Inner.other"),
        ("app_4.py", "app_4.py"),
        ("app_5.py", "./app_5.py:worker"),
        ("sub/app_6.py", "sub/app_6.py:worker"),
        ("pkg_7/tasks/app.py", "pkg_7.tasks.app:worker"),
        ("pkg_8/__init__.py", "pkg_8"),
        ("pkg_9/__init__.py", "pkg_9/__init__.py"),
    ],
)
def test_a_worker_is_found(folder: Path, file: str, target: str) -> None:
    write(folder / file, WORKER)
    assert isinstance(loading.worker(target), Worker)


def test_a_file_in_a_package_is_imported_as_part_of_it(folder: Path) -> None:
    write(folder / "src" / "pkg_10" / "__init__.py", "name = 'pkg'")
    write(folder / "src" / "pkg_10" / "app.py", "from . import name\n" + WORKER)
    loading.worker("src/pkg_10/app.py")
    assert sys.modules["pkg_10.app"].name == "pkg"


@pytest.mark.parametrize(
    ("target", "text"),
    [
        ("nothing", "there is no module 'nothing' in "),
        ("nothing:worker", "there is no module 'nothing' in "),
        ("broken_20.nothing:worker", "there is no module 'broken_20.nothing' in .*; did you mean broken_20:nothing?"),
        ("nothing.tasks:worker", "there is no module 'nothing.tasks' in .*: there is no 'nothing'"),
        ("nothing.py", "there is no file 'nothing.py'"),
        ("sub/nothing.py:worker", "there is no file 'sub/nothing.py'"),
        (":worker", "':worker' names no module: write module:attribute, such as app:worker"),
        ("broken_20:nothing", "the module 'broken_20' .* has no attribute 'nothing'; there is broken_20:mine"),
        ("broken_20", "the module 'broken_20' .* has no attribute 'worker'; there is broken_20:mine"),
        (
            "broken_20:number",
            "'number' of the module 'broken_20' must be a Worker, got an int; there is broken_20:mine",
        ),
    ],
)
def test_what_is_not_there_is_named(folder: Path, target: str, text: str) -> None:
    write(folder / "broken_20.py", "from rqsqs.worker import Worker\nmine = Worker()\nnumber = 1\n")
    with pytest.raises(rqsqs.UsageError, match=text.replace("?", r"\?")):
        loading.worker(target)


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ("import no_such_thing", ModuleNotFoundError),
        ("import no_such_thing.worker", ModuleNotFoundError),
        ("from os import no_such_name", ImportError),
        ("1 / 0", ZeroDivisionError),
        ("def", SyntaxError),
        ("open('nothing')", FileNotFoundError),
        ("import rqsqs\nraise rqsqs.UsageError('mine')", rqsqs.UsageError),
    ],
)
def test_what_the_application_raises_is_not_hidden(folder: Path, source: str, kind: type[Exception]) -> None:
    write(folder / "raising.py", source)
    with pytest.raises(loading.ModuleRaised, match=f"'raising' cannot be imported: it raised {kind.__name__}") as found:
        loading.worker("raising")
    assert isinstance(found.value.error, kind)
    shown = "".join(traceback.format_exception(found.value.error))
    assert "importlib" not in shown
    assert "loading.py" not in shown
    assert re.search(r'raising\.py", line \d', shown)


def test_functions_for_lambda(folder: Path) -> None:
    write(folder / "my_lambda.py", WORKER + "def lambda_handler(event, context): ...\nnumber = 1\n")
    assert loading.function("my_lambda").__name__ == "lambda_handler"
    assert loading.function("my_lambda:lambda_handler").__name__ == "lambda_handler"
    with pytest.raises(rqsqs.UsageError, match="'number' of the module 'my_lambda' must be a function, got an int"):
        loading.function("my_lambda:number")
    with pytest.raises(rqsqs.UsageError, match="is a Worker: it needs no --lambda"):
        loading.function("my_lambda:worker")
    with pytest.raises(rqsqs.UsageError, match=r"did you mean my_lambda:lambda_handler\?"):
        loading.function("my_lambda.lambda_handler")
