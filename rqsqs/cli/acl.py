"""`rqsqs acl`: rules for users of Redis or Valkey."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from rqsqs.cli import output
from rqsqs.cli.parameter_types import QUEUE
from rqsqs.cli.report import Result
from rqsqs.cli.settings import Settings, reported

if TYPE_CHECKING:
    from collections.abc import Sequence

ROLES = ("producer", "consumer", "worker", "gateway", "evaluator", "exporter", "admin")


@click.command("acl")
@click.argument("role", type=click.Choice(ROLES))
@click.option("--queue", "queues", type=QUEUE, multiple=True, metavar="QUEUE",
              help="Only this queue; can be repeated. A consumer needs its dead-letter queue besides.")  # fmt: skip
@click.option("--user", default=None, metavar="NAME", help="Name of the user [that of the role].")
@click.option("--file", "as_file", is_flag=True, help="In the form of an ACL file.")
@reported
def acl(settings: Settings, role: str, queues: Sequence[str], user: str | None, as_file: bool) -> Result:
    """Print the rules of an ACL for a ROLE: what its programs need, and nothing else.

    \b
    producer   sends messages
    consumer   receives, extends and deletes messages
    worker     runs `rqsqs worker`
    gateway    runs `rqsqs gateway`
    evaluator  runs `rqsqs alarms run`
    exporter   reads numbers
    admin      runs the commands of rqsqs

    A user can run scripts of its own on its keys, with the commands of its role: a note says what that means. Nothing
    is sent to a server.

    \b
    Examples:
      rqsqs acl producer --queue orders
      rqsqs acl worker --file >> users.acl
    """
    from rqsqs.cli.acl_rules import ROLES, rules

    if role in ("gateway", "evaluator", "exporter", "admin") and queues:
        raise click.UsageError(f"--queue is for a producer, a consumer or a worker: the {role} looks at all queues")
    name = user or role
    if not name.isprintable() or any(char.isspace() for char in name):
        raise click.UsageError("--user must be a name without blanks")
    found = rules(role, settings.prefix, queues)
    if as_file:
        line = " ".join(["user", name, *found[1:]])
        way = "put a #HASH behind `on`: printf %s PASSWORD | sha256sum"
    else:
        line = " ".join(["ACL SETUSER", name, *found])
        way = "put >PASSWORD behind `on`"
    if not settings.as_json:
        output.note(f"the user has no password yet, so nobody can log in: {way}")
        output.note(f"with scripts of its own it can also {ROLES[role].power}")
    return Result(line, role=role, user=name, rules=found, power=ROLES[role].power)
