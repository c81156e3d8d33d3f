"""`rqsqs send`, `receive`, `peek` and `delete`."""

from __future__ import annotations

import base64
import binascii
import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from itertools import islice
from typing import Any, TextIO

import click

import rqsqs
from rqsqs.cli import output
from rqsqs.cli.settings import Settings, common_options, pass_settings
from rqsqs.cli.values import DURATION, MOMENT, PAIR

BATCH = 200
OPTIONS = ("delay", "at", "group", "deduplication_id", "deduplication_window", "attributes")
SHOWN = ("message_id", "sequence_number", "dead_letter_source", "visible_at", "receipt_handle", "sent_at",
         "receive_count")  # what receive and peek print beside; it may stand in what is sent  # fmt: skip


@click.command("send", short_help="Send a message, or many from a file.")
@click.argument("queue")
@click.argument("body", required=False)
@click.option("--file", "-f", "path", metavar="PATH", help="Send the messages of a file of JSON Lines; - is stdin.")
@click.option("--as", "kind", type=click.Choice(["text", "json", "bytes"]), default="text",
              help="What BODY is: text; JSON, received as an object; or bytes [text].")  # fmt: skip
@click.option("--delay", type=DURATION, help="How long it stays invisible: 30, 15m, 2h, 7d.")
@click.option("--at", type=MOMENT, help="When it becomes visible: 2030-01-31T08:00, or epoch seconds.")
@click.option("--group", "-g", metavar="TEXT", help="Message group; FIFO queues need one.")
@click.option("--deduplication-id", "--dedup-id", metavar="TEXT", help="A second message with it is not stored.")
@click.option("--deduplication-window", type=DURATION, help="How long the id is remembered.")
@click.option("--attribute", "-a", "attributes", type=PAIR, multiple=True, help="An attribute; may be repeated.")
@common_options
@pass_settings
def send(
    settings: Settings,
    /,
    queue: str,
    body: str | None,
    path: str | None,
    kind: str,
    attributes: tuple[tuple[str, str], ...],
    **options: Any,
) -> int | None:
    """Send BODY to QUEUE; - reads it from stdin. Or send many messages from a file.

    A file of JSON Lines has one message per line, {"body": "hello"} or {"body": {"id": 1}, "delay": 60}, with the
    fields body or body_base64, delay, at, group, deduplication_id, deduplication_window and attributes. What
    `rqsqs receive --json` and `rqsqs peek --json` print can be sent again as it is.

    \b
    Examples:
      rqsqs send orders "hello" --delay 15m
      date | rqsqs send orders -
      rqsqs send payments.fifo '{"id": 1}' --as json -g customer-7 --dedup-id p1
      rqsqs send orders --file messages.jsonl
      rqsqs peek orders --max 1000 --json | rqsqs send copy --file -
    """
    target = settings.queue(queue)
    options["attributes"] = dict(attributes) or None
    if path is not None:
        if body is not None:
            raise click.UsageError("give BODY or --file, not both")
        if kind != "text":
            raise click.UsageError("--as goes with BODY; in a file JSON is an object and body_base64 is bytes")
        return _send_file(settings, target, path, {k: v for k, v in options.items() if v is not None})
    if body is None:
        raise click.UsageError("BODY is missing; - reads it from stdin, --file sends many")
    sent = target.send(_body(body, kind), **options)
    if settings.as_json:
        output.emit(_sent(sent))
    else:
        click.echo(f"{sent.message_id}{' (a duplicate: not stored again)' if sent.is_duplicate else ''}")
    return None


def _body(text: str, kind: str) -> Any:
    data: str | bytes = text
    if text == "-":
        data = sys.stdin.buffer.read()
        if kind != "bytes":
            try:
                data = data.decode()
            except UnicodeDecodeError as error:
                raise click.UsageError(f"stdin is not UTF-8 text ({error.reason}): send it --as bytes") from None
            data = data.removesuffix("\n")
    if kind == "json":
        try:
            return json.loads(data)
        except ValueError as error:
            raise click.UsageError(f"the body is not JSON: {error}") from None
    if kind == "bytes" and isinstance(data, str):
        return data.encode(errors="surrogateescape")
    return data


