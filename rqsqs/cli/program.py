"""The program: its groups of commands, and the one place where errors become a line on stderr and an exit code.

The module of a command is imported when the command is called: help and completion need none of them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Any, NoReturn

import click

import rqsqs
from rqsqs.cli import output
from rqsqs.cli.report import OK, REFUSED, SERVER, USAGE
from rqsqs.cli.settings import Group, Settings, common_options

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

BUG, INTERRUPTED = 70, 130

# What `rqsqs --help` shows, in this order: where a command is, and what it does.
SECTIONS: dict[str, dict[str, tuple[str, str]]] = {
    "Queues": {
        "ls": ("queues.list_queues", "List the names of queues."),
        "create": ("queues.create", "Create a queue."),
        "set": ("queues.change", "Change settings of a queue."),
        "tag": ("queues.tag", "Set, remove or show tags of a queue."),
        "rm": ("queues.remove", "Delete queues with everything in them."),
        "purge": ("queues.purge", "Remove all messages of a queue."),
        "pause": ("queues.pause", "Stop handing out messages for a while."),
        "resume": ("queues.resume", "Undo pause."),
        "show": ("show.show", "Show a queue, or one message, in full."),
    },
    "Messages": {
        "send": ("messages.send", "Send a message, or many from a file."),
        "receive": ("messages.receive", "Receive messages and print them."),
        "peek": ("messages.peek", "Look at messages without receiving them."),
        "delete": ("messages.delete", "Delete received messages."),
        "release": ("messages.release", "Give received messages back."),
        "search": ("search.search", "Find messages by their content."),
        "cancel": ("search.cancel", "Take waiting messages out of a queue."),
        "export": ("transfer.export", "Write all messages of a queue to a file."),
        "import": ("transfer.import_", "Send the messages of an exported file."),
    },
    "Dead letters": {
        "dlq": ("dead_letters.group", "Show why messages failed, and move them back."),
    },
    "Fleet": {
        "worker": ("worker.worker", "Run the worker of an application."),
        "consumers": ("consumers.group", "See which workers serve the queues; drain or evict them."),
        "stats": ("stats.stats", "Show the numbers of messages in queues."),
        "top": ("top.top", "Show the numbers again and again."),
        "events": ("events.group", "Show what was done to queues, and act on it."),
        "metrics": ("metrics.group", "Show what happened to queues, and let Prometheus read it."),
        "alarms": ("alarms.group", "Be told when something is wrong with a queue."),
    },
    "Server": {
        "doctor": ("doctor.doctor", "Check the server and the queues, with advice."),
        "chaos": ("chaos.command.chaos", "Break things, and check every guarantee."),
        "gateway": ("gateway.gateway", "Let any AWS SDK use the queues, over HTTP."),
        "console": ("console.console", "Look into the queues with a browser."),
        "server": ("server.server", "Run an embedded server in the foreground."),
        "keys": ("keys.group", "Make, list and disable access keys of a gateway."),
        "policy": ("policy.group", "Explain what policies allow at a gateway."),
        "acl": ("acl.acl", "Print rules for users of Redis or Valkey."),
        "completion": ("completion.completion", "Let the shell complete commands and names of queues."),
        "demo": ("demo.show.demo", "Show rqsqs at work while things go wrong."),
    },
}
COMMANDS = {name: command for section in SECTIONS.values() for name, command in section.items()}


class _Teller(logging.Handler):
    """Says on stderr what was passed over."""

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def emit(self, record: logging.LogRecord) -> None:
        self._settings.passed_over += 1
        say(record.getMessage())


class Program(Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context | None, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, name = COMMANDS[cmd_name][0].rpartition(".")
        command: click.Command = getattr(import_module(f"rqsqs.cli.{module}"), name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        widest = max(map(len, COMMANDS))
        for title, section in SECTIONS.items():
            with formatter.section(title):
                formatter.write_dl([(name.ljust(widest), text) for name, (_, text) in section.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        from click.shell_completion import CompletionItem

        found = [CompletionItem(n, help=text) for n, (_, text) in COMMANDS.items() if n.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; Ctrl-C is said by explain(), as click would write an empty line into pipes as well."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            if sys.stderr.isatty():
                output.note("")  # behind ^C
            raise click.Abort from None

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> NoReturn:
        extra |= {"standalone_mode": False}
        logging.getLogger("rqsqs.server").setLevel(logging.ERROR)  # what connections warn of, doctor tells
        settings = Settings()
        teller = _Teller(settings)
        log = logging.getLogger("rqsqs.damage")
        log.addHandler(teller)
        log.propagate = False
        try:
            code = super().main(args, prog_name or "rqsqs", obj=settings, **extra) or OK
            sys.stdout.flush()
        except Exception as error:
            code = explain(error, settings)
            if code == BUG and os.environ.get("RQSQS_TRACEBACK"):
                output.lines("".join(traceback.format_exception(error)).rstrip("\n"), err=True)
        finally:
            log.removeHandler(teller)
            log.propagate = True
            with contextlib.suppress(rqsqs.RqsqsError):
                settings.close()
        sys.exit(code)


def explain(error: Exception, settings: Settings) -> int:
    """Say in one line what went wrong; returns the exit code."""
    if isinstance(error, click.exceptions.Exit):
        return error.exit_code
    if isinstance(error, BrokenPipeError):  # whoever read our output has seen enough
        return REFUSED
    if type(error).__name__ == "NoArgsIsHelpError":  # of click 8.2 and newer
        output.lines(error.ctx.get_help())  # type: ignore[attr-defined]
        return USAGE
    code, text = _explained(error, settings)
    say(text)
    return code


def _explained(error: Exception, settings: Settings) -> tuple[int, str]:
    match error:
        case click.Abort():
            return INTERRUPTED, "interrupted"
        case click.UsageError():
            path = error.ctx.command_path if error.ctx else "rqsqs"
            return USAGE, f"{error.format_message()} (see {path} --help)"
        case click.ClickException():
            return REFUSED, error.format_message()
        case OSError(filename=str(name)):
            return REFUSED, f"{name}: {error.strerror or error}"
        case OSError():
            return REFUSED, f"cannot read or write: {error.strerror}" if error.strerror else str(error) or "it failed"
        case rqsqs.QueueDoesNotExist() | rqsqs.ResourceNotFound():
            return REFUSED, f"{error}{settings.suggestion(error.queue)}{settings.hint}"
        case rqsqs.ServerError() | rqsqs.EmbeddedServerUnavailable():
            return SERVER, str(error)
        case rqsqs.RqsqsError():
            is_usage = type(error) in (rqsqs.InvalidParameterValue, rqsqs.MissingParameter)
            return USAGE if is_usage or isinstance(error, rqsqs.UsageError) else REFUSED, str(error)
        case ValueError() if settings.server.startswith("embedded:"):
            return USAGE, str(error)
        case RecursionError():
            return REFUSED, "the input is nested too deeply"
        case MemoryError():
            return REFUSED, "there is not enough memory for that"
    about = "this is a bug of rqsqs, please report it with what is printed when RQSQS_TRACEBACK=1 is set"
    return BUG, f"{about}: {type(error).__name__}: {error}"


def say(text: str) -> None:
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
    Exit codes: 0 done, 1 refused or failed, 2 wrong usage, 3 the server failed,
                4 nothing there (an empty receive, no queues, nothing found or moved),
                70 a bug of rqsqs, 130 interrupted
    """
