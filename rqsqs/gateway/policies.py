"""IAM policies, compiled once and decided many times.

policy = read_queue_policy(text)
decision = decide(caller, policy, RequestContext("sqs:SendMessage", arn, "111111111111", keys))

1. A Deny that applies, in any policy, decides.
2. In its own account a caller is allowed by its identity policies, or by a queue policy that names it or everybody.
   A queue policy that names the whole account leaves it to the identity policies.
3. In another account both have to allow it.
4. The root user of an account needs no policies there, and mends a queue policy that denies everything to everybody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

from rqsqs.sqs.policy_documents import Condition, PolicyDocument, PolicyInvalid, StatementText, read_policy

from .callers import Caller
from .conditions import ArnPattern, Test, Values, compile_condition
from .wildcards import Pattern

__all__ = [
    "Decision",
    "Policy",
    "PolicyInvalid",
    "RequestContext",
    "decide",
    "read_identity_policy",
    "read_queue_policy",
]

REPAIRS = frozenset(
    f"sqs:{each}" for each in ("SetQueueAttributes", "GetQueueAttributes", "RemovePermission", "DeleteQueue")
)

Reason = Literal["allowed", "root", "explicit deny", "no identity policy", "no queue policy", "unreadable queue policy"]
_PrincipalMatch = Literal["direct", "account"]  # how a queue policy names a caller


@dataclass(frozen=True, slots=True)
class RequestContext:
    """What a request wants, and what policies may look at.

    Attributes:
        action: `sqs:SendMessage`.
        resource: the ARN of the queue or alarm; * = neither, which only the pattern * is about.
        owner: the account of the queue or alarm.
        values: gives the values of a condition key in lower case, None if there is no such key.
    """

    action: str
    resource: str
    owner: str
    values: Callable[[str], Values] = lambda key: None

    def single(self, key: str) -> str | None:
        """The value of a key that has one."""
        found = self.values(key)
        return found[0] if found is not None and len(found) == 1 else None


@dataclass(frozen=True, slots=True, eq=False)
class Statement:
    """A compiled statement.

    Attributes:
        text: what it was made of.
        number: its place in the policy, from 1.
        policy: the name of the policy.
    """

    text: StatementText
    number: int
    policy: str
    actions: tuple[Pattern, ...]
    resources: tuple[ArnPattern | None, ...]  # None is *
    conditions: tuple[tuple[str, Test], ...]

    def __str__(self) -> str:
        sid = f" ({self.text.sid})" if self.text.sid else ""
        return f"statement {self.number}{sid} of {self.policy}"

    def has_action(self, context: RequestContext) -> bool:
        """Whether it is about the action."""
        action = context.action.lower()
        found = any(pattern.matches(action, context.single) for pattern in self.actions)
        return found != self.text.is_not_action

    def has_resource(self, context: RequestContext) -> bool:
        """Whether it is about the queue."""
        matched: list[bool | None] = [
            pattern is None or pattern.matches(context.resource, context.single) for pattern in self.resources
        ]
        if self.text.is_not_resource:
            return not any(
                each or (each is None and self.text.is_allow) for each in matched
            )  # the safe side of unknown
        return any(matched)

    def failed_condition(self, context: RequestContext) -> str | None:
        """The key of the first condition that does not hold; None if all do."""
        for key, test in self.conditions:
            if not test(context.values(key), context.single):
                return key
        return None

    def applies(self, context: RequestContext) -> bool:
        """Whether it is about this request, whoever sent it."""
        return self.has_action(context) and self.has_resource(context) and self.failed_condition(context) is None

    def principal_match(self, caller: Caller) -> _PrincipalMatch | None:
        """How its principal names a caller: itself (or everybody), its whole account, or not at all."""
        principals = self.text.principals
        if principals is None:
            return "direct"
        names = {name for _, name in principals}
        if not self.text.is_not_principal:
            return _principal_match(names, caller)
        if "*" in names:
            return None
        levels = _levels(caller)
        if self.text.is_allow:
            return "direct" if names.isdisjoint(levels) and not _accounts(caller) & names else None
        is_spared = set(levels) <= names and (not caller.account or bool(_accounts(caller) & names))
        return None if is_spared else "direct"


@dataclass(frozen=True, slots=True, eq=False)
class Policy:
    """A compiled policy; it is compared by identity.

    Attributes:
        name: says where it is from.
        statements: its statements; None if it could not be read, so that nobody knows what it denies.
        keys: the condition keys that it looks at, in lower case.
        text: its JSON, if it came so.
    """

    name: str
    statements: tuple[Statement, ...] | None
    keys: frozenset[str]
    text: str = ""


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided.

    Attributes:
        is_allowed: whether the request is.
        reason: why.
        by: the statement that decided; None if none did.
        in_queue_policy: whether that is in the policy of the queue.
    """

    is_allowed: bool
    reason: Reason
    by: Statement | None = None
    in_queue_policy: bool = False

    def message(self, caller: Caller, action: str, resource: str) -> str:
        """A refusal as AWS words it. SQS has its actions in small letters there.

        Args:
            action: `sqs:SendMessage`.
            resource: its ARN; * = none in particular.
        """
        verb = action.lower() if action.startswith("sqs:") else action
        on = "" if resource == "*" else f" on resource: {resource}"
        head = f"User: {caller.arn} is not authorized to perform: {verb}{on}"
        if self.reason in ("explicit deny", "unreadable queue policy"):
            kind = "a resource-based policy" if self.in_queue_policy else "an identity-based policy"
            return f"{head} with an explicit deny in {kind}"
        kind = "resource-based" if self.reason == "no queue policy" else "identity-based"
        return f"{head} because no {kind} policy allows the {verb} action"


