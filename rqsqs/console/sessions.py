"""Who is logged in: sessions are kept in Redis, so they count in all processes of all gateways, and end when they must.

A browser has a cookie with a secret name; Redis knows its digest only. A session is of one access key as it was at the
login: if the key is disabled, or its secret changed, the session has ended.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import secrets
from collections.abc import Callable

from rqsqs._core.operations import sessions
from rqsqs._io.aio.runner import Transport
from rqsqs.gateway.callers import Caller
from rqsqs.gateway.keys import KeysFile
from rqsqs.gateway.refusals import RequestThrottled
from rqsqs.gateway.request import HttpRequest
from rqsqs.gateway.sigv4 import NOBODY
from rqsqs.gateway.throttling import Throttle

from .refusals import LoginRefused, TooManyLogins

IDLE_S = 3_600
LONGEST_S = 12 * 3_600
LONGEST_FIELD = 200
LOGINS_PER_S, LOGINS_AT_ONCE = 0.1, 10  # from one address
GUESSES_PER_S, GUESSES_AT_ONCE = 1.0, 60  # of one access key, from everywhere


class Sessions:
    """Begins, finds and ends sessions.

    Args:
        keys: whose access keys open the console.
        transport: gives that of where sessions are kept.
    """

    def __init__(self, keys: KeysFile, transport: Callable[[], Transport]) -> None:
        self._keys, self._transport = keys, transport
        self._addresses = Throttle(LOGINS_PER_S, LOGINS_AT_ONCE)
        self._of_keys = Throttle(GUESSES_PER_S, GUESSES_AT_ONCE)

    async def begin(self, key_id: str, secret: str, request: HttpRequest) -> str:
        """Log somebody in.

        Args:
            key_id: of an access key.
            secret: of the same.
            request: which asks for it.

        Returns:
            The name of the session, which only the browser may know.

        Raises:
            LoginRefused: there is no such key, or its secret is another one.
            TooManyLogins: that was tried too often.
        """
        try:
            self._addresses.admit(_place(request.peer))
            self._of_keys.admit(key_id[:LONGEST_FIELD])
        except RequestThrottled:
            raise TooManyLogins from None
        key = self._keys.current().active.get(key_id, NOBODY)
        if not key.has_secret(secret[:LONGEST_FIELD]) or key is NOBODY:
            raise LoginRefused
        name = secrets.token_urlsafe(32)
        about = json.dumps({"key": key_id, "mark": key.mark(name)}).encode()
        transport = self._transport()
        await transport.run(
            sessions.put_session(transport.space, name, about, idle_ms=IDLE_S * 1000, longest_ms=LONGEST_S * 1000)
        )
        return name

    async def caller(self, name: str, *, is_used: bool) -> Caller | None:
        """Whose session it is; None if it has ended.

        Args:
            name: of the session, as a browser says.
            is_used: whether somebody did something: a page that is only open lets no session last longer.
        """
        if not name or len(name) > LONGEST_FIELD:
            return None
        idle_ms = IDLE_S * 1000 if is_used else None
        transport = self._transport()
        about: bytes | None = await transport.run(sessions.read_session(transport.space, name, idle_ms=idle_ms))
        if about is None:
            return None
        try:
            found = json.loads(about)
            key_id, mark = str(found["key"]), str(found["mark"])
        except (ValueError, LookupError, TypeError):  # damaged: log in again
            return None
        key = self._keys.current().active.get(key_id)
        return key.caller if key is not None and hmac.compare_digest(key.mark(name).encode(), mark.encode()) else None

    def users(self, account: str) -> list[str]:
        """The users of an account that can log in."""
        active = self._keys.current().active.values()
        return sorted({key.caller.name for key in active if key.caller.account == account})

    def user(self, name: str) -> Caller | None:
        """A user that can log in."""
        return self._keys.current().caller(name)

    async def end(self, name: str) -> None:
        """Log out."""
        if name and len(name) <= LONGEST_FIELD:
            transport = self._transport()
            await transport.run(sessions.end_session(transport.space, name))


def _place(peer: str | None) -> str:
    """Whom logins are counted for: an address; of IPv6 a network, as one client has very many addresses there."""
    try:
        address = ipaddress.ip_address(peer or "")
    except ValueError:
        return peer or ""
    if address.version == 6:
        return str(ipaddress.ip_network((address, 64), strict=False))
    return str(address)


def is_private(seen: HttpRequest, given: HttpRequest) -> bool:
    """Whether nobody between the browser and us can read a secret: TLS, a proxy that we trust, or the same machine.

    Args:
        seen: the request as the client sent it to a proxy.
        given: the request as it came; the same one if it came through no proxy that we know.
    """
    if seen.is_secure:
        return True
    if seen is not given:
        return "x-forwarded-proto" not in given.headers
    if any(name.startswith("x-forwarded") or name in ("forwarded", "via", "x-real-ip") for name in seen.headers):
        return False  # through a proxy that we do not know
    host = seen.headers.get("host", "").rpartition(":")[0] or seen.headers.get("host", "")
    return _is_local(seen.peer or "") and (host == "localhost" or host.endswith(".localhost") or _is_local(host))


def _is_local(address: str) -> bool:
    try:
        return ipaddress.ip_address(address.strip("[]")).is_loopback
    except ValueError:
        return False
