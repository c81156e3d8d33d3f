"""`rqsqs worker`: runs the worker of an application, in one process or several."""

from __future__ import annotations

import dataclasses
import os
import signal
import sys
import traceback
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from rqsqs.cli import logs, output, telemetry
from rqsqs.cli.parameter_types import DURATION, FILE, QUEUE
from rqsqs.cli.settings import Settings, reported

CHANGES = (
    "concurrency",
    "heartbeat_interval",
    "shutdown_timeout",
    "actions",
)  # options that a Worker has under the same name


@click.command("worker")
@click.argument("target", type=FILE)
@click.option("--concurrency", "-c", type=click.IntRange(1, 10_000), metavar="N",
              help="Messages handled at a time, in each process [as the worker says, else 10].")  # fmt: skip
@click.option("--processes", "-p", type=click.IntRange(1, 1000), default=1, metavar="N", help="Processes [1].")
@click.option("--queue", "-q", "queues", type=QUEUE, multiple=True, metavar="QUEUE",
              help="Serve this one of the worker's queues; may be repeated [all].")  # fmt: skip
@click.option("--heartbeat-interval", type=DURATION, help="Time between two heartbeats [as the worker says, else 5s].")
@click.option("--shutdown-timeout", type=DURATION, help="Time that handlers get to finish at a stop [else 30s].")
@click.option("--lambda", "lambda_queue", type=QUEUE, metavar="QUEUE",
              help="TARGET is a function as for AWS Lambda: it handles this queue.")  # fmt: skip
@click.option(
    "--batch", type=click.IntRange(1, 1000), metavar="N", help="With --lambda: records per event, at most [10]."
)
@click.option("--timeout", type=DURATION, help="With --lambda: time limit of a call [none].")
@click.option("--actions", type=FILE,
              help="Evaluate alarms too, with this actions file: one of all processes that may does it.")  # fmt: skip
@click.option("--health-port", type=click.IntRange(0, 65_535), metavar="N",
              help="Serve /livez, /readyz and /metrics on this port; 0 = a free one.")  # fmt: skip
@click.option("--health-host", default="127.0.0.1", metavar="ADDRESS",
              help="Address of the health checks; 0.0.0.0 for all addresses [127.0.0.1].")  # fmt: skip
@click.option("--opentelemetry", is_flag=True, help=telemetry.HELP)
@click.option("--reload", is_flag=True, help="Development: restart when a *.py file changes.")
@click.option("--reload-dir", "folders", type=FILE, multiple=True, metavar="FOLDER",
              help="Watch files below this folder; may be repeated [the current directory].")  # fmt: skip
@click.option(
    "--log-level", type=click.Choice(logs.LEVELS), default="info", help="Lowest level logged to stderr [info]."
)
@click.option("--report-to", type=click.IntRange(0, 2**31 - 1), hidden=True)
@click.option("--given", type=click.Choice(["url", "prefix"]), multiple=True, hidden=True)
@reported
@click.pass_context
def worker(context: click.Context, settings: Settings, /, **given: Any) -> int:
    """Run the Worker that TARGET names until SIGTERM or Ctrl-C, and end when the running handlers have finished. After
    a second signal, or after --shutdown-timeout, it gives their messages back and ends at once.

    TARGET is module:attribute, or a module alone that has a `worker`, or the path of a file: app:worker, app, app.py.

    With --processes a supervisor starts processes, replaces those that die, and starts new ones, one after the other,
    at SIGHUP. A process that was drained (`rqsqs consumers drain`) stays away.

    Its server is the one that --url names, else the Worker's own, else RQSQS_URL, else
    redis://localhost:6379/0.

    The log goes to stderr; lines of handlers name queue and message. With --json each line is an object.

    \b
    Examples:
      rqsqs worker app
      rqsqs worker app:worker --processes 4 --concurrency 20 --health-port 8080
      rqsqs worker app.py --queue orders --reload
      rqsqs worker my_lambda:handler --lambda orders --batch 10 --timeout 30s
    """
    given["given"] = given["given"] or tuple(name for name in ("url", "prefix") if _is_on_command_line(context, name))
    if given["lambda_queue"] is None and (given["batch"] is not None or given["timeout"] is not None):
        raise click.UsageError("--batch and --timeout go with --lambda")
    if given["lambda_queue"] is not None and given["queues"]:
        raise click.UsageError("--lambda names the queue: leave --queue out")
    if given["folders"] and not given["reload"]:
        raise click.UsageError("--reload-dir goes with --reload")
    if given["opentelemetry"]:
        telemetry.require()
    if given["actions"] is not None:
        from rqsqs.alarms.actions import read

        read(given["actions"])  # refuse one that cannot be used before anything starts
    if given["report_to"] is None and (given["processes"] > 1 or given["reload"]):
        return _supervise(settings, given)
    return _work(settings, given)


