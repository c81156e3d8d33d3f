from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
import redis

import rqsqs
from rqsqs import aio
from rqsqs._io import error_mapping
from tests.servers import Server


def promised(prefix: str) -> list[str]:
    """The rights that the message of a refusal names, for a cluster too."""
    error = error_mapping.server(redis.exceptions.NoPermissionError("NOPERM"), sent=True)
    _, _, text = str(error).partition("it needs ")
    text = text.partition(" for a cluster")[0]
    rights = text.replace("PREFIX", prefix).replace(", and ", " ").split()
    assert rights[-1] == "+cluster|slots"
    return rights


def call_sync(url: str, options: dict[str, Any]) -> None:
    with rqsqs.connect(url, **options) as connection:
        queue = connection.create_queue("orders")
        queue.send("x")
        assert [message.body for message in queue.receive(delete=True)] == ["x"]
        assert queue.receive(wait=0.05) == []


def call_aio(url: str, options: dict[str, Any]) -> None:
    async def scenario() -> None:
        async with aio.connect(url, **options) as connection:
            queue = await connection.create_queue("orders")
            await queue.send("x")
            assert [message.body for message in await queue.receive(delete=True)] == ["x"]
            assert await queue.receive(wait=0.05) == []

    asyncio.run(asyncio.wait_for(scenario(), 100))


@pytest.mark.parametrize("call", [call_sync, call_aio], ids=["sync", "aio"])
@pytest.mark.parametrize(
    ("db", "options", "right"),
    [
        (0, {}, ""),
        (0, {"protocol": 3}, ""),
        (1, {}, "+select"),
        (0, {"client_name": "me"}, "+client|setname"),
    ],
    ids=["none", "RESP3", "database", "client_name"],
)
def test_the_rights_that_are_promised_and_those_that_options_need(
    server: Server, prefix: str, call: Callable[..., None], db: int, options: dict[str, Any], right: str
) -> None:
    url = server.url.replace("://", f"://{prefix}:secret@").removesuffix("0") + str(db)
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", prefix, "reset", "on", ">secret", *promised(prefix))
        if right:
            with pytest.raises(rqsqs.AuthenticationFailed, match="may not do this"):
                call(url, {"prefix": prefix, **options})
            client.execute_command("ACL", "SETUSER", prefix, right)
        call(url, {"prefix": prefix, **options})


@pytest.mark.parametrize("call", [call_sync, call_aio], ids=["sync", "aio"])
def test_durability_needs_wait(server: Server, prefix: str, call: Callable[..., None]) -> None:
    url = server.url.replace("://", f"://{prefix}:secret@")
    options = {"prefix": prefix, "durability": rqsqs.Durability(replicas=1, timeout=0.01)}
    with redis.Redis.from_url(server.url) as client:
        client.execute_command("ACL", "SETUSER", prefix, "reset", "on", ">secret", *promised(prefix))
        with pytest.raises(rqsqs.DurabilityNotReached, match="permissions"):
            call(url, options)
        client.execute_command("ACL", "SETUSER", prefix, "+wait")
        with pytest.raises(rqsqs.DurabilityNotReached, match="0 of 1 replica") as failed:
            call(url, options)
        assert "permissions" not in str(failed.value)
