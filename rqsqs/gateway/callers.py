"""Who sent a request: an access key's user, the root user of an account, or nobody in particular."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from rqsqs.sqs.context import DEFAULT_ACCOUNT, DEFAULT_REGION
from rqsqs.sqs.names import is_account, partition_of

if TYPE_CHECKING:
    from .policies import Policy


@dataclass(frozen=True, slots=True, eq=False)
class Caller:
    """A caller. Each is made once, when the keys file is read, so it is compared and hashed by identity.

    Attributes:
        arn: as IAM writes it; `anonymous` for a request that nobody signed.
        account: its account; "" for an anonymous one.
        user_id: as sts:GetCallerIdentity tells it.
        key_id: of the access key; "" if there is none.
        name: of the user.
        is_root: whether it is the root user of its account, which needs no policies.
        is_anonymous: whether nobody signed the request.
        tags: of the user, for aws:PrincipalTag.
        policies: its identity policies.
    """

    arn: str
    account: str
    user_id: str
    key_id: str = ""
    name: str = ""
    is_root: bool = False
    is_anonymous: bool = False
    tags: Mapping[str, str] = field(default_factory=dict)
    policies: tuple[Policy, ...] = ()


ANONYMOUS = Caller("anonymous", "", "anonymous", is_anonymous=True)


def user_of(
    name: str,
    account: str,
    *,
    key_id: str,
    region: str = DEFAULT_REGION,
    tags: Mapping[str, str] | None = None,
    policies: tuple[Policy, ...] = (),
) -> Caller:
    """A user of an account, by one of its access keys.

    The user id is made of account and name, so that it is the same for each key and each gateway.
    """
    arn = f"arn:{partition_of(region)}:iam::{account}:user/{name}"
    return Caller(arn, account, _user_id(account, name), key_id, name, tags=tags or {}, policies=policies)


def root_of(account: str, *, key_id: str = "", region: str = DEFAULT_REGION, name: str = "") -> Caller:
    """The root user of an account."""
    arn = f"arn:{partition_of(region)}:iam::{account}:root"
    return Caller(arn, account, account, key_id, name, is_root=True)


def unauthenticated(key_id: str, region: str = DEFAULT_REGION) -> Caller:
    """Who calls a gateway that checks nobody: an access key of twelve digits names the account, as with emulators."""
    return root_of(key_id if is_account(key_id) else DEFAULT_ACCOUNT, key_id=key_id, region=region)


def _user_id(account: str, name: str) -> str:
    digest = hashlib.sha256(f"{account}/{name}".encode()).digest()
    return "AIDA" + base64.b32encode(digest).decode()[:17]
