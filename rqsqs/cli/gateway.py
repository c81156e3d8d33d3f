"""`rqsqs gateway`: SQS over HTTP."""

from __future__ import annotations

import contextlib
import logging
import sys
from pathlib import Path
from typing import Any

import click

from rqsqs.cli import output, telemetry
from rqsqs.cli.parameter_types import FILE
from rqsqs.cli.report import OK, Lines, Results
from rqsqs.cli.settings import Settings, reported


@click.command("gateway")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=9324, show_default=True, metavar="N",
              help="Port to listen on; 0 takes a free one.")  # fmt: skip
@click.option("--keys", type=FILE, envvar="RQSQS_KEYS",
              help="Who may call: a file that `rqsqs keys` writes. Else the variable RQSQS_KEYS.")  # fmt: skip
@click.option("--allow-anonymous", is_flag=True, help="Let the policy of a queue allow requests that nobody signed.")
@click.option("--no-auth", is_flag=True, help="Check no signatures: who can connect may do everything.")
@click.option("--allow-unauthenticated", is_flag=True, help="With --no-auth: even where other machines can connect.")
@click.option(
    "--region", default="us-east-1", show_default=True, help="Region in ARNs, and the one that clients sign for."
)
@click.option("--base-url", metavar="URL", help="What queue URLs begin with [the Host of each request].")
@click.option("--allowed-host", "allowed_hosts", multiple=True, metavar="NAME",
              help="A name under which it answers with no authentication; can be repeated.")  # fmt: skip
@click.option("--trusted-proxy", "trusted_proxies", multiple=True, metavar="ADDRESS",
              help="A proxy, or a network of them, whose X-Forwarded-* headers count; can be repeated.")  # fmt: skip
@click.option("--queues", "queues_file", type=FILE, help="Create the queues that this file (TOML or YAML) describes.")
@click.option("--requests-per-second", type=click.FloatRange(0, min_open=True), metavar="N",
              help="Refuse what one access key asks beyond that [no limit].")  # fmt: skip
@click.option("--polls-per-key", type=click.IntRange(1), metavar="N",
              help="How many receives of one access key may wait at once [no limit].")  # fmt: skip
@click.option("--alarms", is_flag=True, help="Evaluate alarms, and do their actions; one of all that may does it.")
@click.option("--actions", "actions_file", type=FILE,
              help="With --alarms: the actions file, as of `rqsqs alarms run`.")  # fmt: skip
@click.option("--processes", type=click.IntRange(1, 256), default=1, show_default=True, metavar="N",
              help="How many processes share the port.")  # fmt: skip
@click.option("--shutdown-timeout", type=click.FloatRange(1, 3600), default=10.0, show_default=True, metavar="SECONDS",
              help="How long requests may finish when the gateway stops.")  # fmt: skip
@click.option("--tls-cert", type=FILE, help="Certificate, in PEM; read again when it changes.")
@click.option("--tls-key", type=FILE, help="Its key, in PEM.")
@click.option("--metrics-port", type=click.IntRange(0, 65_535), metavar="N",
              help="Let Prometheus scrape /metrics at this port; 0 takes a free one.")  # fmt: skip
@click.option("--metrics-host", default="127.0.0.1", show_default=True, metavar="ADDRESS",
              help="Address of that port. Who can connect to it can read the numbers of all queues.")  # fmt: skip
@click.option("--console/--no-console", "with_console", default=True, show_default=True,
              help="Answer browsers at /console/, if the extra `console` is installed.")  # fmt: skip
@click.option("--read-only", is_flag=True, help="Nothing can be changed in the console.")
@click.option("--check", is_flag=True,
              help="Ask whether one that runs at --host and --port (and --metrics-port) is ready.")  # fmt: skip
