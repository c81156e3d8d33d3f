"""`rqsqs show`: a queue, or one message of it, in full."""

from __future__ import annotations

import json
from typing import Any

import click

import rqsqs
from rqsqs._base_message import moment
from rqsqs._core import flows
from rqsqs.cli import output
from rqsqs.cli.damaged_messages import Damaged
from rqsqs.cli.message_view import MessageView
from rqsqs.cli.parameter_types import QUEUE
from rqsqs.cli.report import Facts, Record, Result, nothing
from rqsqs.cli.settings import Settings, reported
from rqsqs.inspection import timeline as telling
from rqsqs.inspection import words
from rqsqs.inspection.bodies import attribute_text, body_text, body_type, cause_text
from rqsqs.inspection.causes import NO_CAUSE
from rqsqs.inspection.queues import dead_letter_queue

NUMBERS = {  # settings that are whole numbers: seconds, bytes, a count
    *("DelaySeconds", "DeduplicationWindow", "KmsDataKeyReusePeriodSeconds", "MaximumMessageSize"),
    *("MessageRetentionPeriod", "Partitions", "ReceiveMessageWaitTimeSeconds", "Timeline", "VisibilityTimeout"),
}


@click.command("show")
@click.argument("queue", type=QUEUE)
@click.argument("message_id", required=False)
@click.option("--timeline", is_flag=True, help="Show what happened to the message, also if it is gone.")
@reported
def show(settings: Settings, queue: str, message_id: str | None, timeline: bool) -> Result | int:
    """Show the settings, tags, numbers of messages and dead-letter relations of QUEUE.

    With a MESSAGE_ID show that message instead, wherever it waits: visible, in flight or delayed. A message that a
    worker could not finish tells why, with the traceback. Exits with 4 if QUEUE does not hold it.

    With --timeline also show what happened to that message, step by step, in QUEUE and where it went as a dead letter
    or by a redrive, as far as the timelines of these queues are on (rqsqs set QUEUE --timeline on). The message may be
    gone; exits with 4 if nothing is known of it.

    With --json the settings are numbers, booleans and objects under SQS's names: every duration is a number of seconds,
    those of RetryPolicy too, sizes are bytes, and times are ISO 8601 in UTC.

    \b
    Examples:
      rqsqs show orders
      rqsqs show orders-dead 0199c1a2-7f3e-7000-8000-0123456789ab
      rqsqs show orders 0199c1a2-7f3e-7000-8000-0123456789ab --timeline
      rqsqs show orders --json | jq .attributes.VisibilityTimeout
    """
    target = settings.queue(queue)
    if message_id is None:
        if timeline:
            raise click.UsageError("--timeline needs a MESSAGE_ID")
        return _queue(target)
    if timeline:
        return _with_timeline(target, message_id.lower())
    return _message(target, message_id.lower()) or nothing(f"{queue} holds no message {message_id.lower()}")


