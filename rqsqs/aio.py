"""The native API for asyncio: the classes, methods and arguments of the sync API, to be awaited.

    import asyncio

    from rqsqs import aio


    async def main():
        async with aio.connect("redis://localhost:6379/0") as connection:
            orders = await connection.create_queue("orders")
            await orders.send({"id": 1})
            async for message in orders.messages(wait=1):
                async with message:
                    print(message.body)

A connection and its objects belong to one event loop of one process, in which it is closed as well. Any number of tasks
may use them and wait on queues at the same time: they share one connection to the server, and one more for each queue
that is waited on. A receive that is cancelled strands nothing: what the server had already handed out is visible again
at once.
"""

import rqsqs._io.aio.runner  # noqa: F401 - redis-py takes long to import: before there is a loop that has to wait for it
from rqsqs._arguments import Entry
from rqsqs._async.connection import Connection, connect
from rqsqs._async.message import Message
from rqsqs._async.queue import Queue
from rqsqs._async.sender import Sender

__all__ = ["Connection", "Entry", "Message", "Queue", "Sender", "connect"]
