"""`rqsqs policy`: what policies allow at a gateway, and why."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import click

import rqsqs
from rqsqs._core.keys import Keyspace
from rqsqs.cli import output
from rqsqs.cli.keys import KEYS_FILE
from rqsqs.cli.parameter_types import FILE, PAIR
from rqsqs.cli.report import OK, REFUSED, Result, Results
from rqsqs.cli.settings import Group, Settings, common_options, reported

Needed = tuple[str, str]  # `sqs:SendMessage`, and the ARN of what it is about


@click.group("policy", cls=Group)
@common_options
def group() -> None:
    """Explain what the policies of users and queues allow at a gateway."""


class Explanation(Result):
    """What one statement says."""

    def show(self) -> None:
        applies = self.record["applies"]
        colour = None if not applies else "green" if self.record["effect"] == "Allow" else "red"
        lead = f"{self.record['effect'].lower() if applies else '-':<6}"
        output.hanging(lead, f"{self.record['statement']}: {self.record['why']}", bold=True, fg=colour)


@group.command("test")
@click.option("--key", "name", metavar="NAME", help="A user, or an access key id; without it an anonymous caller.")
@click.option("--action", required=True, metavar="ACTION",
              help="An action, such as SendMessage or cloudwatch:SetAlarmState.")  # fmt: skip
@click.option("--queue", metavar="QUEUE", default="", help="The queue that it is about.")
@click.option("--alarm", metavar="ALARM", default="", help="The alarm that it is about, for an action of CloudWatch.")
@click.option("--account", metavar="DIGITS", help="The account of the queue [that of the caller].")
@click.option("--region", default="us-east-1", show_default=True, help="The region of the gateway.")
@click.option("--queue-policy", type=FILE, help="A policy in JSON instead of the one that the queue has.")
@click.option("--context", "given", type=PAIR, multiple=True, metavar="KEY=VALUE",
              help="A condition key of the request, such as aws:SourceIp=192.0.2.1; can be repeated.")  # fmt: skip
@click.option("--allow-anonymous", is_flag=True, help="As the gateway that has this option.")
@KEYS_FILE
@reported
def test(
    settings: Settings,
    name: str | None,
    action: str,
    queue: str,
    alarm: str,
    account: str | None,
    region: str,
    queue_policy: str | None,
    given: tuple[tuple[str, str], ...],
    allow_anonymous: bool,
    path: Path,
) -> Results:
    """Say why a request would be allowed or denied.

    Prints what each statement of the policies says about it, and which one decides. The policy of the queue, and the
    tags of the queue or alarm, are read from the server. Exits with 0 if the request would be allowed, with 1 if not.

    \b
    Examples:
      rqsqs policy test --keys keys.toml --key shop --action SendMessage --queue orders
      rqsqs policy test --keys keys.toml --action ListQueues --context aws:SourceIp=10.1.2.3
      rqsqs policy test --keys keys.toml --key ops --action cloudwatch:SetAlarmState --alarm late
    """
    from rqsqs.gateway.callers import ANONYMOUS
    from rqsqs.gateway.condition_keys import RESOURCE_TAG, ConditionKeys
    from rqsqs.gateway.explaining import explain
    from rqsqs.gateway.keys import read
    from rqsqs.gateway.policies import RequestContext, read_queue_policy
    from rqsqs.gateway.request import HttpRequest
    from rqsqs.sqs.context import DEFAULT_ACCOUNT

    action, needed = _about(action, queue, alarm, account)
    caller = ANONYMOUS if name is None else read(path, region=region, with_secrets=False).caller(name)
    if caller is None:
        raise click.UsageError(f"--key must be a user or an active access key of {path}, got {name!r:.80}")
    owner = account or caller.account or DEFAULT_ACCOUNT
    permission, resource = needed(region, owner)
    policy, tags = _facts(settings, owner, queue) if queue else (None, {})
    if alarm and any(key.startswith(RESOURCE_TAG) for each in caller.policies for key in each.keys):
        tags = _tags_of_alarm(settings, owner, alarm)
    if queue_policy is not None:
        policy = Path(queue_policy).read_text("utf-8")
    keys = {key.lower(): [value] for key, value in given}
    known = ConditionKeys(
        caller, action, {}, HttpRequest("POST", b"/", b"", {}), region=region, owner=owner, tags=tags, now=time.time()
    )
    context = RequestContext(permission, resource, owner, lambda key: keys.get(key) or known(key))
    compiled = read_queue_policy(policy) if policy else None
    decision, results, rule = explain(caller, compiled, context, allow_anonymous=allow_anonymous)
    for result in results:
        yield Explanation(**asdict(result))
    answer = "allowed" if decision.is_allowed else "denied"
    message = "" if decision.is_allowed else decision.message(caller, permission, resource)
    text = f"{caller.arn} is {'' if decision.is_allowed else 'not '}allowed to do {permission} on {resource}: {rule}"
    yield Result(text, decision=answer, rule=rule, message=message)
    return OK if decision.is_allowed else REFUSED


def _about(action: str, queue: str, alarm: str, account: str | None) -> tuple[str, Callable[[str, str], Needed]]:
    """The name of the action, and what tells the permission and the resource that it needs, by region and account."""
    from rqsqs.gateway.alarm_permissions import is_cloudwatch, needed
    from rqsqs.gateway.permissions import OF_BATCHES, OF_RQSQS, Permission
    from rqsqs.sqs import ACTIONS, Context

    space = Keyspace("rqsqs")
    name = action.removeprefix("sqs:").removeprefix("cloudwatch:")
    if action.startswith("cloudwatch:") and is_cloudwatch(name):
        if queue or account:
            raise click.UsageError(f"--{'queue' if queue else 'account'} must be left out: {name} is about own alarms")

        def about(region: str, owner: str) -> Needed:
            context = Context(space, region, owner)
            arn = Permission(name, "", alarm, "cloudwatch").resource(context)
            named = {"AlarmName": alarm, "AlarmNames": [alarm], "ResourceARN": arn} if alarm else {}
            first = needed(name, named, context)[0]
            return first.full_action, first.resource(context)

        if not alarm and about("us-east-1", "")[1].endswith("alarm:"):
            raise click.UsageError(f"--alarm must be given: {name} is about an alarm")
        return name, about
    service = "rqsqs" if action.startswith("rqsqs:") else "sqs"
    name = action.removeprefix(f"{service}:")
    if name not in (OF_RQSQS if service == "rqsqs" else ACTIONS):
        raise click.UsageError(
            "--action must be an action of SQS, such as SendMessage, of CloudWatch, such as cloudwatch:SetAlarmState, "
            f"or of the console, such as rqsqs:PeekMessages, got {action!r:.80}"
        )
    if not queue and name not in ("ListQueues", "ListEvents", "DescribeServer"):
        raise click.UsageError(f"--queue must be given: {name} is about a queue")
    if alarm:
        raise click.UsageError(f"--alarm must be left out: {name} is about a queue")
    permission = Permission(OF_BATCHES.get(name, name), queue, service=service)
    return name, lambda region, owner: (permission.full_action, permission.resource(Context(space, region, owner)))


def _facts(settings: Settings, account: str, queue: str) -> tuple[str | None, Mapping[str, str]]:
    """The policy and tags of a queue; none if there is no such queue."""
    from rqsqs.gateway.settings import keyspace_of

    with (
        rqsqs.connect(settings.server, prefix=settings.prefix) as connection,
        contextlib.suppress(rqsqs.QueueDoesNotExist),
    ):
        connection.transport.space = keyspace_of(connection.transport.space, account)
        found = connection.queue(queue)
        return found.info().attributes.get("Policy"), found.tags()
    output.note(f"there is no queue {queue} in account {account}: only identity policies decide")
    return None, {}


def _tags_of_alarm(settings: Settings, account: str, name: str) -> Mapping[str, str]:
    """Its tags; none if there is no such alarm."""
    from rqsqs.gateway.settings import keyspace_of

    with (
        rqsqs.connect(settings.server, prefix=settings.prefix) as connection,
        contextlib.suppress(rqsqs.ResourceNotFound),
    ):
        connection.transport.space = keyspace_of(connection.transport.space, account)
        return connection.alarms.get(name).alarm.tags
    output.note(f"there is no alarm {name} in account {account}, so it has no tags")
    return {}
