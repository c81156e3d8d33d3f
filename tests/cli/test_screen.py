"""The screen of `rqsqs top` without a terminal: what is painted of a state, and what keys make of it."""

from __future__ import annotations

import dataclasses
import re
from datetime import UTC, datetime
from typing import Any

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

import rqsqs
from rqsqs.cli.screen.detail import Detail
from rqsqs.cli.screen.lines import Line, shortened
from rqsqs.cli.screen.painting import COLUMNS, frame
from rqsqs.cli.screen.reader import Read
from rqsqs.cli.screen.state import Screen
from rqsqs.cli.screen.terminal import keys_of
from rqsqs.cli.screen.trends import BARS, PLAIN_BARS, Trends, spark
from rqsqs.inspection.causes import Kind
from rqsqs.inspection.looks import COUNTED, ORDERS, Look, Looker, empty_in, in_order
from rqsqs.inspection.words import number, rate
from rqsqs.metric_models import Histogram, HistoryPoint, MetricStatistics, QueueMetrics
from rqsqs.models import Consumer, Counts, InFlight, Statistics

SIZES = [(80, 24), (140, 40), (40, 10), (23, 5), (10, 3), (1, 1), (300, 80)]
NOW = datetime(2030, 1, 1, tzinfo=UTC)
EVIL = "x\x1b[35m\u202ey你好"


def metrics(name: str, at_ms: int = 10_000, **numbers: Any) -> QueueMetrics:
    return QueueMetrics(name, at_ms, 1_000, **numbers)


def seen(name: str, before: dict[str, Any] | None = None, **now: Any) -> Look:
    """A queue at its second look, a second after the first."""
    first = metrics(name, 9_000, **(before or {}))
    return Look(metrics(name, **now), first, first)


FLEET = (
    seen("orders", {"sent": 100, "deleted": 90}, visible=7, in_flight=5, sent=112, deleted=100, oldest_age_s=4.0),
    seen("orders-dead", visible=41, dead_letters=41, is_dead_letter_queue=True, oldest_age_s=90.0),
    seen("orders-dead-2", is_dead_letter_queue=True),
    seen("mails", visible=3, delayed=1, sent=4, is_paused=True, oldest_age_s=600.0),
    seen("jobs", {"visible": 20, "sent": 20}, visible=10, sent=20, deleted=10, redelivered=(3, 0, 1)),
    seen("idle", consumers={"running": 2, "lost": 1}),
)


def screen_of(*looks: Look, **choices: Any) -> Screen:
    screen = Screen(where="redis://h:1/0", **choices)
    screen.trends.add(looks)
    screen.take(Read(list(looks), 1, "12:00:00", 0.1))
    return screen


def painted(screen: Screen, width: int = 80, height: int = 24) -> list[str]:
    return [line.text for line in frame(screen, width, height)]


def named(screen: Screen, width: int = 80, height: int = 24) -> list[str]:
    """The queues on it, from above."""
    names = {look.queue for look in screen.looks}
    return [
        row[2:].split()[0]
        for row in painted(screen, width, height)
        if row[2:].split()[:1] and row[2:].split()[0] in names
    ]


@pytest.mark.parametrize(("width", "height"), SIZES)
@pytest.mark.parametrize("count", [0, 3, 40, 2000])
def test_it_fits_every_terminal(width: int, height: int, count: int) -> None:
    looks = [seen(f"{'long-' * (i % 16)}{i}", visible=10**i % 10**15, sent=i, delayed=i % 2) for i in range(count)]
    states = [screen_of(*looks), screen_of(*looks, is_help=True), screen_of(*looks, is_typing=True, word="long" * 30)]
    if looks:
        states += [screen_of(*looks, opened=looks[-1].queue), screen_of(*looks, selected=looks[-1].queue)]
    for screen in states:
        lines = frame(screen, width, height)
        assert len(lines) == height
        for line in lines:
            shown = re.sub(r"\x1b\[[\d;]*m", "", line.ansi(width))
            assert len(shown) <= width
            assert shown.isprintable()


