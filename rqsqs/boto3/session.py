"""The session whose SQS clients are answered by Redis."""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Any

import boto3.session
from botocore.config import Config

from rqsqs.sqs.context import DEFAULT_REGION

from .clients import attach, server_url, timeouts

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

            For SQS `endpoint_url` is the URL of a Redis; with any other URL the client is a plain one of boto3.
            """
            arguments = _CLIENT.bind(self, *args, **kwargs).arguments
            del arguments["self"]
            url = server_url(arguments.get("endpoint_url")) if arguments["service_name"] == "sqs" else None
            if url is None:
                return super().client(**arguments)
            arguments["endpoint_url"] = None
            config = arguments.get("config")
            ours = Config(ignore_configured_endpoint_urls=True)  # they are for HTTP
            arguments["config"] = config.merge(ours) if config is not None else ours
            has_region = arguments.get("region_name") or getattr(config, "region_name", None) or self.region_name
            if not has_region:
                arguments["region_name"] = DEFAULT_REGION
            if arguments.get("aws_access_key_id") is None and arguments.get("aws_secret_access_key") is None:
                arguments["aws_access_key_id"] = arguments["aws_secret_access_key"] = "rqsqs"  # nothing is signed
            client = super().client(**arguments)
            account = arguments.get("aws_account_id") or self._rqsqs_account
            attach(client, url, account=account, **timeouts(client.meta.config))
            return client


__all__ = ["Session"]