def _queue(queue: rqsqs.Queue) -> Result:
    info = queue.info()
    try:
        metrics, tags, sources = queue.metrics(), queue.tags(), queue.dead_letter_sources()
    except rqsqs.QueueDamaged as error:
        output.facts(queue.name, sorted(info.attributes.items()))
        raise error
    numbers = ("visible", "in_flight", "delayed", "oldest_age_s", "sent", "received", "deleted")
    record: Record = {"queue": queue.name, "fifo": queue.is_fifo, "paused": info.is_paused}
    record |= {name: getattr(metrics, name) for name in numbers} | {
        "attributes": {name: _typed(name, value) for name, value in sorted(info.attributes.items())},
        "tags": tags,
        "dead_letter_queue": dead_letter_queue(info),
        "dead_letter_sources": sources,
        "created_at": moment(info.created_at_ms),
        "modified_at": moment(info.modified_at_ms),
    }
    rows = [
        ("kind", "FIFO" if queue.is_fifo else "standard"),
        ("messages", f"{metrics.visible:,} visible, {metrics.in_flight:,} in flight, {metrics.delayed:,} delayed"),
        ("since created", f"{metrics.sent:,} sent, {metrics.received:,} received, {metrics.deleted:,} deleted"),
        ("created", f"{moment(info.created_at_ms):%Y-%m-%d %H:%M:%S} UTC"),
        ("changed", f"{moment(info.modified_at_ms):%Y-%m-%d %H:%M:%S} UTC"),
    ]
    if metrics.oldest_sent_at_ms is not None:
        rows.insert(2, ("oldest message", f"sent {words.since(moment(metrics.oldest_sent_at_ms))} ago"))
    if info.is_paused:
        rows.append(("paused", f"yes: nothing is handed out until rqsqs resume {queue.name}"))
    for attribute, value in sorted(info.attributes.items()):
        rows.append((attribute, readable(attribute, value)))
    rows += [(f"tag {tag}", value) for tag, value in sorted(tags.items())]
    if sources:
        rows.append(("dead letters of", ", ".join(sources)))
    return Facts(queue.name, rows, **record)


def _typed(attribute: str, value: str) -> Any:
    """A setting for programs: durations in seconds. What is damaged stays text."""
    try:
        if attribute == "RetryPolicy":
            return _policy_in_seconds(json.loads(value))
        if attribute in ("RedrivePolicy", "RedriveAllowPolicy", "Policy"):
            return json.loads(value)
        if attribute in NUMBERS:
            return int(value)
    except (ValueError, LookupError, TypeError, AttributeError):
        return value
    return {"true": True, "false": False}.get(value, value)


def _policy_in_seconds(policy: Any) -> Any:
    if policy == "dead":
        return "never"
    typed = {"base": policy["base"] / 1000, "cap": policy["cap"] / 1000}
    if "exceptions" not in policy:
        return typed
    return typed | {"exceptions": {name: _policy_in_seconds(rule) for name, rule in policy["exceptions"].items()}}


def readable(attribute: str, value: str) -> str:
    try:
        return _in_words(attribute, value)
    except (ValueError, LookupError, TypeError, AttributeError):  # damaged
        return f"{value} (damaged: rqsqs doctor tells more)"


def _in_words(attribute: str, value: str) -> str:
    if attribute == "RedrivePolicy":
        policy = json.loads(value)
        target = policy["deadLetterTargetArn"].rpartition(":")[2]
        return f"to {target} after {words.counted(int(policy['maxReceiveCount']), 'receive')}"
    if attribute == "RetryPolicy":
        policy = json.loads(value)
        rules = {"": policy} | policy.get("exceptions", {})
        return ", ".join(f"{name}{'=' if name else ''}{_backoff(rule)}" for name, rule in rules.items())
    if attribute.endswith(("Seconds", "Timeout", "Period", "Window")):
        return f"{words.age(int(value))}{f' ({value} s)' if int(value) >= 100 else ''}" if int(value) else "0 s"
    return value


def _backoff(rule: Any) -> str:
    return "never" if rule == "dead" else f"{words.age(rule['base'] / 1000)}..{words.age(rule['cap'] / 1000)}"


def _message(queue: rqsqs.Queue, message_id: str) -> Result | None:
    found = queue._run(flows.find(queue._ref, message_id))
    if found is None:
        return None
    state, delivery = found
    damage = delivery.damage
    if damage is not None:
        return DamagedInFull.of(damage, delivery)
    return InFull(rqsqs.Message(queue, delivery), state, with_handle=True)


def _with_timeline(queue: rqsqs.Queue, message_id: str) -> Result | int:
    found = queue.timeline(message_id)
    message = _message(queue, message_id)
    if message is None and not found.steps:
        return nothing(_unknown(queue.name, found))
    return WithTimeline(queue.name, message, found)


