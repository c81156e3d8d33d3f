"""`rqsqs keys`: the access keys of a gateway."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from rqsqs.cli import output
from rqsqs.cli.parameter_types import FILE, PAIR
from rqsqs.cli.report import Column, Done, Lines, Result, Table, nothing
from rqsqs.cli.settings import Group, Settings, common_options, reported
from rqsqs.inspection import words

COLUMNS = (
    Column.text("USER", "user"),
    Column.text("ACCOUNT", "account"),
    Column.text("KEY", "key_id"),
    Column.text("STATE", "state"),
    Column("CREATED", lambda row: str(row["created"] or "-")[:10]),
    Column.text("SECRET", "secret_in"),
    Column("MAY", lambda row: "everything (root)" if row["root"] else words.counted(row["policies"], "policy")),
)

KEYS_FILE = click.option(
    "--keys", "path", type=FILE, callback=lambda _ctx, _option, name: Path(name), envvar="RQSQS_KEYS", required=True,
    metavar="FILE", help="The keys file. Else the variable RQSQS_KEYS.",
)  # fmt: skip


@click.group("keys", cls=Group)
@common_options
def group() -> None:
    """Make, list and disable the access keys of a gateway, in the file that `rqsqs gateway --keys` reads.

    A running gateway notices changes within a second. The file holds secrets; it is written for you alone.

    \b
    Examples:
      rqsqs keys add admin --root --keys keys.toml
      rqsqs keys add shop --allow SendMessage,GetQueueUrl --queue orders --keys keys.toml
      rqsqs keys ls --keys keys.toml
      rqsqs gateway --keys keys.toml
    """


@group.command("add")
@click.argument("name")
@click.option("--account", metavar="DIGITS", help="Account of a new user, twelve digits [000000000000].")
@click.option(
    "--root", "is_root", is_flag=True, help="The new user is the root user of its account: it may do everything."
)
@click.option(
    "--allow",
    multiple=True,
    metavar="ACTIONS",
    help="Actions that a new user may do, such as SendMessage,Get* or cloudwatch:DescribeAlarms.",
)
@click.option("--queue", "queues", multiple=True, metavar="PATTERN",
              help="The queues on which it may, such as orders or orders-* [all]; it binds no alarms.")  # fmt: skip
@click.option("--policy", "policy_files", multiple=True, metavar="FILE",
              help="A policy of IAM in JSON, which the gateway reads from beside the keys file.")  # fmt: skip
@click.option("--tag", "tags", type=PAIR, multiple=True, metavar="NAME=VALUE", help="A tag of a new user.")
@click.option("--secret-env", metavar="NAME", help="The gateway finds the secret in this environment variable.")
@click.option("--secret-file", metavar="FILE", help="The gateway finds the secret in this file.")
@KEYS_FILE
@reported
def add(
    settings: Settings,
    name: str,
    account: str | None,
    is_root: bool,
    allow: tuple[str, ...],
    queues: tuple[str, ...],
    policy_files: tuple[str, ...],
    tags: tuple[tuple[str, str], ...],
    secret_env: str | None,
    secret_file: str | None,
    path: Path,
) -> Result:
    """Make an access key for a user.

    NAME is the user, who is made as well if there is none of that name.

    Two keys of a user can be active, so that a new one is in use before the old one is disabled. The secret is shown
    this once. A new user may do nothing that --allow, --policy, --root or the policy of a queue does not allow.

    \b
    Examples:
      rqsqs keys add shop --allow SendMessage --queue orders --keys keys.toml
      eval "$(rqsqs keys add shop --keys keys.toml)"   # a second key, for the programs of this shell
    """
    from rqsqs.gateway.keys_editing import NewUser, add_key

    if queues and not allow:
        raise click.UsageError("--queue says where --allow applies: give --allow, too")
    if secret_env and secret_file:
        raise click.UsageError("--secret-env and --secret-file exclude each other")
    user = NewUser(account, is_root, dict(tags), _statements(allow, queues), policy_files)
    key = add_key(path, name, user, secret_env=secret_env, secret_file=secret_file)
    lines = [f"export AWS_ACCESS_KEY_ID={key.key_id}"]
    if key.secret is not None:
        lines.append(f"export AWS_SECRET_ACCESS_KEY={key.secret}")
    if not settings.as_json:
        output.note(f"{key.name} of account {key.account} has a new access key")
    return Lines(lines, user=key.name, account=key.account, key_id=key.key_id, secret=key.secret)


def _statements(allow: tuple[str, ...], queues: tuple[str, ...]) -> list[dict[str, Any]]:
    actions = [action.strip() for text in allow for action in text.split(",") if action.strip()]
    for action in actions:
        _check_action(action)
    of_alarms = [action for action in actions if _is_cloudwatch(action)]
    of_queues = [
        action if ":" in action or action == "*" else f"sqs:{action}" for action in actions if action not in of_alarms
    ]
    resources: Any = [f"arn:*:sqs:*:*:{queue}" for queue in queues] or "*"
    found = [(of_queues, resources), (of_alarms, "*")]
    return [{"Effect": "Allow", "Action": names, "Resource": about} for names, about in found if names]


def _is_cloudwatch(action: str) -> bool:
    return action.lower().startswith("cloudwatch:")


def _check_action(action: str) -> None:
    from rqsqs import cloudwatch, sqs
    from rqsqs.gateway.permissions import OF_BATCHES, OF_RQSQS
    from rqsqs.gateway.wildcards import Pattern

    service, mark, name = action.lower().partition(":")
    of: Mapping[str, Iterable[str]] = {"cloudwatch": cloudwatch.ACTIONS, "rqsqs": OF_RQSQS, "sqs": sqs.ACTIONS}
    known = of.get(service, ()) if mark else sqs.ACTIONS
    pattern = Pattern(name if mark else service, has_variables=False)
    if not any(pattern.matches(each.lower(), lambda _: None) for each in known if each not in OF_BATCHES):
        instead = OF_BATCHES.get(action.removeprefix("sqs:"), "SendMessage")
        raise click.UsageError(
            f"--allow must be actions of SQS, such as {instead}, of CloudWatch, such as cloudwatch:DescribeAlarms, or "
            f"of the console, such as rqsqs:PeekMessages, got {action!r:.80}"
        )


@group.command("ls")
@KEYS_FILE
@reported
def list_keys(settings: Settings, path: Path) -> Table | int:
    """List users and their access keys, without secrets."""
    from rqsqs.gateway.keys import read

    keyring = read(path, with_secrets=False)
    for warning in keyring.warnings:
        output.note(f"rqsqs: {warning}")
    rows = [
        {
            "user": user.name,
            "account": user.account,
            "key_id": key.key_id,
            "state": "disabled" if key.is_disabled else "active",
            "created": key.created and key.created.isoformat(),
            "secret_in": key.source,
            "root": user.is_root,
            "policies": len(user.policies),
            "tags": dict(user.tags),
        }
        for user in keyring.users.values()
        for key in user.keys
    ]
    return Table(COLUMNS, rows) if rows else nothing(f"{path} has no access keys: rqsqs keys add makes one")


@group.command("disable")
@click.argument("key_id", metavar="KEY")
@KEYS_FILE
@reported
def disable(settings: Settings, key_id: str, path: Path) -> Done:
    """Refuse the access key KEY from now on. It stays in the file; `disabled = false` brings it back."""
    from rqsqs.gateway.keys_editing import disable_key

    is_new = disable_key(path, key_id)
    return Done(f"{key_id} is disabled" if is_new else f"{key_id} was disabled before", key_id=key_id, changed=is_new)


@group.command("seal")
@KEYS_FILE
@reported
def seal(settings: Settings, path: Path) -> Done:
    """Add a secret to seal receipt handles with.

    It also seals handles of move tasks and tokens of pages. It is in use after a minute, when every gateway that reads
    the file knows it. What older secrets sealed stays valid as long as they are in the file: take them out when the
    longest visibility timeout, twelve hours at most, is over.
    """
    from rqsqs.gateway.keys_editing import add_sealing_secret

    add_sealing_secret(path)
    return Done(f"{path} has a new sealing secret", path=str(path))
