"""Several worker processes under a supervisor: real processes, real signals."""

from __future__ import annotations

import os
import re
import signal
from pathlib import Path

import pytest

import rqsqs
from tests.worker.conftest import Start
from tests.worker.programs import APP, is_alive, wait_for

pytestmark = pytest.mark.timeout(120)
TWO = ("app", "--processes", "2", "--health-port", "0")


def state_of(queue: rqsqs.Queue) -> tuple[int, int]:
    counts = queue.counts()
    return counts.visible, counts.in_flight


def test_all_processes_are_shown_and_serve(start: Start, orders: rqsqs.Queue) -> None:
    program = start(*TWO)
    status = program.ready()
    assert [p["process"] for p in status["processes"]] == [1, 2]
    assert {c.pid for c in orders.consumers()} == set(program.children())
    assert program.ask("/livez")[0] == 200
    orders.send("a")
    assert int(program.has("got-a")) in program.children()


def test_sigterm_lets_handlers_finish_and_takes_no_more(start: Start, orders: rqsqs.Queue) -> None:
    program = start(*TWO)
    program.ready()
    orders.send("slow")
    program.has("got-slow")
    program.signal(signal.SIGTERM)
    program.says("the supervisor says so: stopping", 2)
    code, status = program.ask("/readyz")
    assert (code, status["state"]) == (503, "stopping")
    wait_for(lambda: len(orders.consumers()) == 1, lambda: program.log)  # the other one has ended
    orders.send("late")
    (program.folder / "go").touch()
    assert program.ends() == 0
    assert (program.folder / "done-slow").exists()
    assert state_of(orders) == (1, 0)
    assert orders.consumers() == []


def test_a_second_signal_gives_everything_back_at_once(start: Start, orders: rqsqs.Queue) -> None:
    program = start(*TWO)
    program.ready()
    orders.send_batch(["slow-1", "slow-2"])
    program.has("got-slow-1")
    program.has("got-slow-2")
    program.signal(signal.SIGINT)
    program.says("the supervisor says so: stopping", 2)
    assert state_of(orders) == (0, 2)
    program.signal(signal.SIGTERM)
    assert program.ends() == 0
    assert state_of(orders) == (2, 0)
    assert not any((program.folder / f"done-slow-{i}").exists() for i in (1, 2))


def test_a_signal_that_everybody_gets_counts_once(start: Start, orders: rqsqs.Queue) -> None:
    """As systemd sends it."""
    program = start(*TWO)
    children = program.children()
    orders.send("slow")
    program.has("got-slow")
    for pid in (*children, program.process.pid):
        os.kill(pid, signal.SIGTERM)
    program.says("SIGTERM: stopping . process")
    wait_for(lambda: len(orders.consumers()) == 1, lambda: program.log)
    assert state_of(orders) == (0, 1)
    (program.folder / "go").touch()
    assert program.ends() == 0
    assert (program.folder / "done-slow").exists()


def test_a_process_that_was_killed_is_replaced_and_its_message_handled(start: Start, orders: rqsqs.Queue) -> None:
    program = start(*TWO)
    before = program.children()
    orders.send("slow")
    victim = int(program.has("got-slow"))
    (program.folder / "got-slow").unlink()
    os.kill(victim, signal.SIGKILL)
    program.says(rf"process \d \({victim}\) was killed by SIGKILL after .* s; it is replaced (in 0\.5 s|at once)")
    after = wait_for(lambda: (now := program.children()) != before and len(now) == 2 and now, lambda: program.log)
    assert len(set(before) & set(after)) == 1
    assert int(program.has("got-slow")) != victim
    (program.folder / "go").touch()
    program.has("done-slow")
    wait_for(lambda: state_of(orders) == (0, 0))


