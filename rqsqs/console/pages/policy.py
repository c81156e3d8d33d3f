"""The policy of a queue: what it says, what it would mean for somebody, and another one instead."""

from __future__ import annotations

import json
import time
from typing import Any

from starlette.datastructures import FormData
from starlette.responses import Response

from rqsqs.console.pages.shown import Shown
from rqsqs.console.refusals import ConsoleRefusal
from rqsqs.console.visits import Values, Visit
from rqsqs.errors import InvalidParameterValue, RequestError
from rqsqs.gateway.callers import ANONYMOUS, Caller, root_of
from rqsqs.gateway.condition_keys import ConditionKeys
from rqsqs.gateway.explaining import explain
from rqsqs.gateway.permissions import OF_BATCHES, OF_RQSQS, Permission
from rqsqs.gateway.policies import PolicyInvalid, RequestContext, read_queue_policy
from rqsqs.gateway.request import HttpRequest
from rqsqs.sqs import ACTIONS, Context, perform
from rqsqs.sqs.names import is_account
from rqsqs.sqs.policy_documents import read_policy

SINGLE = sorted(set(ACTIONS) - OF_BATCHES.keys())
NO_TRIAL = {"who": "", "action": "SendMessage", "conditions": ""}


async def show(visit: Visit) -> Shown:
    """The policy, in a form."""
    return Shown("policy.html", await _page(visit))


async def attempt(visit: Visit) -> Response:
    """Say what the policy in the form, which need not be that of the queue yet, means for somebody."""
    form = await visit.form()
    values = await _page(visit, form)
    if not values["error"]:
        try:
            values |= {"explanation": await _explained(visit, form)}
        except (ConsoleRefusal, InvalidParameterValue) as error:
            values |= {"error": str(error)}
    return visit.page("policy.html", values, 400 if values["error"] else 200)


async def change(visit: Visit) -> Response:
    """Set the policy in the form; an empty one removes it."""
    form = await visit.form()
    queue = visit.queue()
    values = await _page(visit, form)
    if values["error"]:
        return visit.page("policy.html", values, 400)
    policy = _policy(form)
    text = json.dumps(json.loads(policy), separators=(",", ":"), ensure_ascii=False) if policy else ""
    context = visit.context
    params = {"QueueUrl": context.url_of(queue.name), "Attributes": {"Policy": text}}
    try:
        await visit.connection.transport.run(perform(context, "SetQueueAttributes", params))
    except (RequestError, ConsoleRefusal) as error:
        return visit.page("policy.html", values | {"error": str(error)}, 400)
    visit.changed()
    told = "The policy was set." if text else "The policy was removed."
    return visit.back_to(visit.url("queues", queue.name, "policy"), told)


async def _page(visit: Visit, form: FormData | None = None) -> Values:
    queue = visit.queue()

    async def load() -> str:
        return (await queue.info()).attributes.get("Policy", "")

    stored = await visit.read(("policy", queue.name), load)
    policy = _pretty(stored) if form is None else _policy(form)
    given = {} if form is None else {name: str(form.get(name, "")).strip() for name in NO_TRIAL}
    return {
        "section": "Queues",
        "tab": "policy",
        "title": f"Policy of {queue.name}",
        "queue": queue.name,
        "policy": policy,
        "is_draft": policy != _pretty(stored),
        "error": _problem(policy),
        "explanation": None,
        "actions": [*SINGLE, *(f"rqsqs:{each}" for each in OF_RQSQS)],
        "users": _users(visit),
        "example": _example(visit.context, queue.name),
        **NO_TRIAL,
        **given,
    }


async def _explained(visit: Visit, form: FormData) -> Values:
    """What each statement says, and which one decides."""
    caller = _caller(visit, str(form.get("who", "")).strip())
    action = str(form.get("action", "")).strip()
    service, _, name = action.rpartition(":")
    permission = Permission(OF_BATCHES.get(name, name), visit.queue().name, service=service or "sqs")
    actions = {"sqs": list(ACTIONS), "rqsqs": list(OF_RQSQS)}
    if name not in actions.get(permission.service, ()):
        raise InvalidParameterValue(f"the action must be one of SQS or rqsqs, such as SendMessage, got {action[:80]!r}")
    tags = await visit.queue().tags() if visit.may("sqs:ListQueueTags") else {}
    context = visit.context
    given = dict(_pair(line) for line in str(form.get("conditions", "")).splitlines() if line.strip())
    request = HttpRequest("POST", b"/", b"", {})
    known = ConditionKeys(
        caller, name, {}, request, region=context.region, owner=context.account, tags=tags, now=time.time()
    )
    wanted = RequestContext(
        permission.full_action, permission.resource(context), context.account, lambda key: given.get(key) or known(key)
    )
    policy = _policy(form)
    decision, results, rule = explain(caller, read_queue_policy(policy) if policy else None, wanted)
    return {
        "is_allowed": decision.is_allowed,
        "rule": rule,
        "results": results,
        "caller": caller.arn,
        "action": permission.full_action,
        "message": "" if decision.is_allowed else decision.message(caller, wanted.action, wanted.resource),
    }


def _caller(visit: Visit, who: str) -> Caller:
    """Whom a trial is about: a user or access key, an account, or nobody in particular."""
    if not who:
        return ANONYMOUS
    if is_account(who):
        return root_of(who, region=visit.console.settings.gateway.region)
    if who in (visit.caller.name, visit.caller.key_id):
        return visit.caller
    sessions = visit.console.sessions
    found = sessions.user(who) if sessions is not None and who in _users(visit) else None
    if found is None:
        raise InvalidParameterValue(
            "who must be a user of yours with an active access key, an account of twelve digits, or empty, got "
            f"{who[:80]!r}"
        )
    return found


def _users(visit: Visit) -> list[str]:
    """The users that somebody may try policies for: the root user those of its account, others themselves."""
    sessions = visit.console.sessions
    if sessions is None:
        return []
    return sessions.users(visit.caller.account) if visit.caller.is_root else [visit.caller.name]


def _policy(form: FormData) -> str:
    return str(form.get("policy", "")).replace("\r\n", "\n").strip()


def _problem(policy: str) -> str:
    """Why a text is no policy; "" = it is one, or there is none."""
    try:
        if policy:
            read_policy(policy, of_queue=True)
    except PolicyInvalid as error:
        return str(error)
    return ""


def _pretty(policy: str) -> str:
    try:
        return json.dumps(json.loads(policy), indent=2, ensure_ascii=False) if policy else ""
    except (ValueError, RecursionError):  # damaged: as it is
        return policy


def _pair(line: str) -> tuple[str, list[str]]:
    key, mark, value = line.partition("=")
    if not mark or not key.strip():
        raise InvalidParameterValue(f"a condition key must be like aws:SourceIp=192.0.2.1, got {line[:80]!r}")
    return key.strip().lower(), [value.strip()]


def _example(context: Context, queue: str) -> str:
    statement: dict[str, Any] = {
        "Sid": "partner",
        "Effect": "Allow",
        "Principal": {"AWS": "123456789012"},
        "Action": "sqs:SendMessage",
        "Resource": context.arn_of(queue),
    }
    return json.dumps({"Version": "2012-10-17", "Statement": [statement]}, indent=2)
