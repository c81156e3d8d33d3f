"""The benchmarks run, in the smallest size: what they measure is nobody's business here."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest

from benchmarks import gateway, memory, pages, peers, report, scaling, scripts, suite, throughput, waiting
from benchmarks.__main__ import main
from benchmarks.charts import SCHEMES, Bar, Chart
from benchmarks.contestants import Lists, Native, Streams
from benchmarks.growth import LEAST_FIFO, Grown
from benchmarks.minimal import RECEIVE_DELETE, Minimal, MinimalFair, MinimalFifo
from benchmarks.processes import Failed, prepare
from benchmarks.server import Bench
from benchmarks.targets import Target
from tests.servers import KINDS, find_binary

KIND = next((kind for kind in KINDS if find_binary(kind)), KINDS[0])
DOCS = Path(__file__).parents[2] / "docs"


class Broken(Lists):
    """Cannot send."""

    name = "broken"

    def send(self, bodies: Any) -> None:
        raise ValueError("no | sends\nhere")


class Silent(Lists):
    """Has no worker that gets anything."""

    name = "silent"
    is_endless = is_process = True

    def consume(self, batch: int, seconds: float, done: Callable[[int], None]) -> None:
        self.is_up.set()
        time.sleep(60)

    def listen(self, wait: float, take: Callable[[str], None]) -> None:
        raise ValueError("no worker")


class Counting(Lists):
    """Its worker never ends."""

    name = "counting"
    is_endless = is_process = True

    def consume(self, batch: int, seconds: float, done: Callable[[int], None]) -> None:
        threading.Timer(0.05, self.is_up.set).start()
        while True:
            done(len(self.receive(batch, 0.05)))


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("sections", "section"),
    [pytest.param(s, name, id=name) for s in (suite.SECTIONS, scaling.SECTIONS) for name in s if name != "shards"],
)
def test_every_section_gives_a_table_and_holds_it_against_its_targets(
    sections: suite.Sections, section: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(keeps_awake=False)
    for seconds in (0.3, 2, 5):  # a busy machine
        found = suite.Results(KIND, replace(suite.TINY, fleet_s=seconds))
        try:
            suite.run(found, sections, section)
        except Failed:
            if seconds == 5:
                raise
        else:
            if "failed: " not in "".join(found.text):
                break
    if section == "observation":
        assert not found.text
        return
    if section == "instructions":  # counted by valgrind, which takes its time
        assert {goal.missing for goal in found.goals.values()} <= {
            "left out of a quick run",
            "valgrind is not installed",
        }
        return
    assert "|---|" in "".join(found.text)
    failed = re.findall(r"failed: (.*?) \|", "".join(found.text))
    assert all(why.startswith("no message came through in") for why in failed), failed  # a busy machine
    assert f"[{section} of {KIND.title()}" in capsys.readouterr().out
    if section not in ("network", "connections", "directory", "footprint"):
        assert [goal for goal in found.goals.values() if goal.value is not None and goal.value >= 0]


@pytest.mark.timeout(120)
def test_a_contestant_that_fails_has_a_row_that_says_so_and_the_others_go_on() -> None:
    prepare(keeps_awake=False)
    with Bench(KIND) as bench:
        for seconds in (0.3, 2, 10):  # a busy machine
            found = throughput.fleets(bench, [Broken, Silent, Counting, Native], 1, 1, seconds, 1)
            if all(found[name].per_second for name in (Counting.name, Native.name, Streams.name)):
                break
        assert found[Broken.name].failed == "ValueError: no / sends"
        assert found[Silent.name].failed == f"no message came through in {seconds:g} s"
        for name in (Counting.name, Native.name, Streams.name):
            assert found[name].per_second[0] > 0, found[name].failed
            assert found[name].per_core > 0
        sizes = memory.per_message(bench, [Broken, Native], 100, 100)
        assert sizes[Broken.name] == "ValueError: no / sends"
        assert isinstance(sizes[Native.name], float)
    handed = waiting.hand_over(KIND, [Broken, Native], 3, 0)
    assert handed[Broken.name].failed
    assert handed[Native.name].values
    idle = waiting.idle(KIND, [(Native, 1, 2)], 0.1)
    assert isinstance(idle[0], waiting.Idle)


def test_a_section_that_fails_does_not_end_the_run() -> None:
    def fail(r: suite.Results) -> None:
        raise ValueError("nothing works")

    found = suite.run(suite.Results(KIND, suite.TINY, is_patient=True), {"first": fail, "calls": suite.measure_calls})
    assert "| first | ValueError: nothing works |" in found.text[0]
    assert "own Python calls of the native API, send" in found.goals


def test_whatever_is_not_installed_has_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    for cls in peers.PEERS:
        monkeypatch.setattr(cls, "is_available", classmethod(lambda cls: False))
    found = suite.run(suite.Results(KIND, suite.TINY), only="memory")
    for cls in peers.PEERS:
        assert f"| {cls.name} | not installed |" in found.text[0]
        assert cls.setup
        assert cls.guarantee


@pytest.mark.parametrize("cls", peers.PEERS, ids=lambda cls: cls.name)
@pytest.mark.timeout(120)
def test_a_peer_that_is_installed_takes_part(cls: type[peers.Contestant]) -> None:
    if not cls.is_available():
        pytest.skip(f"{cls.name} is not installed")
    prepare(keeps_awake=False)
    with Bench(KIND) as bench:
        found = throughput.fleets(bench, [cls], 1, 1, 1.0, 1)[cls.name]
    assert not found.failed
    assert found.per_second[0] > 0


def test_what_many_shards_give_is_computed_from_what_was_measured() -> None:
    facts = {
        "pipelined µs": 10.0,
        "fleet µs": 20.0,
        "bytes 1024": 3000.0,
        "replica bytes 1024": 2000.0,
        "bytes waiting": 160.0,
    }
    results = suite.Results(KIND, suite.TINY, facts=facts)
    scaling.compute_shards(results)
    assert "| 10 | 250,000 | 500,000 | 1.5 | 1 | 500,000,000 |" in results.text[0]


def test_the_scripts_can_be_profiled(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["scripts", "--server", KIND, "--seconds", "0.1", "--profile", "receive"]) == 0
    out = capsys.readouterr().out
    assert "zadd" in out
    assert "(Lua)" in out
    assert " send " not in out


def test_the_gateway_is_measured(capsys: pytest.CaptureFixture[str]) -> None:
    gateway.main(["--server", KIND, "--rounds", "1", "--count", "20"])
    assert "| gateway, signed, with policies |" in capsys.readouterr().out


def test_every_script_call_is_counted() -> None:
    with Bench(KIND) as bench:
        samples = scripts.measure(bench, 0.1, {"standard": scripts.Load(bench, "standard", 100)}, slice_=20)
    sent = samples["standard", "send", 1]
    assert sent.inner["rpush"][0] == sent.messages
    assert sent.low > 0


@pytest.mark.parametrize("groups", [1, 3, 50])
def test_the_minimum_of_message_groups_hands_out_each_message_once(groups: int) -> None:
    with Bench(KIND) as bench:
        for least in (Minimal(bench, 100, "x", 3), MinimalFair(bench, 100, "x", groups, is_kept=True)):
            for batch in (1, 10):
                for _ in range(3):
                    assert [step for step, _ in least.cycle(batch, 60)] == ["send", "receive", "delete"]


def test_the_minimum_of_fifo_queues_hands_out_each_message_once() -> None:
    with Bench(KIND) as bench:
        ways = (
            (MinimalFifo(bench, 100, "x", 100, 3), ["send", "receive", "delete"]),
            (MinimalFifo(bench, 100, "x", 1, one_by_one=True), ["send", RECEIVE_DELETE]),
            (MinimalFifo(bench, 200, "x", 50, in_flight=20, one_by_one=True), ["send", RECEIVE_DELETE]),
        )
        for least, steps in ways:
            for batch in (1, 10, 1):
                assert [step for step, _ in least.cycle(batch, 60)] == steps
            waiting = sum(bench.client.llen(key) for key in bench.client.scan_iter(f"*{least.name}*:group:*")) / 2
            assert waiting == (300 if len(steps) == 3 else 100 if least.groups == 1 else 200)


def test_growth_is_compared_with_bare_calls_wherever_they_can_do_the_same() -> None:
    sections = {
        "waiting": {"fifo"},
        "in-flight": {"standard", "fifo"},
        "groups": {"fair", "fifo"},
        "partitions": {"standard", "fifo"},
    }
    for section, compared in sections.items():
        found = suite.run(suite.Results(KIND, suite.TINY), scaling.GROWTH, section)
        assert {grown.what.partition(",")[0] for grown in found.grown if grown.bare} == compared
        assert f"| {LEAST_FIFO} |" in found.text[0]
        goals = [goal for goal in found.goals.values() if goal.note]
        assert len(goals) == sum(grown.bare is not None for grown in found.grown) > 0


def test_results_stand_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<!-- begin of all -->\nold\n<!-- end of all -->\nafter\n")
    report.put_between_markers(page, "all", "new")
    assert page.read_text() == "before\n<!-- begin of all -->\n\nnew\n\n<!-- end of all -->\nafter\n"
    with pytest.raises(ValueError, match="must have the lines"):
        report.put_between_markers(page, "none", "new")


def test_the_pages_hold_what_was_measured(tmp_path: Path) -> None:
    for name in ("performance.md", "scaling.md"):
        (tmp_path / name).write_text((DOCS / name).read_text("utf-8"), "utf-8")
    main_, second, grown, also = (
        suite.Results(KIND, suite.TINY, server=name) for name in ("Redis 1", "Valkey 2", "Redis 1", "Valkey 2")
    )
    for r, share in ((main_, 2.0), (second, 1.0)):
        r.goal("speed", share, Target(1.5, why="the weather"))
        r.goal("depth", None, Target(1.5), "no rope")
    grown.grow(Grown("standard, 10 queues", 10, 1.8, 1.6, is_most=True))
    grown.grow(Grown("standard, 2 queues", 10, 1.3, 0.5))
    also.grow(Grown("standard, 10 queues", 10, 1.9, 1.5, is_most=True))
    main_.draw("rate-1", "Messages per second", "single", {"rqsqs worker": 1234.0, "<others> & more": 10.0})
    main_.facts |= {"share 1 rqsqs worker": 3.0, "share 1 bare streams": 1.0, "share 1 RQ": 0.1}
    main_.facts |= {"share 10 rqsqs worker": 1.01, "share 10 RQ": 2.02}
    main_.text.append("a table")
    second.text.append("another table")
    pages.write(tmp_path, [main_, second], [grown, also], 3)

    text = (tmp_path / "performance.md").read_text("utf-8")
    assert (
        "rqsqs workers handled **3.0 times** as many single messages as consumers of bare Redis streams "
        "and **30.0 times** as many as the best other queue on Redis (RQ); "
        "they handled **as many** messages in batches of ten as consumers of bare Redis streams "
        "and **0.5 times** as many as the best other queue on Redis (RQ)."
    ) in text
    assert "| speed | ≤ 1.5 × | 2, behind | 1, reached |" in text
    assert "| depth | ≤ 1.5 × | not measured: no rope | not measured: no rope |" in text
    assert "- Speed: the weather." in text
    assert (
        "| growth, standard, 10 queues, batch of 10 | ≤ 1.2 × | 1.12, reached; ours 1.8, bare calls 1.6 "
        "| 1.27, behind; ours 1.9, bare calls 1.5 |"
    ) in text
    assert "2 of 4 reached." in text
    assert "standard, 2 queues" not in text
    more = (tmp_path / "scaling.md").read_text("utf-8")
    assert "| standard, 10 queues | 10 | 1.8 × | 1.6 × | 1.12 × | ≤ 1.2 × | reached |" in more
    assert "| standard, 10 queues | 10 | 1.9 × | 1.5 × | 1.27 × | ≤ 1.2 × | behind |" in more
    assert "| standard, 2 queues | 10 | 1.3 × | 0.5 × | 1.3 × | ≤ 1.2 × | behind |" in more  # bare calls that shrink
    picture = (tmp_path / "images" / "performance-growth-light.svg").read_text("utf-8")
    assert ">standard, 10 queues</text>" in picture
    assert ">bare calls, 10 queues</text>" in picture
    pictures = re.findall(r'(?:src|srcset)="(images/[^"]+)"', text)
    assert len(pictures) == 4
    assert all((tmp_path / path).exists() for path in pictures)
    assert 'alt="Messages per second, single: rqsqs worker 1,234; &lt;others&gt; &amp; more 10"' in text
    once = text, [(tmp_path / path).read_text("utf-8") for path in pictures]
    pages.write(tmp_path, [main_, second], [grown, also], 3)
    assert once == (
        (tmp_path / "performance.md").read_text("utf-8"),
        [(tmp_path / p).read_text("utf-8") for p in pictures],
    )


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_chart_is_a_picture_with_its_numbers_as_text(scheme: str) -> None:
    chart = Chart("name", "Title", "unit", [Bar("a & b", 2.5, True), Bar("c", 0.0)], 1, (2.0, "target: 2"))
    picture = ElementTree.fromstring(chart.svg(scheme))
    words = [element.text for element in picture.iter() if element.tag.endswith("}text")]
    assert words == ["Title", "unit", "a & b", "2.5", "c", "0.0", "target: 2"]
    assert picture[0].text == chart.text() == "Title, unit: a & b 2.5; c 0.0. target: 2"
    widths = [float(element.attrib["width"]) for element in picture.iter() if element.tag.endswith("}rect")]
    assert widths[0] > widths[1] > 0


@pytest.mark.timeout(200)
def test_the_command_line_measures_a_section_and_prints_its_targets(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(suite, "QUICK", suite.TINY)
    assert main(["--quick", "--server", KIND, "--only", "calls"]) == 0
    assert "own Python calls of the native API, send" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["--only", "calls", "--write", str(tmp_path)])
    assert "leave --only out" in capsys.readouterr().err
