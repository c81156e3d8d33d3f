"""What a console is told."""

from __future__ import annotations

from dataclasses import dataclass, field

from rqsqs.gateway.settings import GatewaySettings


@dataclass(frozen=True, slots=True)
class ConsoleSettings:
    """Checked when it is made.

    Attributes:
        gateway: the server and its keys, who may do what, and which names and proxies count: as for a gateway.
        is_read_only: nothing can be changed, whatever somebody may.
    """

    gateway: GatewaySettings = field(default_factory=GatewaySettings)
    is_read_only: bool = False