@click.option("--opentelemetry", "opentelemetry", is_flag=True, help=telemetry.HELP)
@click.option("--access-log/--no-access-log", default=False, show_default=True, help="Print a line for each request.")
@reported
def gateway(
    settings: Settings,
    host: str,
    port: int,
    keys: str | None,
    allow_anonymous: bool,
    no_auth: bool,
    allow_unauthenticated: bool,
    region: str,
    base_url: str | None,
    allowed_hosts: tuple[str, ...],
    trusted_proxies: tuple[str, ...],
    queues_file: str | None,
    requests_per_second: float | None,
    polls_per_key: int | None,
    alarms: bool,
    actions_file: str | None,
    processes: int,
    shutdown_timeout: float,
    tls_cert: str | None,
    tls_key: str | None,
    metrics_port: int | None,
    metrics_host: str,
    with_console: bool,
    read_only: bool,
    check: bool,
    opentelemetry: bool,
    access_log: bool,
) -> Results:
    """Let any AWS SDK use the queues, over HTTP.

    Programs in any language find it by AWS_ENDPOINT_URL_SQS and are otherwise unchanged.

    \b
    Examples:
      rqsqs gateway --url embedded://~
      AWS_ENDPOINT_URL_SQS=http://localhost:9324 aws sqs create-queue --queue-name orders
      rqsqs keys add shop --allow SendMessage --queue orders --keys keys.toml
      rqsqs gateway --host 0.0.0.0 --keys keys.toml
      rqsqs gateway --check || echo "it is not ready"
    """
    if check:
        from rqsqs.cli.gateway_check import ask

        code = yield from ask(host, port, is_secure=bool(tls_cert))
        if metrics_port is None or code:
            return code
        return (yield from ask(metrics_host, metrics_port, path="/livez"))
    from rqsqs import embedded
    from rqsqs._io import connect, defaults
    from rqsqs.alarms.actions import read
    from rqsqs.cli.console import NOT_PRIVATE, console_maker
    from rqsqs.gateway import Gateway, GatewaySettings, open_queues
    from rqsqs.gateway.access_log import AccessLog
    from rqsqs.gateway.counts import Counts
    from rqsqs.gateway.keys import read_for_gateway
    from rqsqs.gateway.serving import ServingSettings, listen, serve
    from rqsqs.gateway.start_rules import is_loopback, start_rule

    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    if actions_file and not alarms:
        raise click.UsageError("--actions goes with --alarms")
    authentication, warning = start_rule(
        has_keys=keys is not None, no_auth=no_auth, allow_unauthenticated=allow_unauthenticated, host=host
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="rqsqs: %(message)s")
    if opentelemetry:
        telemetry.require()
    url = connect.resolve(settings.url)
    gateway_settings = GatewaySettings(
        url=url,
        prefix=defaults.prefix_of(settings.given_prefix),
        region=region,
        base_url=base_url,
        allowed_hosts=allowed_hosts,
        trusted_proxies=trusted_proxies,
        keys=Path(keys) if keys else None,
        allow_anonymous=allow_anonymous,
        requests_per_second=requests_per_second,
        polls_per_key=polls_per_key,
        alarms=alarms,
        actions=Path(actions_file) if actions_file else None,
        is_loopback=is_loopback(host),
    )
    if keys:
        read_for_gateway(Path(keys), region=region)  # refuse one that cannot be used before anything listens
    if actions_file:
        read(Path(actions_file))
    serving = ServingSettings(
        host,
        port,
        processes,
        shutdown_timeout,
        Path(tls_cert) if tls_cert else None,
        Path(tls_key) if tls_key else None,
    )
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen(host, port))
        metrics_listener = None if metrics_port is None else stack.enter_context(listen(metrics_host, metrics_port))
        if url.startswith("embedded:"):
            stack.enter_context(embedded.acquire(url))
        if queues_file:
            from rqsqs.gateway import queue_files

            queue_files.create(queue_files.read(Path(queues_file)), gateway_settings, Path(queues_file))
        address = _address(listener.getsockname(), bool(tls_cert))
        metrics_url = None if metrics_listener is None else f"{_address(metrics_listener.getsockname(), False)}/metrics"
        yield Lines([address], url=address, processes=processes, metrics_url=metrics_url)
        if warning:
            output.note(f"rqsqs: {warning}")
        if authentication == "keys":
            for text in open_queues.warnings(gateway_settings):
                output.note(f"rqsqs: {text}")
        output.note(f"the gateway answers at {address}: AWS_ENDPOINT_URL_SQS={address}")
        console = console_maker(gateway_settings, is_read_only=read_only) if with_console else None
        if console is not None:
            output.note(f"the console is at {address}/console/")
            if keys and not (tls_cert or trusted_proxies or is_loopback(host)):
                output.note(NOT_PRIVATE)
        if metrics_url:
            output.note(f"Prometheus can scrape {metrics_url}")
            if not is_loopback(metrics_host):
                where = metrics_host or "every address"
                output.note(f"rqsqs: other machines can reach {where}, and read the names and numbers of all queues")
        sys.stdout.flush()
        counts = Counts(processes) if metrics_listener is not None or gateway_settings.is_open else None

        class Observed(Gateway):
            async def close(self) -> None:
                await super().close()
                telemetry.flush()  # nobody else does it at the end of one of several processes

        def make(process: int) -> Gateway:
            if opentelemetry:
                telemetry.switch_on()
            if counts is not None:
                counts.take(process)
            kind = Observed if opentelemetry else Gateway
            mounted = None if console is None else {"/console": console()}
            return kind(gateway_settings, AccessLog(sys.stdout.buffer) if access_log else None, counts, mounted)

        with contextlib.suppress(KeyboardInterrupt):
            serve(make, serving, listener, metrics_listener)
    return OK


def _address(bound: Any, is_secure: bool) -> str:
    host = bound[0]
    shown = {"127.0.0.1": "localhost", "0.0.0.0": "localhost", "::": "localhost", "::1": "localhost"}.get(host, host)
    return f"{'https' if is_secure else 'http'}://{f'[{shown}]' if ':' in shown else shown}:{bound[1]}"
