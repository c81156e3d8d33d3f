"""The fixtures, as a project that uses rqsqs sees them."""

from __future__ import annotations

import contextlib
import importlib
import os
import pkgutil
import subprocess
import sys
from pathlib import Path

import pytest

import rqsqs
from rqsqs import embedded, testing
from tests.clusters import client_of

pytest_plugins = "pytester"
DOCUMENT = Path(__file__).parents[2] / "docs" / "testing.md"


@pytest.fixture(scope="module", autouse=True)
def everything_is_imported() -> None:
    """pytester forgets what was imported first while it ran tests in this process: a second import makes other classes,
    and `rqsqs.Entry` would be none of those that `send_batch` knows."""
    for module in pkgutil.walk_packages(rqsqs.__path__, "rqsqs."):
        if not module.name.endswith(("__main__", "demo.application")):  # these are programs
            importlib.import_module(module.name)
    for name in rqsqs.__all__:
        getattr(rqsqs, name)


def snippets() -> list[str]:
    """The Python blocks of docs/testing.md."""
    blocks = DOCUMENT.read_text().split("```python\n")[1:]
    return [block.partition("```")[0] for block in blocks]


def test_importing_the_plugin_starts_nothing_and_imports_nothing() -> None:
    code = (
        "import sys, threading, pytest\n"
        "before = set(sys.modules)\n"
        "import rqsqs.pytest_plugin\n"
        "assert set(sys.modules) - before == {'rqsqs', 'rqsqs.pytest_plugin'}, set(sys.modules) - before\n"
        "assert threading.active_count() == 1\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_native_connection_follows_the_clock(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        def test_later(rqsqs_connection, rqsqs_clock):
            queue = rqsqs_connection.create_queue("orders")
            queue.send("later", delay=900)
            assert queue.receive() == []
            rqsqs_clock.advance(seconds=900)
            assert queue.receive()[0].body == "later"
        """
    )
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_tests_do_not_see_each_other_and_leave_nothing_behind(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        import redis
        import pytest

        @pytest.mark.parametrize("turn", [1, 2])
        def test_alone(rqsqs_connection, rqsqs_sqs, turn):
            assert list(rqsqs_connection.queues()) == []
            queue = rqsqs_connection.create_queue("orders")
            queue.send("x", deduplication_id="1")
            assert len(rqsqs_sqs.list_queues()["QueueUrls"]) == 1

        def test_clean(rqsqs_server):
            with redis.Redis.from_url(rqsqs_server) as server:
                assert server.keys("*") == []
        """
    )
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=3)


def test_the_boto3_client_is_genuine_and_shares_queues_and_clock(pytester: pytest.Pytester) -> None:
    pytest.importorskip("boto3")
    pytester.makepyfile(
        """
        import botocore.client, pytest

        def test_drop_in(rqsqs_sqs, rqsqs_connection, rqsqs_clock, monkeypatch):
            assert isinstance(rqsqs_sqs, botocore.client.BaseClient)
            url = rqsqs_sqs.create_queue(QueueName="orders")["QueueUrl"]
            rqsqs_sqs.send_message(QueueUrl=url, MessageBody="later", DelaySeconds=900)
            assert "Messages" not in rqsqs_sqs.receive_message(QueueUrl=url)
            assert rqsqs_connection.queue("orders").counts().delayed == 1
            rqsqs_clock.advance(900)
            (message,) = rqsqs_sqs.receive_message(QueueUrl=url)["Messages"]
            assert message["Body"] == "later"

        def test_errors(rqsqs_sqs):
            with pytest.raises(rqsqs_sqs.exceptions.QueueDoesNotExist):
                rqsqs_sqs.get_queue_url(QueueName="nothing")
        """
    )
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=2)


def test_the_server_fixture_can_be_overridden(pytester: pytest.Pytester, server_url: str) -> None:
    pytester.makeconftest(
        f"""
        import pytest

        @pytest.fixture(scope="session")
        def rqsqs_server():
            return {server_url!r}
        """
    )
    pytester.makepyfile(
        f"""
        def test_it(rqsqs_connection, rqsqs_server):
            assert rqsqs_server == {server_url!r}
            rqsqs_connection.create_queue("orders").send("x")
        """
    )
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)
    with client_of(server_url) as server:
        assert list(server.scan_iter(match="test-*")) == []


def test_no_server_is_started_for_tests_that_want_none(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(
        """
        from rqsqs import embedded

        def test_nothing():
            assert not embedded._instances
        """
    )
    before = dict(embedded._instances)
    if before:
        pytest.skip("another test holds an embedded server")
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=1)