def _sent(sent: rqsqs.SentMessage) -> dict[str, Any]:
    record: dict[str, Any] = {"message_id": sent.message_id, "is_duplicate": sent.is_duplicate}
    return record | ({"sequence_number": sent.sequence_number} if sent.sequence_number else {})


def _send_file(settings: Settings, queue: rqsqs.Queue, path: str, defaults: dict[str, Any]) -> int:
    total = duplicates = failed = 0
    with nullcontext(sys.stdin) if path == "-" else open(path, encoding="utf-8") as lines:
        entries = _entries(lines, defaults)
        while batch := list(islice(entries, BATCH)):
            try:
                results: list[Any] = list(queue.send_batch([entry for _, entry in batch]))
            except rqsqs.BatchFailed as error:
                results = error.results
            except rqsqs.RqsqsError as error:
                if total:
                    output.note(f"sent {output.counted(total - duplicates - failed, 'message')} before this:")
                if len(batch) > 1 and isinstance(error, rqsqs.RequestError):
                    output.note(f"one of the lines {batch[0][0]} to {batch[-1][0]} was refused, none of them was sent")
                raise
            total += len(batch)
            for (number, _), result in zip(batch, results, strict=True):
                if isinstance(result, rqsqs.Failure):
                    failed += 1
                    output.note(f"line {number}: {result.error}")
                    continue
                duplicates += result.is_duplicate
                if settings.as_json:
                    output.emit(_sent(result))
    text = f"sent {output.counted(total - duplicates - failed, 'message')} to {queue.name}"
    text += f", {duplicates:,} more were duplicates" if duplicates else ""
    output.note(text + (f", {failed:,} failed" if failed else ""))
    return 1 if failed else 0 if total else 4


def _entries(lines: TextIO | Iterable[str], defaults: dict[str, Any]) -> Iterator[tuple[int, rqsqs.Entry]]:
    """Messages with the numbers of their lines."""
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                yield number, _entry(line, defaults)
            except click.UsageError as error:
                raise click.UsageError(f"line {number}: {error.message}") from None
            except ValueError as error:
                raise click.UsageError(f"line {number}: {error}") from None


def _entry(line: str, defaults: dict[str, Any]) -> rqsqs.Entry:
    try:
        record = json.loads(line)
    except ValueError as error:
        raise click.UsageError(f"this is not JSON: {error}") from None
    if not isinstance(record, dict) or ("body" in record) == ("body_base64" in record):
        raise click.UsageError('a message is an object with "body" or "body_base64": {"body": "hello"}')
    if "body" in record:
        body = record.pop("body")
    else:
        try:
            body = base64.b64decode(record.pop("body_base64"), validate=True)
        except (binascii.Error, TypeError, ValueError) as error:
            raise click.UsageError(f"body_base64 is not base64: {error}") from None
    unknown = sorted(set(record) - set(OPTIONS) - set(SHOWN))
    if unknown:
        raise click.UsageError(f"{unknown[0]!r} is not a field of a message: there are body, {', '.join(OPTIONS)}")
    options = defaults | {name: record[name] for name in OPTIONS if record.get(name) is not None}
    for name, kind in (("at", MOMENT), ("delay", DURATION), ("deduplication_window", DURATION)):
        if isinstance(options.get(name), str):
            options[name] = kind.convert(options[name], None, None)
    attributes = options.get("attributes")
    if isinstance(attributes, dict):
        options["attributes"] = {name: _attribute(value) for name, value in attributes.items()}
    return rqsqs.Entry(body, **options)


def _attribute(value: Any) -> Any:
    if isinstance(value, dict) and list(value) == ["base64"]:
        return base64.b64decode(value["base64"])
    return value


