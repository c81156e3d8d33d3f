"""ARNs, and what stands in those of queues."""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_REGION = "us-east-1"
DEFAULT_ACCOUNT = "000000000000"
STANDARD_NAME = re.compile(r"[A-Za-z0-9_-]{1,80}")
FIFO_NAME = re.compile(r"(?=.{6,80}\Z)[A-Za-z0-9_-]+\.fifo")
_ARN = re.compile(r"arn:(?P<partition>[^:]+):(?P<service>[^:]+):(?P<region>[^:]*):(?P<account>[^:]*):(?P<name>.+)")
_ACCOUNT = re.compile(r"[0-9]{12}")


@dataclass(frozen=True, slots=True)
class Arn:
    """The parts of `arn:{partition}:{service}:{region}:{account}:{name}`."""

    partition: str
    service: str
    region: str
    account: str
    name: str

    def __str__(self) -> str:
        return f"arn:{self.partition}:{self.service}:{self.region}:{self.account}:{self.name}"


def parse_arn(text: str) -> Arn | None:
    """Take an ARN apart; None if `text` is none."""
    match = _ARN.fullmatch(text)
    return Arn(**match.groupdict()) if match else None


def is_queue_name(text: str) -> bool:
    """Whether a standard or FIFO queue can have this name."""
    return bool(STANDARD_NAME.fullmatch(text) or FIFO_NAME.fullmatch(text))


def is_account(text: str) -> bool:
    """Whether this is the number of an AWS account."""
    return bool(_ACCOUNT.fullmatch(text))
