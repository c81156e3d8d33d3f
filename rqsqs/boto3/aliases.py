"""Lets modules below boto3 be imported where rqsqs.boto3 stands for it.

sys.modules["boto3"] = rqsqs.boto3
from boto3.dynamodb.conditions import Key         # boto3's own module
from rqsqs.boto3.dynamodb.conditions import Key   # the same module, not a copy
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

_OURS, _THEIRS = "rqsqs.boto3.", "boto3."


class _Finder:
    """Asked by the import system before it looks into folders."""

    def __init__(self, ours: Sequence[str], theirs: Sequence[str]) -> None:
        self._ours, self._theirs = ours, theirs

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: object = None) -> ModuleSpec | None:
        if name.startswith(_THEIRS):
            is_parent_ours = name.count(".") == 1 and path is self._ours
            return PathFinder.find_spec(name, self._theirs) if is_parent_ours else None
        if not name.startswith(_OURS) or (name.count(".") == 2 and PathFinder.find_spec(name, self._ours) is not None):
            return None
        theirs = name.replace(_OURS, _THEIRS, 1)
        try:
            return ModuleSpec(name, _Alias(importlib.import_module(theirs)))
        except ModuleNotFoundError as error:
            if error.name != theirs:
                raise
            return None


class _Alias(Loader):
    """A loader that gives a module which is loaded already."""

    def __init__(self, module: ModuleType) -> None:
        self._module, self._spec = module, module.__spec__

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        return self._module

    def exec_module(self, module: ModuleType) -> None:
        module.__spec__ = self._spec  # the import system has put that of the alias there


def install(ours: Sequence[str], theirs: Sequence[str]) -> None:
    """Begin."""
    sys.meta_path.insert(0, _Finder(ours, theirs))
