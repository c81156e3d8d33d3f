"""What `.ci/run` does with tests that fail."""

from __future__ import annotations

import pytest

from tests import second_pass

pytest_plugins = "pytester"

BROKEN = "def test_broken(): assert False\n"
FLAKY = """
    import pathlib

    def test_flaky():
        seen = pathlib.Path("seen")
        was_seen = seen.exists()
        seen.touch()
        assert was_seen
"""


def test_a_test_that_passes_alone_is_flaky_and_the_run_has_passed(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(FLAKY)
    result = pytester.runpytest_inprocess("-n", "1", "-p", "tests.second_pass")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["FAILED *::test_flaky*", "*second pass: 1 failed*", "FLAKY *::test_flaky"])


def test_a_test_that_fails_twice_fails_the_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_one=FLAKY, test_two=BROKEN)
    result = pytester.runpytest_inprocess("-p", "tests.second_pass")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*second pass: 2 failed*", "*assert False*", "FLAKY *", "FAILED TWICE *::test_broken"])


def test_tests_that_passed_are_not_run_again(pytester: pytest.Pytester) -> None:
    pytester.makepyfile("def test_fine(): pass")
    result = pytester.runpytest_inprocess("-p", "tests.second_pass")
    assert result.ret == 0
    result.stdout.no_fnmatch_line("*second pass*")


def test_many_failures_are_no_bad_luck(pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(second_pass, "LIMIT", 1)
    pytester.makepyfile(test_one=FLAKY, test_two=BROKEN)
    result = pytester.runpytest_inprocess("-p", "tests.second_pass")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["left out: more than 1"])


def test_a_file_that_cannot_be_imported_fails_the_run(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_one=FLAKY, test_two="import nothing_of_this_name")
    result = pytester.runpytest_inprocess("--continue-on-collection-errors", "-p", "tests.second_pass")
    assert result.ret == 1
    result.stdout.no_fnmatch_line("*second pass*")
