"""What a gateway is told."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from rqsqs._core.actors import program
from rqsqs._core.keys import Keyspace
from rqsqs._io.defaults import writes_history
from rqsqs._settings import default_durability
from rqsqs.errors import UsageError
from rqsqs.limits import AWS, Limits
from rqsqs.models import Durability
from rqsqs.sqs.context import DEFAULT_ACCOUNT, DEFAULT_REGION

PORT = 9324
MOST_QUEUES = 1000  # of an account below the prefix, that are remembered
MIB = 1024 * 1024
_REGION = re.compile(r"[a-z0-9-]{1,64}")
_HOST = re.compile(r"[A-Za-z0-9._\[\]:-]{1,253}")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    """Checked when it is made.

    Attributes:
        url: of Redis or Valkey, as for connect().
        prefix: what the keys of account 000000000000 begin with; other accounts have theirs below it.
        region: in ARNs and URLs, and the one that requests have to be signed for.
        base_url: what queue URLs begin with; None = the Host of each request.
        allowed_hosts: names by which the gateway may be called without authentication, beside its own.
        trusted_proxies: addresses or networks whose X-Forwarded-* headers are believed.
        max_body: bytes of a request's body.
        body_timeout: seconds until the body has to be there.
        limits: what requests may ask for.
        durability: how safe messages have to be before a send is answered, a rqsqs.Durability or its text; None = what
            RQSQS_DURABILITY says.
        keys: the keys file; None = nobody is asked who they are.
        allow_anonymous: whether the policy of a queue may allow requests that nobody signed.
        requests_per_second: of one access key; None = any number.
        request_burst: requests of one access key at once; None = those of two seconds.
        polls_per_key: receives of one access key that may wait at once; None = any number.
        history: whether it writes the history of queues when it is its turn; None = unless RQSQS_HISTORY is 0.
        alarms: whether it evaluates alarms, and does their actions, when it is its turn.
        actions: the actions file, which says what these may do; None = webhooks to the internet, queues and the log.
        is_loopback: whether only programs of this machine can connect.
    """

    url: str | None = None
    prefix: str = "rqsqs"
    region: str = DEFAULT_REGION
    base_url: str | None = None
    allowed_hosts: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    max_body: int = 8 * MIB
    body_timeout: float = 60.0
    limits: Limits = AWS
    durability: Durability | str | None = None
    keys: Path | None = None
    allow_anonymous: bool = False
    requests_per_second: float | None = None
    request_burst: int | None = None
    polls_per_key: int | None = None
    history: bool | None = None
    alarms: bool = False
    actions: Path | None = None
    is_loopback: bool = True
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _REGION.fullmatch(self.region):
            raise UsageError(f"region must be the name of an AWS region, such as us-east-1, got {self.region!r:.80}")
        if self.base_url is not None:
            object.__setattr__(self, "base_url", _checked_base(self.base_url))
        for host in self.allowed_hosts:
            if not _HOST.fullmatch(host):
                raise UsageError(f"an allowed host must be a name or an address, got {host!r:.80}")
        object.__setattr__(self, "durability", default_durability(self.durability))
        object.__setattr__(self, "history", writes_history(self.history))
        self.networks()
        if not isinstance(self.max_body, int) or self.max_body < MIB:
            raise UsageError(f"max_body must be {MIB} bytes or more, as a message may have, got {self.max_body!r:.80}")
        if not self.body_timeout > 0:
            raise UsageError(f"body_timeout must be more than 0 seconds, got {self.body_timeout!r:.80}")

        for name in ("requests_per_second", "request_burst", "polls_per_key"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise UsageError(f"{name} must be more than 0, got {value!r:.80}")
        if self.allow_anonymous and self.keys is None:
            raise UsageError("allow_anonymous needs a keys file: without one nobody is asked who they are anyway")
        if self.actions is not None and not self.alarms:
            raise UsageError("actions goes with alarms: who evaluates alarms does their actions")

    @property
    def is_open(self) -> bool:
        """Whether nobody is asked who they are."""
        return self.keys is None

    def networks(self) -> tuple[Network, ...]:
        """The trusted proxies.

        Raises:
            UsageError: one of them is no address.
        """
        try:
            return tuple(ipaddress.ip_network(each, strict=False) for each in self.trusted_proxies)
        except ValueError as e:
            raise UsageError(f"a trusted proxy must be an address or a network, such as 10.0.0.0/8: {e}") from None


def keyspace_of(space: Keyspace, account: str) -> Keyspace:
    """The keys of an account: for twelve zeros those of the gateway's prefix, else some below it, of its format."""
    if account == DEFAULT_ACCOUNT:
        found = space
    else:
        prefix = f"{space.prefix}/{account}"
        found = Keyspace(prefix, space.clock, format_of=space.prefix, most_queues=MOST_QUEUES)
    found.actor = program("gateway")
    return found


def _checked_base(base_url: str) -> str:
    try:
        parts = urlsplit(base_url)
        is_fine = parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
        is_fine = is_fine and parts.username is None and (parts.port or 1) > 0
    except ValueError:
        is_fine = False
    if not is_fine:
        raise UsageError(f"base_url must be like https://sqs.example.com, got {base_url!r:.200}")
    return base_url.rstrip("/")
