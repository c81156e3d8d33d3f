"""What conditions of policies can look at: the condition keys of a request, from what the gateway itself knows.

Nothing comes from headers that a client can write as it likes, but for aws:UserAgent and aws:Referer, which are what
it says by definition, in their first LONGEST_TEXT characters. aws:SourceArn and the like, which services of AWS set,
are never there.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice

from rqsqs.sqs.context import Params
from rqsqs.sqs.tags import MAX_TAGS

from .alarm_permissions import action_arns, is_cloudwatch
from .callers import Caller
from .conditions import Values
from .request import HttpRequest

TIME_KEYS = frozenset({"aws:currenttime", "aws:epochtime"})  # a decision that looks at them is not remembered
RESOURCE_TAG = "aws:resourcetag/"
_CUT = 300  # of tags: actions refuse longer ones, and more than MAX_TAGS
LONGEST_TEXT = 1024  # a policy may take long to look at it
_REQUEST_TAG, _PRINCIPAL_TAG = "aws:requesttag/", "aws:principaltag/"


class ConditionKeys:
    """The condition keys of one request.

    Args:
        caller: who sent it.
        action: of SQS or CloudWatch.
        params: of the action.
        request: of HTTP.
        region: of the gateway.
        owner: the account of the queue.
        tags: of the queue.
        now: seconds since 1970.
        namespace: of the metrics that it is about; "" = none.
    """

    __slots__ = ("_action", "_caller", "_namespace", "_now", "_owner", "_params", "_region", "_request", "_tags")

    def __init__(
        self,
        caller: Caller,
        action: str,
        params: Params,
        request: HttpRequest,
        *,
        region: str,
        owner: str,
        tags: Mapping[str, str],
        now: float,
        namespace: str = "",
    ) -> None:
        self._caller, self._action, self._params, self._request = caller, action, params, request
        self._region, self._owner, self._tags, self._now = region, owner, tags, now
        self._namespace = namespace

    def __call__(self, key: str) -> Values:
        """The values of a key in lower case; None if there is no such key."""
        one = _KEYS.get(key)
        if one is not None:
            return one(self)
        if key.startswith(RESOURCE_TAG):
            return _tag(self._tags, key[len(RESOURCE_TAG) :])
        if key.startswith(_PRINCIPAL_TAG):
            return _tag(self._caller.tags, key[len(_PRINCIPAL_TAG) :])
        if key.startswith(_REQUEST_TAG):
            return _tag(self._requested_tags() or {}, key[len(_REQUEST_TAG) :])
        return None

    def _requested_tags(self) -> Mapping[str, str] | None:
        tags: Mapping[str, str] | None
        if is_cloudwatch(self._action):
            pairs = self._params.get("Tags")
            first = None if pairs is None else islice(pairs, MAX_TAGS + 1)
            tags = None if first is None else {each.get("Key") or "": each.get("Value") or "" for each in first}
        else:
            name = {"CreateQueue": "tags", "TagQueue": "Tags"}.get(self._action)
            tags = None if name is None else self._params.get(name)
        return tags and {key[:_CUT]: value[:_CUT] for key, value in islice(tags.items(), MAX_TAGS + 1)}

    def _tag_keys(self) -> Values:
        if self._action in ("UntagQueue", "UntagResource"):
            return [key[:_CUT] for key in islice(self._params.get("TagKeys") or (), MAX_TAGS + 1)]
        tags = self._requested_tags()
        return None if tags is None else list(tags)

    def _alarm_actions(self) -> Values:
        return [each[:LONGEST_TEXT] for each in action_arns(self._params)] or None

    def _source_ip(self) -> Values:
        try:
            return [str(ipaddress.ip_address(self._request.peer or ""))]
        except ValueError:  # a Unix socket
            return None

    def _header(self, name: str) -> Values:
        value = self._request.headers.get(name)
        return None if value is None else [value[:LONGEST_TEXT]]

    def _principal_type(self) -> str:
        caller = self._caller
        return "Anonymous" if caller.is_anonymous else "Account" if caller.is_root else "User"

    def _if_signed(self, value: str) -> Values:
        return None if self._caller.is_anonymous else [value]


def _tag(tags: Mapping[str, str], wanted: str) -> Sequence[str] | None:
    """Tags differ by case, condition keys do not: then there are several values, and no condition for one holds."""
    return [value for name, value in tags.items() if name.lower() == wanted] or None


_KEYS: dict[str, Callable[[ConditionKeys], Values]] = {
    "aws:currenttime": lambda self: [datetime.fromtimestamp(self._now, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")],
    "aws:epochtime": lambda self: [str(int(self._now))],
    "aws:principalaccount": lambda self: self._if_signed(self._caller.account),
    "aws:principalarn": lambda self: self._if_signed(self._caller.arn),
    "aws:principalisawsservice": lambda self: ["false"],
    "aws:principaltype": lambda self: [self._principal_type()],
    "aws:referer": lambda self: self._header("referer"),
    "aws:requestedregion": lambda self: [self._region],
    "aws:resourceaccount": lambda self: [self._owner],
    "aws:securetransport": lambda self: ["true" if self._request.is_secure else "false"],
    "aws:sourceip": ConditionKeys._source_ip,
    "aws:tagkeys": ConditionKeys._tag_keys,
    "aws:useragent": lambda self: self._header("user-agent"),
    "aws:userid": lambda self: [self._caller.user_id],
    "aws:username": lambda self: None if self._caller.is_root or not self._caller.name else [self._caller.name],
    "aws:viaawsservice": lambda self: ["false"],
    "cloudwatch:alarmactions": lambda self: self._alarm_actions() if is_cloudwatch(self._action) else None,
    "cloudwatch:namespace": lambda self: [self._namespace] if self._namespace else None,
}
