"""Workers that were given an actions file evaluate alarms, whatever their handlers do."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from rqsqs import Alarm
from rqsqs.alarms.actions import ActionsFileInvalid
from rqsqs.alarms.evaluator import Evaluator
from rqsqs.errors import InvalidParameterValue
from rqsqs.worker import Worker
from tests.cli.tools import wait_for
from tests.clusters import client_of
from tests.worker.serving import App

TOPIC = "arn:aws:sns:us-east-1:000000000000:ops"


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Evaluator, "delay", lambda self: 0.05)


@pytest.mark.usefixtures("quick")
def test_a_worker_evaluates_while_a_handler_blocks_its_event_loop(app: App, tmp_path: Path) -> None:
    app.queue()
    pages = app.connection.create_queue("pages")
    actions = tmp_path / "actions.toml"
    actions.write_text(f'[topics]\n"{TOPIC}" = "arn:aws:sqs:us-east-1:000000000000:pages"\n')
    begun = tmp_path / "begun"
    released = tmp_path / "released"

    async def block(message: object) -> None:
        begun.touch()
        for _ in range(6000):  # what no handler should do
            if released.exists():
                return
            time.sleep(0.01)  # noqa: ASYNC251

    app.serve({"q": block}, actions=actions)
    app.connection.queue("q").send("x")
    wait_for(begun.exists)
    app.connection.alarms.put(
        Alarm("busy", metric_name="visible", queue="q", threshold=0, comparison_operator=">=",
              treat_missing_data="breaching", alarm_actions=[TOPIC])
    )  # fmt: skip
    with client_of(app.url) as redis:
        redis.delete(*app.connection.transport.space.alarms("evaluated"))  # else only at the next full minute
    (message,) = pages.receive(wait=60)
    released.touch()
    assert "busy" in str(message.body)
    evaluation = app.connection.alarms.evaluation()
    assert evaluation is not None
    assert f"-{os.getpid()}-" in evaluation.evaluator


def test_a_worker_without_the_file_evaluates_nothing(app: App, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rqsqs.worker.alarms.AlarmThread.__init__", lambda *_: pytest.fail("it was made"))
    app.queue()
    handled: list[object] = []
    app.serve({"q": handled.append})
    app.connection.queue("q").send("x")
    wait_for(lambda: handled)


def test_a_file_that_cannot_be_used_is_refused_at_the_start(app: App, tmp_path: Path) -> None:
    worker = Worker(app.url, actions=tmp_path / "none.toml")
    worker.add("q", print)
    with pytest.raises(ActionsFileInvalid, match=r"none\.toml must be a file of text that can be read"):
        worker.run()
    with pytest.raises(InvalidParameterValue, match="actions must be the path of a file, or None, got 5"):
        Worker(actions=5)  # type: ignore[arg-type]
