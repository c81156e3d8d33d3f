"""`rqsqs search` and `rqsqs cancel`: find what waits, and take it out."""

from __future__ import annotations

import re

import click

import rqsqs
from rqsqs.cli import output, paging
from rqsqs.cli.message_view import MessageView
from rqsqs.cli.parameter_types import COUNT, QUEUE
from rqsqs.cli.progress import Meter
from rqsqs.cli.report import NOTHING, OK, REFUSED, Done, Results, nothing
from rqsqs.cli.settings import Settings, reported
from rqsqs.inspection import words
from rqsqs.inspection.search import Test, finder, matches


@click.command("search")
@click.argument("queue", type=QUEUE)
@click.argument("text")
@click.option("--regex", "-e", is_flag=True, help="TEXT is a regular expression (Python's).")
@click.option("--ignore-case", "-i", is_flag=True, help="Take upper and lower case for the same.")
@click.option("--group", "-g", metavar="TEXT", help="Only messages of this message group.")
@paging.state_option("Only messages that are so; may be repeated [all].")
@click.option("--max", "-n", "max_messages", type=COUNT, metavar="N", help="Stop after N messages [all].")
@reported
def search(
    settings: Settings,
    queue: str,
    text: str,
    regex: bool,
    ignore_case: bool,
    group: str | None,
    states: tuple[str, ...],
    max_messages: int | None,
) -> Results:
    """Find the messages of QUEUE that hold TEXT: in the body, an attribute, the message id, the deduplication id, or
    the cause of a failure. Nothing is received or changed. Exits with 4 if there is none.

    An object is searched as its JSON on one line, and by its fields: customer=7, address.city=Bonn, items[0].id=4; so
    is JSON that was sent as text. The whole queue is looked at page by page, in bounded memory; what
    comes and goes meanwhile may be missed or found twice.

    \b
    Examples:
      rqsqs search orders customer-7
      rqsqs search orders address.city=Bonn
      rqsqs search orders '"id": 4[0-9]{3}' --regex --state delayed
      rqsqs search orders-dead TimeoutError --json | jq -r .message_id
    """
    is_match = _pattern(text, regex, ignore_case)
    wanted = paging.chosen(states)
    target, found = settings.queue(queue), 0
    with Meter("searching", paging.total(target.counts(), wanted), quiet=settings.as_json) as meter:
        for state, page in paging.pages(target, wanted):
            here = [m for m in page if (group is None or m.group == group) and matches(m, is_match)]
            if max_messages is not None:
                here = here[: max_messages - found]
            if here:
                with meter.aside():
                    for message in here:
                        yield MessageView(message, state)
            found += len(here)
            meter.advance(len(page))
            if found == max_messages:
                break
    return OK if found else nothing(f"no message in {queue} contains {text!r}")


def _pattern(text: str, regex: bool, ignore_case: bool) -> Test:
    try:
        return finder(text, is_regex=regex, ignores_case=ignore_case)
    except re.error as error:
        raise click.UsageError(f"TEXT must be a regular expression with --regex, got {text!r}: {error}") from None


@click.command("cancel")
@click.argument("queue", type=QUEUE)
@click.argument("message_ids", metavar="[MESSAGE_ID]...", nargs=-1)
@click.option("--deduplication-id", "--dedup-id", "deduplication_ids", metavar="TEXT", multiple=True,
              help="The message sent with this id, which is forgotten; may be repeated.")  # fmt: skip
@click.option("--group", "-g", metavar="TEXT", help="Their message group: found faster in FIFO queues.")
@reported
def cancel(
    settings: Settings, queue: str, message_ids: tuple[str, ...], deduplication_ids: tuple[str, ...], group: str | None
) -> Results:
    """Take messages out of QUEUE that wait there, visible or delayed, by message id or deduplication id.

    What is in flight cannot be cancelled (exit code 1). Exits with 4 if there was none of them.

    \b
    Examples:
      rqsqs cancel orders 0199c1a2-7f3e-7000-8000-0123456789ab
      rqsqs cancel reminders --dedup-id reminder-7
      rqsqs search orders customer-7 --json | jq -r .message_id | xargs rqsqs cancel orders
    """
    if not message_ids and not deduplication_ids:
        raise click.UsageError("say which messages: MESSAGE_ID or --deduplication-id")
    target = settings.queue(queue)
    wanted = [(text, {"message": text}) for text in message_ids]
    wanted += [(f"with deduplication id {text}", {"deduplication_id": text}) for text in deduplication_ids]
    cancelled = failed = 0
    for what, which in wanted:
        try:
            done = target.cancel(**which, group=group)
        except rqsqs.MessageNotAvailable:
            failed += 1
            output.note(f"message {what} is in flight and cannot be cancelled")
            continue
        cancelled += done
        if not done:
            output.note(f"{queue} holds no message {what}")
    about = f"cancelled {words.counted(cancelled, 'message')} of {queue}"
    yield Done(about, queue=queue, cancelled=cancelled, failed=failed)
    return REFUSED if failed else OK if cancelled else NOTHING
