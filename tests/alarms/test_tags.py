"""Tags of alarms by the native API."""

from __future__ import annotations

import asyncio

import pytest

import rqsqs
import rqsqs.aio
from rqsqs.errors import InvalidParameterValue, ResourceNotFound

LATE = rqsqs.Alarm(
    "late", metric_name="visible", queue="q", comparison_operator=">", threshold=1, tags={"team": "blue"}
)


def test_tags_are_set_and_removed_and_nothing_else_changes(valkey_url: str, prefix: str) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        alarms = connection.alarms
        alarms.put(LATE)
        before = alarms.get("late")
        alarms.tag("late", {"team": "red", "cost": ""})
        assert alarms.get("late").alarm.tags == {"team": "red", "cost": ""}
        alarms.untag("late", "team", "missing")
        after = alarms.get("late")
        assert after.alarm.tags == {"cost": ""}
        assert (after.alarm.updated_at_ms, after.state) == (before.alarm.updated_at_ms, before.state)
        assert [event.summary for event in alarms.history("late")] == ['Alarm "late" created']
        alarms.tag("late", {f"k{n}": "" for n in range(49)})
        with pytest.raises(InvalidParameterValue, match="tags must be 50 at most, got 51"):
            alarms.tag("late", {"more": ""})
        with pytest.raises(InvalidParameterValue, match="tags must map names to str, got"):
            alarms.tag("late", ["team"])  # type: ignore[arg-type]
        with pytest.raises(ResourceNotFound, match="there is no alarm 'lat'; did you mean 'late'"):
            alarms.untag("lat", "team")


def test_the_same_for_asyncio_and_for_composite_alarms(valkey_url: str, prefix: str) -> None:
    async def main() -> None:
        async with rqsqs.aio.connect(valkey_url, prefix=prefix) as connection:
            await connection.alarms.put(rqsqs.CompositeAlarm("page", "TRUE"))
            await asyncio.gather(*[connection.alarms.tag("page", {f"k{n}": "v"}) for n in range(5)])
            await connection.alarms.untag("page", "k3")
            tags = (await connection.alarms.get("page")).alarm.tags
            assert sorted(tags) == ["k0", "k1", "k2", "k4"]

    asyncio.run(main())
