"""Paint the list of queues, the help and the last line: pure functions of the state and the size of the terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import dataclass

from rqsqs.cli.screen import queue_page
from rqsqs.cli.screen.lines import Line, shortened
from rqsqs.cli.screen.state import Screen
from rqsqs.inspection import looks, words
from rqsqs.inspection.looks import Look

NAMED = 5  # dead-letter queues, in the line about them
MARK = 2  # characters in front of a name
NAME, WIDE_NAME, WIDE = 23, 40, 120  # how many characters of a name go before other columns
HELP_LEAD = 13  # characters in front of what is explained
TREND = 10  # characters of a sparkline, at least
KEYS = (
    *(("q", "ends"), ("?", "help"), ("↑↓", "move"), ("Enter", "open"), ("/", "filter"), ("s", "sort")),
    *(("!", "problems"), ("p", "pause"), ("r", "reverse")),
)
PAGE_KEYS = (("q", "ends"), ("?", "help"), ("Esc", "back"), ("↑↓", "scroll"), ("p", "pause"))


@dataclass(frozen=True)
class Cells:
    """A column of the list.

    Attributes:
        order: what a click on its title sorts by.
        style: of a cell; that of 0 is dim.
    """

    order: str
    title: str
    width: int
    text: Callable[[Look], str]
    style: Callable[[Look], str] = lambda look: ""


def _dead(look: Look) -> str:
    return "alert" if look.holds_dead_letters else ""


COLUMNS = (  # as they stand on the screen
    Cells("visible", "VISIBLE", 7, lambda look: words.number(look.now.visible), _dead),
    Cells("in_flight", "IN FLIGHT", 9, lambda look: words.number(look.now.in_flight)),
    Cells("delayed", "DELAYED", 7, lambda look: words.number(look.now.delayed)),
    Cells("oldest", "OLDEST", 6, lambda look: words.age(look.now.oldest_age_s)),
    Cells("in", "IN/s", 6, lambda look: words.rate(look.in_per_s)),
    Cells("out", "OUT/s", 6, lambda look: words.rate(look.out_per_s)),
    Cells("failures", "FAIL/s", 6, lambda look: words.rate(look.failures_per_s), lambda look: "alert"),
    Cells("consumers", "CONSUMERS", 9, lambda look: words.number(look.consumers)),
    Cells("empty", "EMPTY IN", 8, looks.empty_in, lambda look: "bold" if look.now.is_paused else ""),
    Cells("change", "TREND", TREND, lambda look: ""),
)
FIRST = ("visible", "in_flight", "oldest", "in", "out", "failures", "empty", "change", "delayed", "consumers")


def frame(screen: Screen, width: int, height: int) -> list[Line]:
    """The whole screen, `height` lines at most."""
    foot = _foot(screen, width)
    if screen.is_help:
        body = _scrolled(screen, _help(width), height - 1)
    elif screen.opened is not None:
        body = _scrolled(screen, queue_page.page(screen, width), height - 1)
    else:
        body = _list(screen, width, height - 1)
    return [*body[: height - 1], *[Line() for _ in range(height - 1 - len(body))], foot]


def _scrolled(screen: Screen, lines: list[Line], room: int) -> list[Line]:
    screen.rows = max(room, 1)
    screen.scrolled = max(min(screen.scrolled, len(lines) - room), 0)
    shown = lines[screen.scrolled : screen.scrolled + room]
    if screen.scrolled + room < len(lines) and shown:
        shown[-1] = Line().add(f"{len(lines) - screen.scrolled - room + 1:,} more lines ↓", "dim")
    return shown


def _list(screen: Screen, width: int, room: int) -> list[Line]:
    chosen = screen.chosen()
    head = [queue_page.headline(screen, "rqsqs top", screen.where, width), *_about(screen)]
    head = head[: max(room - 2, 0)]  # the titles and a row
    columns, name_width, trend_width = _columns(screen, width)
    screen.rows, screen.first_row = max(room - len(head) - 1, 1), len(head) + 1
    top = screen.scrolled_list(screen.rows)
    shown = chosen[top : top + screen.rows]
    cursor = screen.cursor()
    rows = [_row(screen, look, i == cursor, columns, name_width, trend_width)
            for i, look in enumerate(shown, top)]  # fmt: skip
    if not rows:
        rows = [Line().add(_nothing(screen), "dim")]
    return [*head, _titles(screen, columns, name_width, trend_width), *rows]


def _nothing(screen: Screen) -> str:
    if screen.word or screen.only_problems:
        which = f" whose names contain {screen.word!r}" if screen.word else ""
        return f"no queues{which}{' that need somebody' if screen.only_problems else ''}; Esc shows all"
    return "no queues"


def _about(screen: Screen) -> list[Line]:
    """A line of totals, and one of what needs somebody."""
    summary, all_queues, chosen = screen.summary(), len(screen.looks), len(screen.chosen())
    queues = words.counted(all_queues, "queue")
    totals = Line().add(queues if chosen == all_queues else f"{chosen:,} of {queues}", "bold")
    totals.add("  problems only" if screen.only_problems else "", "bold")
    totals.add(f"  /{screen.word}" if screen.word and not screen.is_typing else "", "bold")
    for text, count in summary.totals:
        totals.add(f"  {words.number(count)} {text}")
    for text, rate in summary.rates:
        totals.add(f"  {text} {words.rate(rate)}/s", "alert" if text == "fail" and rate else "")
    if screen.failure:
        return [totals, Line().add(screen.failure, "alert")]
    problems, dead = Line(), summary.dead
    if dead:
        number = words.counted(sum([look.depth for look in dead]), "dead letter")
        names = ", ".join([f"{look.queue} {words.number(look.depth)}" for look in dead[:NAMED]])
        more = f" and {len(dead) - NAMED:,} more queues" if len(dead) > NAMED else ""
        problems.add(f"! {number}: {names}{more}", "alert")
    if summary.paused:
        problems.add("   " if dead else "").add(f"= {summary.paused:,} paused", "bold")
    return [totals, problems]


def _columns(screen: Screen, width: int) -> tuple[list[Cells], int, int]:
    """Those there is room for, how wide names are, and sparklines."""
    longest = screen.summary().longest
    name = max(min(longest, WIDE_NAME if width >= WIDE else NAME), len("QUEUE") + 1)
    name = max(min(name, width - MARK), 1)
    left = max(width - MARK - name, 0)
    order = sorted(FIRST, key=lambda order: order != screen.order)  # what it is sorted by is seen
    if screen.summary().has_delayed:
        order.remove("delayed")
        order.insert(order.index("empty") + 1, "delayed")
    chosen = set()
    for wanted in order:
        cells = next(column for column in COLUMNS if column.order == wanted)
        if cells.width + 1 > left:
            if wanted in FIRST[:4]:
                break  # never a less important one in its place
            continue
        chosen.add(wanted)
        left -= cells.width + 1
    more = min(left, max(longest - name, 0))
    name, left = name + more, left - more
    trend = TREND + min(left, 30) if "change" in chosen else 0
    return [column for column in COLUMNS if column.order in chosen], name, trend


def _titles(screen: Screen, columns: list[Cells], name_width: int, trend_width: int) -> Line:
    down, up = "▾", "▴"
    mark = up if screen.is_reversed else down
    line, at = Line(), MARK + name_width
    is_sorted = screen.order == "name"
    line.add(f"{'':{MARK}}{'QUEUE' + (mark if is_sorted else ''):<{name_width}}", "bold")
    screen.titles = [(0, at, "name")]
    for column in columns:
        width = trend_width if column.order == "change" else column.width
        title = (mark if column.order == screen.order else "") + column.title
        line.add(f"{title:>{width + 1}}", "bold")
        screen.titles.append((at, at + width + 1, column.order))
        at += width + 1
    return line


def _row(
    screen: Screen, look: Look, is_selected: bool, columns: list[Cells], name_width: int, trend_width: int
) -> Line:
    line = Line(is_reversed=is_selected)
    is_idle = not (look.depth or look.in_per_s or look.out_per_s or look.now.is_paused)
    mark = "!" if look.holds_dead_letters else "=" if look.now.is_paused else ""
    style = _dead(look) or ("dim" if is_idle else "")
    line.add(f"{mark:<{MARK}}", "alert" if mark == "!" else "bold")
    line.add(f"{shortened(look.queue, name_width):<{name_width}}", style)
    for column in columns:
        if column.order == "change":
            bars = screen.trends.of(look.queue).spark("depth", trend_width, screen.bars)
            if len(set(bars.strip())) > 1:
                line.add(f" {bars}", style)
            else:  # only what changes is to be seen
                line.add(f"{'─' * len(bars.strip()):>{trend_width + 1}}", "dim")
            continue
        text = column.text(look)
        line.add(f"{text:>{column.width + 1}}", "dim" if text in ("0", "-") else column.style(look))
    return line


def _foot(screen: Screen, width: int) -> Line:
    line = Line()
    if screen.is_typing:
        line.add(" /", "bold").add(screen.word).add("_  ", "bold")
        return line.add("Enter keeps the filter, Esc takes it away", "dim")
    keys = (("q", "closes the help"), ("↑↓", "scroll")) if screen.is_help else PAGE_KEYS if screen.opened else KEYS
    for key, what in keys:
        if len(line.text) + len(key) + len(what) + 3 > width:
            break
        line.add("  " if line.spans else " ").add(key, "bold").add(f" {what}", "dim")
    return line


def _help(width: int) -> list[Line]:
    lines = []
    for part in HELP.strip("\n").split("\n"):
        key, _, text = part.partition("|")
        if not text:
            lines.append(Line().add(part, "bold"))
        for i, piece in enumerate(textwrap.wrap(text, max(width - HELP_LEAD, 20))):
            lines.append(Line().add(f"{'' if i else key.rstrip():<{HELP_LEAD}}", "bold").add(piece))
    return lines


HELP = """
Keys
 q, Ctrl-C  | end
 ↑ ↓ j k    | move; Page Up, Page Down, Home, End too
 Enter      | show one queue; Esc or Backspace goes back
 /          | filter as you type: names that contain the word; Esc shows all again
 s S → ←    | sort by the next or the last column; r turns the order round
 !          | only queues that need somebody: dead letters, failures, paused while messages wait
 p, Space   | stop at these numbers; again goes on
 Mouse      | the wheel moves; a click on a title sorts, on a queue selects it, once more opens it
            | (to mark text with the mouse, hold Shift)

Marks
 !          | a dead-letter queue that holds messages
 =          | it is paused: nothing is handed out
 ▾ ▴        | the list is sorted by this column

Columns
 VISIBLE    | messages that can be received now
 IN FLIGHT  | received, and neither deleted nor visible again
 DELAYED    | become visible later
 OLDEST     | age of the oldest message, as SQS counts ApproximateAgeOfOldestMessage
 IN/s       | messages that came: sent, brought by moves, or as dead letters
 OUT/s      | messages that left: deleted, dead, expired, purged, cancelled or moved
 FAIL/s     | messages that were handed out again, or went to the dead-letter queue
 CONSUMERS  | workers that serve the queue
 EMPTY IN   | when the queue is empty if it goes on shrinking like this; or: paused
 TREND      | the number of messages at the last looks, from zero to the most; ─ = always the same

Numbers are exact. Rates are what happened between the last two looks.
"""
