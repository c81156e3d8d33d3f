"""The tables of the protocols are what their generator makes."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import botocore.session
import pytest

from rqsqs.gateway.protocols.shapes import ACTIONS
from rqsqs.sqs import ACTIONS as DONE


def test_shapes_are_generated() -> None:
    model = botocore.session.get_session().get_service_model("cloudwatch")
    if "json" not in model.metadata.get("protocols", ()):
        pytest.skip("an older botocore knows less")
    tool = Path(__file__).parents[2] / "tools" / "shapes.py"
    done = subprocess.run([sys.executable, tool, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_all_actions_have_shapes() -> None:
    assert ACTIONS.keys() == DONE.keys()
