"""Traces and metrics by OpenTelemetry, from the sender of a message to its handler: off until you switch it on.

    from rqsqs import opentelemetry

    opentelemetry.instrument()

From then on this process has spans and metrics for what it does with the native API, with boto3 (rqsqs.boto3), with
workers and with a gateway. Needs the extra `rqsqs[opentelemetry]`, which is the API of OpenTelemetry alone; where they
go is a matter of your SDK. docs/opentelemetry.md says which there are.
"""

from __future__ import annotations

try:
    import opentelemetry.trace  # noqa: F401
except ImportError as error:
    if not (error.name or "").startswith("opentelemetry"):
        raise
    raise ImportError(
        "rqsqs.opentelemetry needs opentelemetry-api, which is not installed: pip install 'rqsqs[opentelemetry]'"
    ) from error

from rqsqs.opentelemetry.instrumentor import RqsqsInstrumentor, instrument, uninstrument
from rqsqs.opentelemetry.processing import context_of, process

__all__ = ["RqsqsInstrumentor", "context_of", "instrument", "process", "uninstrument"]