def test_the_application_needs_no_change(pytester: pytest.Pytester) -> None:
    pytest.importorskip("boto3")
    pytester.makepyfile(
        """
        import os, subprocess, sys
        import boto3, botocore.session, pytest, rqsqs, rqsqs.boto3

        NAMES = ("RQSQS_URL", "RQSQS_PREFIX", "AWS_ENDPOINT_URL_SQS")
        before = {name: os.environ.get(name) for name in NAMES}
        create_client = botocore.session.Session.create_client
        keys = {"region_name": "us-east-1", "aws_access_key_id": "a", "aws_secret_access_key": "b"}
        plain = boto3.client("sqs", **keys)
        ours = rqsqs.boto3.client("sqs", endpoint_url="redis://127.0.0.1:1")

        @pytest.mark.parametrize("turn", [1, 2])
        def test_all_see_the_same_queues(rqsqs_env, rqsqs_connection, rqsqs_sqs, turn):
            assert "QueueUrls" not in plain.list_queues()
            plain.create_queue(QueueName="orders")
            with rqsqs.connect() as connection:
                assert [queue.name for queue in connection.queues()] == ["orders"]
            for client in (ours, rqsqs_sqs, boto3.client("sqs"), boto3.resource("sqs").meta.client,
                           rqsqs.boto3.client("sqs"), botocore.session.get_session().create_client("sqs")):
                assert len(client.list_queues()["QueueUrls"]) == 1
            assert [queue.name for queue in rqsqs_connection.queues()] == ["orders"]
            assert (os.environ["RQSQS_URL"], os.environ["RQSQS_PREFIX"]) == (rqsqs_env.url, rqsqs_env.prefix)
            program = (
                "import rqsqs.boto3; assert len(rqsqs.boto3.client('sqs').list_queues()['QueueUrls']) == 1\\n"
                "import boto3\\n"
                "try: boto3.client('sqs', 'us-east-1', aws_access_key_id='a', aws_secret_access_key='b')\\n"
                "except ValueError as e: print(e)\\n"
                "rqsqs.boto3.patch(); print(len(boto3.client('sqs').list_queues()['QueueUrls']))"
            )
            child = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
            assert child.stdout == f"Invalid endpoint: {rqsqs_env.url}\\n1\\n"

        def test_everything_is_as_before(rqsqs_server):
            import redis

            assert {name: os.environ.get(name) for name in NAMES} == before
            assert botocore.session.Session.create_client is create_client
            with redis.Redis.from_url(rqsqs_server) as server:
                assert server.keys("*") == []
        """
    )
    pytester.runpytest_inprocess("-p", "no:cacheprovider").assert_outcomes(passed=3)


def test_environments_nest_and_leave_nothing_behind(valkey_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    boto3 = pytest.importorskip("boto3")
    monkeypatch.setenv("RQSQS_URL", "redis://outside")
    monkeypatch.delenv("RQSQS_PREFIX", raising=False)

    def names() -> list[str]:
        with rqsqs.connect() as connection:
            found = [queue.name for queue in connection.queues()]
        assert found == [url.rpartition("/")[2] for url in boto3.client("sqs").list_queues().get("QueueUrls", [])]
        return found

    with testing.environment(valkey_url) as outer:
        boto3.client("sqs").create_queue(QueueName="outer")
        with contextlib.suppress(ZeroDivisionError), testing.environment() as inner:
            assert inner.url.startswith("unix://")
            assert names() == []
            with rqsqs.connect() as connection:
                connection.create_queue("inner").send("x")
            assert names() == ["inner"]
            raise ZeroDivisionError
        assert names() == ["outer"]
    assert (os.environ["RQSQS_URL"], os.environ.get("RQSQS_PREFIX")) == ("redis://outside", None)
    with client_of(valkey_url) as server:
        assert list(server.scan_iter(match=f"{outer.prefix}*")) == []


def test_the_snippets_of_the_documentation_run(pytester: pytest.Pytester) -> None:
    pytest.importorskip("boto3")
    tests = [code for code in snippets() if "test_" in code]
    queues, server = (code for code in snippets() if "test_" not in code)
    pytester.makepyfile(**{f"test_snippet_{i}": code for i, code in enumerate(tests)})
    outcomes = pytester.runpytest_inprocess("-p", "no:cacheprovider").parseoutcomes()
    assert outcomes["passed"] == sum(code.count("def test_") for code in tests)
    assert not set(outcomes) & {"failed", "error", "errors"}

    pytester.makeconftest(server + queues)
    result = pytester.runpytest_inprocess("-p", "no:cacheprovider", "test_snippet_0.py")
    result.assert_outcomes(passed=1)
