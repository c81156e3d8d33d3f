"""Where an action goes, as an alarm names it:

    https://hooks.example.com/T0/B1              an HTTP request (webhook.py); http:// as well
    arn:aws:sqs:us-east-1:000000000000:pages     a message to a queue
    command:page                                 a command of the operator's configuration (command.py)
    log:                                         a line in the log
    arn:aws:sns:us-east-1:000000000000:ops       a topic: the configuration says which of the others it stands for

Whoever makes an alarm chooses a target. So it is text that others wrote: it never says which program runs or with
which arguments, and a webhook goes to addresses of the internet alone unless the configuration allows others.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from urllib.parse import urlsplit

from rqsqs._arns import is_account, is_queue_name, parse_arn
from rqsqs._text import did_you_mean, printable
from rqsqs.errors import InvalidParameterValue

MOST_CHARACTERS = 1024
KINDS = "https://HOST/PATH, arn:aws:sqs:REGION:ACCOUNT:QUEUE, command:NAME or log:"
COMMAND_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
_URL = re.compile(r"[!-~]+")  # visible ASCII
_LABEL = "[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST = re.compile(rf"(?=.{{1,253}}\Z){_LABEL}(?:\.{_LABEL})*")
_TOPIC = re.compile(r"[A-Za-z0-9_.:/-]{1,256}")


@dataclass(frozen=True, slots=True)
class Webhook:
    """A URL.

    Attributes:
        is_tls: whether it is https.
        host: the name or address, in lower case, without brackets.
        path: with the query.
    """

    is_tls: bool
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """Host and port as the header Host has them."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.is_tls else 80) else f"{host}:{self.port}"

    def __str__(self) -> str:
        """Without the path, which may hold a secret."""
        rest = "/..." if self.path != "/" else "/"
        return f"{'https' if self.is_tls else 'http'}://{self.authority}{rest}"


@dataclass(frozen=True, slots=True)
class SendTo:
    """A queue."""

    region: str
    account: str
    queue: str
    arn: str

    def __str__(self) -> str:
        return self.arn


@dataclass(frozen=True, slots=True)
class Command:
    """A command of the configuration."""

    name: str

    def __str__(self) -> str:
        return f"command:{self.name}"


@dataclass(frozen=True, slots=True)
class Log:
    """The log."""

    def __str__(self) -> str:
        return "log:"


@dataclass(frozen=True, slots=True)
class Topic:
    """The ARN of a topic, as programs that were written for AWS name it."""

    arn: str

    def __str__(self) -> str:
        return self.arn


Target = Webhook | SendTo | Command | Log | Topic


def parse_target(text: str) -> Target:
    """Take a target apart.

    Raises:
        InvalidParameterValue: it is none.
    """
    if not isinstance(text, str) or not 0 < len(text) <= MOST_CHARACTERS:
        length = f"{len(text)} characters" if isinstance(text, str) else repr(text)[:80]
        raise InvalidParameterValue(f"an action must be a str of 1 to {MOST_CHARACTERS} characters, got {length}")
    kind, _, rest = text.partition(":")
    if kind.lower() in ("https", "http"):
        return _webhook(text)
    if kind == "arn":
        return _arn(text)
    if kind == "command" and COMMAND_NAME.fullmatch(rest):
        return Command(rest)
    if kind == "command":
        raise InvalidParameterValue(
            f"the name of a command must have 1 to 64 letters, digits, '-', '_' and '.', got {short(rest)}"
        )
    if text == "log:":
        return Log()
    near = did_you_mean(kind, ("https", "arn", "command", "log")) if rest else ""
    raise InvalidParameterValue(f"an action must be like {KINDS}, got {short(text)}{near}")


def address_in(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def _webhook(text: str) -> Webhook:
    def wrong(rule: str) -> InvalidParameterValue:
        # the URL may hold a secret, so only its host is shown
        return InvalidParameterValue(f"the URL of a webhook must {rule}")

    if not _URL.fullmatch(text):
        raise wrong("have visible ASCII characters only: write others as %XX, and a name of a host as xn--...")
    if "\\" in text:
        raise wrong("have no backslash")
    try:
        parts = urlsplit(text)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise wrong("have the form https://HOST:PORT/PATH with a port from 1 to 65535") from None
    if "@" in parts.netloc:
        raise wrong("have no user name and password: the configuration has secrets with which requests are signed")
    if not host or port == 0 or parts.netloc.endswith(":"):
        raise wrong("have the form https://HOST:PORT/PATH with a port from 1 to 65535")
    is_bracketed = parts.netloc.startswith("[")
    address = address_in(host)
    is_host = (address is not None and "%" not in host) if is_bracketed else bool(_HOST.fullmatch(host))
    if not is_host or (is_bracketed and not isinstance(address, ipaddress.IPv6Address)):
        raise wrong(f"have the name or the address of a host, got {short(host)}")
    if parts.fragment or "#" in text:
        raise wrong("have no fragment (#...)")
    is_tls = parts.scheme == "https"
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Webhook(is_tls, host, port or (443 if is_tls else 80), path)


def _arn(text: str) -> SendTo | Topic:
    arn = parse_arn(text)
    if arn is not None and arn.service == "sns" and _TOPIC.fullmatch(arn.name) and is_account(arn.account):
        return Topic(text)
    if arn is None or arn.service != "sqs":
        raise InvalidParameterValue(
            f"the ARN of an action must be that of a queue (arn:aws:sqs:REGION:ACCOUNT:QUEUE) or a topic "
            f"(arn:aws:sns:REGION:ACCOUNT:TOPIC), got {short(text)}"
        )
    if not is_account(arn.account):
        raise InvalidParameterValue(f"the account of an ARN must have twelve digits, got {short(arn.account)}")
    if not is_queue_name(arn.name):
        raise InvalidParameterValue(
            "the ARN of a queue must end with its name, 1 to 80 letters, digits, '-' and '_', with '.fifo' at the end "
            f"for FIFO, got {short(arn.name)}"
        )
    return SendTo(arn.region, arn.account, arn.name, text)


def short(text: str) -> str:
    shown = repr(printable(text))
    return shown if len(shown) <= 80 else f"{shown[:77]}..."
