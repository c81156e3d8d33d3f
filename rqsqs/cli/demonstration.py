"""`rqsqs demo`: rqsqs at work."""

from __future__ import annotations

import signal

import click

from rqsqs.cli import output
from rqsqs.cli.settings import Settings, reported


@click.command("demo")
@click.option("--messages", "-n", type=click.IntRange(1000, 1_000_000), default=10_000, metavar="N",
              help="About so many messages [10000].")  # fmt: skip
@reported
def demo(settings: Settings, messages: int) -> int:
    """Show rqsqs at work: a cache kept up to date through a FIFO queue, with everything that goes wrong in real life.

    Producers send operations on a cache, made from the files of Python's own library: store a digest, remove a key.
    Four worker processes apply them, in order for each key. Some messages are sent twice, some cannot be applied and
    end in the dead-letter queue until the bug is fixed, and one worker is killed in the middle. In the end the cache
    is compared with what the operations say; the exit code tells whether it is equal.

    Without --url and RQSQS_URL it brings its own server, in memory, and leaves nothing behind.
    """
    from rqsqs.demo import show

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as after Ctrl-C: no process stays behind
    return show.run(
        settings.url,
        messages,
        prefix=settings.prefix,
        as_json=settings.as_json,
        console=output.progress_console(),
    )
