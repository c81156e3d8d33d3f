"""Requests that cannot be read, or ask for something that does not exist."""

from __future__ import annotations

from rqsqs.errors import RequestError


class Malformed(RequestError):
    """The request cannot be read as its protocol says."""

    sqs_code = "MalformedInput"
    sqs_shape = "SerializationException"


class UnknownAction(RequestError):
    """There is no such action, or not where it was asked for."""

    sqs_code = "InvalidAction"
    sqs_shape = "UnknownOperationException"


class NothingHere(RequestError):
    """A request without an action."""

    sqs_code = "InvalidAction"
    sqs_shape = "UnknownOperationException"
    http_status = 404


class BodyTooLarge(RequestError):
    """The body is larger than this gateway takes."""

    sqs_code = "RequestEntityTooLarge"
    sqs_shape = "RequestEntityTooLargeException"
    http_status = 413


class BodyTooSlow(RequestError):
    """The body did not come within its time."""

    sqs_code = "RequestTimeout"
    sqs_shape = "RequestTimeoutException"
    http_status = 408


class UnsupportedEncoding(RequestError):
    """The body is compressed."""

    sqs_code = "UnsupportedMediaType"
    sqs_shape = "UnsupportedMediaTypeException"
    http_status = 415


class TooBusy(RequestError):
    """The bodies of requests take too much memory; SDKs wait and try again."""

    sqs_code = "ServiceUnavailable"
    sqs_shape = "ServiceUnavailable"
    http_status = 503
