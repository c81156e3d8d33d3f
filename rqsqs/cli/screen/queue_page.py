"""Paint one queue."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

from rqsqs._base_message import moment
from rqsqs.cli.screen.detail import LETTERS, Detail
from rqsqs.cli.screen.lines import Line, shortened
from rqsqs.cli.screen.state import Screen
from rqsqs.cli.screen.trends import GAP, spark
from rqsqs.cli.show import readable
from rqsqs.inspection import looks, words
from rqsqs.inspection.looks import Look
from rqsqs.metric_models import Histogram, HistoryPoint, QueueMetrics

LEAD = 11  # characters of names in front
SHOWN = 8  # groups, causes
CONSUMERS = 12
SPARK = 60
SINCE = "since it was created"


def headline(screen: Screen, title: str, about: str, width: int) -> Line:
    """What it is on the left, when it was on the right."""
    when = f"{screen.looked_at}  every {screen.interval:g} s"
    if screen.took_s > screen.interval:
        when = f"{screen.looked_at}  a look takes {screen.took_s:.1f} s"
    line = Line().add(title, "bold")
    end = " PAUSED: p goes on " if screen.is_paused else when
    room = width - len(title) - len(end) - 4
    about = shortened(about, room) if room > 3 else ""
    line.add(f"  {about}", "dim")
    line.add(" " * max(width - len(line.text) - len(end), 1))
    return line.add(end, "bold" if screen.is_paused else "dim")


def page(screen: Screen, width: int) -> list[Line]:
    """Everything about the queue that is opened."""
    name = screen.opened or ""
    look = next((look for look in screen.looks if look.queue == name), None)
    detail = screen.detail
    kind = "FIFO" if name.endswith(".fifo") else "standard"
    lines = [headline(screen, shortened(name, max(width - 34, 10)), kind, width)]
    if screen.failure:
        lines.append(Line().add(screen.failure, "alert"))
    if look is None:
        return [*lines, Line().add("this queue is not there any more; Esc goes back")]
    known = detail if isinstance(detail, Detail) else None
    lines += [*_alerts(look, known), Line(), *_numbers(screen, look, width), *_times(look)]
    if detail is None:
        return [*lines, Line(), Line().add("reading consumers, groups and settings", "dim")]
    if isinstance(detail, str):
        return [*lines, Line(), Line().add(detail, "alert")]
    parts = (
        _causes(detail, name),
        _consumers(detail, width),
        _groups(detail),
        _history(detail, width, screen.bars),
        _settings(look, detail),
    )
    for part in parts:
        found = list(part)
        lines += [Line(), *found] if found else []
    return lines


def _alerts(look: Look, detail: Detail | None) -> Iterator[Line]:
    if look.holds_dead_letters:
        of = f" of {', '.join(detail.sources)}" if detail else ""
        yield Line().add(f"! {words.counted(look.depth, 'dead letter')}{of}", "alert")
    elif look.now.is_dead_letter_queue:
        yield Line().add("takes dead letters" + (f" of {', '.join(detail.sources)}" if detail else ""))
    if detail is not None and detail.dead_letters:
        text = f"! {words.counted(detail.dead_letters, 'message')} in its dead-letter queue {detail.dead_letter_queue}"
        yield Line().add(text, "alert")
    if look.now.is_paused:
        yield Line().add(f"= paused: nothing is handed out until rqsqs resume {look.queue}", "bold")


def _numbers(screen: Screen, look: Look, width: int) -> Iterator[Line]:
    now = look.now
    counts = f"{now.visible:,} visible   {now.in_flight:,} in flight   {now.delayed:,} delayed"
    line = _lead("messages").add(counts)
    if now.oldest_age_s is not None:
        line.add(f"   oldest {words.age(now.oldest_age_s)}")
    if (empty_in := looks.empty_in(look)) and not now.is_paused:
        line.add(f"   empty in {empty_in}")
    yield line
    trend = screen.trends.of(look.queue)
    totals = {
        "depth": "",
        "in_per_s": _totals(("sent", now.sent), ("dead letters", now.dead_letters), ("moved here", now.redriven_in)),
        "out_per_s": _totals(
            ("deleted", now.deleted),
            *(("expired", now.expired), ("purged", now.purged), ("cancelled", now.cancelled)),
            *(("moved away", now.redriven_out), ("damaged", now.damaged)),
        ),
        "failures_per_s": _totals(
            *(("again", sum(now.redelivered)), ("dead", now.dead_lettered), ("of lost consumers", now.reclaimed))
        ),
    }
    ends = max([len(SINCE), *map(len, totals.values())])
    room = max(min(width - LEAD - 8 - 4 - ends, SPARK), 10)
    heading = f"{'':{LEAD}}{'now':>8}  {'last looks':<{room}}  {SINCE}"
    yield Line().add(heading, "dim")
    for name, title, value in (
        ("depth", "depth", words.number(look.depth)),
        ("in_per_s", "in/s", words.rate(look.in_per_s)),
        ("out_per_s", "out/s", words.rate(look.out_per_s)),
        ("failures_per_s", "failures/s", words.rate(look.failures_per_s)),
    ):
        style = "alert" if name == "failures_per_s" and look.failures_per_s else ""
        line = _lead(title).add(f"{value or '-':>8}", style).add(f"  {trend.spark(name, room, screen.bars)}", style)
        yield line.add(f"  {totals[name]}", "dim")
    yield Line()
    yield _received(now)


def _received(now: QueueMetrics) -> Line:
    """How often messages were received."""
    line = _lead("received").add(words.counted(now.received, "time"))
    for n, what in zip(now.redelivered, ("a second time", "a third time", "more often"), strict=True):
        line.add(f", {n:,} {what}" if n else "")
    return line.add(f", {now.empty_receives:,} empty receives" if now.empty_receives else "")


def _totals(*found: tuple[str, int]) -> str:
    """The first one always, the others if there are any."""
    return ", ".join([f"{n:,} {what}" for i, (what, n) in enumerate(found) if n or not i])


def _times(look: Look) -> Iterator[Line]:
    """How long messages waited, and how long workers had them: since the screen was opened, else since ever."""
    now, first = look.now, look.first
    for title, whole, before in (("waited", now.dwell, first.dwell), ("handled", now.processing, first.processing)):
        lately = whole - before
        found = [(lately, "since this screen began"), (whole, SINCE)]
        for histogram, when in [pair for pair in found if pair[0].total > 0]:
            yield _lead(title).add(_percentiles(histogram)).add(f"   {when}", "dim")
            title = ""
        if title == "waited":
            yield _lead(title).add("-").add("   nothing was received yet", "dim")


def _percentiles(histogram: Histogram) -> str:
    found = [(percent, histogram.percentile(percent)) for percent in looks.PERCENTS]
    return "   ".join([f"p{percent} {words.age(seconds)}" for percent, seconds in found if seconds is not None])


def _causes(detail: Detail, name: str) -> Iterator[Line]:
    if not detail.causes:
        return
    where = "" if detail.sources else f" in {detail.dead_letter_queue} that come from here"
    yield Line().add(f"DEAD LETTERS{where}, by cause", "bold")
    for kind in detail.causes[:SHOWN]:
        source = f" (from {kind.source})" if kind.source not in (None, name) and len(detail.sources) > 1 else ""
        yield Line().add(f"{kind.count:>9,}  ", "alert").add(kind.text).add(source, "dim")
    if len(detail.causes) > SHOWN:
        yield _more(f"and {words.counted(len(detail.causes) - SHOWN, 'more cause')}")
    if detail.looked_at >= LETTERS:
        here = name if detail.sources else detail.dead_letter_queue
        yield _more(f"of {detail.looked_at:,} looked at; for more: rqsqs dlq ls {here}")


def _consumers(detail: Detail, width: int) -> Iterator[Line]:
    alive = [consumer for consumer in detail.consumers if consumer.is_alive]
    yield Line().add(f"CONSUMERS  {len(alive):,}", "bold")
    longest = min(max([len(c.consumer_id) for c in detail.consumers], default=0), max(width - 60, 16))
    for c in detail.consumers[:CONSUMERS]:
        held = f"{c.in_flight:,} of {c.concurrency:,} in flight"
        if c.held:
            held += f", oldest {words.since(moment(c.held[0].since_ms))}"
        style = "" if c.is_alive else "alert"
        line = Line().add(f"  {shortened(c.consumer_id, longest):<{longest}}  {c.state:<9}", style)
        yield line.add(f"  {held}").add(f"  {c.succeeded:,} done, {c.failed:,} failed", "dim")
    if len(detail.consumers) > CONSUMERS:
        yield _more(f"and {words.counted(len(detail.consumers) - CONSUMERS, 'more consumer')}")


def _groups(detail: Detail) -> Iterator[Line]:
    if not detail.groups:
        return
    few = f"the largest of {len(detail.groups):,} that were counted" if detail.has_more_groups else "the largest"
    yield Line().add(f"MESSAGE GROUPS  {few}", "bold")
    for name, counts in detail.groups[:SHOWN]:
        line = Line().add(
            f"  {shortened(name, 40):<40}  {counts.visible:>7,} visible  {counts.in_flight:>5,} in flight"
        )
        yield line.add(f"  {counts.delayed:,} delayed" if counts.delayed else "")
    if len(detail.groups) > SHOWN:
        yield _more(f"and {words.counted(len(detail.groups) - SHOWN, 'more group')}")


def _history(detail: Detail, width: int, bars: str) -> Iterator[Line]:
    """The last hours, as workers and gateways sampled them; where nobody did, nothing."""
    points = detail.history
    if all([point.is_gap for point in points]):
        return
    yield Line().add("THE LAST 3 HOURS", "bold").add("  at most", "dim")
    series: tuple[tuple[str, Callable[[HistoryPoint], float | None]], ...] = (
        ("visible", lambda point: point.metrics["visible"].maximum if "visible" in point.metrics else None),
        ("in/s", lambda point: _rate(point, looks.CAME)),
        ("out/s", lambda point: _rate(point, looks.LEFT)),
        ("failures/s", lambda point: _rate(point, looks.FAILED)),
    )
    for title, value in series:
        values = [GAP if (found := value(point)) is None else found for point in points]
        known = [found for found in values if found == found]
        most = max(known, default=None)
        shown = "-" if most is None else words.number(most) if title == "visible" else words.rate(most)
        room = max(min(width - LEAD - 10, len(values)), 10)
        yield _lead(title).add(f"{shown:>8}  {spark(values, room, len(values), bars)}")


def _rate(point: HistoryPoint, fields: Sequence[str]) -> float | None:
    """How fast the sum of some numbers grew; None in a gap."""
    known = [rate for field in fields if (rate := point.rate(field)) is not None]
    return sum(known) if known else None


def _settings(look: Look, detail: Detail) -> Iterator[Line]:
    yield Line().add("SETTINGS", "bold")
    yield Line().add(f"  {'created':<32}  {moment(look.now.created_at_ms):%Y-%m-%d %H:%M:%S} UTC")
    for attribute, value in sorted(detail.info.attributes.items()):
        yield Line().add(f"  {attribute:<32}  {readable(attribute, value)}")


def _lead(text: str) -> Line:
    return Line().add(f"{text:<{LEAD}}", "bold")


def _more(text: str) -> Line:
    return Line().add(f"{'':11}{text}", "dim")
