"""What the clients, protocols and policies of AWS call a service: SQS, and the part of CloudWatch that rqsqs has."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from .context import Context, Params, ResponseFlow
from .names import endpoint_of


@dataclass(frozen=True, slots=True, eq=False)
class Service:
    """A service.

    Attributes:
        name: of its clients in boto3, and in the actions of policies: `sqs:SendMessage`.
        signing_name: what requests to it are signed for; also the first part of its host name.
        version: of its API, in the Query protocol.
        target: what stands before the action in X-Amz-Target.
        json_namespace: of its errors in JSON.
        xml_namespace: of its answers in XML.
        perform: runs an action.
    """

    name: str
    signing_name: str
    version: str
    target: str
    json_namespace: str
    xml_namespace: str
    perform: Callable[[Context, str, Params], ResponseFlow]

    def endpoint(self, region: str) -> str:
        """The address that it has in a region, without a slash at the end."""
        return endpoint_of(region, self.signing_name)
