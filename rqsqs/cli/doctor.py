"""`rqsqs doctor`: checks of the server (doctor_checks.py), of the queues and of alarms."""

from __future__ import annotations

import contextlib
import shlex
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace

import click
import redis
from redis.connection import ConnectionPool, UnixDomainSocketConnection

import rqsqs
from rqsqs._core import flows
from rqsqs._core.alarm_records import AlarmHealth
from rqsqs._core.operations.alarms import read_health
from rqsqs._io import connect, error_mapping
from rqsqs._io.server_checks import Finding
from rqsqs._io.sync import clients
from rqsqs.cli import output, paging
from rqsqs.cli.doctor_checks import Server, check_server
from rqsqs.cli.report import Record, Result, Results
from rqsqs.cli.settings import Settings, reported
from rqsqs.gateway import open_queues
from rqsqs.inspection import words

DAMAGES = 10  # of a queue, listed one by one
NAMES = 5  # in a sentence
HOUR_S, DAY_S = 3600, 86_400
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
    urls = clients.master_urls(connect.resolve(settings.server))
    for url in urls:
        where = connect.shown(url)
        with _client(url) as client:
            try:
                client.ping()
            except redis.exceptions.NoPermissionError:
                pass  # it is there, and `rights` will tell
            except redis.RedisError as error:
                raise error_mapping.server(error, sent=False, where=where) or error from None
            if not settings.as_json:
                output.note(f"checking {where}")
            for finding in check_server(Server(client, settings.prefix, is_cluster="+cluster:" in settings.server)):
                is_too_old |= finding.check == "version" and finding.level == "fail"
                if len(urls) > 1 and settings.as_json:
                    finding = replace(finding, text=f"{where}: {finding.text}")
                yield finding
    if not is_too_old:
        yield from check_queues(settings.connect())
        yield from check_alarms(settings.connect())


@contextlib.contextmanager
def _client(url: str) -> Iterator[redis.Redis]:
    options, held = connect.settings_of(url, {})
    pool = connect.open_pool(url, options, ConnectionPool, UnixDomainSocketConnection)
    try:
        yield redis.Redis(connection_pool=pool)
    finally:
        pool.disconnect()
        if held:
            held.release()


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


def check_queues(connection: rqsqs.Connection) -> Iterator[Finding]:
    """Queues that want somebody's attention."""
    paused, without, dead = [], [], []
    opened: list[open_queues.OpenQueue] = []
    number = looked = 0
    damaged: list[Finding] = []
    doubtful: list[Finding] = []
    try:
        for queue in connection.queues():
            try:
                members, errors = connection.transport.run(flows.find_damage(connection.transport.queue(queue.name)))
                looked += members
                damaged += [Finding("damage", "fail", f"{queue.name}: {error}") for error in errors[:DAMAGES]]
                if len(errors) > DAMAGES:
                    damaged.append(Finding("damage", "fail", f"{queue.name}: {len(errors) - DAMAGES:,} more"))
                doubts = connection.transport.run(flows.doubts(connection.transport.queue(queue.name)))
                doubtful += [doubtful_number(queue.name, doubt) for doubt in doubts[:DAMAGES]]
                info, feeding = queue.info(), queue.dead_letter_sources()
                waiting = paging.total(queue.counts()) if feeding else 0
            except rqsqs.QueueDoesNotExist:
                continue
            except rqsqs.QueueDamaged:  # told
                number += 1
                continue
            number += 1
            if info.is_paused:
                paused.append(queue.name)
            if (found := open_queues.open_queue(queue.name, info.attributes.get("Policy"))) is not None:
                opened.append(found)
            if not feeding and "RedrivePolicy" not in info.attributes:
                without.append(queue.name)
            if waiting:
                dead.append(f"{queue.name} ({waiting:,})")
    except rqsqs.RqsqsError as error:
        yield Finding("queues", "fail", f"the queues cannot be looked at: {error}", "see the findings above")
        return
    yield Finding("queues", "ok", f"{words.counted(number, 'queue')} under the prefix")
    yield from damaged
    if not damaged:
        text = f"nothing is damaged, as far as was looked: settings, keys and {words.counted(looked, 'member')} of them"
        yield Finding("damage", "ok", text)
    yield from doubtful
    if not doubtful:
        yield Finding("numbers", "ok", "counts and metrics add up")
    for found in opened:
        advice = "at a gateway every access key of the account may do this, and with --allow-anonymous everybody"
        if not found.actions:
            advice = "the root user of its account may set another one, or remove it"
        yield Finding("policies", "warn", open_queues.description(found), advice)
    if paused:
        yield Finding("paused", "warn", f"paused: {_names(paused)}", "rqsqs resume QUEUE lets them continue")
    if dead:
        yield Finding("dead letters", "warn", f"dead letters wait in {_names(dead)}", "rqsqs dlq ls QUEUE tells why")
    if without:
        text = f"without a dead-letter queue: {_names(without)}"
        advice = "a message that always fails is received again and again: rqsqs set QUEUE --dlq QUEUE-dead"
        yield Finding("dead-letter queues", "warn", text, advice)


