"""Groups of commands."""

from __future__ import annotations

import click

from rqsqs._suggestions import did_you_mean


class Group(click.Group):
    """A group that lists its commands in the order of their definition, and suggests one where there is none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Their names."""
        return list(self.commands)

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first word names."""
        word = str(args[0])
        if word[:1].isalnum() and not ctx.resilient_parsing and self.get_command(ctx, word) is None:
            raise click.UsageError(f"there is no command {word!r}{did_you_mean(word, self.list_commands(ctx))}", ctx)
        return super().resolve_command(ctx, args)
