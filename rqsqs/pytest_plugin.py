"""Fixtures for the tests of code that uses rqsqs; pytest finds them by itself once rqsqs is installed.

    rqsqs_env         points RQSQS_URL, RQSQS_PREFIX and all SQS clients of boto3 at this test's own queues
    rqsqs_server      URL of an embedded server that keeps everything in memory, one for the test session
    rqsqs_prefix      a key prefix that no other test has
    rqsqs_clock       a VirtualClock: rqsqs_clock.advance(900)
    rqsqs_connection  a native connection with that prefix and clock
    rqsqs_sqs         a boto3 client with that prefix and clock: both see the same queues

Importing this starts nothing and imports nothing. See docs/testing.md.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    import rqsqs
    from rqsqs.testing import Environment, VirtualClock


@pytest.fixture(scope="session")
def rqsqs_server() -> Iterator[str]:
    """URL of a server for tests, started when the first test wants it. Override it to test with one of your own."""
    from rqsqs import embedded

    with embedded.acquire("embedded://") as server:
        yield f"unix://{server.socket_path}"


@pytest.fixture
def rqsqs_prefix(rqsqs_server: str) -> Iterator[str]:
    """What the names of this test's keys begin with; the keys are removed afterwards."""
    from rqsqs.testing import new_prefix, remove_keys

    prefix = new_prefix()
    yield prefix
    remove_keys(rqsqs_server, prefix)


@pytest.fixture
def rqsqs_clock() -> VirtualClock:
    """The time of this test's queues; advance() lets delays and timeouts pass without sleeping."""
    from rqsqs.testing import VirtualClock

    return VirtualClock()


@pytest.fixture
def rqsqs_connection(rqsqs_server: str, rqsqs_prefix: str, rqsqs_clock: VirtualClock) -> Iterator[rqsqs.Connection]:
    """A connection whose queues nobody else sees."""
    import rqsqs

    with rqsqs.connect(rqsqs_server, prefix=rqsqs_prefix, clock=rqsqs_clock) as connection:
        yield connection


@pytest.fixture
def rqsqs_sqs(rqsqs_server: str, rqsqs_prefix: str, rqsqs_clock: VirtualClock) -> Any:
    """A boto3 SQS client, genuine and answered by the test server. It needs no credentials and no region."""
    boto3 = pytest.importorskip("rqsqs.boto3", exc_type=ImportError)
    client = boto3.client("sqs", endpoint_url=rqsqs_server)
    boto3.attach(client, rqsqs_server, prefix=rqsqs_prefix, clock=rqsqs_clock)
    return client


@pytest.fixture
def rqsqs_env(request: pytest.FixtureRequest, rqsqs_server: str, rqsqs_prefix: str) -> Iterator[Environment]:
    """Let code that calls rqsqs.connect(), boto3.client("sqs") or Worker() find the queues of this test.

    That is by RQSQS_URL, RQSQS_PREFIX and AWS_ENDPOINT_URL_SQS, which child processes inherit, and by rqsqs.boto3.patch
    for SQS clients, also those that exist already. These go by rqsqs_clock if the test uses it.
    """
    from rqsqs.testing import pointed_at

    clock = request.getfixturevalue("rqsqs_clock") if "rqsqs_clock" in request.fixturenames else None
    with pointed_at(rqsqs_server, rqsqs_prefix, clock) as env:
        yield env