def test_what_matters_stands_first_at_80_columns_and_all_of_it_at_140() -> None:
    def titles(width: int) -> list[str]:
        line = next(row for row in painted(screen_of(*FLEET), width) if "QUEUE" in row)
        return [column.title for column in COLUMNS if column.title in line]

    everything = [column.title for column in COLUMNS]
    assert titles(140) == everything
    assert {"VISIBLE", "IN FLIGHT", "OLDEST", "IN/s", "OUT/s", "FAIL/s", "EMPTY IN"} <= set(titles(80))
    assert titles(40) == ["VISIBLE", "IN FLIGHT", "OLDEST"] or titles(40) == ["VISIBLE", "IN FLIGHT"]
    assert titles(20) == []
    for order in ORDERS.keys() - {"name", "total"}:  # what it is sorted by is always there
        screen = screen_of(*FLEET, order=order)
        title = next(column.title for column in COLUMNS if column.order == order)
        assert f"▾{title}" in "".join(painted(screen, 80))


def test_numbers_stand_below_their_titles() -> None:
    for width in (80, 140):
        rows = painted(screen_of(*FLEET), width)
        titles = next(row for row in rows if "QUEUE" in row)
        orders = next(row for row in rows if row.startswith("  orders "))
        for title, text in (("VISIBLE", "7"), ("IN FLIGHT", "5"), ("OLDEST", "4 s"), ("IN/s", "12"), ("OUT/s", "10")):
            end = titles.index(title) + len(title)
            assert orders[:end].endswith(f" {text}"), title


@pytest.mark.parametrize("colours", [True, False])
def test_dead_letters_and_paused_queues_stand_out(colours: bool) -> None:
    screen = screen_of(*FLEET, selected="orders")
    rows = [line.ansi(80, colours=colours) for line in frame(screen, 80, 24)]
    loud = "\x1b[1;31m" if colours else "\x1b[1m"
    assert any("31m" in row for row in rows) is colours
    assert f"{loud}! 41 dead letters: orders-dead 41\x1b[0m   \x1b[1m= 1 paused\x1b[0m" in rows
    assert any(row.startswith(f"{loud}! \x1b[0m{loud}orders-dead ") for row in rows)
    assert not any(re.match(r"\S+! ", row) and "orders-dead-2" in row for row in rows)  # it is empty
    (paused,) = [row for row in painted(screen) if row.startswith("= mails")]
    assert paused.rstrip("─ ").endswith("paused")
    jobs = next(row for row in rows if "jobs" in row)
    assert f"{loud}    4.0\x1b[0m" in jobs


def test_the_totals_are_those_of_the_list() -> None:
    screen = screen_of(*FLEET)
    assert (
        painted(screen)[1].startswith("6 queues  61 visible  5 in flight  1 delayed  in 16/s  out 20/s  fail 45/s")
        is False
    )
    assert painted(screen)[1].startswith("6 queues  61 visible  5 in flight  1 delayed")
    screen.word = "orders"
    assert painted(screen)[1].startswith("3 of 6 queues  /orders  48 visible  5 in flight")


def test_keys_sort_by_what_is_shown() -> None:
    screen = screen_of(*FLEET)
    painted(screen, 140, 40)
    met = []
    for _ in range(len(COLUMNS) + 1):
        met.append(screen.order)
        screen.press("s")
    assert met == ["name", *[column.order for column in COLUMNS]]
    assert screen.order == "name"
    screen.press("right")
    assert named(screen)[:3] == ["orders-dead", "jobs", "orders"]
    screen.press("r")
    assert named(screen)[-3:] == ["orders", "jobs", "orders-dead"]
    screen.press("S")
    assert (screen.order, screen.is_reversed) == ("name", False)


def test_every_order_sorts() -> None:
    first = {
        "name": "idle",
        "visible": "orders-dead",
        "in_flight": "orders",
        "delayed": "mails",
        "total": "orders-dead",
        "oldest": "mails",
        "in": "orders-dead",
        "out": "jobs",
        "failures": "jobs",
        "consumers": "idle",
        "empty": "jobs",
        "change": "orders-dead",
    }
    assert {order: in_order(FLEET, order)[0].queue for order in ORDERS} == first


