"""What `make test-oldest` installs."""

from __future__ import annotations

import pytest

from tests.oldest import PROJECT, oldest

DECLARED = """
[project]
name = "p"
dependencies = ["a>=1.2,<3", "b-c[x]>=0.5"]
[project.optional-dependencies]
more = ["p[wrong]", "d>=7"]
wrong = ["e"]
"""


def test_each_dependency_is_pinned_to_its_lower_bound() -> None:
    assert oldest(DECLARED, []) == ["a==1.2", "b-c==0.5"]
    assert oldest(DECLARED, ["more"]) == ["a==1.2", "b-c==0.5", "d==7"]
    with pytest.raises(ValueError, match="must have a lower bound"):
        oldest(DECLARED, ["wrong"])


def test_what_we_declare_has_lower_bounds() -> None:
    assert len(oldest(PROJECT.read_text(encoding="utf-8"), ["boto3", "cli", "gateway", "opentelemetry"])) >= 12
