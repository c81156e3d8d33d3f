"""What open pages share is read once."""

from __future__ import annotations

import asyncio

import pytest

from rqsqs.console.hub import FRESH_S, KEPT_S, Hub


class Source:
    """Something that takes a moment to read."""

    def __init__(self) -> None:
        self.reads = 0
        self.go_on = asyncio.Event()
        self.go_on.set()

    async def load(self) -> int:
        self.reads += 1
        number = self.reads
        await self.go_on.wait()
        return number


def test_many_who_ask_at_once_cost_one_read() -> None:
    async def main() -> None:
        now = [0.0]
        hub, source = Hub(lambda: now[0]), Source()
        source.go_on.clear()
        asked = [asyncio.create_task(hub.read("a", "k", source.load)) for _ in range(100)]
        await asyncio.sleep(0)
        source.go_on.set()
        assert await asyncio.gather(*asked) == [1] * 100
        assert await hub.read("a", "k", source.load) == 1
        now[0] += FRESH_S
        assert await hub.read("a", "k", source.load) == 2
        hub.forget("b")
        assert await hub.read("a", "k", source.load) == 2
        hub.forget("a")
        assert await hub.read("a", "k", source.load) == 3
        await hub.close()

    asyncio.run(main())


def test_what_takes_long_is_read_less_often() -> None:
    async def main() -> None:
        now = [0.0]
        hub, source = Hub(lambda: now[0]), Source()

        async def slow() -> int:
            now[0] += 3
            return await source.load()

        assert await hub.read("a", "k", slow) == 1
        now[0] = 5.9
        assert await hub.read("a", "k", slow) == 1
        now[0] = 6.1
        assert await hub.read("a", "k", slow) == 2
        await hub.close()

    asyncio.run(main())


def test_a_failure_is_told_and_not_remembered() -> None:
    async def main() -> None:
        hub, source = Hub(lambda: 0.0), Source()

        async def fails() -> int:
            raise OSError("gone")

        for _ in range(2):
            with pytest.raises(OSError, match="gone"):
                await hub.read("a", "k", fails)
        assert await hub.read("a", "k", source.load) == 1
        await hub.close()

    asyncio.run(main())


def test_who_gives_up_breaks_nothing_off_for_others() -> None:
    async def main() -> None:
        hub, source = Hub(lambda: 0.0), Source()
        source.go_on.clear()
        first = asyncio.create_task(hub.read("a", "k", source.load))
        await asyncio.sleep(0)
        second = asyncio.create_task(hub.read("a", "k", source.load))
        await asyncio.sleep(0)
        first.cancel()
        await asyncio.sleep(0)
        source.go_on.set()
        assert await second == 1
        await hub.close()

    asyncio.run(main())


def test_what_is_not_there_soon_is_as_it_was_the_time_before() -> None:
    async def main() -> None:
        now = [0.0]
        hub, source = Hub(lambda: now[0]), Source()
        source.go_on.clear()
        assert await hub.soon("a", "k", source.load, wait_s=0) is None
        source.go_on.set()
        assert await hub.soon("a", "k", source.load, wait_s=60) == 1
        now[0] += FRESH_S
        source.go_on.clear()
        assert await hub.soon("a", "k", source.load, wait_s=0) == 1
        source.go_on.set()
        assert await hub.read("a", "k", source.load) == 2
        assert source.reads == 2
        await hub.close()

    asyncio.run(main())


def test_what_is_very_old_is_not_shown_any_more() -> None:
    async def main() -> None:
        now = [0.0]
        hub, source = Hub(lambda: now[0]), Source()
        assert hub.latest("a", "k") is None
        assert await hub.soon("a", "k", source.load, wait_s=60) == 1
        now[0] = FRESH_S + KEPT_S - 0.1
        assert hub.latest("a", "k") == 1
        source.go_on.clear()
        assert await hub.soon("a", "k", source.load, wait_s=0) == 1
        assert hub.latest("a", "k") == 1
        now[0] += 0.2
        assert hub.latest("a", "k") is None
        assert await hub.soon("a", "k", source.load, wait_s=0) is None
        source.go_on.set()
        assert await hub.soon("a", "k", source.load, wait_s=60) == 2
        assert hub.latest("b", "k") is None
        assert source.reads == 2
        await hub.close()

    asyncio.run(main())