def test_a_process_that_somebody_stopped_is_replaced(start: Start, orders: rqsqs.Queue) -> None:
    program = start(*TWO)
    before = program.children()
    os.kill(before[0], signal.SIGTERM)
    program.says(rf"\({before[0]}\) exited with 0")
    wait_for(lambda: before[0] not in program.children(), lambda: program.log)


def test_a_process_that_is_frozen_is_not_ready(start: Start, orders: rqsqs.Queue) -> None:
    program = start(*TWO)
    first, _ = program.children()
    os.kill(first, signal.SIGSTOP)
    status = wait_for(lambda: (found := program.ask("/readyz"))[0] == 503 and found[1])
    assert [p["is_ready"] for p in status["processes"]] == [False, True]
    assert program.ask("/livez")[0] == 200  # for half a minute
    os.kill(first, signal.SIGCONT)
    assert program.children()[0] == first


def test_one_that_dies_again_and_again_is_replaced_ever_later(start: Start, orders: rqsqs.Queue) -> None:
    program = start("app", "--processes", "2", "--health-port", "0")
    victim = program.children()[0]
    (program.folder / "app.py").write_text("raise SystemExit(7)")
    os.kill(victim, signal.SIGKILL)
    program.says(r"exited with 7 .* replaced in 2 s")
    assert re.findall(r"replaced in ([\d.]+) s", program.log)[:3] == ["0.5", "1", "2"]
    code, status = program.ask("/readyz")
    assert code == 503
    assert status["processes"][1]["is_ready"]
    program.signal(signal.SIGTERM)
    assert program.ends() == 0


def test_processes_stop_when_their_supervisor_is_killed(start: Start, orders: rqsqs.Queue) -> None:
    program = start(*TWO)
    children = program.children()
    orders.send("slow")
    program.has("got-slow")
    program.signal(signal.SIGKILL)
    program.says("the supervisor is gone: stopping", 2)
    (program.folder / "go").touch()
    program.has("done-slow")
    wait_for(lambda: not any(map(is_alive, children)), lambda: program.log)
    assert state_of(orders) == (0, 0)
    assert orders.consumers() == []


def test_sighup_renews_one_process_after_the_other(start: Start, orders: rqsqs.Queue) -> None:
    program = start(*TWO)
    before = program.children()
    orders.send("slow")
    program.has("got-slow")
    program.signal(signal.SIGHUP)
    seen = []
    program.says("the supervisor says so: stopping")  # a new one is ready, the old one has to go
    seen.append(program.ask("/readyz")[0])
    (program.folder / "go").touch()
    program.says("all processes are new")
    seen.append(program.ask("/readyz")[0])
    assert seen == [200, 200]
    assert not set(before) & set(program.children())
    assert (program.folder / "done-slow").exists()
    orders.send("b")
    assert int(program.has("got-b")) in program.children()


def test_a_renewal_that_fails_leaves_the_old_processes_at_work(start: Start, orders: rqsqs.Queue) -> None:
    program = start(*TWO)
    before = program.children()
    (program.folder / "app.py").write_text("1 / 0")
    program.signal(signal.SIGHUP)
    program.says(r"the new process \d+ exited with 1 before it was ready; the others stay")
    assert "ZeroDivisionError" in program.log
    assert program.children() == before


def test_one_that_was_drained_is_not_replaced(start: Start, orders: rqsqs.Queue) -> None:
    program = start(*TWO)
    first, second = program.children()
    orders.send_batch(["slow-1", "slow-2"])  # a busy worker hears of orders at once
    program.has("got-slow-1")
    program.has("got-slow-2")
    orders.send_batch([f"slow-{i}" for i in range(3, 23)])  # 20 slots are full, and so both have some
    by_pid = {c.pid: c for c in orders.consumers()}
    wait_for(lambda: all(c.in_flight for c in orders.consumers()))
    orders.drain(by_pid[first])
    program.says("got the command to drain")
    (program.folder / "go").touch()
    program.says(rf"process 1 \({first}\) was drained")
    assert program.children() == [second]
    assert program.ready()["processes"][0]["state"] == "drained"
    (program.folder / "go").unlink()
    orders.send("slow-last")
    program.has("got-slow-last")
    orders.evict(by_pid[second])
    wait_for(lambda: state_of(orders) == (1, 0))
    (program.folder / "go").touch()
    assert program.ends() == 0
    assert state_of(orders) == (1, 0)


