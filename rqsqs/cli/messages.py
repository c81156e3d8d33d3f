"""`rqsqs send`, `receive`, `peek`, `delete` and `release`."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from itertools import islice
from pathlib import Path
from typing import Any

import click

import rqsqs
from rqsqs.cli import message_json, output
from rqsqs.cli.message_view import MessageView, print_body
from rqsqs.cli.parameter_types import DURATION, FILE, MOMENT, PAIR, QUEUE
from rqsqs.cli.report import NOTHING, OK, REFUSED, Done, Result, Results, nothing
from rqsqs.cli.sending import send_all, sent_record
from rqsqs.cli.settings import Settings, reported
from rqsqs.inspection import words
from rqsqs.inspection.bodies import in_json
from rqsqs.limits import NATIVE

HANDLE = 65_536  # bytes that the line of a receipt handle may have; it has about a hundred


@click.command("send")
@click.argument("queue", type=QUEUE)
@click.argument("body", required=False)
@click.option(
    "--file", "-f", "path", type=FILE, metavar="PATH", help="Send the messages of a file of JSON Lines; - is stdin."
)
@click.option("--as", "kind", type=click.Choice(["text", "json", "bytes"]),
              help="Send BODY as text; as JSON, received as an object; or as bytes [text].")  # fmt: skip
@click.option("--delay", type=DURATION, help="How long it stays invisible: 30, 15m, 2h, 7d.")
@click.option("--at", type=MOMENT, help="When it becomes visible: 2030-01-31T08:00, or epoch seconds.")
@click.option("--group", "-g", metavar="TEXT", help="Message group; FIFO queues need one.")
@click.option("--deduplication-id", "--dedup-id", metavar="TEXT", help="A second message with it is not stored.")
@click.option("--deduplication-window", type=DURATION, help="How long the id is remembered.")
@click.option("--attribute", "-a", "attributes", type=PAIR, multiple=True, help="An attribute; may be repeated.")
@reported
def send(
    settings: Settings,
    /,
    queue: str,
    body: str | None,
    path: str | None,
    kind: str | None,
    attributes: tuple[tuple[str, str], ...],
    **options: Any,
) -> Results:
    """Send BODY to QUEUE; - reads it from stdin. Or send many messages from a file.

    BODY is sent as text, also if it looks like JSON: then a hint on stderr says so, unless --as text does. With --as
    json consumers receive an object.

    A file of JSON Lines has one message per line, {"body": "hello"} or {"body": {"id": 1}, "delay": 60}, with the
    fields body or body_base64, delay, at, group, deduplication_id, deduplication_window, attributes and
    trace_context. What `rqsqs receive --json` and `rqsqs peek --json` print can be sent again as it is; a whole queue
    is better copied with `rqsqs export` and `rqsqs import`, which keep delays and order.

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
        if kind not in (None, "text"):
            raise click.UsageError("--as goes with BODY; in a file JSON is an object and body_base64 is bytes")
        return (yield from _send_file(settings, target, path, {k: v for k, v in options.items() if v is not None}))
    if body is None:
        raise click.UsageError("BODY is missing; - reads it from stdin, --file sends many")
    content = _body(body, kind or "text")
    sent = target.send(content, **options)
    yield Result(f"{sent.message_id}{' (a duplicate: not stored again)' * sent.is_duplicate}", **sent_record(sent))
    if kind is None and in_json(content) is not None:
        output.note("rqsqs: sent as text, though it looks like JSON: --as json sends an object, --as text is quiet")
    return OK


def _body(text: str, kind: str) -> Any:
    data: str | bytes = text
    if text == "-":
        data = sys.stdin.buffer.read(NATIVE.message_size_max + 1)
        if len(data) > NATIVE.message_size_max:
            raise click.UsageError(f"the body must have at most {NATIVE.message_size_max:,} bytes, stdin has more")
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


def _send_file(settings: Settings, queue: rqsqs.Queue, path: str, defaults: dict[str, Any]) -> Results:
    longest = message_json.longest_line(queue)
    with nullcontext(sys.stdin.buffer) if path == "-" else open(path, "rb") as source:
        total = None
        if sys.stderr.isatty() and Path(path).is_file():
            total = sum(1 for line in message_json.lines_of(source, longest) if line.strip())
            source.seek(0)
        outcome = yield from send_all(
            settings, queue, message_json.entries(message_json.lines_of(source, longest), defaults), total
        )
    output.note(outcome.sentence("sent", queue.name))
    return outcome.code


