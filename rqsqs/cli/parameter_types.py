"""Values on the command line: names of queues, durations, times, numbers, NAME=VALUE pairs."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

import rqsqs
from rqsqs import _settings
from rqsqs._text import printable
from rqsqs.inspection.retry_rules import rule
from rqsqs.inspection.written import duration, moment

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

COMPLETION_S = 0.5  # a shell waits this long for the names of queues
COMPLETIONS = 200  # names of queues that it gets


class QueueName(click.ParamType):  # type: ignore[type-arg]
    """A queue by name; the connection checks it."""

    name = "queue"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
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


class Value(click.ParamType):  # type: ignore[type-arg]
    """What a function makes of a text; its ValueError says what the text must be. A default stays as it is."""

    def __init__(self, name: str, read: Callable[[str], Any]) -> None:
        self.name = name
        self._read = read

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        if not isinstance(value, str):
            return value
        try:
            return self._read(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


def duration_from(shortest: float, longest: float) -> Value:
    """A duration within limits."""
    return Value("duration", lambda text: duration(text, shortest, longest))


def _durability(text: str) -> str:
    _settings.durability(text or None)
    return text


def _file(text: str) -> str:
    with contextlib.suppress(UnicodeEncodeError):
        if text and b"\0" not in os.fsencode(text):
            return text
    raise ValueError(f"{text!r} cannot be the name of a file")


def _alarm(text: str) -> str:
    with contextlib.suppress(UnicodeEncodeError):
        if 1 <= len(text) <= 255 and text.encode() and not re.search(r"[\x00-\x1f\x7f]", text):
            return text
    raise ValueError(f"an alarm's name must be 1 to 255 characters and none of control, got {text!r:.80}")


def _pair(text: str) -> tuple[str, str]:
    name, mark, value = text.partition("=")
    if not mark or not name:
        raise ValueError(f"{text!r} is not NAME=VALUE")
    return name, value


def _timeline(text: str) -> bool | int:
    if text in ("on", "off"):
        return text == "on"
    if re.fullmatch(r"[0-9]{1,9}", text):
        return int(text)
    raise ValueError(f"{text!r:.80} is not on, off or a number of bytes")


COUNT = click.IntRange(1)
DURATION, MOMENT = Value("duration", duration), Value("time", moment)
DURABILITY = Value("durability", _durability)  # the text of a rqsqs.Durability, checked
FILE = Value("file", _file)  # its name; - is stdin or stdout where that is said
ALARM, TIMELINE = Value("name", _alarm), Value("timeline", _timeline)
PAIR, RETRY = Value("name=value", _pair), Value("rule", rule)
QUEUE = QueueName()
