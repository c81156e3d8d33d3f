"""boto3's clients of CloudWatch and SQS, on each way that there is to rqsqs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("boto3")
pytest.importorskip("uvicorn")

import boto3 as plain_boto3
import botocore.loaders
import botocore.session
from botocore.config import Config

import rqsqs.boto3
from rqsqs.gateway import GatewaySettings
from tests.gateway.conftest import running

KEYS = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
ONCE = Config(retries={"total_max_attempts": 1})
OLD = "json" not in botocore.session.Session().get_service_model("cloudwatch").metadata.get("protocols", ())
WAYS = (
    ("in process", "query")
    if OLD
    else ("in process", "in process, older botocore", "json", "query", "smithy-rpc-v2-cbor")
)
if OLD:  # its model knows less than what is answered
    collect_ignore = [
        "test_alarm_actions.py",
        "test_alarm_fuzz.py",
        "test_alarm_life.py",
        "test_cloudwatch_wire.py",
        "test_constraints.py",
        "test_metric_data.py",
        "test_metric_statistics.py",
    ]

MakeClient = Callable[[str], Any]


def session_of(way: str, folder: Path) -> Any:
    """A session of boto3. Older versions of botocore know CloudWatch in the Query protocol only: then so does this."""
    core = botocore.session.Session()
    protocol = "query" if way.endswith("older botocore") else way
    if not (way in ("in process", "json") or OLD):
        model = botocore.loaders.Loader().load_service_model("cloudwatch", "service-2")
        model["metadata"] = {**model["metadata"], "protocol": protocol, "protocols": [protocol]}
        if protocol == "query":
            model["metadata"].pop("awsQueryCompatible", None)
        place = folder / "cloudwatch" / "2010-08-01"
        place.mkdir(parents=True, exist_ok=True)
        (place / "service-2.json").write_text(json.dumps(model), "utf-8")
        loader = core.get_component("data_loader")
        loader.search_paths.insert(0, str(folder))
    return plain_boto3.Session(botocore_session=core, **KEYS)


@pytest.fixture(params=WAYS)
def make_client(request: pytest.FixtureRequest, valkey_url: str, prefix: str, tmp_path: Path) -> Iterator[MakeClient]:
    """Makes clients of a service, all on one prefix."""
    way = request.param
    session = session_of(way, tmp_path)
    if way.startswith("in process"):

        def make(service: str) -> Any:
            client = session.client(service, config=ONCE)
            rqsqs.boto3.attach(client, valkey_url, prefix=prefix)
            return client

        yield make
        return
    with running(GatewaySettings(url=valkey_url, prefix=prefix)) as address:
        yield lambda service: session.client(service, endpoint_url=address, config=ONCE)


@pytest.fixture
def cloudwatch(make_client: MakeClient) -> Any:
    """A client of CloudWatch."""
    return make_client("cloudwatch")


@pytest.fixture
def sqs(make_client: MakeClient) -> Any:
    """A client of SQS for the same queues."""
    return make_client("sqs")