def read_identity_policy(document: str | Mapping[str, Any], *, name: str = "the identity policy") -> Policy:
    """Read and compile the policy of a user.

    Raises:
        PolicyInvalid: it is none.
    """
    return _compiled(read_policy(document, of_queue=False), name, "")


@lru_cache(maxsize=64)  # compiled, a large one takes 200 KB
def read_queue_policy(text: str) -> Policy:
    """Compile the policy of a queue. One that cannot be read denies everything, as nobody knows what it denies."""
    try:
        return _compiled(read_policy(text, of_queue=True), "the queue policy", text)
    except PolicyInvalid:
        return Policy("the queue policy", None, frozenset(), text)


def decide(caller: Caller, queue_policy: Policy | None, context: RequestContext) -> Decision:
    """Decide a request.

    Args:
        caller: who sent it.
        queue_policy: of the queue; None if it has none.
        context: what it wants.
    """
    is_own = caller.account == context.owner
    is_own_root = caller.is_root and is_own
    if queue_policy is not None and queue_policy.statements is None:
        if is_own_root and context.action in REPAIRS:
            return Decision(True, "root")
        return Decision(False, "unreadable queue policy", in_queue_policy=True)
    of_queue = [one for one in (queue_policy and queue_policy.statements) or () if one.applies(context)]
    of_user = [one for policy in caller.policies for one in policy.statements or () if one.applies(context)]
    if not (is_own_root and context.action in REPAIRS):
        for statements, in_queue in ((of_queue, True), (of_user, False)):
            for one in statements:
                if not one.text.is_allow and one.principal_match(caller) is not None:
                    return Decision(False, "explicit deny", one, in_queue)
    if is_own_root:
        return Decision(True, "root")
    by_user = next((one for one in of_user if one.text.is_allow), None)
    matches = [(one, one.principal_match(caller)) for one in of_queue if one.text.is_allow]
    direct = next((one for one, match in matches if match == "direct"), None)
    by_queue = direct or next((one for one, match in matches if match == "account"), None)
    if is_own or not caller.account:  # anonymous callers and services have no identity policies
        if direct is not None:
            return Decision(True, "allowed", direct, True)
        if by_user is not None:
            return Decision(True, "allowed", by_user)
        return Decision(False, "no identity policy" if caller.account else "no queue policy")
    if by_user is None and not caller.is_root:
        return Decision(False, "no identity policy")
    if by_queue is None:
        return Decision(False, "no queue policy")
    return Decision(True, "allowed", by_queue, True)


def open_to_everybody(policy: Policy) -> list[Statement]:
    """The statements that allow something to everybody, without a condition that says who or where they must be."""
    return [
        one
        for one in policy.statements or ()
        if one.text.is_allow
        and (one.text.is_not_principal or ("AWS", "*") in (one.text.principals or ()))
        and not any(map(_narrows, one.text.conditions))
    ]


def _narrows(condition: Condition) -> bool:
    """Whether a condition says who or where a caller must be."""
    if condition.if_exists or condition.set_operator == "ForAllValues" or "Not" in condition.operator:
        return False
    if condition.operator == "IpAddress":
        return not any(text.endswith("/0") for text in condition.values)
    return condition.operator != "Null" and condition.key.startswith(_WHO)


_WHO = ("aws:principal", "aws:source", "aws:userid", "aws:username")


def _compiled(document: PolicyDocument, name: str, text: str) -> Policy:
    keys: set[str] = set()
    statements = []
    for number, statement in enumerate(document.statements, 1):
        conditions = []
        for condition in statement.conditions:
            test, looked_at = compile_condition(condition, has_variables=document.has_variables)
            keys |= looked_at
            conditions.append((condition.key, test))
        resources = tuple(
            None if each == "*" else ArnPattern(each, has_variables=document.has_variables)
            for each in statement.resources
        )
        keys = keys.union(*(each.keys for each in resources if each is not None))
        actions = tuple(Pattern(each.lower(), has_variables=False) for each in statement.actions)
        statements.append(Statement(statement, number, name, actions, resources, tuple(conditions)))
    return Policy(name, tuple(statements), frozenset(keys), text)


def _levels(caller: Caller) -> Sequence[str]:
    """How a principal can name a caller itself: a session also by its role."""
    parts = caller.arn.split(":", 5)
    if len(parts) == 6 and parts[5].startswith("assumed-role/"):
        role = parts[5].split("/")[1]
        return (caller.arn, f"arn:{parts[1]}:iam::{parts[4]}:role/{role}")
    return (caller.arn,)


def _accounts(caller: Caller) -> set[str]:
    """How a principal can name a caller's whole account."""
    partition = caller.arn.split(":", 2)[1] if caller.arn.startswith("arn:") else "aws"
    return {caller.account, f"arn:{partition}:iam::{caller.account}:root"} if caller.account else set()


def _principal_match(names: set[str], caller: Caller) -> _PrincipalMatch | None:
    if "*" in names:
        return "direct"
    if caller.is_anonymous:
        return None
    if any(level in names for level in _levels(caller)):
        return "direct"
    return "account" if _accounts(caller) & names else None
