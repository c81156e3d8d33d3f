"""Why a request is allowed or not, statement by statement: for people, so nothing here is fast."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from .callers import Caller
from .permissions import is_owners
from .policies import Decision, Policy, RequestContext, Statement, decide


@dataclass(frozen=True, slots=True)
class StatementResult:
    """What one statement says about a request.

    Attributes:
        statement: which one, `statement 1 (Sid) of the queue policy`.
        effect: `Allow` or `Deny`.
        applies: whether it does.
        why: why not, or how it does.
    """

    statement: str
    effect: str
    applies: bool
    why: str


def explain(
    caller: Caller, queue_policy: Policy | None, context: RequestContext, *, allow_anonymous: bool = False
) -> tuple[Decision, list[StatementResult], str]:
    """Decide as the gateway does: the decision, what every statement says, and the rule that decided."""
    action = context.action.removeprefix("sqs:")
    results = list(_results(caller, queue_policy, context))
    is_foreign = caller.account != context.owner
    if caller.is_anonymous and not allow_anonymous:
        return Decision(False, "no queue policy"), results, "anonymous access is off at the gateway"
    if is_foreign and is_owners(action):
        return (
            Decision(False, "no queue policy"),
            results,
            "only the account of the queue may do this, whatever policies say",
        )
    decision = decide(caller, queue_policy, context)
    return decision, results, _rule(decision, caller, context)


def _rule(decision: Decision, caller: Caller, context: RequestContext) -> str:
    is_foreign = not caller.is_anonymous and caller.account != context.owner
    if decision.reason == "explicit deny":
        return f"{decision.by} denies it, and a Deny decides"
    if decision.reason == "root":
        return "the root user of an account needs no policies there"
    if decision.reason == "unreadable queue policy":
        return "the queue policy cannot be read, so nobody knows what it denies: only the root user may replace it"
    if decision.is_allowed:
        also = ", and the identity policies of the caller allow it, too" if is_foreign and not caller.is_root else ""
        return f"{decision.by} allows it{also}"
    if decision.reason == "no queue policy":
        return "no statement of the queue policy allows it" + (", as it must for another account" if is_foreign else "")
    if is_foreign:
        return "no identity policy allows it, as one must besides the queue policy of another account"
    return "no statement allows it"


def _results(caller: Caller, queue_policy: Policy | None, context: RequestContext) -> Iterator[StatementResult]:
    for policy in (queue_policy, *caller.policies):
        statements: Sequence[Statement] = (policy and policy.statements) or ()
        for one in statements:
            why, applies = _why(one, caller, context)
            yield StatementResult(str(one), "Allow" if one.text.is_allow else "Deny", applies, why)


def _why(one: Statement, caller: Caller, context: RequestContext) -> tuple[str, bool]:
    text = one.text
    match = one.principal_match(caller)
    if match is None:
        return f"its principal is not {caller.arn}", False
    if not one.has_action(context):
        return f"{context.action} is not among its actions: {_listed(text.actions, text.is_not_action)}", False
    if not one.has_resource(context):
        return f"{context.resource} is not among its resources: {_listed(text.resources, text.is_not_resource)}", False
    failed = one.failed_condition(context)
    if failed is not None:
        values = context.values(failed)
        found = "is not known" if values is None else f"is {', '.join(values) or 'empty'}"
        return f"its condition on {failed} does not hold: it {found}", False
    if match == "account" and text.is_allow and caller.account == context.owner:
        return "it names the account, so the identity policies of the user decide", False
    return "it applies", True


def _listed(values: Sequence[str], is_not: bool) -> str:
    return ("all but " if is_not else "") + ", ".join(values)
