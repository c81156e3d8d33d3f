"""What a gateway refuses before, or instead of, an action.

First who the caller is, what it may do and how often it asks, in the texts of AWS: none of them repeats a secret, and
none tells more about a key than that it is unknown. Then requests that cannot be read or ask for nothing that exists.
"""

from __future__ import annotations

from rqsqs.errors import RequestError


class UnrecognizedClient(RequestError):
    """The access key is unknown or disabled, or a security token was sent, which this gateway never issues."""

    sqs_code = "InvalidClientTokenId"
    sqs_shape = "UnrecognizedClientException"
    http_status = 403

    def __init__(self, text: str = "The security token included in the request is invalid.") -> None:
        super().__init__(text)


class MissingAuthenticationToken(RequestError):
    """A request that must be signed is not."""

    sqs_code = "MissingAuthenticationToken"
    sqs_shape = "MissingAuthenticationTokenException"
    http_status = 403

    def __init__(self, text: str = "Request is missing Authentication Token") -> None:
        super().__init__(text)


class InvalidSignature(RequestError):
    """The signature is wrong, or of another time, region or service."""

    sqs_code = "SignatureDoesNotMatch"
    sqs_shape = "InvalidSignatureException"
    http_status = 403

    def __init__(self, text: str = "") -> None:
        super().__init__(
            text
            or "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
            "Access Key and signing method. Consult the service documentation for details."
        )


class IncompleteSignature(RequestError):
    """The Authorization header, or its counterpart in the query string, cannot be read."""

    sqs_code = "IncompleteSignature"
    sqs_shape = "IncompleteSignatureException"


class AccessDenied(RequestError):
    """The caller may not do this."""

    sqs_code = "AccessDenied"
    sqs_shape = "AccessDeniedException"
    http_status = 403


class RequestThrottled(RequestError):
    """The caller asks too often; SDKs wait and try again."""

    sqs_code = sqs_shape = "RequestThrottled"
    http_status = 403


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