def _is_on_command_line(context: click.Context | None, name: str) -> bool:
    """Was an option given, before or behind the name of the command?"""
    while context is not None:
        if context.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            return True
        context = context.parent
    return False


def _supervise(settings: Settings, given: dict[str, Any]) -> int:
    from rqsqs.worker import file_changes
    from rqsqs.worker.supervisor import Supervisor

    logs.install(given["log_level"], as_json=settings.as_json)
    folders = [Path(folder) for folder in given["folders"] or (["."] if given["reload"] else [])]
    if folders:
        file_changes.require(folders)
    if settings.url:  # not among the arguments: it may hold a password
        os.environ["RQSQS_URL"] = settings.url
    os.environ["RQSQS_PREFIX"] = settings.prefix
    health = None if given["health_port"] is None else (given["health_port"], given["health_host"])
    command = [sys.executable, "-m", "rqsqs", "worker", *_arguments(settings, given)]
    return Supervisor(command, given["processes"], health=health, folders=folders).run()


def _arguments(settings: Settings, given: dict[str, Any]) -> list[str]:
    """What a process is started with."""
    found = ["--json"] if settings.as_json else []
    for name in (*CHANGES, "log_level", "batch", "timeout"):
        if given[name] is not None:
            found.append(f"--{name.replace('_', '-')}={given[name]}")
    if given["lambda_queue"] is not None:
        found.append(f"--lambda={given['lambda_queue']}")
    found += [f"--queue={name}" for name in given["queues"]]
    found += ["--opentelemetry"] if given["opentelemetry"] else []
    found += [f"--given={name}" for name in given["given"]]
    return [*found, given["target"]]


def _work(settings: Settings, given: dict[str, Any]) -> int:
    from rqsqs.worker import Worker, process
    from rqsqs.worker.health import Health
    from rqsqs.worker.supervisor_link import Reporter

    found: Worker | None = None

    def status() -> dict[str, Any]:
        return {"state": "loading", "is_ready": False, "is_live": True} if found is None else found.status()

    def processes() -> dict[int, dict[str, Any]]:
        metrics = None if found is None else found.metrics()
        return {1: {**status(), "metrics": None if metrics is None else dataclasses.asdict(metrics)}}

    def consumer() -> str | None:
        return None if found is None else found.status().get("consumer_id")

    logs.install(given["log_level"], as_json=settings.as_json, consumer=consumer)
    reporter = None
    if given["report_to"] is not None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)  # for the supervisor
        reporter = Reporter(given["report_to"])
        reporter.start()
    elif signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # not under nohup: the terminal was closed
        signal.signal(signal.SIGHUP, lambda *_: os.kill(os.getpid(), signal.SIGTERM))
    if given["health_port"] is not None:
        Health(status, given["health_port"], given["health_host"], processes=processes).start()
    if given["opentelemetry"]:
        telemetry.switch_on()
    found = _load(settings, given)
    if found is None:
        return 1
    if reporter is None:
        found.run()
    else:
        reporter.serve(found)
    process.exit_in_time(0)
    return 0


def _load(settings: Settings, given: dict[str, Any]) -> Any:
    """The Worker, with the options of the command line; None if its module is broken, which was said then."""
    from rqsqs.worker import Worker, loading

    try:
        if given["lambda_queue"] is None:
            found = loading.worker(given["target"])
        else:
            found = Worker(prefix=settings.prefix)
            function = loading.function(given["target"])
            found.add_lambda(given["lambda_queue"], function, batch=given["batch"] or 10, timeout=given["timeout"])
    except loading.ModuleRaised as error:
        output.lines("".join(traceback.format_exception(error.error)).rstrip("\n"), err=True)
        output.note(f"rqsqs: {error}")
        return None
    changes = {name: given[name] for name in CHANGES if given[name] is not None}
    if found.settings.url is None or "url" in given["given"]:
        changes["url"] = settings.server
    if "prefix" in given["given"] or found.settings.prefix is None:
        changes["prefix"] = settings.prefix
    found.configure(queues=given["queues"] or None, **changes)
    if found.settings.url != settings.server:
        settings.given_url = found.settings.url  # it says itself where its queues are
    return found
