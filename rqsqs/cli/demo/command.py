"""`rqsqs demo`: rqsqs at work."""

from __future__ import annotations

import signal

import click

from rqsqs.cli import output
from rqsqs.cli.report import OK, REFUSED, Lines, Results
from rqsqs.cli.settings import Settings, reported


@click.command("demo")
@click.option("--messages", "-n", type=click.IntRange(1000, 1_000_000), default=10_000, metavar="N",
              help="About how many messages [10000].")  # fmt: skip
@reported
def demo(settings: Settings, messages: int) -> Results:
    """Show rqsqs at work: a cache kept up to date through a FIFO queue, with everything that goes wrong in real life.

    Producers send operations on a cache, made from the files of Python's own library: store a digest, remove a key.
    Four worker processes apply them, in order for each key. Some messages are sent twice, some cannot be applied and
    end in the dead-letter queue until the bug is fixed, and one worker is killed in the middle. In the end the cache
    is compared with what the operations say; the exit code tells whether it is equal.

    Without --url and RQSQS_URL it brings its own server, in memory, and leaves nothing behind.
    """
    from rqsqs.cli.demo import show

    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends as after Ctrl-C: no process stays behind
    console = output.progress_console()
    try:
        summary = show.run(settings.url, messages, console, prefix=settings.prefix, quiet=settings.as_json)
    except show.DemoFailed as error:
        raise click.ClickException(f"the demo failed: {error}") from None
    yield Lines(show.summary_lines(summary), **summary)
    return OK if summary["equal"] else REFUSED
