"""What a caller is told when answers are lost on the way."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from urllib.parse import urlsplit

import pytest

import rqsqs
from rqsqs import aio
from tests.proxy import Proxy


def send_sync(url: str, prefix: str, after: Callable[[], None]) -> None:
    with rqsqs.connect(url, prefix=prefix) as connection:
        queue = connection.queue("f.fifo")
        queue.counts()  # the scripts are loaded
        queue.send("first", group="g", deduplication_id="0")
        after()
        queue.send("x", group="g", deduplication_id="1")


def send_async(url: str, prefix: str, after: Callable[[], None]) -> None:
    async def main() -> None:
        async with aio.connect(url, prefix=prefix) as connection:
            queue = connection.queue("f.fifo")
            await queue.send("first", group="g", deduplication_id="0")
            after()
            await queue.send("x", group="g", deduplication_id="1")

    asyncio.run(main())


@pytest.mark.parametrize("send", [send_sync, send_async], ids=["sync", "asyncio"])
def test_a_send_that_was_perhaps_done_is_never_said_not_to_have_been(
    valkey_url: str, prefix: str, send: Callable[[str, str, Callable[[], None]], None]
) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        queue = connection.create_queue("f.fifo")
        with Proxy(urlsplit(valkey_url).port or 0) as proxy:

            def trouble() -> None:
                proxy.lose_replies(1)
                proxy.is_closed = True  # and nobody gets through to ask again

            with pytest.raises(rqsqs.ConnectionFailed, match="the outcome of the request is unknown") as caught:
                send(proxy.url, prefix, trouble)
        assert caught.value.request_sent
        assert queue.counts().visible == 2