def test_a_filter_applies_while_it_is_typed() -> None:
    screen = screen_of(*FLEET)
    for key in "/", *"Dea":
        screen.press(key)
    assert named(screen) == ["orders-dead", "orders-dead-2"]
    assert painted(screen)[-1].startswith(" /Dea_")
    screen.press("backspace")
    screen.press("q")  # a letter, not the end
    assert named(screen) == []
    assert "no queues whose names contain 'Deq'; Esc shows all" in painted(screen)
    screen.press("esc")
    assert len(named(screen)) == 6
    for key in "/", *"idle", "enter", "enter":
        assert screen.press(key)
    assert screen.opened == "idle"


def test_only_what_needs_somebody() -> None:
    screen = screen_of(*FLEET)
    screen.press("!")
    assert named(screen) == ["jobs", "mails", "orders-dead"]
    screen.press("!")
    assert len(named(screen)) == 6


def test_the_selected_queue_stays_so_and_is_seen() -> None:
    looks = [seen(f"q-{i:03}", visible=i) for i in range(300)]
    screen = screen_of(*looks)
    for key in ("down", "page-down", "down"):
        screen.press(key)
    name = screen.selected
    for order in ("visible", "name"):
        screen.order = order
        lines = frame(screen, 80, 24)
        assert [line.text.split()[0] for line in lines if line.is_reversed] == [name]
    for key, name in (("end", "q-299"), ("up", "q-298"), ("home", "q-000"), ("up", "q-000"), ("wheel-down", "q-003")):
        screen.press(key)
        assert [line.text.split()[0] for line in frame(screen, 80, 24) if line.is_reversed] == [name]
    screen.take(Read([look for look in looks if look.queue != "q-003"], 2, "12:00:02", 0.1))  # deleted
    assert [line.text.split()[0] for line in frame(screen, 80, 24) if line.is_reversed] == ["q-000"]


def test_the_mouse_sorts_selects_and_opens() -> None:
    screen = screen_of(*FLEET)
    rows = painted(screen)
    y = next(i for i, row in enumerate(rows) if "QUEUE" in row)
    at = rows[y].index("OLDEST"), y
    screen.press("click", at)
    assert (screen.order, screen.is_reversed) == ("oldest", False)
    screen.press("click", at)
    assert (screen.order, screen.is_reversed) == ("oldest", True)
    screen.press("click", (3, y))
    row = next(i for i, text in enumerate(painted(screen)) if text.startswith("  orders "))
    screen.press("click", (50, row))
    assert (screen.selected, screen.opened) == ("orders", None)
    screen.press("click", (5, row))
    assert screen.opened == "orders"
    for at in ((0, 0), (79, 23), (500, 500)):  # where nothing is
        screen.press("esc")
        screen.press("click", at)
        assert screen.opened is None


def test_keys_end_help_and_pause() -> None:
    screen = screen_of(*FLEET)
    assert not screen.press("q")
    assert not screen.press("ctrl-c")
    assert screen.press("?")
    help_text = " ".join("\n".join(painted(screen, 80, 200)).split())
    for column in COLUMNS:
        assert f"{column.title} " in help_text
    assert screen.press("q")  # ends the help only
    assert "QUEUE" in "".join(painted(screen))
    screen.press("p")
    assert screen.is_paused
    assert "PAUSED" in painted(screen)[0]
    screen.press("p")
    assert not screen.is_paused
    screen.press("enter")
    assert not screen.press("q")


def test_a_failure_is_shown_with_the_numbers_before_it() -> None:
    screen = screen_of(*FLEET)
    screen.take(Read(list(FLEET), 2, "12:00:00", 0.1, "no answer at 12:00:02: h:1 refused"))
    for width in (80, 140):
        rows = painted(screen, width)
        assert "no answer at 12:00:02: h:1 refused" in rows
        assert any(row.startswith("! orders-dead") for row in rows)
    screen.press("enter")
    assert "no answer at 12:00:02: h:1 refused" in painted(screen)


