"""docs/coming-from.md: in each section the worker starts, then what is sent is handled."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "coming-from.md").read_text("utf-8")
SECTIONS = dict(re.findall(r"^## (.*?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# What a section's first program defines is served while the others run; ends when the queue is empty.
AROUND = """
import sys, threading, time, rqsqs
app, *others = sys.argv[1:]
space = {"__name__": "app"}
exec(app, space)
if worker := space.get("worker"):
    def rest():
        try:
            while worker.status()["state"] != "running":
                time.sleep(0.01)
            for other in others:
                exec(other, {"__name__": "other"})
            with rqsqs.connect() as connection:
                while any(connection.queue(name).counts() != rqsqs.Counts() for name in worker.handlers):
                    time.sleep(0.01)
        finally:
            worker.stop()
    thread = threading.Thread(target=rest, daemon=True)
    thread.start()
    worker.run()
"""
PRINTED = {
    "From SQS": "",
    "From Celery": "charging 7\ncharging 8\n",
    "From RQ": "mail to ada@example.org\n",
    "From BullMQ": "image 7\n",
    "One queue for many functions": "hello Ada\n",
}


@pytest.mark.parametrize("title", [title for title, text in SECTIONS.items() if "```python" in text])
def test_what_a_section_shows_works(title: str, valkey_url: str, prefix: str) -> None:
    programs = [code for language, code in FENCE.findall(SECTIONS[title]) if language == "python"]
    environment = {**os.environ, "RQSQS_URL": valkey_url, "RQSQS_PREFIX": prefix, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", AROUND, *programs], env=environment, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout) == (0, PRINTED[title]), done.stderr


def test_foreign_code_is_python_where_it_says_so() -> None:
    for language, code in FENCE.findall(PAGE):
        if language == "py":
            compile(code, "foreign", "exec")
