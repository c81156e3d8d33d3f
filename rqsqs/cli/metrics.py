"""`rqsqs metrics`: what happened to queues, for people and for other tools."""

from __future__ import annotations

import click

from rqsqs.cli.metrics_sample import sample
from rqsqs.cli.metrics_serve import serve
from rqsqs.cli.metrics_show import show
from rqsqs.cli.settings import Group, common_options


class QueueOrCommand(Group):
    """Its first argument is a command, or the queue to show."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        is_asked = not args or args[0] in ctx.help_option_names
        if not is_asked and not self.commands.keys() & set(args) and not ctx.resilient_parsing:
            args = [show.name or "", *args]
        return super().parse_args(ctx, args)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args[0] not in self.commands and not ctx.resilient_parsing:  # an option had the name of a command
            return show.name, show, args
        return super().resolve_command(ctx, args)


@click.group("metrics", cls=QueueOrCommand, subcommand_metavar="QUEUE [OPTIONS] | COMMAND [ARGS]...")
@common_options
def group() -> None:
    """Draw what a queue did, and let other tools read it.

    \b
    Examples:
      rqsqs metrics orders              the last three hours of the queue orders
      rqsqs metrics orders --since 2d   see rqsqs metrics show --help
      rqsqs metrics show sample         a queue that has the name of a command
    """


group.add_command(show)
group.add_command(sample)
group.add_command(serve)
