"""`rqsqs console`: a page to look into queues."""

from __future__ import annotations

import contextlib
import importlib.util
import logging
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from rqsqs.cli import output
from rqsqs.cli.parameter_types import FILE
from rqsqs.cli.report import OK, Lines, Results
from rqsqs.cli.settings import Settings, reported

if TYPE_CHECKING:
    from rqsqs.console import Console
    from rqsqs.gateway import GatewaySettings

NEEDED = ("jinja2", "python_multipart", "starlette")
PORT = 9325
NOT_PRIVATE = (
    "rqsqs: from other machines nobody can log in to the console: that needs TLS (--tls-cert, --tls-key), here or in a "
    "proxy that --trusted-proxy names"
)


@click.command("console")
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(0, 65_535), default=PORT, show_default=True, metavar="N",
              help="Port to listen on; 0 takes a free one.")  # fmt: skip
@click.option("--keys", type=FILE, envvar="RQSQS_KEYS",
              help="Who may look: a file that `rqsqs keys` writes. Else the variable RQSQS_KEYS.")  # fmt: skip
@click.option("--no-auth", is_flag=True, help="Ask nobody who they are: who can connect may do everything.")
@click.option("--allow-unauthenticated", is_flag=True, help="With --no-auth: even where other machines can connect.")
@click.option("--read-only", is_flag=True, help="Nothing can be changed.")
@click.option("--allowed-host", "allowed_hosts", multiple=True, metavar="NAME",
              help="A name under which it answers with no authentication; can be repeated.")  # fmt: skip
@click.option("--trusted-proxy", "trusted_proxies", multiple=True, metavar="ADDRESS",
              help="A proxy, or a network of them, whose X-Forwarded-* headers count; can be repeated.")  # fmt: skip
@click.option("--tls-cert", type=FILE, help="Certificate, in PEM; read again when it changes.")
@click.option("--tls-key", type=FILE, help="Its key, in PEM.")
@reported
def console(
    settings: Settings,
    host: str,
    port: int,
    keys: str | None,
    no_auth: bool,
    allow_unauthenticated: bool,
    read_only: bool,
    allowed_hosts: tuple[str, ...],
    trusted_proxies: tuple[str, ...],
    tls_cert: str | None,
    tls_key: str | None,
) -> Results:
    """Look into the queues with a browser.

    It needs the extra `console`: pip install 'rqsqs[console]'. A gateway has the same page at /console/.

    \b
    Examples:
      rqsqs console
      rqsqs console --url redis://queues:6379 --read-only
      rqsqs console --host 0.0.0.0 --keys keys.toml --tls-cert cert.pem --tls-key key.pem
    """
    from rqsqs import embedded
    from rqsqs._io import connect, defaults

    if missing := [name for name in NEEDED if importlib.util.find_spec(name) is None]:
        raise click.UsageError(f"the console needs {missing[0]}: pip install 'rqsqs[console]' installs it")
    from rqsqs.gateway import GatewaySettings
    from rqsqs.gateway.keys import read_for_gateway
    from rqsqs.gateway.serving import ServingSettings, listen, serve
    from rqsqs.gateway.start_rules import is_loopback, start_rule

    if (tls_cert is None) != (tls_key is None):
        raise click.UsageError("--tls-cert and --tls-key go together")
    _, warning = start_rule(
        has_keys=keys is not None, no_auth=no_auth, allow_unauthenticated=allow_unauthenticated, host=host
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="rqsqs: %(message)s")
    url = connect.resolve(settings.url)
    gateway = GatewaySettings(
        url=url,
        prefix=defaults.prefix_of(settings.given_prefix),
        allowed_hosts=allowed_hosts,
        trusted_proxies=trusted_proxies,
        keys=Path(keys) if keys else None,
        is_loopback=is_loopback(host),
    )
    if keys:
        read_for_gateway(Path(keys))  # refuse one that cannot be used before anything listens
    serving = ServingSettings(
        host, port, tls_cert=Path(tls_cert) if tls_cert else None, tls_key=Path(tls_key) if tls_key else None
    )
    maker = console_maker(gateway, is_read_only=read_only)
    assert maker is not None
    with contextlib.ExitStack() as stack:
        listener = stack.enter_context(listen(host, port))
        if url.startswith("embedded:"):
            stack.enter_context(embedded.acquire(url))
        bound = listener.getsockname()
        shown = "localhost" if bound[0] in ("127.0.0.1", "0.0.0.0", "::", "::1") else bound[0]
        address = f"{'https' if tls_cert else 'http'}://{f'[{shown}]' if ':' in shown else shown}:{bound[1]}/"
        yield Lines([address], url=address)
        if warning:
            output.note(f"rqsqs: {warning}")
        if keys and not (tls_cert or trusted_proxies or is_loopback(host)):
            output.note(NOT_PRIVATE)
        output.note("open this page in a browser; Ctrl-C ends it")
        sys.stdout.flush()
        with contextlib.suppress(KeyboardInterrupt):
            serve(lambda _: maker(), serving, listener)
    return OK


def console_maker(gateway: GatewaySettings, *, is_read_only: bool) -> Callable[[], Console] | None:
    """What makes the console in the process that runs it; None if what it needs is not installed."""
    if any(importlib.util.find_spec(name) is None for name in NEEDED):
        return None

    def make() -> Console:
        from rqsqs import console

        return console.Console(console.ConsoleSettings(gateway, is_read_only))

    return make