@click.command("receive", short_help="Receive messages and print them.")
@click.argument("queue")
@click.option("--max", "-n", "max_messages", type=int, default=1, metavar="N", help="At most so many [1].")
@click.option("--wait", "-w", type=DURATION, help="How long to wait for the first [the queue's].")
@click.option("--delete", "-d", is_flag=True, help="Delete at once what is received.")
@click.option("--visibility-timeout", "-t", type=DURATION, help="For how long they are hidden [the queue's].")
@click.option("--body", "only_body", is_flag=True, help="Print the bodies alone, a line each.")
@common_options
@pass_settings
def receive(
    settings: Settings,
    queue: str,
    max_messages: int,
    wait: float | None,
    delete: bool,
    visibility_timeout: float | None,
    only_body: bool,
) -> int:
    """Receive messages from QUEUE and print them. Exits with 4 if there is none.

    Without --delete a message becomes visible again after its visibility timeout, unless it is deleted by its receipt
    handle: rqsqs delete QUEUE HANDLE.

    \b
    Examples:
      rqsqs receive orders --max 10 --wait 20
      rqsqs receive orders --delete --body
      while rqsqs receive orders --wait 1 --delete --json >>received.jsonl; do :; done
    """
    found = settings.queue(queue).receive(max_messages, wait=wait, visibility_timeout=visibility_timeout, delete=delete)
    return _show(settings, found, f"no message in {queue}", only_body=only_body, with_handles=not delete)


@click.command("peek", short_help="Look at messages without receiving them.")
@click.argument("queue")
@click.option("--state", "-s", type=click.Choice(["visible", "in_flight", "delayed"]), default="visible",
              help="Which messages [visible].")  # fmt: skip
@click.option("--max", "-n", "max_messages", type=int, default=10, metavar="N", help="At most so many [10].")
@click.option("--body", "only_body", is_flag=True, help="Print the bodies alone, a line each.")
@common_options
@pass_settings
def peek(settings: Settings, queue: str, state: Any, max_messages: int, only_body: bool) -> int:
    """Look at the first messages of QUEUE without receiving them. Exits with 4 if there is none."""
    found = settings.queue(queue).peek(max_messages, state)
    nothing = f"no {state.replace('_', '-')} message in {queue}"
    return _show(settings, found, nothing, only_body=only_body, with_handles=False)


def _show(settings: Settings, found: list[rqsqs.Message], nothing: str, *, only_body: bool, with_handles: bool) -> int:
    for message in found:
        if only_body:
            body = message.body
            if isinstance(body, bytes):
                click.echo(body)
            else:
                text = output.body_text(message)
                click.echo(output.printable(text) if sys.stdout.isatty() else text)
        elif settings.as_json:
            record = output.message_record(message)
            if not with_handles:
                record.pop("receipt_handle", None)
            output.emit(record)
        else:
            output.show_message(message, with_handle=with_handles)
    if not found:
        output.note(nothing)
    return 0 if found else 4


@click.command("delete", short_help="Delete received messages.")
@click.argument("queue")
@click.argument("handles", metavar="HANDLE...", nargs=-1, required=True)
@common_options
@pass_settings
def delete(settings: Settings, queue: str, handles: tuple[str, ...]) -> int:
    """Delete received messages of QUEUE by their receipt handles; - reads handles from stdin, one per line.

    Deleting a message that is gone already succeeds.

    \b
    Example:
      rqsqs receive orders --json | jq -r .receipt_handle | rqsqs delete orders -
    """
    wanted: list[str] = []
    for handle in handles:
        wanted += (line.strip() for line in sys.stdin if line.strip()) if handle == "-" else [handle]
    target, failed = settings.queue(queue), 0
    for start in range(0, len(wanted), 1000):
        try:
            target.delete_batch(wanted[start : start + 1000])
        except rqsqs.BatchFailed as error:
            for result in error.results:
                if isinstance(result, rqsqs.Failure):
                    failed += 1
                    output.note(f"handle {start + result.index + 1}: {result.error}")
    if settings.as_json:
        output.emit({"queue": queue, "deleted": len(wanted) - failed, "failed": failed})
    else:
        output.note(f"deleted {output.counted(len(wanted) - failed, 'message')} of {queue}")
    return 1 if failed else 0 if wanted else 4


COMMANDS = (send, receive, peek, delete)
