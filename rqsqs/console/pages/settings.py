"""The settings of a queue, its tags, and where its partitions lie."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from starlette.responses import Response

from rqsqs._core import flows
from rqsqs._io.directory import slot_of
from rqsqs.console.pages.shown import Shown
from rqsqs.console.visits import Visit
from rqsqs.console.written import seconds_of, typed, whole_of
from rqsqs.errors import InvalidParameterValue
from rqsqs.inspection.queues import dead_letter_queue, max_receive_count
from rqsqs.inspection.retry_rules import retry_policy, rule, rules_of
from rqsqs.inspection.written import in_short
from rqsqs.models import Counts, QueueInfo, RetryPolicy
from rqsqs.sqs import perform

ELSEWHERE = frozenset(
    {"Policy", "RedriveAllowPolicy", "RetryPolicy", "RedrivePolicy"}
)  # shown in a field or on a page of its own
ENCRYPTION = frozenset({"KmsMasterKeyId", "KmsDataKeyReusePeriodSeconds", "SqsManagedSseEnabled"})
FRESH_S = 2.0


@dataclass(frozen=True, slots=True)
class Setting:
    """A field of the form.

    Attributes:
        name: of the setting, as the Python API has it.
        attribute: as SQS has it.
        title: its label.
        hint: what it does.
        default: what holds if a queue does not say.
        shown: the text of a stored value.
        read: the value of a text.
        choices: texts and what they mean, if there are only some.
        is_fifo: whether only FIFO queues have it.
        is_long: whether it has several lines.
    """

    name: str
    attribute: str
    title: str
    hint: str
    default: str
    shown: Callable[[str], str] = str
    read: Callable[[str, str], Any] = lambda what, text: text
    choices: tuple[tuple[str, str], ...] = ()
    is_fifo: bool = False
    is_long: bool = False


def _short(stored: str) -> str:
    return in_short(float(stored))


def _whole(what: str, text: str) -> int:
    return whole_of(what, text or "-", 0)


def _timeline(what: str, text: str) -> bool | int:
    return _whole(what, text) or False


def _seconds(what: str, text: str) -> Any:
    return seconds_of(what, text, 0)


def _rules(what: str, text: str) -> RetryPolicy:
    try:
        return retry_policy([rule(line) for line in text.split()]) or RetryPolicy()
    except ValueError as error:
        raise InvalidParameterValue(f"{what}: {error}") from None


SETTINGS = (
    Setting("visibility_timeout", "VisibilityTimeout", "Visibility timeout",
            "For how long a received message is hidden from others. Who has not deleted it by then loses it: it is "
            "received again. Take the longest time that handling takes, or let workers extend it.",
            "30", _short, _seconds),
    Setting("delay", "DelaySeconds", "Delay", "How long a sent message waits before it can be received.",
            "0", _short, _seconds),
    Setting("retention", "MessageRetentionPeriod", "Retention",
            "After how long a message is dropped, received or not. It counts from when the message was sent, also for "
            "messages that are there already.", "345600", _short, _seconds),
    Setting("wait", "ReceiveMessageWaitTimeSeconds", "Wait",
            "How long a receive that does not say waits for a message (long polling).", "0", _short, _seconds),
    Setting("maximum_message_size", "MaximumMessageSize", "Largest message",
            "Bytes of body and attributes together; a larger one is refused when it is sent.", "1048576", str, _whole),
    Setting("dead_letter_queue", "RedrivePolicy", "Dead-letter queue",
            "Where a message goes that was received too often; empty = it stays. The queue must exist, and be a FIFO "
            "queue if this one is.", ""),
    Setting("max_receive_count", "RedrivePolicy", "Receives before that",
            "How often a message may be received before it goes there, 1 to 1,000. Too few lose it to a worker that is "
            "restarted, too many keep a broken message coming back.", "10", str, _whole),
    Setting("retry_policy", "RetryPolicy", "When workers try again",
            "One rule a line: 1s..5m waits a second after the first failure, then twice as long each time, up to five "
            "minutes. TimeoutError=10s..1h is for one exception, ValueError=never sends it to the dead-letter queue at "
            "once.", "", str, _rules, is_long=True),
    Setting("partitions", "Partitions", "Partitions",
            "Parts in different hash slots, and so on different masters of a cluster, 1 to 64. There can be more "
            "later, never fewer. Order holds within a message group.", "1", str, _whole),
    Setting("metrics", "Metrics", "Metrics",
            "Whether bytes that are sent are counted, too, which makes sending a little slower. FIFO queues count them "
            "anyway.", "basic", str, choices=(("basic", "basic"), ("full", "full: bytes, too"))),
    Setting("timeline", "Timeline", "Timeline",
            "Whether it is recorded what happens to each message, for its page: so many bytes for each partition, the "
            "oldest steps drop out. 1048576 keeps some 16,000 steps; 0 = off, which costs nothing. While it is on, "
            "sends, receives and deletes do more.", "0", str, _timeline),
    Setting("content_based_deduplication", "ContentBasedDeduplication", "Equal bodies are duplicates",
            "Messages without a deduplication id are compared by their bodies.", "false", str,
            lambda _, text: text == "true", (("false", "no"), ("true", "yes")), is_fifo=True),
    Setting("deduplication_scope", "DeduplicationScope", "Deduplication within",
            "Whether equal ids in different message groups are duplicates.", "queue", str,
            choices=(("queue", "the queue"), ("messageGroup", "a message group")), is_fifo=True),
    Setting("deduplication_window", "DeduplicationWindow", "Deduplication window",
            "For how long an id is remembered, 1 minute to 1 year.", "300", _short, _seconds, is_fifo=True),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Part:
    """A partition, or a shard of dead letters that lies with the queue they come from.

    Attributes:
        tag: its hash tag.
        source: the queue whose dead letters it has; "" = none.
        slot: its hash slot.
        server: the server that has it, as far as that is known.
        counts: of its messages.
    """

    tag: str
    source: str
    slot: int
    server: str
    counts: Counts


async def show(visit: Visit) -> Shown:
    """The form, tags, and partitions."""
    queue = visit.queue()

    async def load() -> tuple[QueueInfo, list[Part], list[str]]:
        return await asyncio.gather(queue.info(), _parts(visit), queue.dead_letter_sources())

    info, parts, sources = await visit.read(("settings", queue.name), load, FRESH_S)
    if not visit.may("sqs:ListDeadLetterSourceQueues"):
        parts, sources = [part for part in parts if not part.source], []
    tags = None
    if visit.may("sqs:ListQueueTags"):
        tags = await visit.read(("tags", queue.name), queue.tags, FRESH_S)
    texts = _texts(info)
    known = {setting.attribute for setting in SETTINGS}
    return Shown(
        "settings.html",
        {
            "section": "Queues",
            "tab": "settings",
            "title": f"Settings of {queue.name}",
            "queue": queue.name,
            "fields": [(each, texts[each.name]) for each in SETTINGS if queue.is_fifo or not each.is_fifo],
            "others": {k: v for k, v in sorted(info.attributes.items()) if k not in known and k not in ELSEWHERE},
            "encryption": sorted(ENCRYPTION & info.attributes.keys()),
            "info": info,
            "allowed": _allowed(info),
            "is_fifo": queue.is_fifo,
            "tags": tags,
            "parts": parts,
            "sources": sources,
        },
    )


async def change(visit: Visit) -> Response:
    """Set what was changed in the form, and nothing else: somebody else may have changed the rest meanwhile."""
    form = await visit.form()
    queue = visit.queue()
    given = {each.name: typed(form, each.name) for each in SETTINGS if each.name in form}
    changed = {name for name, text in given.items() if text != typed(form, f"was_{name}")}
    if changed & {"dead_letter_queue", "max_receive_count"}:
        changed |= {"dead_letter_queue", "max_receive_count"} & given.keys()
        if not given.get("dead_letter_queue"):
            changed.discard("max_receive_count")
    if not changed:
        return visit.back_to(visit.url("queues", queue.name, "settings"), "Nothing was changed.")
    chosen: Any = {each.name: each.read(each.title, given[each.name]) for each in SETTINGS if each.name in changed}
    await queue.configure(**chosen)
    visit.changed()
    titles = ", ".join(each.title for each in SETTINGS if each.name in changed)
    return visit.back_to(visit.url("queues", queue.name, "settings"), f"Changed: {titles}.")


async def allow_sources(visit: Visit) -> Response:
    """Say which queues may have this one as their dead-letter queue."""
    form = await visit.form()
    queue, context = visit.queue(), visit.context
    policy: dict[str, Any] = {"redrivePermission": typed(form, "permission")}
    if policy["redrivePermission"] == "byQueue":
        policy["sourceQueueArns"] = [context.arn_of(name) for name in typed(form, "sources").split()]
    params = {"QueueUrl": context.url_of(queue.name), "Attributes": {"RedriveAllowPolicy": json.dumps(policy)}}
    await visit.connection.transport.run(perform(context, "SetQueueAttributes", params))
    visit.changed()
    return visit.back_to(visit.url("queues", queue.name, "settings"), "Changed: whose dead letters may come here.")


async def tag(visit: Visit) -> Response:
    """Set a tag."""
    form = await visit.form()
    queue = visit.queue()
    name, value = typed(form, "name"), typed(form, "value")
    await visit.require("sqs:TagQueue", params={"Tags": {name: value}})
    await queue.tag({name: value})
    visit.changed()
    return visit.back_to(visit.url("queues", queue.name, "settings"), f"The tag {name} was set.")


async def untag(visit: Visit) -> Response:
    """Remove a tag."""
    form = await visit.form()
    queue = visit.queue()
    name = str(form.get("name", ""))
    await visit.require("sqs:UntagQueue", params={"TagKeys": [name]})
    await queue.untag(name)
    visit.changed()
    return visit.back_to(visit.url("queues", queue.name, "settings"), f"The tag {name} was removed.")


def _allowed(info: QueueInfo) -> tuple[str, list[str]]:
    """Which queues may have this one as their dead-letter queue: the permission, and their names."""
    try:
        policy = json.loads(info.attributes.get("RedriveAllowPolicy") or '{"redrivePermission": "allowAll"}')
        return str(policy["redrivePermission"]), [
            str(arn).rpartition(":")[2] for arn in policy.get("sourceQueueArns", [])
        ]
    except (ValueError, LookupError, TypeError, AttributeError):  # damaged
        return "", []


def _texts(info: QueueInfo) -> dict[str, str]:
    """What stands in the fields. What is damaged stands there as it is stored."""
    found = {}
    for each in SETTINGS:
        stored = info.attributes.get(each.attribute, each.default)
        try:
            if each.name == "dead_letter_queue":
                found[each.name] = dead_letter_queue(info) or ""
            elif each.name == "max_receive_count":
                found[each.name] = str(max_receive_count(info) or each.default)
            elif each.name == "retry_policy":
                found[each.name] = "\n".join(rules_of(stored)) if stored else ""
            else:
                found[each.name] = each.shown(stored)
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError):
            found[each.name] = stored
    return found


async def _parts(visit: Visit) -> list[Part]:
    transport, ref = visit.connection.transport, visit.queue()._ref
    found = await transport.run(flows.partition_counts(ref))
    parts = []
    for partition, counts in found:
        source = partition.tag.rpartition("/")[0]
        node = transport.link.router.known(partition.wakeups)
        source = "" if source == ref.name else source
        parts.append(Part(partition.tag, source, slot_of(partition.wakeups), node.where if node else "", counts))
    return parts
