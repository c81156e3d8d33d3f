"""STS GetCallerIdentity, with which Terraform, CDK and scripts look whether their keys are right. There is no more."""

from __future__ import annotations

from .callers import Caller
from .protocols import xml

NAMESPACE = "https://sts.amazonaws.com/doc/2011-06-15/"
VERSION = "2011-06-15"
ACTION = "GetCallerIdentity"


def is_sts(form: dict[str, str]) -> bool:
    """Whether a request of the Query protocol is for STS."""
    return form.get("Version") == VERSION or form.get("Action") == ACTION


def caller_identity(caller: Caller, request_id: str) -> bytes:
    """The answer; it needs no permission."""
    return (
        f'<GetCallerIdentityResponse xmlns="{NAMESPACE}"><GetCallerIdentityResult><Arn>{xml.text(caller.arn)}</Arn>'
        f"<UserId>{xml.text(caller.user_id)}</UserId><Account>{caller.account}</Account></GetCallerIdentityResult>"
        f"<ResponseMetadata><RequestId>{request_id}</RequestId></ResponseMetadata></GetCallerIdentityResponse>"
    ).encode()
