"""Requests that come through a proxy: who sent them, to which host, and whether with TLS.

Anybody can write X-Forwarded-For and its kin, so they count only if the peer is a proxy that the settings name. Of the
addresses in X-Forwarded-For the last one that is no such proxy is the client: what stands before it, the client wrote.
"""

from __future__ import annotations

import dataclasses
import ipaddress
from functools import lru_cache

from .request import HttpRequest
from .settings import GatewaySettings

LONGEST_ADDRESS = 100


class Proxies:
    """The proxies that a gateway trusts."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._networks = settings.networks()
        self._is_known = lru_cache(maxsize=4096)(self._is_ours)

    def client_request(self, request: HttpRequest) -> HttpRequest:
        """The request as the client sent it to the proxy; the same one if no proxy did."""
        if not self._networks or not self._is_trusted(request.peer):
            return request
        headers = request.headers
        peer = request.peer
        for address in reversed(headers.get("x-forwarded-for", "").split(",")):
            if not address.strip():
                continue
            peer = address.strip()
            if not self._is_trusted(peer):
                break
        host = _last(headers.get("x-forwarded-host"))
        scheme = _last(headers.get("x-forwarded-proto"))
        return dataclasses.replace(
            request,
            peer=peer,
            headers={**headers, "host": host} if host else headers,
            is_secure=scheme.lower() == "https" if scheme else request.is_secure,
        )

    def _is_trusted(self, address: str | None) -> bool:
        return len(address or "") <= LONGEST_ADDRESS and self._is_known(address)

    def _is_ours(self, address: str | None) -> bool:
        try:
            found = ipaddress.ip_address(address or "")
        except ValueError:
            return False
        mapped = getattr(found, "ipv4_mapped", None)
        return any((mapped or found) in network for network in self._networks)


def _last(value: str | None) -> str:
    return (value or "").rpartition(",")[2].strip()
