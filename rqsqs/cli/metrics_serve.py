"""`rqsqs metrics serve`: what Prometheus scrapes."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys

import click

from rqsqs.cli import output
from rqsqs.cli.report import OK, Lines, Results
from rqsqs.cli.settings import Settings, reported

PORT = 9464  # where exporters of OpenTelemetry for Prometheus listen, too


@click.command("serve")
@click.option("--host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="Address to listen on; 0.0.0.0 for all addresses.")  # fmt: skip
@click.option("--port", type=click.IntRange(0, 65_535), default=PORT, show_default=True, metavar="N",
              help="Port to listen on; 0 takes a free one.")  # fmt: skip
@reported
def serve(settings: Settings, host: str, port: int) -> Results:
    """Serve the metrics of all queues to Prometheus.

    They are at /metrics, until Ctrl-C. Who can connect can read the names and the numbers of all queues, so only
    programs of this machine can, unless --host says otherwise. With more than 200 queues, dwell times are written if
    the scraper asks with ?histograms=1.

    \b
    Examples:
      rqsqs metrics serve
      curl localhost:9464/metrics
      rqsqs metrics serve --host 0.0.0.0 --port 9500
    """
    import rqsqs.aio
    from rqsqs.metrics.exporter import PATH, Exporter, health_reader, in_loop, memory_reader, scrape_of
    from rqsqs.metrics.listener import Listener, Response

    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="rqsqs: %(message)s")
    connection = rqsqs.aio.connect(settings.server, prefix=settings.prefix)
    exporter = Exporter(connection.metrics, tuple, health_reader(connection), memory_reader(connection))

    async def answer(query: str, headers: dict[str, str]) -> Response:
        return await exporter.answer(scrape_of(query, headers))

    async def until_signalled() -> None:
        ended = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        try:
            with listener.running():
                await ended.wait()
        finally:
            await exporter.close()
            await connection.close()

    with asyncio.Runner() as runner:
        try:
            listener = Listener(in_loop(runner.get_loop(), answer), host, port)
        except OSError as error:
            text = f"cannot listen on port {port} of {host}: {error.strerror or error}; choose another port or address"
            raise click.ClickException(text) from None
        address = f"{listener.url}{PATH}"
        yield Lines([address], url=address)
        output.note(f"Prometheus can scrape {address}; Ctrl-C ends it")
        sys.stdout.flush()
        runner.run(until_signalled())
    return OK
