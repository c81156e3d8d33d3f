"""The command as a process: pipes, terminals, signals, missing extras."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

import rqsqs
from rqsqs.cli.sending import BATCH
from tests.cli.tools import COMMAND, in_terminal, wait_for
from tests.clusters import blocked


def run(*arguments: str, **extra: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=30, **extra)  # type: ignore[call-overload, no-any-return]


@pytest.mark.usefixtures("environment")
def test_output_into_a_pipe_has_no_escape_codes_and_is_not_cut() -> None:
    name = "q" * 80
    assert run("create", name).returncode == 0
    assert run("send", name, "x" * 300).returncode == 0
    for arguments in (("stats",), ("peek", name), ("show", name)):
        result = run(*arguments)
        assert result.returncode == 0
        assert "\x1b" not in result.stdout + result.stderr
        assert name in result.stdout or "x" * 300 in result.stdout


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize("columns", [80, 200])
def test_tables_fit_the_terminal(columns: int) -> None:
    run("create", "q" * 80)
    seen = in_terminal(columns, "stats")
    lines = [re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", line) for line in seen.splitlines()]
    assert max(len(line) for line in lines) <= columns
    assert "QUEUE" in lines[0]
    assert "".join(lines).count("q") == 80


@pytest.mark.usefixtures("environment")
def test_errors_are_one_line_without_a_traceback() -> None:
    result = run("receive", "nothing")
    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "rqsqs: the queue 'nothing' does not exist\n"


@pytest.mark.usefixtures("environment")
def test_ctrl_c_ends_a_waiting_receive(valkey_url: str) -> None:
    run("create", "orders")
    process = subprocess.Popen([*COMMAND, "receive", "orders", "--wait", "60"], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: blocked(valkey_url))
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert stderr.strip() == "rqsqs: interrupted"


LINE = b'{"body": "%s", "group": "%d", "message_id": "%d"}\n'


@pytest.mark.usefixtures("environment")
def test_ctrl_c_while_a_file_is_read_imports_nothing(connection: rqsqs.Connection) -> None:
    connection.create_queue("orders")
    command = [*COMMAND, "import", "orders", "-"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdin is not None
    process.stdin.write(LINE % (b"x" * 100, 0, 0) * 10_000)  # more than a pipe holds: it reads
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 130
    _, stderr = process.communicate(timeout=30)
    assert stderr == b"rqsqs: interrupted\n"
    assert connection.queue("orders").counts().visible == 0


@pytest.mark.usefixtures("environment")
def test_an_import_that_was_interrupted_says_how_far_it_came_and_can_be_repeated(
    connection: rqsqs.Connection, tmp_path: Path
) -> None:
    queue = connection.create_queue("orders.fifo")
    path = tmp_path / "orders.jsonl"
    path.write_bytes(b"".join(LINE % (b"x", i % 7, i) for i in range(30_000)))
    command = [*COMMAND, "import", "orders.fifo", str(path)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: queue.counts().visible > BATCH)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=30)
    assert process.returncode == 130
    said = re.fullmatch(r"imported ([\d,]+) messages to orders.fifo before this:\nrqsqs: interrupted\n", stderr)
    assert said, stderr
    number, stored = int(said[1].replace(",", "")), queue.counts().visible
    assert 0 < number <= stored <= number + BATCH  # it may have come between a call and its answer
    assert stored < 30_000
    repeated = run("import", "orders.fifo", str(path))
    assert repeated.stderr == f"imported {30_000 - stored:,} messages to orders.fifo, {stored:,} more were duplicates\n"
    assert queue.counts().visible == 30_000


def test_a_ctrl_c_inside_of_an_import_of_python_has_the_same_exit_code() -> None:
    """Python notes it where exec() is at work, as in every dataclass, and ends by a signal of its own then."""
    program = "import rqsqs.cli.program as p; p.program = lambda: exec('raise KeyboardInterrupt')"
    result = subprocess.run(
        [sys.executable, "-c", f"{program}; from rqsqs.cli import main; main()"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stderr) == (130, "rqsqs: interrupted\n")


def dead_letters(connection: rqsqs.Connection, count: int) -> rqsqs.Queue:
    dead = connection.create_queue("dead")
    queue = connection.create_queue("orders", dead_letter_queue=dead, max_receive_count=1)
    queue.send_batch(range(count))
    queue.receive(count, visibility_timeout=0)
    assert queue.receive(count) == []
    return dead


@pytest.mark.usefixtures("environment")
def test_ctrl_c_cancels_a_redrive(valkey_url: str, prefix: str) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        dead = dead_letters(connection, 100)
        command = [*COMMAND, "dlq", "redrive", "dead", "--rate", "2"]
        process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        wait_for(lambda: any(task.moved for task in dead.move_tasks()))
        process.send_signal(signal.SIGINT)
        _, stderr = process.communicate(timeout=30)
        assert process.returncode == 130
        assert re.fullmatch(r"cancelled; [1-9]\d* messages? had been moved\nrqsqs: interrupted\n", stderr)
        wait_for(lambda: dead.move_tasks()[0].status == "CANCELLED")
        assert dead.counts().visible + connection.queue("orders").counts().visible == 100


@pytest.mark.usefixtures("environment")
def test_a_redrive_shows_its_progress_in_a_terminal_only(valkey_url: str, prefix: str) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        dead_letters(connection, 60)
        seen = in_terminal(80, "dlq", "redrive", "dead", "--rate", "50")
        assert "moving" in seen
        assert "/60" in seen
        assert seen.endswith("moved 60 messages back\n")
        connection.queue("orders").purge()
        dead_letters(connection, 5)
        assert run("dlq", "redrive", "dead").stderr == "moved 5 messages back\n"


@pytest.mark.usefixtures("environment")
def test_a_closed_pipe_is_no_error_message(valkey_url: str, prefix: str) -> None:
    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        connection.create_queue("orders").send_batch(["x" * 1000] * 1000)
    command = " ".join([*COMMAND, "peek", "orders", "--max", "1000", "|", "head", "-1"])
    result = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=30)
    assert result.stderr == ""
    assert result.stdout.count("\n") == 1


def test_the_users_own_server_keeps_its_queues_from_command_to_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("RQSQS_URL", "embedded://~")
    assert run("create", "orders").returncode == 0
    assert run("send", "orders", "kept").returncode == 0
    assert run("receive", "orders", "--body").stdout == "kept\n"
    with rqsqs.connect() as connection:
        assert connection.queue("orders").counts().in_flight == 1
    assert (tmp_path / "rqsqs" / "appendonlydir").is_dir()


def test_a_missing_extra_is_named(tmp_path: Path) -> None:
    blocker = "import sys; sys.modules['rich'] = None; from rqsqs.cli import main; main()"
    result = subprocess.run([sys.executable, "-c", blocker], capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stderr == "rqsqs: the command line needs click and rich: pip install 'rqsqs[cli]'\n"


@pytest.mark.parametrize(("redirection", "code"), [(">/dev/full", 1), (">&- <&- 2>&-", 0), ("2>/dev/full", 0)])
def test_output_that_cannot_be_written_is_no_traceback(redirection: str, code: int) -> None:
    command = " ".join([*COMMAND, "--help", redirection])
    result = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=30, check=False)
    assert result.returncode == code
    assert "Traceback" not in result.stderr
