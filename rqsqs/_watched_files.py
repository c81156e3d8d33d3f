"""Files that a running program reads again when they change: a keys file, an actions file."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Generic, Protocol, TypeVar

from rqsqs.errors import UsageError

LOOK_EVERY_S = 1.0


class FromFiles(Protocol):
    """What was read.

    Attributes:
        files: the files, and what tells whether they have changed: state_of().
        warnings: what is not as it should be.
    """

    @property
    def files(self) -> Mapping[Path, object]: ...
    @property
    def warnings(self) -> tuple[str, ...]: ...


T = TypeVar("T", bound=FromFiles)


class WatchedFiles(Generic[T]):
    """What files say, read again when one of them changes. If they cannot be used then, what was read before counts.

    Args:
        read: reads them; it raises UsageError if they cannot be used.
        name: of the file, in the log: "the keys file".
        log: where it is said that they changed.
        clock: seconds, for how often to look.

    Raises:
        UsageError: they cannot be used.
    """

    def __init__(
        self, read: Callable[[], T], name: str, log: logging.Logger, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._read, self._name, self._log, self._clock = read, name, log, clock
        self._found = read()
        self._seen = dict(self._found.files)
        self._next_look = clock() + LOOK_EVERY_S
        for warning in self._found.warnings:
            log.warning("%s", warning)

    def current(self) -> T:
        """What the files say now, or said a second ago."""
        if self._clock() >= self._next_look:
            self.look()
        return self._found

    def look(self) -> T:
        """What the files say now."""
        self._next_look = self._clock() + LOOK_EVERY_S
        seen = {file: _now(file) for file in self._seen}
        if seen != self._seen:
            self._seen = seen
            try:
                found = self._read()
            except UsageError as error:
                self._log.error(
                    "%s changed and cannot be used, what was read before stays in force: %s", self._name, error
                )
            else:
                self._found = found
                self._seen = dict(found.files)
                self._log.info("%s changed and was read again", self._name)
                for warning in found.warnings:
                    self._log.warning("%s", warning)
        return self._found


def state_of(info: os.stat_result) -> object:
    """What changes when a file does: also if a link is set to another one, as Kubernetes does."""
    return info.st_dev, info.st_ino, info.st_mtime_ns, info.st_size


def _now(file: Path) -> object:
    try:
        return state_of(file.stat())
    except OSError as error:
        return error.errno
