"""A pytest plugin that runs failed tests a second time, each alone in a process of its own: `-p tests.second_pass`.

A test that passes the second time is printed as flaky; if all do, the run counts as passed. There is no second pass
when more than `LIMIT` tests failed (that is no bad luck), and none when pytest ended otherwise than with failed tests:
a test file that cannot be imported, an interruption, an error of pytest.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Generator

import pytest

LIMIT = 20


class SecondPass:
    """Remembers which tests failed, and runs them again when everything else is over."""

    def __init__(self, config: pytest.Config) -> None:
        self.config = config
        self.failed: dict[str, None] = {}  # node ids, in the order of failing
        self.is_collected = True

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self.failed[report.nodeid] = None

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        self.is_collected &= not report.failed

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> Generator[None]:
        yield  # prints the summary, ends the workers of xdist
        if session.exitstatus != pytest.ExitCode.TESTS_FAILED or not self.failed or not self.is_collected:
            return
        print(f"\n=== second pass: {len(self.failed)} failed ===")
        if len(self.failed) > LIMIT:
            print(f"left out: more than {LIMIT}")
            return
        flaky = [test for test in self.failed if self._passes_alone(test)]
        for test in self.failed:
            print("FLAKY" if test in flaky else "FAILED TWICE", test)
        if len(flaky) == len(self.failed):
            session.exitstatus = pytest.ExitCode.OK

    def _passes_alone(self, test: str) -> bool:
        words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", test]
        done = subprocess.run(words, cwd=self.config.rootpath, capture_output=True, text=True, check=False)
        if done.returncode:
            print(done.stdout, done.stderr, sep="\n")
        return done.returncode == 0


def pytest_configure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):  # only where the reports of all workers arrive
        config.pluginmanager.register(SecondPass(config))
