"""The benchmarks run, in the smallest size: what they measure is nobody's business here."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import gateway, report, scaling, scripts, suite
from benchmarks.__main__ import main
from benchmarks.processes import prepare
from benchmarks.server import Bench
from tests.servers import KINDS, find_binary

KIND = next((kind for kind in KINDS if find_binary(kind)), KINDS[0])


@pytest.mark.timeout(120)
@pytest.mark.parametrize(
    ("sections", "section"),
    [pytest.param(s, name, id=name) for s in (suite.SECTIONS, scaling.SECTIONS) for name in s if name != "shards"],
)
def test_every_section_gives_a_table(
    sections: suite.Sections, section: str, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(keeps_awake=False)
    text = suite.run(KIND, suite.TINY, only=section, sections=sections)
    assert "### Targets" in text
    assert text.count("|---|") >= 2
    assert "Targets" in capsys.readouterr().out


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


def test_results_stand_between_the_markers(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"before\n{report.BEGIN}\nold\n{report.END}\nafter\n")
    report.put_between_markers(page, "new")
    assert page.read_text() == f"before\n{report.BEGIN}\n\nnew\n\n{report.END}\nafter\n"
