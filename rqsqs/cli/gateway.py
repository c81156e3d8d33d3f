"""`rqsqs gateway`: SQS over HTTP."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import click

from rqsqs.cli import output
from rqsqs.cli.parameter_types import FILE
from rqsqs.cli.report import OK, Lines, Results
from rqsqs.cli.settings import Settings, reported


@click.command("gateway")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=9324, show_default=True, metavar="N",
              help="Port to listen on; 0 takes a free one.")  # fmt: skip
@click.option("--no-auth", is_flag=True, help="Ask nobody who they are.")
@click.option("--allow-unauthenticated", is_flag=True, help="Ask nobody even where other machines can connect.")
@click.option("--region", default="us-east-1", show_default=True, help="In ARNs, and the one to sign requests for.")
@click.option("--base-url", metavar="URL", help="What queue URLs begin with [the Host of each request].")
@click.option("--allowed-host", "allowed_hosts", multiple=True, metavar="NAME",
              help="Another name by which the gateway is called without authentication.")  # fmt: skip
@click.option("--trusted-proxy", "trusted_proxies", multiple=True, metavar="ADDRESS",
              help="A proxy, or a network of them, whose X-Forwarded-* headers are believed.")  # fmt: skip
@click.option("--queues", "queues_file", type=FILE, help="Create the queues that this file (TOML or YAML) describes.")
@click.option("--processes", type=click.IntRange(1, 256), default=1, show_default=True, metavar="N",
              help="How many processes share the port.")  # fmt: skip
@click.option("--shutdown-timeout", type=click.FloatRange(1, 3600), default=10.0, show_default=True, metavar="SECONDS",
              help="How long requests may finish when the gateway stops.")  # fmt: skip
@click.option("--tls-cert", type=FILE, help="Certificate, in PEM; read again when it changes.")
@click.option("--tls-key", type=FILE, help="Its key, in PEM.")
@click.option("--check", is_flag=True, help="Ask a gateway that runs at --host and --port whether it is ready.")
@click.option("--access-log/--no-access-log", default=False, show_default=True, help="Print a line for each request.")
@reported
def gateway(
    settings: Settings,
    host: str,
    port: int,
    no_auth: bool,
    allow_unauthenticated: bool,
    region: str,
    base_url: str | None,
    allowed_hosts: tuple[str, ...],
    trusted_proxies: tuple[str, ...],
    queues_file: str | None,
    processes: int,
    shutdown_timeout: float,
    tls_cert: str | None,
    tls_key: str | None,
    check: bool,
    access_log: bool,
) -> Results:
    """Let any AWS SDK use the queues, over HTTP.

    Programs in any language find it by AWS_ENDPOINT_URL_SQS and are otherwise unchanged.

    \b
    Examples:
      rqsqs gateway --url embedded://~
      AWS_ENDPOINT_URL_SQS=http://localhost:9324 aws sqs create-queue --queue-name orders
      rqsqs gateway --check || echo "it is not ready"
    """
    if check:
        from rqsqs.cli.gateway_check import ask

        return (yield from ask(host, port, is_secure=bool(tls_cert)))
    from rqsqs import embedded
    from rqsqs._io import connect, defaults
    from rqsqs.gateway import Gateway, GatewaySettings, queue_files
    from rqsqs.gateway.access_log import AccessLog
    from rqsqs.gateway.serving import ServingSettings, listen, serve

    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    is_loopback = _is_loopback(host)
    if not is_loopback and not (no_auth and allow_unauthenticated):
        raise click.UsageError(
            f"{host} can be reached from other machines, and nobody would be asked who they are; if that is meant, add "
            "--no-auth --allow-unauthenticated"
        )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="rqsqs: %(message)s")
    url = connect.resolve(settings.url)
    gateway_settings = GatewaySettings(
        url=url,
        prefix=defaults.prefix_of(settings.given_prefix),
        region=region,
        base_url=base_url,
        allowed_hosts=allowed_hosts,
        trusted_proxies=trusted_proxies,
        is_loopback=is_loopback,
    )
    serving = ServingSettings(
        host,
        port,
        processes,
        shutdown_timeout,
        Path(tls_cert) if tls_cert else None,
        Path(tls_key) if tls_key else None,
    )
    queues = queue_files.read(Path(queues_file)) if queues_file else {}
    listener = listen(host, port)
    hold = embedded.acquire(url) if url.startswith("embedded:") else None
    if queues_file:
        queue_files.create(queues, gateway_settings, Path(queues_file))
    address = _address(listener.getsockname(), bool(tls_cert))
    yield Lines([address], url=address, processes=processes)
    if not no_auth:
        output.note("rqsqs: every program of this machine may use the queues; --no-auth says that this is meant")
    output.note(f"the gateway answers at {address}: AWS_ENDPOINT_URL_SQS={address}")
    sys.stdout.flush()

    def make() -> Gateway:
        return Gateway(gateway_settings, AccessLog(sys.stdout.buffer) if access_log else None)

    try:
        serve(make, serving, listener)
    except KeyboardInterrupt:
        pass
    finally:
        if hold is not None:
            hold.release()
    return OK


def _is_loopback(host: str) -> bool:
    import ipaddress

    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _address(bound: Any, is_secure: bool) -> str:
    host = bound[0]
    shown = {"127.0.0.1": "localhost", "0.0.0.0": "localhost", "::": "localhost", "::1": "localhost"}.get(host, host)
    return f"{'https' if is_secure else 'http'}://{f'[{shown}]' if ':' in shown else shown}:{bound[1]}"
