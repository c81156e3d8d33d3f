"""`rqsqs console` and `rqsqs gateway`: what they say about logging in."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("jinja2")

from click.testing import CliRunner

from rqsqs.cli.program import program
from rqsqs.gateway import serving
from rqsqs.gateway.keys_editing import NewUser, add_key


@pytest.mark.parametrize("command", ["console", "gateway"])
@pytest.mark.parametrize(
    ("options", "is_told"),
    [
        (["--host", "0.0.0.0"], True),
        (["--host", "127.0.0.1"], False),
        (["--host", "0.0.0.0", "--trusted-proxy", "10.0.0.0/8"], False),
    ],
)
def test_it_says_if_nobody_can_log_in_from_other_machines(
    valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str, options: list[str], is_told: bool
) -> None:
    keys = tmp_path / "keys.toml"
    add_key(keys, "ann", NewUser(is_root=True))
    monkeypatch.setattr(serving, "serve", lambda *args: None)
    arguments = [command, "--url", valkey_url, "--port", "0", "--keys", str(keys), *options]
    done = CliRunner().invoke(program, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert ("nobody can log in to the console" in " ".join(done.output.split())) == is_told
