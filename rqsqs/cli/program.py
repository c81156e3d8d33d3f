"""The program: its groups of commands, and the one place where errors become a line on stderr and an exit code."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from collections.abc import Sequence
from typing import Any, NoReturn

import click

import rqsqs
from rqsqs.cli import (
    chaos,
    completion,
    consumers,
    dead_letters,
    demonstration,
    doctor,
    messages,
    output,
    queues,
    search,
    server,
    show,
    statistics,
    top,
    transfer,
    worker,
)
from rqsqs.cli.settings import Settings, common_options

OK, REFUSED, USAGE, SERVER, NOTHING = range(5)


SECTIONS = {  # what `rqsqs --help` shows, in this order; a module lists its commands in COMMANDS
    "Queues": (queues, show),
    "Messages": (messages, search, transfer),
    "Dead letters": (dead_letters,),
    "Fleet": (worker, consumers, statistics, top),
    "Server": (doctor, chaos, server, completion, demonstration),
}


class _Teller(logging.Handler):
    """Says on stderr what was passed over."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def emit(self, record: logging.LogRecord) -> None:
        """One line."""
        self._settings.passed_over += 1
        say(record.getMessage())


class Program(click.Group):
    """The command `rqsqs`."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order in which a person meets them."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """By topic."""
        widest = max(map(len, self.commands))
        for title, modules in SECTIONS.items():
            rows = [
                (str(command.name).ljust(widest), command.get_short_help_str(200))
                for module in modules
                for command in module.COMMANDS
            ]
            with formatter.section(title):
                formatter.write_dl(rows)

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        """Run a command and exit."""
        extra |= {"standalone_mode": False}
        logging.getLogger("rqsqs.server").setLevel(logging.ERROR)  # what connections warn of, doctor tells
        settings = Settings.from_environment()
        teller = _Teller(settings)
        log = logging.getLogger("rqsqs.damage")
        log.addHandler(teller)
        log.propagate = False
        try:
            code = super().main(args, prog_name or "rqsqs", obj=settings, **extra) or OK
            sys.stdout.flush()
        except Exception as error:
            code = explain(error, settings)
        finally:
            log.removeHandler(teller)
            log.propagate = True
            with contextlib.suppress(rqsqs.RqsqsError):
                settings.close()
        sys.exit(code)


def explain(error: Exception, settings: Settings) -> int:
    """Say in one line what went wrong; returns the exit code."""
    if isinstance(error, click.UsageError) and type(error).__name__ == "NoArgsIsHelpError":  # newer than click 8.1
        output.lines(error.ctx.get_help() if error.ctx else "")
        return USAGE
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, click.Abort):
        say("interrupted")
        return 130
    if isinstance(error, click.UsageError):
        path = error.ctx.command_path if error.ctx else "rqsqs"
        say(f"{error.format_message()} (see {path} --help)")
        return USAGE
    if isinstance(error, click.ClickException):
        say(error.format_message())
        return REFUSED
    if isinstance(error, BrokenPipeError):  # whoever read our output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return REFUSED
    if isinstance(error, OSError):
        say(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return REFUSED
    if isinstance(error, rqsqs.QueueDoesNotExist | rqsqs.ResourceNotFound):
        say(f"{error}{settings.hint}")
        return REFUSED
    if isinstance(error, rqsqs.ServerError | rqsqs.EmbeddedServerUnavailable):
        say(str(error))
        return SERVER
    if isinstance(error, rqsqs.UsageError) or type(error) in (
        rqsqs.InvalidParameterValue,
        rqsqs.MissingParameter,
    ):
        say(str(error))
        return USAGE
    if isinstance(error, rqsqs.RqsqsError):
        say(str(error))
        return REFUSED
    if isinstance(error, ValueError) and settings.server.startswith("embedded:"):
        say(str(error))
        return USAGE
    raise error


def say(text: str) -> None:
    """One line on stderr."""
    output.note(f"rqsqs: {' '.join(text.split())}")


@click.group("rqsqs", cls=Program, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(rqsqs.__version__, "-V", "--version", prog_name="rqsqs", message="%(prog)s %(version)s")
@common_options
def program() -> None:
    """Amazon SQS on Redis or Valkey: queues from the command line.

    \b
    A first walk, on a server of your own:
      export RQSQS_URL=embedded://~
      rqsqs create orders
      rqsqs send orders "hello"
      rqsqs receive orders --delete
      rqsqs stats

    The server is the one that --url names, else RQSQS_URL, else redis://localhost:6379/0, as for your programs. With
    embedded://~ the queues are kept in ~/.local/share/rqsqs, by a server that runs as long as somebody uses it.

    \b
    Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 trouble with the server,
                4 nothing there (an empty receive, no queues, nothing found or moved)
    """


for modules in SECTIONS.values():
    for module in modules:
        for command in module.COMMANDS:
            program.add_command(command)