@pytest.mark.parametrize("processes", ["1", "3"])
@pytest.mark.parametrize(
    ("source", "code", "text"),
    [
        ("import no_such_thing", 1, "No module named 'no_such_thing'"),
        ("1 / 0", 1, "ZeroDivisionError: division by zero"),
        ("worker = 1", 2, "rqsqs: 'worker' of the module 'app' must be a Worker, got an int"),
        (APP.replace('"orders"', '"nothing"'), 1, "rqsqs: the queue 'nothing' does not exist"),
        (APP.replace("Worker(", "Worker('redis://127.0.0.1:1/0', "), 3, "rqsqs: "),
    ],
)
def test_what_cannot_start_is_said_once(
    start: Start, orders: rqsqs.Queue, tmp_path: Path, source: str, code: int, text: str, processes: str
) -> None:
    (tmp_path / "app.py").write_text(source)
    program = start("app", "--processes", processes)
    assert program.ends() == code, program.log
    assert program.log.count(text) == 1, program.log
    assert "replaced" not in program.log


def test_a_change_reloads_and_an_error_waits_for_the_next_change(start: Start, orders: rqsqs.Queue) -> None:
    pytest.importorskip("watchfiles")
    program = start("app", "--reload", "--health-port", "0")
    before = program.children()
    orders.send("slow")
    program.has("got-slow")
    (program.folder / "app.py").write_text("1 / 0")
    program.says("app.py changed: reloading")
    program.says("exited with 1 before it was ready; waiting for a change")
    wait_for(lambda: state_of(orders) == (1, 0))  # given back
    (program.folder / "app.py").write_text(APP.replace("slow", "never").replace("got-", "new-"))
    program.has("done-slow")
    program.has("new-slow")
    assert program.children() != before
    program.signal(signal.SIGTERM)
    assert program.ends() == 0


def test_the_port_of_the_health_checks_is_taken(start: Start, orders: rqsqs.Queue) -> None:
    first = start(*TWO)
    port = first.port
    second = start("app", "--processes", "2", "--health-port", str(port))
    assert second.ends() == 1
    assert (
        f"rqsqs: cannot listen on 127.0.0.1:{port} for health checks: Address already in use; choose another port"
        in second.log
    )


def test_processes_of_one_worker_evaluate_alarms_and_one_of_them_at_a_time(
    start: Start, orders: rqsqs.Queue, tmp_path: Path, valkey_url: str, prefix: str
) -> None:
    refused = start(*TWO, "--actions", "no.toml")
    assert refused.ends() == 2
    assert "no.toml must be a file of text that can be read" in refused.log
    topic = "arn:aws:sns:us-east-1:000000000000:ops"
    (tmp_path / "actions.toml").write_text(f'[topics]\n"{topic}" = "arn:aws:sqs:us-east-1:000000000000:pages"\n')
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        pages = connection.create_queue("pages")
        connection.alarms.put(
            rqsqs.Alarm("always", metric_name="visible", queue="orders", threshold=0, comparison_operator=">=",
                        treat_missing_data="breaching", alarm_actions=[topic])
        )  # fmt: skip
        program = start(*TWO, "--actions", "actions.toml")
        program.ready()
        assert len(pages.receive(wait=60)) == 1
        evaluation = connection.alarms.evaluation()
        assert evaluation is not None
        assert int(evaluation.evaluator.rsplit("-", 2)[1]) in program.children()
        program.signal(signal.SIGTERM)
        assert program.ends() == 0
        assert pages.receive() == []
