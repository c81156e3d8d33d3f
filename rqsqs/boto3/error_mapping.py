"""Errors of Redis as botocore exceptions, so that code which retries or reports those keeps working."""

from __future__ import annotations

from botocore.exceptions import (
    BotoCoreError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
)

from rqsqs.errors import ConnectionFailed, RqsqsError, ScriptFailed, ServerTimeout


class _NotConnected(EndpointConnectionError):
    fmt = 'Could not connect to the endpoint URL: "{endpoint_url}" ({error})'


class _ConnectTimeout(ConnectTimeoutError):
    fmt = 'Connect timeout on endpoint URL: "{endpoint_url}" ({error})'


class _ReadTimeout(ReadTimeoutError):
    fmt = 'Read timeout on endpoint URL: "{endpoint_url}" ({error})'


class _ConnectionClosed(ConnectionClosedError):
    fmt = 'Connection was closed before we received a valid response from endpoint URL: "{endpoint_url}". ({error})'


def as_botocore_error(error: RqsqsError, endpoint_url: str) -> BotoCoreError:
    """The botocore exception for an error of ours; each has our text in its own.

    | ours                                    | botocore's                | was the request executed? |
    |-----------------------------------------|---------------------------|---------------------------|
    | ServerTimeout, request not sent         | ConnectTimeoutError       | no                        |
    | ServerTimeout, request sent             | ReadTimeoutError          | unknown                   |
    | ConnectionFailed, request not sent      | EndpointConnectionError   | no                        |
    | ConnectionFailed, request sent          | ConnectionClosedError     | unknown                   |
    | ScriptFailed                            | HTTPClientError           | unknown                   |
    | any other (loading, read-only, full...) | EndpointConnectionError   | no                        |
    """
    if isinstance(error, ScriptFailed):
        return HTTPClientError(error=error)
    kind: type[BotoCoreError] = _NotConnected
    if isinstance(error, ServerTimeout):
        kind = _ReadTimeout if error.request_sent else _ConnectTimeout
    elif isinstance(error, ConnectionFailed) and error.request_sent:
        kind = _ConnectionClosed
    return kind(endpoint_url=endpoint_url, error=error)
