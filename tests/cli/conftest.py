"""`rqsqs` called in process, on a prefix of its own, and a connection to look behind it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import rqsqs
from tests.cli.tools import Run


@pytest.fixture
def environment(valkey_url: str, prefix: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What commands find their server by."""
    monkeypatch.setenv("RQSQS_URL", valkey_url)
    monkeypatch.setenv("RQSQS_PREFIX", prefix)


@pytest.fixture
def run(environment: None) -> Run:
    """Call `rqsqs` with arguments; it ends with `code`, without escape codes and tracebacks."""
    from click.testing import CliRunner

    from rqsqs.cli.program import program

    # click 8.1 mixes both streams unless told otherwise, 8.2 does not know the word
    separate = {"mix_stderr": False} if "mix_stderr" in inspect.signature(CliRunner).parameters else {}

    def run(*arguments: str, code: int = 0, **extra: Any) -> Any:
        result = CliRunner(**separate).invoke(program, arguments, **extra)
        written = result.stdout + result.stderr
        assert result.exit_code == code, f"{result.exit_code}\n{written}\n{result.exception!r}"
        assert "\x1b" not in written
        assert "Traceback (most recent call last)" not in written
        return result

    return run


@pytest.fixture
def connection(valkey_url: str, prefix: str) -> Iterator[rqsqs.Connection]:
    """The queues that the commands see."""
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        yield connection
