"""Make the sync API from the asyncio API: rqsqs/_sync/ from rqsqs/_async/.

    python tools/unasync.py             write rqsqs/_sync/
    python tools/unasync.py --check     tell what is out of date, and end with 1

It works on tokens: `async` and `await` go, names and sentences change as the two tables say, and ruff brings the rest
into its usual form. A sentence that is found nowhere is an error, so the tables hold nothing that is out of date.
"""

from __future__ import annotations

import argparse
import io
import re
import subprocess
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SOURCE, TARGET = ROOT / "rqsqs" / "_async", ROOT / "rqsqs" / "_sync"
MODULES = ("alarms", "connection", "event_rules", "message", "queue", "sender")
HEADER = "# Made by tools/unasync.py from rqsqs/_async/{name}.py: edit that, and run `make sync`.\n"

NAMES = {
    "AsyncIterator": "Iterator",
    "_async": "_sync",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__enter__": "__aenter__",  # and who takes the wrong one is told
    "__exit__": "__aexit__",
    "__aiter__": "__iter__",
    "aio": "sync",
}
SENTENCES = {
    "rqsqs.aio": "rqsqs",
    "async with message:": "with message:",
    "await handle(": "handle(",
    "A server with queues, for the tasks of one event loop of one process.": (
        "A server with queues. Thread-safe; a forked child continues with connections of its own."
    ),
    "Any number of tasks of one event loop may use it.": "Thread-safe.",
    "the connections of this event loop to this URL": "the connections of this process to this URL",
    "`async with`, got `with`": "`with`, got `async with`",
    "write `async with rqsqs.aio.connect(...) as connection:`, or `connection = rqsqs.aio.connect(...)` and close it": (
        "for asyncio there is `async with rqsqs.aio.connect(...) as connection:`"
    ),
    "messages of many tasks": "messages of many threads",
    "A sender for many tasks": "A sender for many threads",
    "a sender of rqsqs.aio must": "a sender must",
    "write `async with queue.sender()`": "write `with queue.sender()`",
    "Give the connections up, and back what is still on its way; idempotent.": "Give the connections up; idempotent.",
}
_STRINGS = {tokenize.STRING, getattr(tokenize, "FSTRING_MIDDLE", tokenize.STRING)}  # the latter since Python 3.12
_SENTENCE = re.compile("|".join(map(re.escape, sorted(SENTENCES, key=len, reverse=True))))
_NOQA = re.compile(r"# noqa: ASYNC\d+\b")


def unasync(source: str, found: set[str]) -> str:
    """The sync form of a module, before ruff has seen it; `found` takes the sentences that were replaced."""
    lines = source.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    made: list[str] = []
    end, skips_blanks = 0, False
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        begin = starts[token.start[0] - 1] + token.start[1]
        between = source[end:begin]
        end = starts[token.end[0] - 1] + token.end[1] if token.string else begin
        text = source[begin:end]
        if skips_blanks:
            between = between.lstrip(" ")
        skips_blanks = token.type == tokenize.NAME and text in ("async", "await")
        if skips_blanks:
            text = ""
        elif token.type == tokenize.NAME:
            text = NAMES.get(text, text)
        elif token.type == tokenize.COMMENT and _NOQA.match(text):
            text = ""
        elif token.type in _STRINGS:
            text = _sentences(text, found)
        made += [between, text]
    return "".join(made)


def _sentences(text: str, found: set[str]) -> str:
    def replaced(match: re.Match[str]) -> str:
        found.add(match[0])
        return SENTENCES[match[0]]

    return _SENTENCE.sub(replaced, text)


def _ruff(*arguments: str, source: str, name: str) -> str:
    command = [sys.executable, "-m", "ruff", *arguments, "--stdin-filename", str(TARGET / f"{name}.py"), "-"]
    return subprocess.run(command, cwd=ROOT, input=source, capture_output=True, text=True, check=True).stdout


def modules() -> dict[Path, str]:
    """What rqsqs/_sync/ has to hold."""
    found: set[str] = set()
    made = {}
    for name in MODULES:
        source = HEADER.format(name=name) + unasync((SOURCE / f"{name}.py").read_text(), found)
        source = _ruff("check", "--select", "I", "--fix", "--quiet", source=source, name=name)
        made[TARGET / f"{name}.py"] = _ruff("format", "--quiet", source=source, name=name)
    if found != SENTENCES.keys():
        raise SystemExit(f"tools/unasync.py replaces what nobody says any more: {sorted(SENTENCES.keys() - found)}")
    return made


def main() -> int:
    """Write the modules, or check them."""
    parser = argparse.ArgumentParser(description="Make the sync API from the asyncio API.")
    parser.add_argument("--check", action="store_true", help="tell what is out of date instead of writing it")
    check = parser.parse_args().check
    stale = {path: text for path, text in modules().items() if not path.exists() or path.read_text() != text}
    for path, text in stale.items():
        if check:
            print(f"{path.relative_to(ROOT)} is out of date: run `make sync`", file=sys.stderr)
        else:
            path.write_text(text)
            print(f"wrote {path.relative_to(ROOT)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
