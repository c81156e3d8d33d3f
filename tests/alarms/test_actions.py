"""Commands, messages, the log, and when what failed is tried again."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
import time
from pathlib import Path

import pytest

import rqsqs
import rqsqs.aio
from rqsqs._action_targets import SendTo, parse_target
from rqsqs.alarms.actions import Actions, ActionsConfig, Done, Failed, GivenUp, Notification, Outcome, PendingAction
from rqsqs.alarms.actions.command import MOST_OUTPUT
from rqsqs.alarms.actions.configuration import CommandLine
from rqsqs.alarms.actions.retries import AttemptFailed, Retries
from rqsqs.errors import InvalidParameterValue

PATIENCE_S = 30
ALARM = "arn:aws:cloudwatch:us-east-1:000000000000:alarm:old"
TOLD = Notification(ALARM, 'ALARM: "old"', '{"NewStateValue":"ALARM"}', 1_764_259_199_500)
QUEUE = "arn:aws:sqs:us-east-1:000000000000:"


def run(target: str, config: ActionsConfig | None = None, **options: object) -> Outcome:
    actions = Actions(config, clock=lambda: 1000.0, dice=lambda: 1.0, **options)  # type: ignore[arg-type]
    return asyncio.run(actions.run(PendingAction("id-1", target, TOLD)))


# Commands


def command(program: str, *arguments: str, timeout: float = PATIENCE_S, **environment: str) -> Outcome:
    """Run a Python program as a command."""
    argv = (sys.executable, "-c", program, *arguments)
    return run("command:page", ActionsConfig(commands={"page": CommandLine(argv, timeout, environment)}))


def test_a_command_gets_the_notification_and_little_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RQSQS_URL", "redis://:secret@localhost")
    program = (
        "import json, os, sys; json.dump([json.load(sys.stdin), dict(os.environ), sys.argv[2:], os.getcwd()],"
        " open(sys.argv[1], 'w'))"
    )
    outcome = command(program, str(tmp_path / "out"), "$(touch evil); `id`", PAGER="x y")
    assert outcome == Done("the command page ended with status 0")
    told, environment, arguments, folder = json.loads((tmp_path / "out").read_text())
    assert told["Message"] == '{"NewStateValue":"ALARM"}'
    assert arguments == ["$(touch evil); `id`"]
    assert folder == "/"
    assert environment["PAGER"] == "x y"
    assert environment["RQSQS_SUBJECT"] == 'ALARM: "old"'
    assert environment["RQSQS_SOURCE"] == ALARM
    assert environment["RQSQS_ACTION_ID"] == "id-1"
    assert "RQSQS_URL" not in environment


def test_a_command_that_fails() -> None:
    assert command("raise SystemExit(3)") == Failed("the command page ended with status 3", 5)
    killed = command("import os; os.kill(os.getpid(), 9)")
    assert killed == Failed("the command page was ended by signal 9", 5)
    missing = run("command:page", ActionsConfig(commands={"page": CommandLine(("/nowhere/page",))}))
    assert missing == Failed("the command page could not be run: No such file or directory", 5)


def test_a_command_that_is_not_in_the_configuration() -> None:
    outcome = run("command:rm", ActionsConfig(name="actions.toml"))
    assert outcome == GivenUp("a command must be in actions.toml as [commands.NAME], got 'rm'")


def is_running(pid: int) -> bool:
    """Whether a process runs; one that ended, and whose end nobody took notice of, does not."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks at /proc")
def test_a_command_is_killed_with_its_children_when_its_time_is_over(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); child = os.fork();"
        " open(sys.argv[1] + str(bool(child)), 'w').write(str(os.getpid())); time.sleep(600)"
    )
    outcome = command(program, str(tmp_path / "pid-"), timeout=2)
    assert outcome == Failed("the command page was killed after 2 seconds", 5)
    for name in ("pid-True", "pid-False"):
        pid = int((tmp_path / name).read_text())
        end = time.monotonic() + PATIENCE_S
        while is_running(pid) and time.monotonic() < end:
            time.sleep(0.01)
        assert not is_running(pid)


def test_a_command_is_killed_when_the_process_stops(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    program = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid()) + '.'); time.sleep(600)"
    config = ActionsConfig(commands={"page": CommandLine((sys.executable, "-c", program, str(pid)))})

    async def main() -> None:
        task = asyncio.create_task(Actions(config).run(PendingAction("id-1", "command:page", TOLD)))
        async with asyncio.timeout(PATIENCE_S):
            while not (pid.exists() and pid.read_text().endswith(".")):
                await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    with pytest.raises(ProcessLookupError):
        os.kill(int(pid.read_text()[:-1]), 0)


def test_a_command_in_the_event_loop_of_gateways() -> None:
    uvloop = pytest.importorskip("uvloop")
    slow = CommandLine((sys.executable, "-c", "import time; time.sleep(600)"), 0.5)
    config = ActionsConfig(commands={"page": CommandLine((sys.executable, "-c", "print(1)")), "slow": slow})

    async def main() -> list[Outcome]:
        return [await Actions(config).run(PendingAction("id-1", f"command:{name}", TOLD)) for name in ("page", "slow")]

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        done, killed = runner.run(main())
    assert isinstance(done, Done)
    assert isinstance(killed, Failed)
    assert "killed" in killed.reason


