"""Where queues are if a program does not say: RQSQS_URL and RQSQS_PREFIX, read by everybody alike."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import rqsqs
import rqsqs.aio
from rqsqs import aio, boto3, embedded
from rqsqs.boto3 import clients
from rqsqs.cli.settings import Settings
from rqsqs.worker import Worker

LOCAL = ("redis://localhost:6379/0", "rqsqs")


def of_library() -> tuple[str, str]:
    with rqsqs.connect() as connection:
        return connection.transport.url, connection.transport.space.prefix


def of_asyncio() -> tuple[str, str]:
    transport = aio.connect().transport
    return transport.url, transport.space.prefix


def of_boto3() -> tuple[str, str]:
    found = []

    def note(_: Any, place: clients.Place, **__: Any) -> None:
        found.append((place.url, place.options["prefix"]))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clients.Switch, "attach", note)
        boto3.client("sqs")
    return found[0]


def of_worker() -> tuple[str, str]:
    worker = Worker()
    worker.add("orders", print)

    async def look() -> tuple[str, str]:
        from rqsqs.worker.runtime import Runtime

        transport = Runtime(worker.settings, worker.handlers.values(), {}).transport
        transport.close()
        return transport.url, transport.space.prefix

    return asyncio.run(look())


def of_command_line() -> tuple[str, str]:
    settings = Settings()
    return settings.server, settings.prefix


EVERYBODY = [of_library, of_asyncio, of_boto3, of_worker, of_command_line]


@pytest.fixture(autouse=True)
def bare(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RQSQS_URL", "RQSQS_PREFIX", "AWS_ENDPOINT_URL_SQS"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("look", EVERYBODY)
def test_one_default_for_all(look: Callable[[], tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    assert look() == LOCAL
    monkeypatch.setenv("RQSQS_URL", "redis://elsewhere:1/2")
    monkeypatch.setenv("RQSQS_PREFIX", "shop")
    assert look() == ("redis://elsewhere:1/2", "shop")


@pytest.mark.parametrize("look", EVERYBODY)
def test_an_empty_variable_says_nothing(look: Callable[[], tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RQSQS_URL", "")
    monkeypatch.setenv("RQSQS_PREFIX", "")
    assert look() == LOCAL


@pytest.mark.parametrize("look", EVERYBODY)
@pytest.mark.parametrize("prefix", ["a{b", "a b", "*", "a\nb"])
def test_a_wrong_prefix_names_the_variable(
    look: Callable[[], tuple[str, str]], prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RQSQS_PREFIX", prefix)
    with pytest.raises(rqsqs.InvalidParameterValue, match=r"^the environment variable RQSQS_PREFIX must be a str"):
        look()


def test_what_is_given_comes_before_the_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RQSQS_URL", "redis://elsewhere:1/2")
    monkeypatch.setenv("RQSQS_PREFIX", "shop")
    with rqsqs.connect("redis://here:1/0", prefix="rqsqs") as connection:
        assert (connection.transport.url, connection.transport.space.prefix) == ("redis://here:1/0", "rqsqs")
    assert Settings("redis://here:1/0", "rqsqs").prefix == "rqsqs"
    assert Worker(prefix="rqsqs").settings.prefix == "rqsqs"
    with pytest.raises(rqsqs.InvalidParameterValue, match=r"^prefix must be a str that is not empty"):
        rqsqs.connect(prefix="")


@pytest.mark.parametrize(
    ("variables", "folder"),
    [
        ({"XDG_DATA_HOME": "/data", "HOME": "/home/ada"}, "/data/rqsqs"),
        ({"XDG_DATA_HOME": "", "HOME": "/home/ada"}, "/home/ada/.local/share/rqsqs"),
        ({"XDG_DATA_HOME": "relative", "HOME": "/home/ada"}, "/home/ada/.local/share/rqsqs"),
        ({"HOME": ""}, "/of/the/account/.local/share/rqsqs"),
        ({}, "/of/the/account/.local/share/rqsqs"),
    ],
)
def test_the_users_own_folder(variables: dict[str, str], folder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_home_of_account", lambda: "/of/the/account")
    for name in ("XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    for url in ("embedded://~", "embedded://~/"):
        assert embedded.parse_url(url) == embedded.Target(Path(folder))
    assert embedded.parse_url("embedded://~?appendfsync=no") == embedded.Target(Path(folder), "no")


def test_a_user_without_a_home_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "_home_of_account", lambda: "")
    for name in ("XDG_DATA_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("RQSQS_URL", "embedded://~")
    with pytest.raises(rqsqs.UsageError, match="set HOME or XDG_DATA_HOME, or name a folder"):
        rqsqs.connect()


def test_a_wrong_variable_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RQSQS_URL", "nonsense")
    for make in (rqsqs.connect, rqsqs.aio.connect):
        with pytest.raises(rqsqs.UsageError, match="'nonsense' of the environment variable RQSQS_URL: a URL begins"):
            make()
        with pytest.raises(rqsqs.UsageError, match="'other': a URL begins"):
            make("other")
    monkeypatch.setenv("RQSQS_URL", "embedded://~queues")
    with pytest.raises(rqsqs.UsageError, match=r"variable RQSQS_URL: .* as in embedded://~/queues"):
        rqsqs.connect()