def detail(**more: Any) -> Detail:
    held = (InFlight("0199", 1_700_000_000_000),)
    about = dict(started_at_ms=0, last_seen_at_ms=0, alive_until_ms=0, concurrency=8, succeeded=70, failed=2)
    worker = Consumer("web-1-1-a", "orders", True, "running", host="h", pid=1, in_flight=3, held=held,
                      statistics=Statistics(), **about)  # fmt: skip
    lost = dataclasses.replace(worker, consumer_id=f"web-2{EVIL}", is_alive=False, state="lost", in_flight=1)
    info = rqsqs.QueueInfo("orders", {"VisibilityTimeout": "30"})
    groups = [(EVIL, Counts(30, 1, 2)), ("customer-2", Counts(1, 0, 0))]

    def sampled(number: float) -> MetricStatistics:
        return MetricStatistics(number, number, number, number, 3)

    points = [HistoryPoint(i * 180_000, 180) for i in range(60)]  # gaps
    for i in (7, 8):
        numbers = {"visible": sampled(900 * i), "sent": sampled(180 * i), "deleted": sampled(0)}
        points[i] = HistoryPoint(i * 180_000, 180, 180.0, numbers)
    return Detail(info, "orders-dead", 41, [], [worker, lost], groups, history=points, **more)


@pytest.mark.parametrize(("width", "height"), [(80, 24), (140, 40)])
def test_one_queue_has_a_page(width: int, height: int) -> None:
    now = {"dwell": Histogram((0, 0, 50, 40, 10)), "processing": Histogram((0, 9)), "received": 104, "sent": 1_000}
    now |= {"redelivered": (3, 1, 0), "visible": 31, "in_flight": 4, "dead_lettered": 41, "oldest_age_s": 240.0}
    screen = screen_of(seen("orders", {"sent": 900}, **now), opened="orders")
    assert "reading consumers, groups and settings" in painted(screen, width, height)
    screen.take(Read(list(screen.looks), 2, "12:00:02", 0.1, "", ("orders", detail())))
    rows = painted(screen, width, 80)
    text = "\n".join(rows)
    assert rows[0].split()[:2] == ["orders", "standard"]
    assert "! 41 messages in its dead-letter queue orders-dead" in rows
    for line in (
        "messages   31 visible   4 in flight   0 delayed   oldest 4 min",
        "received   104 times, 3 a second time, 1 a third time",
        "CONSUMERS  1",
        "web-1-1-a",
        "lost",
        "3 of 8 in flight, oldest ",
        "MESSAGE GROUPS  the largest",
        "30 visible",
        "THE LAST 3 HOURS  at most",
        "VisibilityTimeout                 30 s",
    ):
        assert line in text
    assert re.search(r"in/s +100 .* 1,000 sent", text)
    assert re.search(r"failures/s +45 .* 4 again, 41 dead", text)
    assert re.search(r"waited +p50 4 ms +p95 \d+ ms +p99 \d+ ms +since this screen began", text)
    assert re.search(r"^visible +7,200 +▇█ *$", text, re.MULTILINE)
    assert re.search(r"^in/s +8\.0 +▇█ *$", text, re.MULTILINE)
    assert re.search(r"^out/s +0 +▁▁ *$", text, re.MULTILINE)
    assert re.search(r"^failures/s +- *$", text, re.MULTILINE)
    assert "\x1b" not in text
    assert "\u202e" not in text
    first = painted(screen, width, height)
    assert len(first) == height
    screen.press("end")
    assert [row for row in painted(screen, width, height)[:-1] if row][-1].split()[0] == "VisibilityTimeout"
    screen.press("esc")
    assert "QUEUE" in "".join(painted(screen, width, height))


def test_the_page_of_a_queue_that_is_gone_says_so() -> None:
    screen = screen_of(*FLEET, opened="orders")
    screen.take(Read([look for look in FLEET if look.queue != "orders"], 2, "12:00:02", 0.1))
    assert "this queue is not there any more; Esc goes back" in painted(screen)