def test_the_output_of_a_command_is_bounded_and_harmless(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "rqsqs.alarms")
    program = "import sys; print('\\x1b[31mred', flush=True); sys.stderr.write('x' * 10_000_000)"
    assert isinstance(command(program), Done)
    (message,) = [record.getMessage() for record in caplog.records if "wrote" in record.getMessage()]
    assert "\\x1b[31mred" in message
    assert len(message) < 2 * MOST_OUTPUT
    assert "more bytes" in message


def test_a_command_may_leave_a_process_behind_that_keeps_its_output_open(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    program = (
        "import os, sys, time\nif os.fork() == 0:\n"
        "    open(sys.argv[1] + '.new', 'w').write(str(os.getpid())); os.rename(sys.argv[1] + '.new', sys.argv[1])\n"
        "    time.sleep(600)\nwhile not os.path.exists(sys.argv[1]): time.sleep(0.01)"
    )
    assert isinstance(command(program, str(pid), timeout=PATIENCE_S), Done)
    os.kill(int(pid.read_text()), signal.SIGKILL)


def test_a_command_that_does_not_read_its_input() -> None:
    told = Notification(ALARM, "x", "m" * 1_000_000, 0)
    config = ActionsConfig(commands={"page": CommandLine((sys.executable, "-c", ""))})
    assert isinstance(asyncio.run(Actions(config).run(PendingAction("id-1", "command:page", told))), Done)


# Messages


def send(url: str, prefix: str, target: str, times: int = 1, may: str = "") -> list[Outcome]:
    """Do an action that sends a message."""

    async def main() -> list[Outcome]:
        async with rqsqs.aio.connect(url, prefix=prefix) as connection:

            def open_queue(target: SendTo) -> rqsqs.aio.Queue:
                if target.account != "000000000000":
                    raise InvalidParameterValue(f"the account must be 000000000000, got {target.account}")
                return connection.queue(target.queue)

            async def may_send(target: SendTo, pending: PendingAction) -> str:
                return may

            actions = Actions(open_queue=open_queue, may_send=may_send, dice=lambda: 1.0, clock=lambda: 1000.0)
            return [await actions.run(PendingAction("id-1", target, TOLD, n)) for n in range(times)]

    return asyncio.run(main())


@pytest.mark.parametrize("name", ["pages", "pages.fifo"])
def test_a_message_is_sent_once_however_often_it_is_tried(server_url: str, prefix: str, name: str) -> None:
    with rqsqs.connect(server_url, prefix=prefix) as connection:
        queue = connection.create_queue(name)
        first, again = send(server_url, prefix, QUEUE + name, 2)
        assert isinstance(first, Done)
        assert isinstance(again, Done)
        assert "had been sent before" in again.summary
        (message,) = queue.receive(10)
        assert json.loads(message.body)["Message"] == '{"NewStateValue":"ALARM"}'
        assert queue.receive(10) == []


def test_a_message_that_cannot_be_sent(valkey_url: str, prefix: str) -> None:
    (missing,) = send(valkey_url, prefix, QUEUE + "none")
    assert isinstance(missing, Failed), "it may be created"
    assert "was refused" in missing.reason
    (refused,) = send(valkey_url, prefix, QUEUE + "none", may="the user shop may not sqs:SendMessage")
    assert isinstance(refused, Failed), "it may be allowed"
    assert "shop may not sqs:SendMessage" in refused.reason
    (foreign,) = send(valkey_url, prefix, "arn:aws:sqs:us-east-1:111111111111:none")
    assert isinstance(foreign, GivenUp)
    assert isinstance(run(QUEUE + "none"), GivenUp), "by a process that sends none"


def test_a_server_that_is_away() -> None:
    (outcome,) = send("redis://127.0.0.1:1/0?socket_connect_timeout=0.2", "p", QUEUE + "none")
    assert isinstance(outcome, Failed)
    assert "could not be sent" in outcome.reason


# The log and topics


def test_the_log(caplog: pytest.LogCaptureFixture) -> None:
    told = Notification(ALARM, "ALARM\n\x1b[31mfake", "", 0)
    assert asyncio.run(Actions().run(PendingAction("id-1", "log:", told))) == Done("it was logged")
    assert [record.getMessage() for record in caplog.records] == [f"ALARM\\n\\x1b[31mfake ({ALARM})"]


def test_a_topic_stands_for_another_target() -> None:
    topic = "arn:aws:sns:us-east-1:000000000000:ops"
    assert run(topic, ActionsConfig(topics={topic: parse_target("log:")})) == Done("it was logged")
    outcome = run(topic)
    assert isinstance(outcome, GivenUp)
    assert "[topics]" in outcome.reason


def test_what_is_no_target_is_given_up() -> None:
    assert isinstance(run("mailto:me"), GivenUp)


# Again


def test_when_it_is_tried_again() -> None:
    retries, failure = Retries(attempts=5, first=2, longest=10), AttemptFailed("no")
    delays = [retries.after(failure, attempt, lambda: 1.0) for attempt in range(1, 6)]
    assert delays == [Failed("no", 2), Failed("no", 4), Failed("no", 8), Failed("no", 10),
                      GivenUp("no; given up after 5 attempts")]  # fmt: skip
    assert retries.after(failure, 1, lambda: 0.0) == Failed("no", 1)
    assert retries.after(AttemptFailed("no", is_final=True), 1, lambda: 1.0) == GivenUp("no")
    assert retries.after(AttemptFailed("no", after_s=5), 1, lambda: 1.0) == Failed("no", 5)
    assert Retries(attempts=100).delay_s(99, lambda: 1.0) == 600
