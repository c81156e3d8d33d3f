"""Whether a gateway may start as it was told to: who can connect, and is anybody asked who they are?

               loopback              any other address
--keys         starts                starts
--no-auth      starts                with --allow-unauthenticated besides, else refused
neither        starts, with a        refused
               warning
both           refused               refused
"""

from __future__ import annotations

import ipaddress
from typing import Literal

from rqsqs.errors import UsageError

Authentication = Literal["keys", "none"]


def start_rule(
    *, has_keys: bool, no_auth: bool, allow_unauthenticated: bool, host: str
) -> tuple[Authentication, str | None]:
    """What is asked of callers, and what to warn of.

    Args:
        has_keys: whether there is a keys file.
        no_auth: whether nobody is to be asked.
        allow_unauthenticated: whether that is meant for other machines, too.
        host: the address to listen on.

    Raises:
        UsageError: it must not start so.
    """
    if has_keys and no_auth:
        raise UsageError("--keys (or RQSQS_KEYS) says who may call, --no-auth that nobody is asked: give one of them")
    if has_keys:
        return "keys", None
    if is_loopback(host):
        if no_auth:
            return "none", None
        return "none", (
            "nobody is asked who they are, so every program of this machine may use the queues: --keys FILE changes "
            "that, --no-auth says that it is meant"
        )
    if not no_auth:
        raise UsageError(
            f"{host or 'every address'} can be reached from other machines, so there must be access keys: "
            "`rqsqs keys add NAME --keys FILE` makes one, --keys FILE lets its owner in"
        )
    if not allow_unauthenticated:
        raise UsageError(
            f"{host or 'every address'} can be reached from other machines, and --no-auth lets everybody in: if that "
            "is meant, add --allow-unauthenticated"
        )
    return "none", f"nobody is asked who they are, and {host or 'every address'} can be reached from other machines"


def is_loopback(host: str) -> bool:
    """Whether only programs of this machine can connect to an address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"
