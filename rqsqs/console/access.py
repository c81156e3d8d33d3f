"""Who asks, and what they may do: the console decides as the gateway does, by the same policies."""

from __future__ import annotations

from collections.abc import Hashable

from rqsqs._core.alarm_records import PutBy
from rqsqs._core.operation import Flow
from rqsqs.gateway.alarm_permissions import needed
from rqsqs.gateway.authorization import NO_FACTS, Authorizer, QueueFacts, denied
from rqsqs.gateway.callers import Caller
from rqsqs.gateway.permissions import EVERYTHING, Permission, possible
from rqsqs.gateway.policies import Decision, RequestContext
from rqsqs.gateway.refusals import AccessDenied
from rqsqs.gateway.request import HttpRequest
from rqsqs.sqs import Context
from rqsqs.sqs.context import Params


class Rights:
    """What one caller may do, as a request asks for it.

    What the policies of queues say has to be learned first, so that templates can ask without waiting.

    Args:
        authorizer: decides; None = everything is allowed.
        caller: who asks.
        request: of HTTP, for conditions.
        context: of the account of the caller.
    """

    def __init__(self, authorizer: Authorizer | None, caller: Caller, request: HttpRequest, context: Context) -> None:
        self._authorizer, self._caller, self._request, self._context = authorizer, caller, request, context
        self._facts: dict[str, QueueFacts] = {"": NO_FACTS}
        self._relies: set[str] = set()

    @property
    def key(self) -> Hashable:
        """The same for requests of whom the same is allowed."""
        seen = self._request
        if self._authorizer is None:
            return None
        return self._caller, seen.peer, seen.is_secure, seen.headers.get("user-agent"), seen.headers.get("referer")

    @property
    def may_see_all(self) -> bool:
        """Whether every queue of the account can be looked at, whatever its policy says."""
        return self._authorizer is None or self._caller.is_root

    def learn(self, queue: str) -> Flow[None]:
        """Read what a queue says about who may do what."""
        queue = possible(queue)
        if self._authorizer is not None and queue not in self._facts:
            permission = Permission("GetQueueAttributes", queue)
            self._facts[queue] = yield from self._authorizer.facts(self._caller, permission, self._context)

    def may(self, permission: str, name: str = "", params: Params | None = None) -> bool:
        """Whether it is allowed.

        Args:
            permission: such as sqs:SendMessage; of `A or B` one is enough.
            name: of the queue, or of the alarm for what cloudwatch:... allows; "" = all of the account.
            params: of the action, for conditions that look at them.

        Raises:
            LookupError: what the queue says was not learned before.
        """
        return self._authorizer is None or any(
            self._decision(each, params=params).is_allowed for each in _permissions(permission, name)
        )

    def may_by_identity(self, permission: str, name: str) -> bool:
        """Whether the caller's own policies allow it, if a queue's does not say otherwise: for lists of many queues."""
        return self._authorizer is None or any(
            self._decision(each, NO_FACTS).is_allowed for each in _permissions(permission, name)
        )

    def may_somewhere(self, permission: str) -> bool:
        """Whether it may be allowed for some queue whose name is not known yet."""
        caller = self._caller
        if self._authorizer is None or caller.is_root:
            return True
        wanted = [RequestContext(each, "*", caller.account) for each in permission.split(" or ")]
        statements = [one for policy in caller.policies for one in policy.statements or () if one.text.is_allow]
        return any(one.has_action(each) for one in statements for each in wanted)

    def require(self, permission: str, name: str = "", params: Params | None = None) -> None:
        """Refuse what is not allowed.

        Raises:
            AccessDenied: it is not.
            LookupError: what the queue says was not learned before.
        """
        if not self.may(permission, name, params):
            raise self._refusal(_permissions(permission, name)[0])

    def needed(self, action: str, params: Params) -> list[Permission]:
        """What a request of CloudWatch needs, as at the gateway."""
        return [] if self._authorizer is None else needed(action, params, self._context)

    def require_each(self, permissions: list[Permission], action: str, params: Params) -> None:
        """Refuse a request if something of what it needs is not allowed.

        Raises:
            AccessDenied: it is not.
            LookupError: what a queue says was not learned before.
        """
        for permission in permissions:
            decision = self._decision(permission, action=action, params=params)
            if not decision.is_allowed:
                raise denied(self._caller, decision, permission, self._context)
            if decision.in_queue_policy:
                self._relies.add(permission.queue)

    @property
    def putter(self) -> PutBy | None:
        """Whose right to send messages an alarm has that is put now, when `require_each` was asked.

        None = of nobody, who may do everything.
        """
        return None if self._authorizer is None else PutBy(self._caller.arn, tuple(sorted(self._relies)))

    def require_somewhere(self, permission: str) -> None:
        """Refuse what is allowed nowhere.

        Raises:
            AccessDenied: it is not.
        """
        if not self.may_somewhere(permission):
            raise self._refusal(_permissions(permission, "")[0])

    def _decision(
        self,
        permission: Permission,
        facts: QueueFacts | None = None,
        *,
        action: str = "",
        params: Params | None = None,
    ) -> Decision:
        assert self._authorizer is not None
        facts = self._facts.get(permission.queue) if facts is None else facts
        if facts is None:
            raise LookupError(f"a queue must be learned first (visit.learn), got {permission.queue!r}")
        return self._authorizer.decision(
            self._caller, permission, facts, self._request, self._context, action, params or {}
        )

    def _refusal(self, permission: Permission) -> AccessDenied:
        return denied(self._caller, self._decision(permission), permission, self._context)


def _permissions(text: str, name: str) -> list[Permission]:
    found = []
    for each in text.split(" or "):
        service, _, action = each.partition(":")
        if service == "cloudwatch":
            found.append(Permission(action, "", name or EVERYTHING, service))
        else:
            found.append(Permission(action, possible(name), service=service))
    return found
