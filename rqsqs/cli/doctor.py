"""`rqsqs doctor`: prints what the checks of rqsqs/doctor/ find."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import click

from rqsqs._io import connect
from rqsqs._io.server_checks import Finding
from rqsqs._io.sync import clients
from rqsqs.cli import output
from rqsqs.cli.report import Record, Result, Results
from rqsqs.cli.settings import Settings, reported
from rqsqs.doctor.alarms import check_alarms
from rqsqs.doctor.queues import check_queues
from rqsqs.doctor.server import Server, check_server, opened

COLOURS = {"ok": "green", "warn": "yellow", "fail": "red", "skip": "cyan"}


@click.command("doctor")
@reported
def doctor(settings: Settings) -> Results:
    """Check whether the server is fit for queues and the queues are well; each finding says what to do.

    Looked at are the version, memory and eviction, persistence, replication, connections, clock, round trip, rights,
    scripts and errors of the server, then queues that are damaged (settings, keys and a hundred messages of each
    state), whose numbers do not add up, that have policies that let everybody in, are paused, have dead letters or no
    dead-letter queue, and last whether anybody evaluates the alarms and does their actions. A probe key is written that
    ends by itself after a second; nothing else is changed. Of a cluster every master is checked.

    \b
    Marks:
      ok    as it should be
      warn  works, but look at it
      fail  has to be put right: queues do not work, or can lose messages
      skip  cannot be seen: managed servers refuse some commands

    Exits with 0 if nothing failed, with 1 otherwise, with 3 if the server cannot be reached.

    \b
    Examples:
      rqsqs --url redis://localhost:6379/0 doctor
      rqsqs doctor --json | jq -r 'select(.level == "fail") | .advice'
    """
    has_failed, advice = False, ""
    for finding in _findings(settings):
        has_failed |= finding.level == "fail"
        yield FindingView(finding, with_advice=finding.advice != advice)
        sys.stdout.flush()
        advice = finding.advice
    return int(has_failed)


def _findings(settings: Settings) -> Iterator[Finding]:
    is_too_old = False
    masters = clients.masters(connect.resolve(settings.server))
    for master in masters:
        where = connect.shown(master.url)
        with opened(master.url) as client:
            if not settings.as_json:
                output.note(f"checking {where}")
            for finding in check_server(Server(client, settings.prefix, is_cluster=bool(master.slots))):
                is_too_old |= finding.check == "version" and finding.level == "fail"
                if len(masters) > 1 and settings.as_json:
                    finding = replace(finding, text=f"{where}: {finding.text}")
                yield finding
    if not is_too_old:
        yield from check_queues(settings.connect())
        yield from check_alarms(settings.connect())


@dataclass
class FindingView(Result):
    finding: Finding
    with_advice: bool

    def records(self) -> tuple[Record]:
        return (asdict(self.finding),)

    def show(self) -> None:
        level, advice = self.finding.level, self.finding.advice
        output.hanging(f"{level:<4}  ", self.finding.text, bold=True, fg=COLOURS[level])
        if advice and self.with_advice:
            output.hanging("      ", advice, dim=True)
