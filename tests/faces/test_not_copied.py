"""Objects that use connections of their process say so when somebody pickles or copies them; data can be pickled."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import importlib
import inspect
import pickle
from collections.abc import Callable
from typing import Any

import pytest

import rqsqs
from rqsqs import aio
from rqsqs._not_copied import NotCopied
from rqsqs.embedded import EmbeddedServer
from rqsqs.testing import VirtualClock
from rqsqs.worker import Context, Worker

WAYS: list[Callable[[Any], Any]] = [pickle.dumps, copy.copy, copy.deepcopy]
MODULES = ["rqsqs", "rqsqs.aio", "rqsqs.worker", "rqsqs.embedded", "rqsqs.testing"]


def refused(one: Any) -> str:
    """What those read who pickle or copy it."""
    texts = set()
    for way in WAYS:
        with pytest.raises(TypeError) as caught:
            way(one)
        texts.add(str(caught.value))
    (text,) = texts
    return text


def test_connections_and_what_they_make(valkey_url: str, prefix: str) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        queue = connection.create_queue("q")
        queue.send("x")
        (message,) = queue.receive()
        assert refused(connection) == (
            "a rqsqs.Connection cannot be pickled or copied: pass the URL and the prefix instead; "
            "rqsqs.connect(url, prefix=prefix) makes another one"
        )
        assert "rqsqs.connect(url, prefix=prefix).queue(name) makes" in refused(queue)
        assert "rqsqs.connect(url, prefix=prefix).queue(name).sender() makes" in refused(queue.sender())
        assert "rqsqs.connect(url, prefix=prefix).alarms makes" in refused(connection.alarms)
        assert "rqsqs.connect(url, prefix=prefix).event_rules makes" in refused(connection.event_rules)
        assert "its receipt_handle for Queue.delete()" in refused(message)
        queue.delete(pickle.loads(pickle.dumps(message.receipt_handle)))
        assert not queue.counts().in_flight


def test_those_for_asyncio(valkey_url: str, prefix: str) -> None:
    async def main() -> None:
        async with aio.connect(valkey_url, prefix=prefix) as connection:
            queue = await connection.create_queue("q")
            await queue.send("x")
            (message,) = await queue.receive()
            assert refused(connection).startswith("a rqsqs.aio.Connection cannot be pickled or copied: ")
            assert "rqsqs.aio.connect(url, prefix=prefix).queue(name) makes" in refused(queue)
            assert "rqsqs.aio.connect(url, prefix=prefix).queue(name).sender() makes" in refused(queue.sender())
            assert "rqsqs.aio.connect(url, prefix=prefix).alarms makes" in refused(connection.alarms)
            assert "rqsqs.aio.connect(url, prefix=prefix).event_rules makes" in refused(connection.event_rules)
            assert refused(message).startswith("a rqsqs.aio.Message cannot be pickled or copied: ")

    asyncio.run(main())


def test_workers_servers_and_clocks() -> None:
    assert refused(Worker()) == "a rqsqs.worker.Worker cannot be pickled or copied: make one in each process instead"
    assert "the bodies of its messages" in refused(Context.__new__(Context))
    assert "socket_path" in refused(EmbeddedServer.__new__(EmbeddedServer))
    assert "another process needs one of its own" in refused(VirtualClock())


@pytest.mark.parametrize("way", [lambda one: pickle.loads(pickle.dumps(one)), copy.copy, copy.deepcopy])
def test_what_is_sent_and_what_comes_back_can_be_copied(
    way: Callable[[Any], Any], valkey_url: str, prefix: str
) -> None:
    entry = way(rqsqs.Entry({"id": 1}, delay=0, attributes={"a": "b"}))
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        queue = connection.create_queue("q")
        sent = queue.send_batch([entry])
        assert way(sent) == sent
        (message,) = queue.receive()
    assert (message.body, message.attributes["a"]) == ({"id": 1}, "b")


@pytest.mark.parametrize("module", MODULES)
def test_every_public_class_is_data_or_says_that_it_cannot_be_copied(module: str) -> None:
    names = importlib.import_module(module)
    for name in names.__all__:
        one = getattr(names, name)
        if inspect.isclass(one) and one not in (rqsqs.Entry, rqsqs.SentMessage, rqsqs.worker.LogFilter):
            is_data = dataclasses.is_dataclass(one) or issubclass(one, BaseException | dict | tuple)
            assert is_data or issubclass(one, NotCopied), name
