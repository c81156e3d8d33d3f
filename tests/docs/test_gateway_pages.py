"""What docs/gateway.md and docs/authorization.md list is what there is: options, files, condition keys, actions."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("click")

import click

from rqsqs.cli.program import program
from rqsqs.gateway import keys, queue_files
from rqsqs.gateway.condition_keys import _KEYS
from rqsqs.sqs.permissions import OWNER_ONLY

DOCS = Path(__file__).parents[2] / "docs"
GATEWAY = (DOCS / "gateway.md").read_text("utf-8")
AUTHORIZATION = (DOCS / "authorization.md").read_text("utf-8")
COMMON = {"--url", "--url-file", "--prefix", "--json", "--help"}
NOT_OURS = {"--queue-name", "--queue-url", "--message-body", "--wait-time-seconds", "--data-urlencode", "--label",
            "--aws-account-ids", "--actions"}  # fmt: skip


def options_of(*path: str) -> set[str]:
    command = program
    context = click.Context(program)
    for name in path:
        command = command.get_command(context, name)
    return {name for option in command.params for name in option.opts if name.startswith("--")}


def negated_of(*path: str) -> set[str]:
    command = program.get_command(None, path[0])
    return {name for option in command.params for name in option.secondary_opts}


def test_they_name_every_option_of_the_gateway_and_none_that_does_not_exist() -> None:
    text = re.sub(r"`python -m benchmarks\..*?`", "", GATEWAY + AUTHORIZATION)
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", text))
    gateway = options_of("gateway")
    assert gateway - COMMON - named == set()
    others = negated_of("gateway") | options_of("keys", "add") | options_of("policy", "test") | options_of("acl")
    assert named - gateway - others - COMMON - NOT_OURS == set()


def toml_of(page: str) -> str:
    (block,) = re.findall(r"^```toml\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    return str(block)


def test_the_keys_file_can_be_read(tmp_path: Path) -> None:
    (tmp_path / "shop.json").write_text(
        '{"Version": "2012-10-17", "Statement": {"Effect": "Allow", "Action": "sqs:*", "Resource": "*"}}'
    )
    keyring = keys.read(tmp_path / "keys.toml", text=toml_of(AUTHORIZATION))
    assert list(keyring.active) == ["AKIAIOSFODNN7EXAMPLE"]
    assert len(keyring.sealing) == 1
    assert keyring.users["admin"].is_root
    assert len(keyring.users["shop"].policies) == 2


def test_the_queues_file_can_be_read(tmp_path: Path) -> None:
    file = tmp_path / "queues.toml"
    file.write_text(toml_of(GATEWAY))
    assert set(queue_files.read(file)) == {"failed", "orders", "invoices.fifo"}


def test_it_lists_the_condition_keys() -> None:
    listed = {name.lower() for name in re.findall(r"`((?:aws|cloudwatch):\w+)`", AUTHORIZATION)}
    constant = {"aws:principalisawsservice", "aws:viaawsservice"}  # always false
    assert listed == set(_KEYS) - constant
    assert {"aws:PrincipalTag/...", "aws:RequestTag/...", "aws:ResourceTag/..."} <= set(
        re.findall(r"`(aws:\w+/\.\.\.)`", AUTHORIZATION)
    )


def test_it_lists_what_stays_with_the_account_of_a_queue() -> None:
    (sentence,) = re.findall(r"^Some actions stay .*?\n\n", AUTHORIZATION, re.MULTILINE | re.DOTALL)
    assert set(re.findall(r"`(\w+)`", sentence)) == OWNER_ONLY