@click.command("receive")
@click.argument("queue", type=QUEUE)
@click.option("--max", "-n", "max_messages", type=int, default=1, metavar="N", help="Up to N messages [1].")
@click.option("--wait", "-w", type=DURATION, help="How long to wait for the first [the queue's].")
@click.option("--delete", "-d", is_flag=True, help="Delete the messages at once.")
@click.option("--visibility-timeout", "-t", type=DURATION, help="For how long they are hidden [the queue's].")
@click.option("--body", "only_body", is_flag=True, help="Print the bodies alone, a line each.")
@reported
def receive(
    settings: Settings,
    queue: str,
    max_messages: int,
    wait: float | None,
    delete: bool,
    visibility_timeout: float | None,
    only_body: bool,
) -> Results:
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
    return _view(found, f"no message in {queue}", only_body=only_body, with_handles=not delete)


@click.command("peek")
@click.argument("queue", type=QUEUE)
@click.option("--state", "-s", type=click.Choice(["visible", "in_flight", "delayed"]), default="visible",
              help="Which messages [visible].")  # fmt: skip
@click.option("--max", "-n", "max_messages", type=int, default=10, metavar="N", help="Up to N messages [10].")
@click.option("--newest-first", is_flag=True, help="The last ones, the newest first.")
@click.option("--body", "only_body", is_flag=True, help="Print the bodies alone, a line each.")
@reported
def peek(settings: Settings, queue: str, state: Any, max_messages: int, newest_first: bool, only_body: bool) -> Results:
    """Look at the first messages of QUEUE without receiving them. Exits with 4 if there is none.

    With --newest-first each partition is read from its end on, and each message group of a FIFO queue.

    `rqsqs search` looks through the whole queue, `rqsqs show QUEUE MESSAGE_ID` shows one message in full.

    \b
    Examples:
      rqsqs peek orders
      rqsqs peek orders --newest-first --max 3
      rqsqs peek orders --state delayed --max 100 --json
    """
    found = settings.queue(queue).peek(max_messages, state, newest_first=newest_first)
    return _view(found, f"no {state.replace('_', '-')} message in {queue}", only_body=only_body, with_handles=False)


def _view(found: list[rqsqs.Message], otherwise: str, *, only_body: bool, with_handles: bool) -> Results:
    for message in found:
        if only_body:
            print_body(message)
        else:
            yield MessageView(message, with_handle=with_handles)
    return OK if found else nothing(otherwise)


@click.command("delete")
@click.argument("queue", type=QUEUE)
@click.argument("handles", metavar="HANDLE...", nargs=-1, required=True)
@reported
def delete(settings: Settings, queue: str, handles: tuple[str, ...]) -> Results:
    """Delete received messages of QUEUE by their receipt handles; - reads handles from stdin, one per line.

    Deleting a message that is already gone succeeds.

    \b
    Example:
      rqsqs receive orders --json | jq -r .receipt_handle | rqsqs delete orders -
    """
    return _settle(queue, handles, "deleted", settings.queue(queue).delete_batch)


@click.command("release")
@click.argument("queue", type=QUEUE)
@click.argument("handles", metavar="HANDLE...", nargs=-1, required=True)
@click.option("--delay", type=DURATION, default=0.0, help="Time until they are visible again: 30, 15m [now].")
@reported
def release(settings: Settings, queue: str, handles: tuple[str, ...], delay: float) -> Results:
    """Make received messages of QUEUE visible again, by their receipt handles; - reads handles from stdin.

    Others can receive them at once, or after --delay. A message that nobody deletes or releases becomes visible at the
    end of its visibility timeout.

    \b
    Examples:
      rqsqs receive orders --max 10 --json | jq -r .receipt_handle | rqsqs release orders -
      rqsqs release orders HANDLE --delay 5m
    """
    change = settings.queue(queue).change_visibility_batch
    return _settle(queue, handles, "released", lambda batch: change([(handle, delay) for handle in batch]))


def _settle(queue: str, handles: tuple[str, ...], verb: str, apply: Callable[[list[str]], object]) -> Results:
    """Do something with messages by their receipt handles, 1,000 at a time; name those that were refused."""
    wanted = _all_handles(handles)
    seen = failed = 0
    while batch := list(islice(wanted, 1000)):
        try:
            apply(batch)
        except rqsqs.BatchFailed as error:
            for result in error.results:
                if isinstance(result, rqsqs.FailedEntry):
                    failed += 1
                    output.note(f"handle {seen + result.index + 1}: {result.error}")
        seen += len(batch)
    number = seen - failed
    yield Done(f"{verb} {words.counted(number, 'message')} of {queue}", queue=queue, **{verb: number}, failed=failed)
    return REFUSED if failed else OK if seen else NOTHING


def _all_handles(handles: tuple[str, ...]) -> Iterator[str]:
    """Those given, and those on stdin in the place of -."""
    for handle in handles:
        if handle == "-":
            lines = message_json.lines_of(sys.stdin.buffer, HANDLE)
            yield from filter(None, (line.decode(errors="replace").strip() for line in lines))
        else:
            yield handle
