"""Finds the worker that a command line names: `app:worker`, `app`, `pkg.tasks:worker`, `src/app.py:worker`."""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType, TracebackType
from typing import Any

from rqsqs.errors import RqsqsError, UsageError
from rqsqs.worker.app import Worker


class ModuleRaised(RqsqsError):
    """The module of the application raised an exception while it was imported; its traceback begins there."""

    def __init__(self, name: str, error: BaseException) -> None:
        super().__init__(f"the module {name!r} cannot be imported: it raised {type(error).__name__}")
        self.error = error.with_traceback(_of_application(error.__traceback__))


def worker(target: str) -> Worker:
    """The Worker that `target` names; "module" alone means its attribute `worker`. Else UsageError or ModuleRaised."""
    module, attribute, found = _load(target, "worker")
    if not isinstance(found, Worker):
        raise UsageError(
            f"{attribute!r} of the module {module.__name__!r} must be a Worker, got {_kind(found)}{_others(module)}"
        )
    return found


def function(target: str) -> Callable[..., Any]:
    """The function that `target` names; "module" alone means its attribute `lambda_handler`."""
    module, attribute, found = _load(target, "lambda_handler")
    if isinstance(found, Worker):
        raise UsageError(f"{attribute!r} of the module {module.__name__!r} is a Worker: it needs no --lambda")
    if not callable(found):
        raise UsageError(f"{attribute!r} of the module {module.__name__!r} must be a function, got {_kind(found)}")
    return found  # type: ignore[no-any-return]


def _load(target: str, default: str) -> tuple[ModuleType, str, Any]:
    place, _, attribute = target.partition(":")
    attribute = attribute or default
    if not place:
        raise UsageError(f"{target!r} names no module: write module:attribute, such as app:{default}")
    if place.endswith(".py") or os.sep in place:
        folder, name = _module_of(place)
    else:
        folder, name = Path.cwd(), place
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))
    module = _import(name)
    found: Any = module
    for part in attribute.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            where = f" ({module.__file__})" if getattr(module, "__file__", None) else ""
            text = f"the module {name!r}{where} has no attribute {attribute!r}{_others(module)}"
            raise UsageError(text) from None
    return module, attribute, found


def _module_of(path: str) -> tuple[Path, str]:
    """A folder for sys.path and the name of a module in it; folders with an __init__.py are packages."""
    file = Path(path).absolute()
    if not file.is_file():
        raise UsageError(f"there is no file {path!r}")
    folder, parts = file.parent, [] if file.name == "__init__.py" else [file.stem]
    while (folder / "__init__.py").exists():
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(parts)


def _import(name: str) -> ModuleType:
    importlib.invalidate_caches()
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{name}.".startswith(f"{error.name}."):
            raise ModuleRaised(name, error) from error  # it is there, and imports something that is not
        hint = ""
        if "." in name and error.name == name:
            hint = f"; did you mean {':'.join(name.rsplit('.', 1))}?"
        elif error.name != name:
            hint = f": there is no {error.name!r}"
        raise UsageError(f"there is no module {name!r} in {Path.cwd()} or on Python's path{hint}") from None
    except Exception as error:
        raise ModuleRaised(name, error) from error


def _of_application(traceback: TracebackType | None) -> TracebackType | None:
    """Without the frames of this module and of Python's import system in front of it."""
    while traceback is not None:
        file = traceback.tb_frame.f_code.co_filename
        if file != __file__ and file != importlib.__file__ and not file.startswith("<frozen importlib"):
            break
        traceback = traceback.tb_next
    return traceback


def _others(module: ModuleType) -> str:
    names = [name for name, value in vars(module).items() if isinstance(value, Worker)]
    return f"; there is {', '.join(f'{module.__name__}:{name}' for name in names)}" if names else ""


def _kind(found: Any) -> str:
    name = type(found).__name__
    return f"{'an' if name[:1] in 'aeiou' else 'a'} {name}"
