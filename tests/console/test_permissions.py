"""The table of permissions: complete, documented, and made of permissions that there are."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

pytest.importorskip("starlette")
pytest.importorskip("jinja2")

from rqsqs.console.pages import ACTIONS, FILES, PAGES, PREFERENCES
from rqsqs.console.permissions import NEEDS
from rqsqs.gateway.permissions import OF_RQSQS
from rqsqs.gateway.protocols.cloudwatch_shapes import ACTIONS as OF_CLOUDWATCH
from rqsqs.sqs import ACTIONS as OF_SQS

ROOT = Path(__file__).parents[2]
ROUTES = [f"GET {path}" for path in PAGES | FILES] + [f"POST {path}" for path in ACTIONS | PREFERENCES]


def test_every_page_and_action_stands_in_the_table() -> None:
    assert sorted(NEEDS) == sorted(ROUTES)


@pytest.mark.parametrize("route", NEEDS)
def test_permissions_are_those_of_sqs_cloudwatch_and_our_own(route: str) -> None:
    for each in NEEDS[route].permissions:
        for permission in each.split(" or "):
            service, _, action = permission.partition(":")
            known = {"sqs": OF_SQS, "cloudwatch": OF_CLOUDWATCH, "rqsqs": OF_RQSQS}
            assert action in known[service]


@pytest.mark.parametrize("path", ACTIONS)
def test_what_changes_something_needs_a_permission(path: str) -> None:
    assert NEEDS[f"POST {path}"].permissions


@pytest.mark.parametrize("path", [path for path in PAGES | FILES if "{queue}" in path])
def test_every_page_of_a_queue_needs_a_permission(path: str) -> None:
    assert NEEDS[f"GET {path}"].permissions


def test_the_table_stands_in_the_docs() -> None:
    tool = runpy.run_path(str(ROOT / "tools" / "console_permissions.py"))
    text = (ROOT / "docs" / "console.md").read_text("utf-8")
    assert text == tool["with_table"](text), "python tools/console_permissions.py writes it"


def test_what_templates_ask_for_stands_in_the_table() -> None:
    for template in (ROOT / "rqsqs" / "console" / "templates").glob("*.html"):
        text = template.read_text("utf-8")
        for method, path in re.findall(r"may_(do|see)\(\s*[\"']([^\"']+)[\"']", text):
            assert f"{'POST' if method == 'do' else 'GET'} {path}" in NEEDS, template.name


def test_each_permission_of_ours_is_needed_somewhere() -> None:
    needed = {one for needs in NEEDS.values() for each in needs.permissions for one in each.split(" or ")}
    needed |= {name for needs in NEEDS.values() for name in re.findall(r"with (rqsqs:\w+)", needs.does)}
    assert {f"rqsqs:{name}" for name in OF_RQSQS} <= needed