def _unknown(queue: str, found: rqsqs.Timeline) -> str:
    if not found.is_on:
        return (
            f"nothing is known of {found.message_id}: the timeline of {queue} is off (rqsqs set {queue} --timeline on)"
        )
    since = "" if found.since_ms is None else f", whose timeline begins {moment(found.since_ms):%Y-%m-%d %H:%M:%S} UTC"
    return f"nothing is known of {found.message_id} in {queue}{since}"


class WithTimeline(Result):
    """A message, if it is there, and what happened to it."""

    def __init__(self, queue: str, message: Result | None, found: rqsqs.Timeline) -> None:
        first = message.records()[0] if message else {"queue": queue, "message_id": found.message_id}
        super().__init__(**first, timeline=[step.to_json() for step in found.steps])
        self._queue, self._message, self._found = queue, message, found

    def show(self) -> None:
        found = self._found
        if self._message:
            self._message.show()
        else:
            output.line(found.message_id, bold=True)
            output.line(f"{self._queue} does not hold it now")
        output.line()
        output.line("timeline", bold=True)
        if not found.steps:
            output.line(f"  {_unknown(self._queue, found)}")
        for step in found.steps:
            after = "" if step.after_s is None else f"+{words.age(step.after_s)}"
            when = f"{moment(step.at_ms):%Y-%m-%d %H:%M:%S}.{step.at_ms % 1000:03d}"
            output.line(f"  {when}  {after:>8}  {step.queue}: {telling.title(step)}")
            for fact in telling.facts(step):
                output.hanging(" " * 37, fact, dim=True)


class DamagedInFull(Damaged):
    def show(self) -> None:
        super().show()
        if self.cause is not None:
            output.hanging("  failed  ", cause_text(self.cause))
        output.hanging("  bytes   ", self.data[:200].hex(" ") + (" …" if len(self.data) > 200 else ""))


class InFull(MessageView):
    def show(self) -> None:
        message, cause = self.message, self.message.cause
        output.facts(message.message_id, _facts(message, str(self.state)))
        _block(f"body ({body_type(message.body)})", body_text(message, indent=2))
        if cause is not None and cause.traceback:
            _block("traceback", cause.traceback)


def _facts(message: rqsqs.Message, state: str) -> list[tuple[str, str]]:
    rows = [
        ("state", state.replace("_", " ")),
        ("sent", f"{message.sent_at:%Y-%m-%d %H:%M:%S} UTC, {words.since(message.sent_at)} ago"),
        ("received", words.counted(message.receive_count, "time")),
    ]
    if message.first_received_at is not None:
        rows.append(("first received", f"{message.first_received_at:%Y-%m-%d %H:%M:%S} UTC"))
    if message.visible_at is not None:
        rows.append(("visible", f"{message.visible_at:%Y-%m-%d %H:%M:%S} UTC, in {words.until(message.visible_at)}"))
    for name, value in (
        ("group", message.group),
        ("deduplication id", message.deduplication_id),
        ("sequence number", message.sequence_number),
        ("came from", message.dead_letter_source),
    ):
        if value is not None:
            rows.append((name, value))
    for name, attribute in message.attributes.items():
        rows.append((f"attribute {name}", attribute_text(attribute)))
    cause = message.cause
    if cause is not None:
        rows.append(("failed", cause_text(cause)))
        if cause.at_ms is not None:
            when = moment(cause.at_ms)
            rows.append(("failed at", f"{when:%Y-%m-%d %H:%M:%S} UTC, {words.since(when)} ago"))
        rows.append(("failures", f"{cause.failures:,} of {words.counted(cause.receives, 'receive')}"))
        if cause.worker:
            rows.append(("worker", cause.worker))
    elif message.dead_letter_source is not None:
        rows.append(("failed", NO_CAUSE))
    return rows


def _block(title: str, text: str) -> None:
    output.line()
    output.line(title, bold=True)
    output.lines(text.rstrip("\n"), "  ")
