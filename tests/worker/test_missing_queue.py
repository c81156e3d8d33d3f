"""A worker whose queue nobody has created."""

from __future__ import annotations

import pytest

import rqsqs
from rqsqs.worker import Worker


def test_it_says_how_the_worker_can_create_it(redis_url: str, prefix: str) -> None:
    worker = Worker(redis_url, prefix=prefix)
    worker.handler("orders")(lambda message: None)
    with pytest.raises(
        rqsqs.QueueDoesNotExist, match=r"'orders' does not exist; .*worker\.create_queue\('orders'\)"
    ) as failed:
        worker.run()
    assert failed.value.queue == "orders"
    assert failed.value.__suppress_context__