def check_alarms(connection: rqsqs.Connection) -> Iterator[Finding]:
    """Does somebody evaluate the alarms, and do their actions?"""
    try:
        health: AlarmHealth = connection.transport.run(read_health(connection.transport.space))
    except rqsqs.RqsqsError as error:
        yield Finding("alarms", "fail", f"the alarms cannot be looked at: {error}", "see the findings above")
        return
    last = health.evaluation
    start = "start `rqsqs alarms run`, or a gateway with --alarms, or a worker with --actions"
    if health.is_late:
        number = words.counted(health.alarms, "alarm") if health.alarms else words.counted(health.rules, "rule")
        text = f"nobody evaluates {number}"
        text += "" if last is None else f"; {last.evaluator} did last, {words.age(last.age_s)} ago"
        yield Finding("alarms", "fail", text, f"{start}; see its log")
    elif health.alarms + health.rules:
        assert last is not None
        text = f"{words.counted(health.alarms, 'alarm')}, evaluated {words.age(last.age_s)} ago by {last.evaluator}"
        yield Finding("alarms", "ok", text)
    else:
        yield Finding("alarms", "ok", "no alarms, so nobody is woken; rqsqs alarms defaults QUEUE sets some")
    if last is not None and last.failed and not health.is_late:
        text = f"{words.counted(last.failed, 'alarm')} could not be evaluated"
        yield Finding("alarms", "warn", text, f"the log of {last.evaluator} says why")
    yield from _check_actions(health, start)


def _check_actions(health: AlarmHealth, start: str) -> Iterator[Finding]:
    waiting = words.counted(health.waiting, "action")
    if health.is_overdue:
        text = f"nobody does the actions of alarms; {waiting} not done, the first due for {words.age(health.overdue_s)}"
        yield Finding("actions", "fail", text, f"{start}; see its log")
    advice = "rqsqs alarms history tells which, and why"
    given_up, failed, done = (health.since(outcome) for outcome in ("given_up", "failed", "done"))
    if given_up is not None and given_up < DAY_S:
        text = f"an action of an alarm failed and was given up {words.age(given_up)} ago"
        yield Finding("actions", "warn", text, advice)
    elif failed is not None and failed < HOUR_S and health.waiting and (done is None or failed < done):
        text = f"actions of alarms fail, the last one {words.age(failed)} ago; {waiting} to be tried again"
        yield Finding("actions", "warn", text, advice)


def doubtful_number(queue: str, doubt: flows.Doubt) -> Finding:
    """A number of a queue that cannot be right."""
    if doubt.found is None:
        text = f"{queue}: its metric {doubt.name} is {doubt.says:,}, which is impossible"
    else:
        text = f"{queue}: its counter {doubt.name} says {doubt.says:,}, but {doubt.found:,} are there"
    if not doubt.repair:
        return Finding("numbers", "warn", text, "this is a bug of rqsqs, please report it")
    command = " ".join(map(shlex.quote, ["redis-cli", *doubt.repair.split(" ")]))
    advice = f"keys were edited or restored in part; no message is lost by it. Run {command}, then doctor again"
    return Finding("numbers", "warn", text, advice)


def _names(found: list[str]) -> str:
    more = f" and {len(found) - NAMES:,} more" if len(found) > NAMES else ""
    return ", ".join(found[:NAMES]) + more
