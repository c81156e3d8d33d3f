"""What every command has: the options that all of them take, a connection, and a report of its results."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, TypeVar

import click

import rqsqs
from rqsqs._io import defaults, urls
from rqsqs._text import did_you_mean
from rqsqs.cli import output
from rqsqs.cli.report import report

F = TypeVar("F", bound=Callable[..., Any])
LOOKED_AT = 500  # names of one prefix


@dataclass
class Settings:
    """The options that all commands have."""

    given_url: str | None = None  # as --url or --url-file says
    given_prefix: str | None = None
    as_json: bool = False
    passed_over: int = 0  # messages that could not be read
    _connection: rqsqs.Connection | None = field(default=None, repr=False)

    @property
    def url(self) -> str | None:
        """The URL that was named: by --url, --url-file, RQSQS_URL or RQSQS_URL_FILE."""
        return self.given_url or defaults.named_url()

    @property
    def server(self) -> str:
        return self.url or defaults.URL

    @property
    def prefix(self) -> str:
        return defaults.prefix_of(self.given_prefix)

    def connect(self) -> rqsqs.Connection:
        if self._connection is None:
            from rqsqs._core.actors import user

            self._connection = rqsqs.connect(self.server, prefix=self.prefix)
            self._connection.transport.space.actor = user()
        return self._connection

    def queue(self, name: str) -> rqsqs.Queue:
        return self.connect().queue(name)

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()

    def suggestion(self, name: str) -> str:
        """Names of queues that are near one that does not exist.

        There may be very many: it looks at some of those that begin alike, the more alike the better.
        """
        if self._connection is None or not name:
            return ""
        names: dict[str, None] = {}
        with contextlib.suppress(rqsqs.RqsqsError):  # there is worse to tell
            for length in (len(name), len(name) - 1, len(name) - 2, len(name) - 4, len(name) // 2, 1, 0):
                found = self._connection.queues(name[: max(length, 0)])
                names.update((queue.name, None) for queue in islice(found, LOOKED_AT))
        return did_you_mean(name, names)

    @property
    def hint(self) -> str:
        """Where a queue was looked for, if that was not said."""
        return "" if self.url else f" (looked in {self.server}; --url or RQSQS_URL names another server)"


def common_options(command: F) -> F:
    """Add --url, --prefix and --json, which may stand before or behind the name of the command."""
    add = functools.partial(click.option, expose_value=False)
    options = (
        add("--url", metavar="URL", callback=_remember("given_url", _warned),
            help="redis://, rediss://, unix://, or embedded://~ for a server of your own. Else the variable RQSQS_URL; "
            f"else {defaults.URL}. Others can read a password in it (ps): --url-file keeps it secret."),
        add("--url-file", metavar="FILE", callback=_remember("given_url", _url_in),
            help="A file that holds the URL, as secrets are given to containers. Else the variable RQSQS_URL_FILE."),
        add("--prefix", metavar="TEXT", callback=_remember("given_prefix"),
            help="Prefix of all keys. Else the variable RQSQS_PREFIX; else rqsqs."),
        add("--json", is_flag=True, default=None, callback=_remember("as_json"),
            help="Print JSON, one object per line."),
    )  # fmt: skip
    return functools.reduce(lambda decorated, option: option(decorated), reversed(options), command)


def _remember(name: str, read: Callable[[Any], Any] = lambda value: value) -> Callable[..., None]:
    def callback(context: click.Context, _: click.Parameter, value: Any) -> None:
        if value is not None:
            setattr(context.ensure_object(Settings), name, read(value))

    return callback


def _url_in(file: str) -> str:
    return defaults.url_in(file, "--url-file")


def _warned(url: str) -> str:
    if urls.has_secret(url):
        output.note("rqsqs: --url has a password, which others can see (ps): use --url-file or RQSQS_URL")
    return url


def reported(command: Callable[..., Any]) -> Callable[..., int]:
    """Add the common options, hand over Settings, and report what the command returns or yields (see report.py)."""

    def run(*args: Any, **given: Any) -> int:
        settings = click.get_current_context().ensure_object(Settings)
        return report(command(settings, *args, **given), as_json=settings.as_json)

    return common_options(functools.update_wrapper(run, command))


class Group(click.Group):
    """A group that lists its commands in the order of their definition, and suggests one where there is none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        word = str(args[0])
        if word[:1].isalnum() and not ctx.resilient_parsing and self.get_command(ctx, word) is None:
            raise click.UsageError(f"there is no command {word!r}{did_you_mean(word, self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)
