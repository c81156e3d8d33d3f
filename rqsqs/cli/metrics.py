"""`rqsqs metrics`: what happened to queues, for people and for other tools."""

from __future__ import annotations

import click

from rqsqs.cli.metrics_sample import sample
from rqsqs.cli.metrics_serve import serve
from rqsqs.cli.settings import Group, common_options


@click.group("metrics", cls=Group)
@common_options
def group() -> None:
    """Show what happened to queues, and let other tools read it."""


group.add_command(sample)
group.add_command(serve)
