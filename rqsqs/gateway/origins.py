"""Where a request comes from: the address it was sent to, and whether a page of somebody else made it.

A browser lets any page send forms and GETs to a gateway on the same machine, and read the answers under a name that it
made point there (DNS rebinding). So a gateway that asks nobody who they are answers under names only that belong to
it, and none answers what a browser says comes from another site. Programs send no such headers.
"""

from __future__ import annotations

import ipaddress
import re
from functools import lru_cache
from urllib.parse import urlsplit

from .refusals import AccessDenied
from .request import HttpRequest
from .settings import GatewaySettings

_AUTHORITY = re.compile(r"(?P<host>[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::(?P<port>[0-9]{1,5}))?")
LONGEST_HOST = 300  # with its port
_SAFE_SITES = ("none", "same-origin")


class Origins:
    """The rules of one gateway."""

    def __init__(self, settings: GatewaySettings) -> None:
        self._settings = settings
        names = {name.lower().strip("[]") for name in settings.allowed_hosts}
        if settings.base_url is not None:
            names.add(urlsplit(settings.base_url).hostname or "")
        self._names = names
        self.host_allowed = lru_cache(maxsize=1024)(self._host_allowed)

    def check(self, request: HttpRequest) -> str:
        """Refuse what comes from a foreign page, or is for somebody else.

        Returns:
            What the URLs of queues begin with.

        Raises:
            AccessDenied: it is.
        """
        headers = request.headers
        host = headers.get("host", "")
        if self._settings.is_open and (len(host) > LONGEST_HOST or not self.host_allowed(host)):
            raise AccessDenied(
                "Without authentication the gateway answers under its own names only; --allowed-host adds one."
            )
        origin = headers.get("origin")
        if origin is not None and (not host or origin.lower().partition("://")[2] != host.lower()):
            raise AccessDenied("Requests of other web sites are not answered.")
        if headers.get("sec-fetch-site", "none") not in _SAFE_SITES:
            raise AccessDenied("Requests of other web sites are not answered.")
        if self._settings.base_url is not None:
            return self._settings.base_url
        return f"{'https' if request.is_secure else 'http'}://{host if _AUTHORITY.fullmatch(host) else 'localhost'}"

    def _host_allowed(self, host: str) -> bool:
        match = _AUTHORITY.fullmatch(host)
        if match is None:
            return not host  # HTTP/1.0; no browser does that
        name = match["host"].lower().strip("[]").removesuffix(".")
        if name == "localhost" or name.endswith(".localhost") or name in self._names:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return not self._settings.is_loopback and "." not in name  # of a container; nobody can own it in the DNS
        return address.is_loopback or not self._settings.is_loopback
