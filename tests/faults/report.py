"""What the tests of faults saw, as a table in docs/guarantees.md.

make fault-report
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import Any

from rqsqs.cli.chaos.history import Verdict

PAGE = Path(__file__).parents[2] / "docs" / "guarantees.md"
FILE = "RQSQS_FAULT_REPORT"  # names the file that takes what tests note
CONTROL = " (the same without `Durability`)"
BEGIN, END = "<!-- begin of runs -->\n", "<!-- end of runs -->\n"


def note(**figures: Any) -> None:
    """Keep figures of the test that runs, if they are wanted."""
    path = os.environ.get(FILE)
    if path:
        found = re.search(r"::(\w+)(\[.*-without\])?", os.environ["PYTEST_CURRENT_TEST"])
        assert found
        with open(path, "a") as file:
            file.write(json.dumps({"test": found[1], "is_control": found[2] is not None, **figures}) + "\n")


def note_verdict(verdict: Verdict, faults: int, seconds: float) -> None:
    """Keep what a trial showed."""
    note(
        seconds=seconds,
        faults=faults,
        sent=verdict.sent,
        failed=verdict.errors,
        pause=verdict.longest_pause_s,
        broken={name: len(found) for name, found in verdict.broken.items()},
    )


def rows(lines: list[dict[str, Any]], letters: dict[str, str]) -> list[str]:
    """The table, in the order of the letters."""
    tests: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for line in lines:
        tests.setdefault((line["test"], line["is_control"]), []).append(line)
    out = [
        "| Test | Trials | Faults | Acknowledged sends | Failed calls | Longest pause | Back at work | Broken |",
        "|---|---:|---:|---:|---:|---:|---:|---|",
    ]
    for (test, is_control), found in sorted(tests.items(), key=lambda item: (letters[item[0][0]], item[0][1])):
        trials = [line for line in found if "sent" in line]
        if not trials:
            continue
        late = [s for line in found for s in line.get("late", ())]
        broken: dict[str, int] = {}
        for line in trials:
            for name, count in line["broken"].items():
                broken[name] = broken.get(name, 0) + count
        out.append(
            f"| [{letters[test]}] {test.removeprefix('test_').replace('_', ' ')}{CONTROL if is_control else ''} "
            f"| {len(trials)} | {sum(line['faults'] for line in trials):,} | {sum(line['sent'] for line in trials):,} "
            f"| {sum(line['failed'] for line in trials):,} | {max(line['pause'] for line in trials):.1f} s "
            f"| {f'{max(late):.2f} s' if late else ''} "
            f"| {', '.join(f'{count:,} {name}' for name, count in broken.items()) or 'nothing'} |"
        )
    return out


def main() -> None:
    """Write the table."""
    lines = [json.loads(line) for line in Path(os.environ[FILE]).read_text().splitlines()]
    page = PAGE.read_text("utf-8")
    letters = {
        test: letter
        for letter, tests in re.findall(r"^- (\w): ((?:.+\n)(?:  .+\n)*)", page, re.MULTILINE)
        for test in re.findall(r"`(test_\w+)`", tests)
    }
    head, _, rest = page.partition(BEGIN)
    text = "\n".join(rows(lines, letters))
    PAGE.write_text(f"{head}{BEGIN}\n{text}\n\n{END}{rest.partition(END)[2]}", "utf-8")


if __name__ == "__main__":
    main()
