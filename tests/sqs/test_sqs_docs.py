"""docs/sqs-compatibility.md speaks of everything there is, and names only tests that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

pytest.importorskip("boto3")

import botocore.loaders
import botocore.model

from rqsqs.sqs import ACTIONS
from rqsqs.sqs.attributes import READABLE

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "sqs-compatibility.md").read_text("utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("|")]


def test_there_is_a_row_for_every_action_attribute_and_error() -> None:
    first_cells = {name.strip() for row in ROWS for name in row.split("|")[1].split(",")}
    model = botocore.model.ServiceModel(botocore.loaders.Loader().load_service_model("sqs", "service-2"), "sqs")
    known = {*ACTIONS, *READABLE, *(shape.name for shape in model.error_shapes)}
    assert known - first_cells == set()


def test_the_tests_it_names_exist() -> None:
    sources = "".join(path.read_text("utf-8") for path in (ROOT / "tests").glob("**/test_*.py"))
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert named
    assert {name for name in named if f"def {name}(" not in sources} == set()
