"""Queues that an application has created when its worker starts."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

import rqsqs
from rqsqs.worker import Worker


def app(url: str, prefix: str) -> tuple[Worker, list[Any]]:
    """A worker that creates what it needs and ends with the first message; and the bodies it handled."""
    worker, handled = Worker(url, prefix=prefix), []
    worker.create_queue("orders-dead", tags={"team": "blue"})
    worker.create_queue("orders", visibility_timeout=60, dead_letter_queue="orders-dead", max_receive_count=3)

    @worker.handler("orders")
    def handle(message: Any) -> None:
        handled.append(message.body)
        worker.stop()

    return worker, handled


def test_queues_are_created_when_the_worker_starts(server_url: str, prefix: str) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        orders = connection.queue("orders")
        worker, handled = app(server_url, prefix)
        assert not connection.exists("orders")  # not before
        worker.stop()  # as soon as it has started
        worker.run()
        assert orders.info().attributes["VisibilityTimeout"] == "60"
        assert "orders-dead" in orders.info().attributes["RedrivePolicy"]
        assert connection.queue("orders-dead").tags() == {"team": "blue"}
        orders.send("hello")
        worker, handled = app(server_url, prefix)  # finds them
        worker.run()
        assert handled == ["hello"]


def test_a_queue_with_other_settings_ends_the_start(valkey_url: str, prefix: str) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        orders = connection.create_queue("orders", visibility_timeout=30)
        orders.send("hello")
        worker, handled = app(valkey_url, prefix)
        with pytest.raises(rqsqs.QueueNameExists, match="'orders'"):
            worker.run()
        assert handled == []


def test_in_memory_they_are_there_as_long_as_the_worker(prefix: str) -> None:
    worker, handled = app("embedded://", prefix)

    def send() -> None:
        while worker.status()["state"] != "running":
            time.sleep(0.01)
        with rqsqs.connect("embedded://", prefix=prefix) as connection:
            connection.queue("orders").send("hello")

    sender = threading.Thread(target=send, daemon=True)
    sender.start()
    worker.run()
    sender.join(30)
    assert handled == ["hello"]


@pytest.mark.parametrize(
    ("name", "settings", "error"),
    [
        ("no such name", {}, rqsqs.InvalidParameterValue),
        ("orders", {"visibility_timeout": -1}, rqsqs.InvalidParameterValue),
        ("orders", {"dead_letter_queue": 5}, rqsqs.InvalidParameterValue),
        ("orders", {"tags": ["a"]}, rqsqs.InvalidParameterValue),
        ("orders", {"visibility": 60}, TypeError),
        ("twice", {}, rqsqs.InvalidParameterValue),
    ],
)
def test_wrong_settings_are_refused_where_they_stand(name: str, settings: Any, error: type[Exception]) -> None:
    worker = Worker()
    worker.create_queue("twice")
    with pytest.raises(error):
        worker.create_queue(name, **settings)
