"""Everything between a request and its action that has to do with who sent it.

    access = Access(settings)
    caller = access.authenticate(request, "sqs")             who it is, and whether it asks too often
    unsealed = access.unseal(action, account, params)        handles and tokens as they were before they were sealed
    pending = access.check(caller, action, unsealed, request, context)
    ...                                                      the action
    access.note_changes(action, account, unsealed)           policies may have changed
    access.seal(action, account, params, unsealed, response) handles and tokens as they leave

A gateway that asks nobody who they are does nothing but throttle: its callers may do everything anyway.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import AbstractContextManager

from rqsqs._core.alarm_records import PutBy
from rqsqs._core.operation import Flow
from rqsqs.sqs import Context
from rqsqs.sqs.context import Params, Response

from .authorization import Authorizer
from .callers import ANONYMOUS, Caller, unauthenticated
from .keys import KeysFile
from .permissions import CHANGING
from .request import HttpRequest
from .sealing import Sealer, secrets_of
from .settings import GatewaySettings
from .sigv4 import is_signed, key_id_of, verify
from .throttling import Throttle


class Access:
    """Knows callers, what they may do, and what they were given.

    Args:
        settings: of the gateway.
        wall_clock: seconds since 1970.

    Raises:
        KeysFileInvalid: the keys file cannot be used.
    """

    def __init__(self, settings: GatewaySettings, wall_clock: Callable[[], float] = time.time) -> None:
        self._region = settings.region
        self._wall_clock = wall_clock
        self._throttle = Throttle(settings.requests_per_second, settings.request_burst, settings.polls_per_key)
        self._keys = None if settings.keys is None else KeysFile(settings.keys, region=settings.region)
        self._authorizer = self._sealer = None
        if self._keys is not None:
            self._authorizer = Authorizer(allow_anonymous=settings.allow_anonymous, wall_clock=wall_clock)
            self._sealer = Sealer(secrets_of(self._keys), wall_clock)

    def accounts(self) -> set[str]:
        """Those of the keys file."""
        return set() if self._keys is None else {user.account for user in self._keys.current().users.values()}

    def authenticate(self, request: HttpRequest, service: str) -> Caller:
        """Who sent a request.

        Args:
            request: of HTTP.
            service: the one that the signature must be for, `sqs` or `sts`.

        Raises:
            IncompleteSignature, InvalidSignature, UnrecognizedClient: the gateway does not know.
            RequestThrottled: it does, and that was too often.
        """
        if self._keys is None:
            caller = unauthenticated(key_id_of(request), self._region)
        elif is_signed(request):
            active = self._keys.current().active
            caller = verify(request, active, service=service, region=self._region, now=self._wall_clock())
        else:
            caller = ANONYMOUS
        self._throttle.admit(_name(caller, request))
        return caller

    def poll(self, caller: Caller, request: HttpRequest) -> AbstractContextManager[None]:
        """A place for a receive that waits.

        Raises:
            RequestThrottled: the caller has too many.
        """
        return self._throttle.poll(_name(caller, request))

    def unseal(self, action: str, account: str, params: Params) -> Params:
        """The parameters with handles and tokens as they were before they were sealed."""
        return params if self._sealer is None else self._sealer.unseal(action, account, _queue(params), params)

    def check(
        self, caller: Caller, action: str, params: Params, request: HttpRequest, context: Context
    ) -> Flow[frozenset[str]] | None:
        """Decide: None if it is allowed, or what has to be run first, with the result that Authorizer.check() has.

        Raises:
            AccessDenied: it is not.
        """
        return None if self._authorizer is None else self._authorizer.check(caller, action, params, request, context)

    def putter(self, caller: Caller, relies: frozenset[str]) -> PutBy | None:
        """Whose right to send messages an alarm has that a caller puts; None = of nobody, who may do everything.

        Args:
            relies: what check() found.
        """
        return None if self._authorizer is None else PutBy(caller.arn, tuple(sorted(relies)))

    def note_changes(self, action: str, account: str, params: Params) -> None:
        """Notice that an action was tried that may have changed what decides."""
        if self._authorizer is not None and action in CHANGING:
            self._authorizer.forget(account, params.get("QueueName") or _queue(params))

    def seal(self, action: str, account: str, sent: Params, unsealed: Params, response: Response) -> Response:
        """The response with handles and tokens sealed, and those in texts as the client sent them."""
        if self._sealer is None:
            return response
        for failed in response.get("Failed", ()):
            failed["Message"] = self._sealer.as_sent(action, sent, unsealed, failed["Message"])
        return self._sealer.seal(action, account, _queue(unsealed), response)

    def as_sent(self, action: str, sent: Params, unsealed: Params, text: str) -> str:
        """The text of a refusal with handles as the client sent them."""
        return text if self._sealer is None else self._sealer.as_sent(action, sent, unsealed, text)


def _queue(params: Params) -> str:
    return (params.get("QueueUrl") or "").rpartition("/")[2]


def _name(caller: Caller, request: HttpRequest) -> str:
    """Whom to count a request for: an access key, or the address of somebody who has none."""
    return caller.key_id or f"address {request.peer}"
