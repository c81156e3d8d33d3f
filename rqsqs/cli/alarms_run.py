"""`rqsqs alarms run`: evaluates alarms and does their actions."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from pathlib import Path

import click

from rqsqs.cli import output
from rqsqs.cli.parameter_types import FILE
from rqsqs.cli.report import OK, REFUSED, Result, Results
from rqsqs.cli.settings import Settings, reported
from rqsqs.inspection import words


@click.command("run")
@click.option("--actions", "file", type=FILE, metavar="FILE",
              help="The actions file: commands, hosts of webhooks and their secrets; read again when it "
              "changes.")  # fmt: skip
@click.option("--once", is_flag=True, help="Evaluate now, do the actions that are due, and end.")
@reported
def run(settings: Settings, file: str | None, once: bool) -> Results:
    """Evaluate alarms each minute, and do their actions.

    It runs until Ctrl-C. Several do no harm: one evaluates, and the others wait until it ends or dies. It also writes
    the history of queues where no worker and no gateway does (see `rqsqs metrics sample`), as alarms look at that. Each
    transition is logged.

    \b
    Examples:
      rqsqs alarms run
      rqsqs alarms run --actions /etc/rqsqs/actions.toml
    """
    import rqsqs.aio
    from rqsqs._core.actors import user
    from rqsqs.alarms.actions import ActionsConfig, ActionsFile
    from rqsqs.alarms.running import AlarmRunner
    from rqsqs.gateway.alarm_rights import SendRights
    from rqsqs.metrics.sampling import Sampler
    from rqsqs.sqs.context import DEFAULT_ACCOUNT

    logging.basicConfig(level=logging.INFO, stream=sys.stderr, format="rqsqs: %(message)s")
    config = ActionsConfig if file is None else ActionsFile(Path(file)).current

    async def sample(connection: rqsqs.aio.Connection) -> None:
        sampler = Sampler(connection.transport.space)
        while True:
            await asyncio.sleep(sampler.delay())
            try:
                await connection.transport.run(sampler.turn())
            except Exception as error:
                if sampler.failed(error):
                    return

    async def until_signalled() -> AlarmRunner:
        ended = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM):
            asyncio.get_running_loop().add_signal_handler(number, ended.set)
        async with rqsqs.aio.connect(settings.server, prefix=settings.prefix) as connection:
            connection.transport.space.actor = user()
            rights = SendRights(connection.transport, DEFAULT_ACCOUNT)
            runner = AlarmRunner(connection, config, may_send=rights)
            if once:
                await runner.once()
                return runner
            output.note("evaluates alarms each minute; Ctrl-C ends it")
            tasks = [
                asyncio.create_task(each) for each in (runner.run(gives_up=True), sample(connection), ended.wait())
            ]
            try:
                await asyncio.wait((tasks[0], tasks[2]), return_when=asyncio.FIRST_COMPLETED)
            finally:
                for task in tasks:
                    task.cancel()
                await asyncio.wait(tasks)
            if not tasks[0].cancelled():
                tasks[0].result()
            return runner

    runner = asyncio.run(until_signalled())
    if once:
        last = runner.evaluator.last
        count = 0 if last is None else last.alarms
        failed = 0 if last is None else last.failed
        yield Result(f"evaluated {words.counted(count, 'alarm')}", evaluated=count, failed=failed)
        return REFUSED if failed else OK
    return OK
