"""Which addresses a webhook may go to.

Those of the internet. Others are refused, as they lead into the operator's own machine or network, or to a service of
the cloud that gives out credentials: loopback, private, link-local, shared, multicast, reserved. An IPv6 address that
has an IPv4 address inside is judged by both.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Iterator

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

# Not of the internet, though versions of Python say so of some of them
_SPECIAL: tuple[tuple[Network, str], ...] = (
    (ipaddress.ip_network("168.63.129.16/32"), "a service of a cloud"),  # of Azure
    (ipaddress.ip_network("169.254.0.0/16"), "link-local, metadata of clouds"),
    (ipaddress.ip_network("100.64.0.0/10"), "shared, metadata of clouds"),
    (ipaddress.ip_network("192.0.0.0/24"), "reserved"),
    (ipaddress.ip_network("192.88.99.0/24"), "reserved"),
    (ipaddress.ip_network("fd00:ec2::/32"), "private, metadata of clouds"),
    (ipaddress.ip_network("fec0::/10"), "private"),
    (ipaddress.ip_network("64:ff9b:1::/48"), "private"),
    (ipaddress.ip_network("100::/64"), "reserved"),
    (ipaddress.ip_network("5f00::/16"), "reserved"),
    (ipaddress.ip_network("2002::/16"), "6to4, which the internet has given up"),
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")
_COMPATIBLE = ipaddress.IPv6Network("::/96")  # IPv4-compatible, deprecated


def why_refused(address: Address, allowed: Iterable[Network] = ()) -> str:
    """What is wrong with an address; "" = nothing.

    Args:
        address: of a host.
        allowed: networks that are allowed beside the internet.
    """
    forms = list(_forms(address))
    networks = tuple(allowed)
    plain = forms[-1] if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped else address
    if any(plain.version == network.version and plain in network for network in networks):
        return ""
    return next((reason for form in forms if (reason := _reason(form))), "")


def _forms(address: Address) -> Iterator[Address]:
    """An address, and the IPv4 addresses inside of it."""
    if isinstance(address, ipaddress.IPv4Address):
        yield address
        return
    if address.ipv4_mapped:
        yield address.ipv4_mapped
        return
    yield address
    if address.teredo:
        yield from address.teredo
    if address in _NAT64 or (address in _COMPATIBLE and int(address) > 1):
        yield ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)


def _reason(address: Address) -> str:
    for network, reason in _SPECIAL:
        if address.version == network.version and address in network:
            return reason
    if address.is_unspecified:
        return "unspecified"
    if address.is_loopback:
        return "loopback"
    if address.is_link_local:
        return "link-local"
    if address.is_multicast:
        return "multicast"
    if address.is_reserved and not (address.version == 6 and address in _NAT64):
        return "reserved"
    if address.version == 6 and address in _NAT64:
        return ""  # judged by the IPv4 address inside
    if address.is_private:
        return "private"
    return "" if address.is_global else "not of the internet"
