"""The session whose SQS clients are answered by Redis, and those of CloudWatch that are told so."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import boto3.session

if TYPE_CHECKING:
    from boto3.session import Session
else:
    _CLIENT = inspect.signature(boto3.session.Session.client)
    _INIT = inspect.signature(boto3.session.Session.__init__)

    class Session(boto3.session.Session):
        """A session of boto3 that makes SQS clients answered by Redis, and any other client as boto3 does.

        For SQS no credentials and no region are needed, and no credentials are looked for. What is configured is
        respected: the region appears in URLs and ARNs, `aws_account_id` too.
        """

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self._rqsqs_account = _INIT.bind(self, *args, **kwargs).arguments.get("aws_account_id")

        def client(self, *args: Any, **kwargs: Any) -> Any:
            """Create a client; parameters as of boto3.

            For SQS `endpoint_url` is the URL of a Redis; with any other URL the client is a plain one of boto3. So is
            one of CloudWatch, unless it is given the URL of a Redis here: programs also publish metrics to AWS.
            """
            arguments = _CLIENT.bind(self, *args, **kwargs).arguments
            del arguments["self"]
            service, endpoint = arguments["service_name"], arguments.get("endpoint_url")
            if service != "sqs" and (service != "cloudwatch" or endpoint is None):
                return super().client(**arguments)
            from . import clients  # when somebody wants one

            url = clients.server_url(endpoint)
            if url is None:
                return super().client(**arguments)
            clients.needs_nothing(arguments, self.region_name)
            client = super().client(**arguments)
            account = arguments.get("aws_account_id") or self._rqsqs_account
            clients.attach_created(client, url, account)
            return client


__all__ = ["Session"]