@pytest.mark.parametrize(("sources", "where"), [([], "orders-dead"), (["orders", "bills"], "orders")])
def test_a_page_says_of_how_many_dead_letters_it_tells(sources: list[str], where: str) -> None:
    kinds = [Kind("ValueError", f"no address {i}", "bills", 9 - i, NOW, NOW, "0199") for i in range(9)]
    screen = screen_of(*FLEET, opened="orders")
    for looked_at in (45, 1000):
        found = dataclasses.replace(detail(), sources=sources, causes=kinds, looked_at=looked_at)
        screen.take(Read(list(FLEET), 2, "12:00:02", 0.1, "", ("orders", found)))
        text = "\n".join(painted(screen, 100, 80))
        assert "        9  ValueError: no address 0" in text
        assert "and 1 more cause\n" in text
        assert ("(from bills)" in text) is bool(sources)
        more = f"of 1,000 looked at; for more: rqsqs dlq ls {where}"
        assert (more in text) is (looked_at == 1000)


def test_a_page_says_why_there_is_no_more_of_it() -> None:
    screen = screen_of(*FLEET, opened="orders")
    screen.take(Read(list(FLEET), 2, "12:00:02", 0.1, "", ("orders", f"the queue is damaged: {EVIL}")))
    assert "the queue is damaged: x\\x1b[35m\\u202ey你好" in painted(screen)


def test_foreign_text_is_cut_by_its_width() -> None:
    line = Line().add("a你b").add(EVIL, "alert")
    assert line.text == "a你bx\\x1b[35m\\u202ey你好"
    assert line.ansi(3) == "a你"
    assert line.ansi(2) == "a "
    assert line.ansi(5, colours=False) == "a你b\x1b[1mx\x1b[0m"
    assert line.ansi(4, colours=False, plain=True) == "a?b\x1b[1mx\x1b[0m"
    assert Line().add(BARS).ansi(8, plain=True) == "????????"
    assert shortened("payments-eu-orders", 11) == "payme…rders"
    assert [shortened("abc", n) for n in (3, 2, 1, 0)] == ["abc", "a…", "a", ""]


def test_sparklines() -> None:
    assert spark([0, 1, 2, 4], 4, 4) == "▁▃▅█"
    assert spark([3, 3], 5, 2) == "   ██"
    assert spark([0, 0], 2, 2) == "▁▁"
    assert spark([0.001, 100], 2, 2) == "▂█"  # little is more than nothing
    assert spark([float("nan"), 1, 2], 3, 3) == " ▅█"
    assert spark([1, 2], 2, 2, PLAIN_BARS) == "=#"
    assert spark([], 3, 0) == "   "
    assert spark([1, 2], 0, 2) == ""
    values = [float(i % 7) for i in range(200)]
    at_150, at_152 = (spark(values[n - 100 : n], 30, n) for n in (150, 152))
    assert len(at_150.strip()) > 20
    assert at_150[2:20] in at_152  # bars move and do not change


def test_only_what_changes_has_bars_in_the_list() -> None:
    screen = screen_of(seen("a", visible=5), seen("b", visible=5))
    screen.trends.add([seen("a", visible=5), seen("b", visible=10)])
    rows = painted(screen, 140)
    assert next(row for row in rows if row.startswith("  a ")).endswith(" ──")
    assert next(row for row in rows if row.startswith("  b ")).endswith(" ▅█")


def test_when_a_queue_is_empty_is_no_news_if_that_is_before_the_next_look() -> None:
    for left, text in ((100, "10 s"), (10, "1000 ms"), (9, "")):
        look = seen("q", {"visible": left + 10}, visible=left, deleted=10)
        assert look.empty_in_s == left / 10
        assert empty_in(look).replace("1 s", "1000 ms") == text


def test_the_trend_keeps_the_last_looks_and_shows_gaps() -> None:
    trends = Trends()
    trends.add([seen("a", visible=5)])
    trends.add(None)
    trends.add([seen("a", visible=10), seen("b")])
    assert trends.of("a").spark("depth", 3) == "▅ █"
    assert trends.of("b").spark("depth", 3) == "  ▁"
    assert trends.of("c").spark("depth", 3) == "   "
    for _ in range(1000):
        trends.add([seen("a", visible=1)])
    assert trends.of("b").spark("depth", 3) == "   "  # it was deleted
    assert 150 <= len(trends.of("a").values("depth")) <= 300


