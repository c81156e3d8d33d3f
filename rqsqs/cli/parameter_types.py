"""Values on the command line: names of queues, durations, times, numbers, NAME=VALUE pairs."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

import click

import rqsqs
from rqsqs import _settings
from rqsqs._text import printable

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMPLETION_S = 0.5  # a shell waits this long for the names of queues
COMPLETIONS = 200  # names of queues that it gets

_UNITS = {"": 1.0, "ms": 0.001, "s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class QueueName(click.ParamType):  # type: ignore[type-arg]
    """A queue by name; the connection checks it."""

    name = "queue"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """As it is."""
        return str(value)

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Names that begin so; none if the server does not answer at once."""
        from click.shell_completion import CompletionItem

        from rqsqs.cli.settings import Settings

        settings = ctx.find_object(Settings) or Settings()
        taken = set(ctx.params.get(param.name or "") or ()) if param.nargs == -1 else set()
        try:
            if settings.server.startswith("embedded:"):
                from rqsqs import embedded

                folder = embedded.parse_url(settings.server).folder
                if folder is None or not folder.is_dir():
                    return []  # and makes none
            with rqsqs.connect(
                settings.server,
                prefix=settings.prefix,
                socket_timeout=COMPLETION_S,
                socket_connect_timeout=COMPLETION_S,
            ) as connection:
                names = (queue.name for queue in connection.queues(incomplete) if printable(queue.name) == queue.name)
                found = [CompletionItem(name) for name, _ in zip(names, range(COMPLETIONS), strict=False)]
        except Exception:  # nothing that would show up in the middle of somebody's command line
            return []
        return [item for item in found if item.value not in taken]


class Duration(click.ParamType):  # type: ignore[type-arg]
    """`30`, `1.5s`, `15m`, `2h`, `7d`: seconds."""

    name = "duration"

    def __init__(self, shortest: float = 0.0, longest: float = math.inf) -> None:
        self._shortest = shortest
        self._longest = longest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """Seconds."""
        if isinstance(value, (int, float)):
            return value
        match = re.fullmatch(r"(\d+(?:\.\d+)?)(ms|[smhdw]?)", value.strip())
        if match is None:
            self.fail(f"{value!r} is not a duration: write 30, 1.5s, 15m, 2h or 7d", param, ctx)
        seconds = float(match[1]) * _UNITS[match[2]]
        if not self._shortest <= seconds <= self._longest:
            self.fail(f"{value!r:.80} is not in the range: {self._shortest:g} s to {self._longest:g} s", param, ctx)
        return seconds


class Moment(click.ParamType):  # type: ignore[type-arg]
    """An ISO time, `2030-01-31T08:00+01:00` (local time without a zone), or epoch seconds."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime | float:
        """A datetime with time zone, or epoch seconds."""
        if not isinstance(value, str):
            return value  # type: ignore[no-any-return]
        try:
            return float(value)
        except ValueError:
            pass
        try:
            found = datetime.fromisoformat(value)
        except ValueError:
            self.fail(
                f"{value!r} is not a time: write 2030-01-31T08:00, with +01:00 or Z, or epoch seconds", param, ctx
            )
        try:
            return found if found.tzinfo else found.astimezone()
        except (ValueError, OverflowError):  # in the first or the last year that there is
            self.fail(f"{value!r} is out of range: a time between 1970 and 2200", param, ctx)


class Durability(click.ParamType):  # type: ignore[type-arg]
    """The text of a rqsqs.Durability, `replicas=1,aof,timeout=0.5,optional,deletes`, checked."""

    name = "durability"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The same text."""
        try:
            _settings.durability(value or None)
        except rqsqs.InvalidParameterValue as error:
            self.fail(str(error), param, ctx)
        return str(value)


class File(click.ParamType):  # type: ignore[type-arg]
    """The name of a file; - is stdin or stdout where that is said."""

    name = "file"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """The same text, if a file can be called so."""
        try:
            is_possible = value and b"\0" not in os.fsencode(value)
        except UnicodeEncodeError:
            is_possible = False
        if not is_possible:
            self.fail(f"{value!r} cannot be the name of a file", param, ctx)
        return str(value)


class Pair(click.ParamType):  # type: ignore[type-arg]
    """`NAME=VALUE`."""

    name = "name=value"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> tuple[str, str]:
        """Name and value."""
        if isinstance(value, tuple):
            return value
        name, mark, text = value.partition("=")
        if not mark or not name:
            self.fail(f"{value!r} is not NAME=VALUE", param, ctx)
        return name, text


class RetryRule(click.ParamType):  # type: ignore[type-arg]
    """`1s..5m`, `TimeoutError=10s..1h` or `ValueError=never`."""

    name = "rule"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The name of an exception, or None for all; base and cap in seconds, or None for never."""
        if isinstance(value, tuple):
            return value
        name, _, times = value.rpartition("=")
        if times == "never" and name:
            return name, None
        base, mark, cap = times.partition("..")
        if not mark:
            self.fail(f"{value!r} is not a rule: write 1s..5m, TimeoutError=10s..1h or ValueError=never", param, ctx)
        return name or None, (DURATION.convert(base, param, ctx), DURATION.convert(cap, param, ctx))


def as_rule(name: str | None, times: tuple[float, float] | None) -> str:
    """A rule as it is written."""
    text = "never" if times is None else f"{_in_short(times[0])}..{_in_short(times[1])}"
    return text if name is None else f"{name}={text}"


def _in_short(seconds: float) -> str:
    return f"{seconds:.0f}s" if seconds == int(seconds) else f"{round(seconds * 1000)}ms"


def retry_policy(rules: Sequence[tuple[str | None, tuple[float, float] | None]]) -> rqsqs.RetryPolicy | None:
    """All rules together; None if there are none."""
    if not rules:
        return None
    general = next((times for name, times in rules if name is None and times), None)
    policy = rqsqs.RetryPolicy(
        dead_letter=tuple(name for name, times in rules if name and times is None),
        exceptions={name: rqsqs.RetryPolicy(*times) for name, times in rules if name and times},
    )
    return policy if general is None else replace(policy, base=general[0], cap=general[1])


COUNT = click.IntRange(1)
DURABILITY, DURATION, FILE = Durability(), Duration(), File()
MOMENT, PAIR, QUEUE, RETRY = Moment(), Pair(), QueueName(), RetryRule()
