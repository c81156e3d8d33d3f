"""Files in TOML that an operator writes, with secrets in them or beside them: a keys file, an actions file."""

from __future__ import annotations

import os
import stat
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from rqsqs._text import did_you_mean, no_secret
from rqsqs._watched_files import state_of
from rqsqs.errors import UsageError


class TomlReader:
    """Reads a file, and those that it names, once. An error says where in the file something is wrong, and shows no
    secret.

    Attributes:
        files: those that were read, and what tells whether they have changed.
        warnings: what is not as it should be.
    """

    INVALID: ClassVar[type[UsageError]] = UsageError
    MOST_BYTES: ClassVar[int] = 16 * 1024 * 1024

    def __init__(self, path: Path, environ: Mapping[str, str]) -> None:
        self.path, self.environ = path, environ
        self.files: dict[Path, object] = {}
        self.warnings: list[str] = []
        self._modes: dict[Path, int] = {}

    def document(self, text: str | None = None) -> dict[str, Any]:
        """What the file says.

        Args:
            text: its content, if it is not to be read.
        """
        if text is None:
            text = self.text_of(self.path)
        try:
            return tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as error:
            raise self.INVALID(f"{self.path} must be TOML: {error}") from None

    def beside(self, name: str) -> Path:
        """A file that is named relative to this one."""
        return self.path.parent / os.path.expanduser(name)

    def text_of(self, file: Path) -> str:
        """The content of a file."""
        try:
            with file.open("rb") as opened:
                info = os.fstat(opened.fileno())
                data = opened.read(self.MOST_BYTES + 1)
            if len(data) > self.MOST_BYTES:
                raise self.INVALID(f"{file} must have at most {self.MOST_BYTES:,} bytes")
            text = data.decode()
        except (OSError, UnicodeDecodeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise self.INVALID(f"{file} must be a file of text that can be read: {reason}") from None
        self.files[file], self._modes[file] = state_of(info), info.st_mode
        return text

    def others_can_change(self, file: Path) -> bool:
        """Can others write into a file that was read?"""
        mode = self._modes.get(file, 0)
        return stat.S_ISREG(mode) and bool(mode & (stat.S_IWOTH | stat.S_IWGRP))

    def warn_of(self, file: Path) -> None:
        """Warn if others can get at a file that was read and has secrets."""
        mode = self._modes.get(file, 0)
        if stat.S_ISREG(mode) and (mode & stat.S_IROTH or self.others_can_change(file)):
            done = "read" if mode & stat.S_IROTH else "change"
            self.warnings.append(f"others can {done} {file}, which has secrets: chmod 600 {file}")

    def place_of_secret(self, entry: dict[str, Any], where: str) -> tuple[str, str]:
        """Where a secret is: `secret`, `secret_env` or `secret_file`; and what the file says of that."""
        given = [name for name in ("secret", "secret_env", "secret_file") if name in entry]
        if len(given) != 1 or not isinstance(entry[given[0]], str):
            raise self.error(where, "one of secret, secret_env and secret_file must be given, as a text")
        return given[0], entry[given[0]]

    def secret(self, kind: str, value: str, where: str) -> str:
        """The secret that place_of_secret() told of."""
        if kind == "secret":
            return value
        if kind == "secret_env":
            if value not in self.environ:
                raise self.error(where, f"the variable {no_secret(value)} must be set: it holds the secret")
            return self.environ[value]
        file = self.beside(value)
        text = self.text_of(file)
        self.warn_of(file)
        return text.strip()

    def check_fields(self, entry: dict[str, Any], known: set[str], where: str) -> None:
        for name in entry:
            if name not in known:
                near = did_you_mean(name, known) or f"; there are {', '.join(sorted(known))}"
                raise self.error(where, f"there is no {no_secret(name)}{near}")

    def table(self, value: Any, where: str) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise self.error(where, "it must be a table")
        return value

    def list_of(self, value: Any, where: str) -> list[Any]:
        if not isinstance(value, list):
            raise self.error(where, "it must be a list")
        return value

    def error(self, where: str, text: str) -> UsageError:
        return self.INVALID(f"{self.path}: {where}: {text}")
