"""What happened to one message, in all queues where it was."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from rqsqs._core.flows.topology import at, refresh
from rqsqs._core.keys import QueueRef
from rqsqs._core.operation import Flow
from rqsqs._core.operations import queues
from rqsqs._core.operations import timeline as reading
from rqsqs._core.operations.timeline import Page, Seen
from rqsqs.errors import QueueDoesNotExist
from rqsqs.timeline_models import Timeline, TimelineStep

MOST_PLACES = 20  # queues and ids that are looked at for one message
HELD = ("received", "visibility_changed")
LEFT = ("dead_lettered", "moved", "deleted", "cancelled", "expired", "purged")


def timeline(q: QueueRef, message_id: str, may_read: Callable[[str], bool] | None = None) -> Flow[Timeline]:
    """Steps of a message in a queue, and, as far as `may_read` says so of its name, in others where it was."""
    places = [(q.name, message_id)]
    blocks: dict[tuple[str, str], list[Seen]] = {}
    workers: dict[str, str] = {}
    is_on, since_ms = False, 0
    for name, known_as in places:  # which grows
        other = name != q.name
        try:
            is_on_there, since_ms_there, found, workers_there = yield from _read(q.space.queue(name), known_as)
        except QueueDoesNotExist:
            if other:
                continue
            raise
        if not other and known_as == message_id:
            is_on, since_ms = is_on_there, since_ms_there
            if not found:  # a dead letter, perhaps: the queue where it died may know it
                sources = yield queues.dead_letter_sources(q, limit=MOST_PLACES - 1)
                places += [(source, message_id) for source in sources if may_read is None or may_read(source)]
        workers |= workers_there
        blocks[name, known_as] = found
        for each in found:
            step = each.step
            for target in (step.source, step.destination):
                for known in (step.message_id, step.new_message_id):
                    place = (target or "", known or "")
                    is_meant = all(place) and place not in places and len(places) < MOST_PLACES
                    if is_meant and (place[0] == q.name or may_read is None or may_read(place[0])):
                        places.append(place)
    seen = dict.fromkeys([each for place in _from_place_to_place(blocks) for each in blocks[place]])
    return Timeline(message_id, tuple(in_order(list(seen), workers)), is_on, since_ms or None)


def _from_place_to_place(blocks: dict[tuple[str, str], list[Seen]]) -> list[tuple[str, str]]:
    """Queues and ids in the order in which the message was there, for steps of one millisecond."""
    before: dict[tuple[str, str], set[tuple[str, str]]] = {place: set() for place in blocks}
    for step in [each.step for found in blocks.values() for each in found]:
        here = step.source or "", step.message_id
        there = step.destination or "", step.new_message_id or step.message_id
        if here != there and here in before and there in before:
            before[there].add(here)
    order: list[tuple[str, str]] = []
    while before:
        place = next((place for place, others in before.items() if not others & before.keys()), next(iter(before)))
        del before[place]
        order.append(place)
    return order


def _read(q: QueueRef, message_id: str) -> Flow[tuple[bool, int, list[Seen], dict[str, str]]]:
    yield from refresh(q)
    is_on, starts = False, list[int]()
    found: list[Seen] = []
    workers: dict[str, str] = {}
    for p in q.partitions:
        cursor = ""
        while True:
            page: Page = yield from at(q, p, reading.read(p, message_id, cursor), Page(False, 0, "", {}, []))
            is_on = is_on or page.is_on
            starts += [page.since_ms] if page.since_ms and not cursor else []
            workers |= page.workers
            found += page.seen
            cursor = page.cursor
            if not cursor:
                break
    return is_on, min(starts, default=0), found, workers


def in_order(seen: list[Seen], workers: dict[str, str]) -> list[TimelineStep]:
    """Steps by time, each once, with what follows from those before it."""
    left = {_move(each) for each in seen if each.step.kind == "moved" and not each.is_arrival}
    arrived = {_move(each): each.step.new_message_id for each in seen if each.is_arrival}
    steps: list[TimelineStep] = []
    held: TimelineStep | None = None  # the receive, or the change of visibility, that a receive finds to be over
    is_there = True
    for each in sorted(seen, key=lambda each: each.step.at_ms):
        step = each.step
        if each.is_arrival and _move(each) in left:
            continue  # told by its source; the destination knows its id
        if step.kind == "moved":
            step = replace(step, new_message_id=step.new_message_id or arrived.get(_move(each)))
        if step.kind == "purged" and (not is_there or step.at_ms < sent_at_ms(step.message_id) or not steps):
            continue
        if step.kind == "received" and held is not None and each.since_ms and held.visible_at_ms != held.at_ms:
            at_ms = max(each.since_ms, held.at_ms)
            steps.append(TimelineStep("timed_out", at_ms, step.queue, step.message_id))
        if step.kind not in ("duplicate",):
            held = step if step.kind in HELD else None
        is_there = step.kind not in LEFT or step.kind in ("dead_lettered", "moved")
        if step.process is not None and step.consumer is None:
            step = replace(step, consumer=workers.get(step.process))
        steps.append(step)
    found: list[TimelineStep] = []
    for step in steps:
        after_s = (step.at_ms - found[-1].at_ms) / 1000 if found else None
        found.append(replace(step, after_s=after_s))
    return found


def _move(each: Seen) -> tuple[str | None, str | None, str]:
    return each.step.source, each.step.destination, each.step.message_id


def sent_at_ms(message_id: str) -> int:
    """When a message was sent, as its id tells."""
    return int(message_id.replace("-", "")[:12], 16)
