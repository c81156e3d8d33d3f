"""May this caller do this? Policies of the caller and of the queue decide, as IAM has it.

The policy of a queue is read from Redis and kept for five seconds: a change through this process counts at once, one
through another process, or past the gateway, after five seconds at most. Tags are read only if a policy looks at them.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rqsqs._core import flows
from rqsqs._core.flows import alarms as alarm_flows
from rqsqs._core.operation import Flow
from rqsqs.errors import QueueDamaged, QueueDoesNotExist
from rqsqs.sqs import Context
from rqsqs.sqs.context import Params

from . import alarm_permissions
from .callers import Caller
from .condition_keys import RESOURCE_TAG, TIME_KEYS, ConditionKeys
from .conditions import Values
from .permissions import EVERYTHING, Permission, destinations, has_unnamed_destinations, is_owners, needed
from .policies import REPAIRS, Decision, Policy, RequestContext, decide, read_queue_policy
from .refusals import AccessDenied
from .request import HttpRequest

KEPT_S = 5.0
MOST = 10_000  # queues, and decisions, that are remembered
MOST_TEXT = 4_000_000  # characters of the policies that are remembered
LONGEST_SEEN = 500  # characters of the values of a decision's condition keys

_NO_QUEUE_POLICY = Decision(False, "no queue policy", None)
_NO_PARAMS: Params = {}


@dataclass(frozen=True, slots=True)
class QueueFacts:
    """What of a queue decides; `tags` is None until somebody asks for them."""

    policy: Policy | None
    tags: Mapping[str, str] | None
    until: float


NO_FACTS = QueueFacts(None, {}, 0.0)


class Authorizer:
    """Decides requests.

    Args:
        allow_anonymous: whether a request that nobody signed may be allowed by the policy of a queue.
        clock: seconds, for what is kept.
        wall_clock: seconds since 1970, for conditions.
    """

    def __init__(
        self,
        *,
        allow_anonymous: bool = False,
        clock: Callable[[], float] = time.monotonic,
        wall_clock: Callable[[], float] = time.time,
    ) -> None:
        self._allow_anonymous = allow_anonymous
        self._clock, self._wall_clock = clock, wall_clock
        self._facts: dict[tuple[str, str], QueueFacts] = {}
        self._changes = 0
        self._text = 0  # characters of the policies in what follows and above, at most
        self._decisions: dict[Any, Decision] = {}
        self._looked_at: dict[tuple[Caller, Policy | None], tuple[tuple[str, ...], bool]] = {}

    def check(
        self, caller: Caller, action: str, params: Params, request: HttpRequest, context: Context
    ) -> Flow[frozenset[str]] | None:
        """Decide a request.

        Args:
            caller: who sent it.
            action: of SQS or CloudWatch.
            params: of the action, unsealed.
            request: of HTTP.
            context: of the account whose queues it is about.

        Returns:
            None if it is allowed, or what has to be run first, which raises the same. The result of that is the names
            of queues to which an alarm that is put may send by their own policies alone.

        Raises:
            AccessDenied: it is not.
        """
        if caller.is_anonymous and not self._allow_anonymous:
            raise denied(caller, _NO_QUEUE_POLICY, _first(action, params, context), context)
        try:
            permissions = _needed(action, params, context)
        except QueueDoesNotExist:
            if caller.account == context.account:
                raise
            raise denied(caller, _NO_QUEUE_POLICY, Permission(action, ""), context) from None
        if is_owners(action) and caller.account != context.account:
            raise denied(caller, _NO_QUEUE_POLICY, permissions[0], context)
        if len(permissions) == 1 and not has_unnamed_destinations(action, params):
            facts = self._known(caller, permissions[0], context)
            if facts is not None:
                self._check_one(caller, permissions[0], facts, action, params, request, context)
                return None
        return self._check_all(caller, permissions, action, params, request, context)

    def facts(self, caller: Caller, permission: Permission, context: Context) -> Flow[QueueFacts]:
        """What of a queue decides whether a caller has a permission there."""
        found = self._known(caller, permission, context)
        return found if found is not None else (yield from self._read(caller, permission, context))

    def decision(
        self,
        caller: Caller,
        permission: Permission,
        facts: QueueFacts,
        request: HttpRequest,
        context: Context,
        action: str = "",
        params: Params = _NO_PARAMS,
    ) -> Decision:
        """Whether a caller has one permission. Of another account only `check` knows what it may not do at all.

        Args:
            caller: who asks.
            permission: what for.
            facts: of its queue.
            request: of HTTP.
            context: of the account whose queues it is about.
            action: of which request, with `params`, conditions are to know; "" = that of the permission.
            params: of the action.
        """
        keys, _ = self._keys(caller, facts.policy)
        if not keys:
            found = self._decisions.get((caller, permission, context.account, facts.policy, ()))
            if found is not None:
                return found
        values = ConditionKeys(
            caller,
            action or permission.action,
            params,
            request,
            region=context.region,
            owner=context.account,
            tags=facts.tags or {},
            now=self._wall_clock(),
            namespace=permission.namespace,
        )
        return self._decided(caller, permission, facts.policy, values, keys, context)

    def forget(self, account: str, queue: str) -> None:
        """Read the policy and tags of a queue again: they were changed."""
        self._facts.pop((account, queue), None)
        self._changes += 1

    def _check_all(
        self,
        caller: Caller,
        permissions: list[Permission],
        action: str,
        params: Params,
        request: HttpRequest,
        context: Context,
    ) -> Flow[frozenset[str]]:
        if has_unnamed_destinations(action, params):
            permissions = permissions + (yield from destinations(params, context))
        relies = set()
        for permission in permissions:
            facts = self._known(caller, permission, context)
            if facts is None:
                facts = yield from self._read(caller, permission, context)
            if self._check_one(caller, permission, facts, action, params, request, context):
                relies.add(permission.queue)
        return frozenset(relies)

    def _check_one(
        self,
        caller: Caller,
        permission: Permission,
        facts: QueueFacts,
        action: str,
        params: Params,
        request: HttpRequest,
        context: Context,
    ) -> bool:
        """Returns whether it is for an alarm that is put, and the policy of the queue alone allows it."""
        decision = self.decision(caller, permission, facts, request, context, action, params)
        if not decision.is_allowed:
            raise denied(caller, decision, permission, context)
        if not (decision.in_queue_policy and alarm_permissions.is_put(action)):
            return False
        without = replace(facts, policy=None)
        return not self.decision(caller, permission, without, request, context, action, params).is_allowed

    def _decided(
        self,
        caller: Caller,
        permission: Permission,
        policy: Policy | None,
        values: ConditionKeys,
        keys: tuple[str, ...],
        context: Context,
    ) -> Decision:
        """The decision, remembered for the same values of the condition keys that the policies look at."""
        if keys and not TIME_KEYS.isdisjoint(keys):
            return _decide(caller, permission, policy, values, context)
        seen = tuple([_frozen(values(key)) for key in keys]) if keys else ()
        place = (caller, permission, context.account, policy, seen)
        found = self._decisions.get(place)
        if found is None:
            found = _decide(caller, permission, policy, values, context)
            if sum([len(text) for texts in seen for text in texts or ()]) > LONGEST_SEEN:
                return found
            if len(self._decisions) >= MOST:
                self._decisions.clear()
            self._decisions[place] = found
        return found

    def _keys(self, caller: Caller, policy: Policy | None) -> tuple[tuple[str, ...], bool]:
        """The condition keys that the policies of caller and queue look at, and whether tags of the queue are among
        them."""
        found = self._looked_at.get((caller, policy))
        if found is None:
            policies = [*caller.policies, *([policy] if policy is not None else [])]
            if len(self._looked_at) >= MOST:
                self._looked_at.clear()
            keys = tuple(sorted(frozenset().union(*(each.keys for each in policies))))
            wants_tags = any(key.startswith(RESOURCE_TAG) for key in keys)
            found = self._looked_at[caller, policy] = keys, wants_tags
        return found

    def _known(self, caller: Caller, permission: Permission, context: Context) -> QueueFacts | None:
        """What is known of a queue; None if it has to be read."""
        if not permission.queue:
            is_alarm = permission.alarm not in ("", alarm_permissions.ALL_ALARMS, EVERYTHING)
            return None if is_alarm and self._keys(caller, None)[1] else NO_FACTS
        found = self._facts.get((context.account, permission.queue))
        if found is None or found.until < self._clock() or (found.tags is None and self._keys(caller, found.policy)[1]):
            return None
        return found

    def _read(self, caller: Caller, permission: Permission, context: Context) -> Flow[QueueFacts]:
        """Read the policy of a queue, and its tags if a policy looks at them; of an alarm its tags, each time."""
        if permission.alarm:
            known = yield from alarm_flows.read_named(context.space, [permission.alarm])
            stored = known.get(permission.alarm)
            return replace(NO_FACTS, tags={} if stored is None or stored.alarm is None else stored.alarm.tags)
        name = permission.queue
        until, changes = self._clock() + KEPT_S, self._changes
        try:
            queue = context.queue(name)
            info = yield from flows.queue_info(queue)
            facts = QueueFacts(self._policy(context.account, name, info.attributes.get("Policy")), None, until)
            if self._keys(caller, facts.policy)[1]:
                facts = QueueFacts(facts.policy, (yield flows.get_tags(queue)), until)
        except QueueDoesNotExist:
            return NO_FACTS  # an absent queue has no policy, and its absence is nobody's business who may not use it
        except QueueDamaged:
            if caller.is_root and caller.account == context.account and permission.full_action in REPAIRS:
                return NO_FACTS
            raise
        if changes == self._changes:  # else this may be what it was before a change
            if len(self._facts) >= MOST:
                self._facts.clear()
            self._facts[context.account, name] = facts
        return facts

    def _policy(self, account: str, queue: str, text: str | None) -> Policy | None:
        """The policy of a queue, compiled; the same one as long as its text is."""
        if not text:
            return None
        before = self._facts.get((account, queue))
        if before is not None and before.policy is not None and before.policy.text == text:
            return before.policy
        self._text += len(text)
        if self._text > MOST_TEXT:
            for each in (self._facts, self._decisions, self._looked_at):
                each.clear()
            self._text = len(text)
        return read_queue_policy(text)


def denied(caller: Caller, decision: Decision, permission: Permission, context: Context) -> AccessDenied:
    """The refusal of a request that needs a permission."""
    return AccessDenied(decision.message(caller, permission.full_action, permission.resource(context)))


def _decide(
    caller: Caller, permission: Permission, policy: Policy | None, values: ConditionKeys, context: Context
) -> Decision:
    resource = permission.resource(context)
    return decide(caller, policy, RequestContext(permission.full_action, resource, context.account, values))


def _needed(action: str, params: Params, context: Context) -> list[Permission]:
    if alarm_permissions.is_cloudwatch(action):
        return alarm_permissions.needed(action, params, context)
    return needed(action, params, context)


def _frozen(values: Values) -> tuple[str, ...] | None:
    return None if values is None else tuple(values)


def _first(action: str, params: Params, context: Context) -> Permission:
    """The permission that a refusal names."""
    try:
        return _needed(action, params, context)[0]
    except QueueDoesNotExist:
        return Permission(action, "")
