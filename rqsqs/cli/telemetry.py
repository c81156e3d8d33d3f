"""The option --opentelemetry of commands that serve."""

from __future__ import annotations

from rqsqs.cli import output
from rqsqs.errors import UsageError

HELP = "Make traces and metrics by OpenTelemetry; the variables OTEL_* say where they go."


def require() -> None:
    """Refuse the option where the extra is not installed.

    Raises:
        UsageError: it is not.
    """
    try:
        import rqsqs.opentelemetry  # noqa: F401
    except ImportError as error:
        raise UsageError(str(error)) from None


def switch_on() -> None:
    """Set the SDK of OpenTelemetry up as `opentelemetry-instrument` does, as far as it is installed, and make spans and
    metrics from now on. To be called in the process that serves: programs that it starts do not inherit it.

    Raises:
        UsageError: the extra is not installed.
    """
    require()
    from rqsqs import opentelemetry

    try:
        from opentelemetry.instrumentation.auto_instrumentation import initialize
    except ImportError:
        output.note(
            "rqsqs: --opentelemetry makes spans and metrics, but nothing here sends them anywhere unless the program "
            "sets an SDK up: pip install opentelemetry-distro opentelemetry-exporter-otlp"
        )
    else:
        initialize()
    opentelemetry.instrument()


def flush() -> None:
    """Send what is left, at the end of a process."""
    from opentelemetry import metrics, trace

    for provider in (trace.get_tracer_provider(), metrics.get_meter_provider()):
        if hasattr(provider, "force_flush"):  # an SDK's
            provider.force_flush()