def test_rates_are_differences() -> None:
    replies = [
        metrics("q", 1_000, sent=10, deleted=4, visible=6),
        metrics("q", 3_000, sent=20, deleted=14, redelivered=(1, 1, 0), dead_lettered=2, visible=4),
        metrics("q", 3_000, sent=20, deleted=14, redelivered=(1, 1, 0), dead_lettered=2, visible=4),
        metrics("q", 4_000, sent=20, deleted=14, visible=6),
        dataclasses.replace(metrics("q", 5_000), created_at_ms=4_500),
    ]
    looker = Looker(lambda: [replies.pop(0)])
    (first,) = looker.look()
    assert (first.in_per_s, first.out_per_s, first.failures_per_s, first.change_per_s, first.empty_in_s) == (None,) * 5
    (second,) = looker.look()
    assert (second.in_per_s, second.out_per_s, second.failures_per_s, second.change_per_s) == (5, 6, 2, -1)
    assert second.in_per_s - second.out_per_s == second.change_per_s  # type: ignore[operator]
    assert second.empty_in_s == 4
    (again,) = looker.look()  # at the same moment
    assert again.in_per_s == 5
    (lost,) = looker.look()  # the server lost what it had counted: nobody knows
    assert (lost.failures_per_s, lost.out_per_s, lost.in_per_s, lost.change_per_s) == (None, None, 0, 2)
    (new,) = looker.look()  # deleted and created again
    assert new.in_per_s is None


def test_json_has_every_number_of_the_metrics() -> None:
    record = FLEET[0].record()
    for field in dataclasses.fields(QueueMetrics):
        name = field.name.removesuffix("_ms").replace("is_paused", "paused")
        assert name in record or f"{name}_counts" in record, field.name
    counted = {
        f.name for f in dataclasses.fields(QueueMetrics) if f.type in ("int", "int | None", "tuple[int, int, int]")
    }
    gauges = {name for name in counted if "groups" in name or name.endswith("_ms")}
    assert set(record["per_s"]) == set(COUNTED) == counted - gauges - {"visible", "in_flight", "delayed", "waiters"}
    assert record["per_s"]["sent"] == 12


@pytest.mark.parametrize(
    ("n", "text"),
    [(0, "0"), (999_999, "999,999"), (1_234_567, "1.23M"), (12_345_678, "12.3M"), (123_456_789, "123M"), (4e9, "4G")],
)
def test_large_numbers_stay_narrow(n: float, text: str) -> None:
    assert number(n) == text


@pytest.mark.parametrize(
    ("per_s", "text"),
    [
        (None, ""),
        (0, "0"),
        (0.01, "<0.1"),
        (0.55, "0.6"),
        (9.94, "9.9"),
        (9.96, "10"),
        (1234.5, "1,234"),
        (2e5, "200k"),
    ],
)
def test_rates_stay_narrow(per_s: float | None, text: str) -> None:
    assert rate(per_s) == text
    for value in (10.0**exponent * 9.9999 for exponent in range(-3, 12)):
        assert len(rate(value)) <= 6
        assert len(number(value)) <= 7


def test_keys_and_the_mouse_are_read() -> None:
    def keys(text: str) -> list[Any]:
        return [key if at == (0, 0) else (key, *at) for key, at in keys_of(text)[0]]

    assert keys("q\x1b[A\x1bOB\r\x7f\x03") == ["q", "up", "down", "enter", "backspace", "ctrl-c"]
    assert keys("\x1b[5~\x1b[6~\x1b[H\x1b[4~\x1b") == ["page-up", "page-down", "home", "end", "esc"]
    assert keys("\x1b[<0;5;3M\x1b[<0;5;3m\x1b[<64;9;9M\x1b[<65;9;9M") == [
        ("click", 4, 2), ("wheel-up", 8, 8), ("wheel-down", 8, 8)
    ]  # fmt: skip
    assert keys("\x1b[2~\x1b[15~\x1b[1;5A\x00") == []  # which it does not know
    assert keys_of("a\x1b", is_all=False) == ([("a", (0, 0))], "\x1b")
    assert keys_of("\x1b[<0;5", is_all=False) == ([], "\x1b[<0;5")
    assert keys_of("\x1b", is_all=True) == ([("esc", (0, 0))], "")
