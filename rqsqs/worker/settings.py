"""What can be chosen for a worker."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, TypedDict

from rqsqs import _arguments as arguments
from rqsqs import _settings
from rqsqs._io import defaults
from rqsqs._text import shown
from rqsqs.errors import InvalidParameterValue
from rqsqs.models import Durability


@dataclass(frozen=True, slots=True)
class Settings:
    """See Worker."""

    url: str | None
    prefix: str | None
    concurrency: int
    heartbeat_interval: float
    shutdown_timeout: float
    linger: float
    prefetch: int
    max_extension: float
    max_crashes: int
    durability: Durability | str | None
    history: bool | None
    actions: str | os.PathLike[str] | None
    options: dict[str, Any]

    def __post_init__(self) -> None:
        if self.prefix is not None:  # else RQSQS_PREFIX says when it starts
            defaults.prefix_of(self.prefix)
        arguments.count("concurrency", self.concurrency, 10_000)
        seconds("heartbeat_interval", self.heartbeat_interval, 0.05, 3600)
        seconds("shutdown_timeout", self.shutdown_timeout, 0, 86_400)
        seconds("linger", self.linger, 0, 1)
        arguments.count("prefetch", self.prefetch, 900, 0)
        seconds("max_extension", self.max_extension, 1, 315_360_000)
        arguments.count("max_crashes", self.max_crashes, 1000)
        _settings.durability(self.durability)
        defaults.writes_history(self.history)
        if not isinstance(self.actions, str | os.PathLike | None):
            raise InvalidParameterValue(f"actions must be the path of a file, or None, got {shown(self.actions)}")


def seconds(what: str, value: Any, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not low <= value <= high:
        raise InvalidParameterValue(f"{what} must be a number of seconds from {low:g} to {high:g}, got {value!r}")
    return value


class Changes(TypedDict, total=False):
    """What Worker.configure() takes."""

    url: str | None
    prefix: str | None
    concurrency: int
    heartbeat_interval: float
    shutdown_timeout: float
    linger: float
    prefetch: int
    max_extension: float
    max_crashes: int
    durability: Durability | str | None
    history: bool | None
    actions: str | os.PathLike[str] | None
