"""Who is logged in: sessions are kept in Redis, so they count in all processes of all gateways, and end when they must.

A browser has a cookie with a secret name; Redis knows its digest only. A session is of one access key as it was at the
login: if the key is disabled, or its secret changed, the session has ended.
"""

from __future__ import annotations

import hmac
import ipaddress
import json
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass

from rqsqs._core.operations import sessions
from rqsqs._core.operations.sessions import Bucket, Listed, digest_of
from rqsqs._io.aio.runner import Transport
from rqsqs.gateway.callers import Caller
from rqsqs.gateway.keys import KeysFile
from rqsqs.gateway.request import HttpRequest
from rqsqs.gateway.sigv4 import NOBODY

from .refusals import LoginRefused, TooManyLogins

IDLE_S = 3_600
LONGEST_S = 12 * 3_600
LONGEST_FIELD = 200
LOGINS_PER_S, LOGINS_AT_ONCE = 0.1, 10  # from one address
GUESSES_PER_S, GUESSES_AT_ONCE = 1.0, 60  # of one access key, from everywhere


@dataclass(frozen=True, slots=True)
class Session:
    """Somebody who is logged in.

    Attributes:
        digest: what is known of its secret name.
        caller: whose it is.
        key_id: of the access key.
        begun_at_ms: when that was.
        used_at_ms: when somebody did something last.
        address: where the login came from.
        agent: what the browser says of itself.
    """

    digest: str
    caller: Caller
    key_id: str
    begun_at_ms: int
    used_at_ms: int
    address: str
    agent: str


class Sessions:
    """Begins, finds and ends sessions.

    Args:
        keys: whose access keys open the console.
        transport: gives that of where sessions are kept.
    """

    def __init__(self, keys: KeysFile, transport: Callable[[], Transport]) -> None:
        self._keys, self._transport = keys, transport

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
        transport = self._transport()
        tries = {
            f"address {_place(request.peer)}": Bucket(1 / LOGINS_PER_S, LOGINS_AT_ONCE),
            f"key {key_id[:LONGEST_FIELD]}": Bucket(1 / GUESSES_PER_S, GUESSES_AT_ONCE),
        }
        is_admitted: bool = await transport.run(sessions.admit_login(transport.space, tries))
        if not is_admitted:
            raise TooManyLogins
        key = self._keys.current().active.get(key_id, NOBODY)
        if not key.has_secret(secret[:LONGEST_FIELD]) or key is NOBODY:
            raise LoginRefused
        name = secrets.token_urlsafe(32)
        digest = digest_of(name)
        about = {
            "key": key_id,
            "mark": key.mark(digest),
            "begun": int(time.time() * 1000),
            "address": request.peer or "",
            "agent": request.headers.get("user-agent", "")[:LONGEST_FIELD],
        }
        put = sessions.put_session(
            transport.space, digest, json.dumps(about).encode(), idle_ms=IDLE_S * 1000, longest_ms=LONGEST_S * 1000
        )
        await transport.run(put)
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
        transport, digest = self._transport(), digest_of(name)
        about: bytes | None = await transport.run(sessions.read_session(transport.space, digest, idle_ms=idle_ms))
        found = None if about is None else self._session(digest, about, 0)
        return None if found is None else found.caller

    async def of_account(self, account: str) -> list[Session]:
        """Who is logged in, of an account; who did something last comes first."""
        transport, found = self._transport(), list[Session]()
        offset: int | None = 0
        while offset is not None:
            page: tuple[list[Listed], int | None]
            page = await transport.run(sessions.list_sessions(transport.space, offset))
            some, offset = page
            read = [self._session(each.digest, each.about, each.used_at_ms) for each in some]
            found += [each for each in read if each is not None and each.caller.account == account]
        return found

    def _session(self, digest: str, about: bytes, used_at_ms: int) -> Session | None:
        """A session as it was kept; None if it is damaged, or its key is another one by now: log in again."""
        try:
            kept = json.loads(about)
            key_id, mark, begun_at_ms = str(kept["key"]), str(kept["mark"]), int(kept["begun"])
            address, agent = str(kept["address"]), str(kept["agent"])
        except (ValueError, LookupError, TypeError):
            return None
        key = self._keys.current().active.get(key_id)
        if key is None or not hmac.compare_digest(key.mark(digest).encode(), mark.encode()):
            return None
        return Session(digest, key.caller, key_id, begun_at_ms, used_at_ms, address, agent)

    def users(self, account: str) -> list[str]:
        """The users of an account that can log in."""
        active = self._keys.current().active.values()
        return sorted({key.caller.name for key in active if key.caller.account == account})

    def user(self, name: str) -> Caller | None:
        """A user that can log in."""
        return self._keys.current().caller(name)

    async def end(self, digest: str) -> bool:
        """End a session; False if there was none."""
        transport = self._transport()
        return bool(await transport.run(sessions.end_session(transport.space, digest)))


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
