"""`rqsqs metrics sample`: writes the history of queues, where no worker and no gateway does."""

from __future__ import annotations

import logging
import signal
import sys
import threading

import click

import rqsqs
from rqsqs.cli import output
from rqsqs.cli.report import OK, REFUSED, Result, Results
from rqsqs.cli.settings import Settings, reported
from rqsqs.inspection import words


@click.command("sample")
@click.option("--once", is_flag=True, help="Take one sample of each queue, now, and end.")
@reported
def sample(settings: Settings, once: bool) -> Results:
    """Write the history of all queues.

    It takes a sample of their metrics each minute, until Ctrl-C. Workers and gateways do so anyway, one of them for
    all. This is for servers without any. Several do no harm: one samples, and the others wait until it ends or dies.

    \b
    Examples:
      rqsqs metrics sample
      rqsqs metrics sample --once
    """
    from rqsqs.metrics.sampling import Sampler

    transport = settings.connect().transport
    sampler = Sampler(transport.space)
    if once:
        from rqsqs._core.flows.metric_history import sample as sample_all

        found = transport.run(sample_all(transport.space))
        for error in found.errors:
            output.note(f"rqsqs: {error}")
        text = f"took a sample of {words.counted(found.taken, 'queue')}"
        if found.left_out:
            text += f"; {found.left_out:,} had one of this minute, or were created in it"
        yield Result(text, sampled=found.taken, left_out=found.left_out, failed=len(found.errors))
        return REFUSED if found.errors else OK
    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="rqsqs: %(message)s")
    ended = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, lambda *_: ended.set())
    holder = ""
    while not ended.is_set():
        try:
            transport.run(sampler.turn())
        except rqsqs.ServerError as error:
            if sampler.failed(error):
                raise
        if sampler.holder != holder:
            holder = sampler.holder
            output.note("samples all queues each minute; Ctrl-C ends it" if sampler.is_holder else f"{holder} samples")
        ended.wait(sampler.delay())
    return OK
