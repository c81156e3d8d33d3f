"""The commands, called in process on a real server."""

from __future__ import annotations

import base64
import json
import re
from datetime import datetime, timedelta
from pathlib import Path

import pytest

pytest.importorskip("click")
pytest.importorskip("rich")

import rqsqs
from rqsqs.cli import stats
from rqsqs.cli.program import COMMANDS, program
from tests.cli.tools import Run, let_a_millisecond_pass, records

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}"


def test_a_first_walk(run: Run) -> None:
    assert run("create", "orders").stderr == "created orders\n"
    assert re.fullmatch(UUID + "\n", run("send", "orders", "hello").stdout)
    assert "hello" in run("peek", "orders").stdout
    received = run("receive", "orders", "--delete").stdout
    assert re.match(UUID + ", text, sent .* ago, received once\n  hello\n$", received)
    assert "receipt handle" not in received
    result = run("receive", "orders", code=4)
    assert (result.stdout, result.stderr) == ("", "no message in orders\n")


@pytest.mark.parametrize("name", ["orders", "orders.fifo"])
def test_the_last_messages_are_looked_at(run: Run, connection: rqsqs.Connection, name: str) -> None:
    queue = connection.create_queue(name)
    for n in range(4):
        queue.send(n, **({"group": "g"} if queue.is_fifo else {}))
    assert run("peek", name, "--newest-first", "--max", "2", "--body").stdout == "3\n2\n"


def test_queues_are_listed_in_order_and_by_beginning(run: Run) -> None:
    result = run("ls", code=4)
    assert (result.stdout, result.stderr) == ("", "no queues\n")
    for name in ("orders", "bills", "orders.fifo"):
        run("create", name)
    assert run("ls").stdout == "bills\norders\norders.fifo\n"
    assert run("ls", "ord", "--json").stdout == (
        '{"queue": "orders", "fifo": false}\n{"queue": "orders.fifo", "fifo": true}\n'
    )
    assert run("ls", "x", code=4).stderr == "no queues that start with 'x'\n"


def test_partitions_are_created_shown_and_added(run: Run) -> None:
    run("create", "clicks", "--partitions", "2")
    assert re.search(r"^ *Partitions +2$", run("show", "clicks").stdout, re.MULTILINE)
    for n in range(5):
        run("send", "clicks", str(n))
    run("set", "clicks", "--partitions", "4")
    (record,) = records(run("show", "clicks", "--json"))
    assert (record["attributes"]["Partitions"], record["visible"]) == (4, 5)
    assert "not taken away" in run("set", "clicks", "--partitions", "3", code=2).stderr
    assert "messageGroup" in run("create", "clicks.fifo", "--partitions", "2", code=2).stderr
    run("create", "clicks.fifo", "--partitions", "2", "--deduplication-scope", "messageGroup")


def test_settings_are_created_shown_and_changed(run: Run) -> None:
    run("create", "dead")
    run("create", "orders", "--dlq", "dead", "--max-receive-count", "3", "--visibility-timeout", "2m",
        "--retention", "7d", "--tag", "team=blue")  # fmt: skip
    shown = run("show", "orders").stdout
    for text in ("2 min (120 s)", "to dead after 3 receives", "7 d (604800 s)", "standard", "tag team", "blue"):
        assert text in shown
    run("set", "orders", "--delay", "10s", "--no-dlq")
    run("tag", "orders", "area=1", "--remove", "team")
    (record,) = records(run("show", "orders", "--json"))
    assert record["attributes"]["DelaySeconds"] == 10
    assert "RedrivePolicy" not in record["attributes"]
    assert record["tags"] == {"area": "1"}
    assert run("create", "orders", "--delay", "11", code=1).stderr.startswith("rqsqs: the queue 'orders' exists")
    assert "nothing to change" in run("set", "orders", code=2).stderr
    assert "exclude" in run("set", "orders", "--dlq", "dead", "--no-dlq", code=2).stderr


def test_retry_rules_are_set_shown_and_replaced(run: Run, connection: rqsqs.Connection) -> None:
    run("create", "dead")
    run("create", "q", "--dlq", "dead", "--retry", "5s..1h", "--retry", "ValueError=never", "--retry", "a.B=1s..2m")
    stored = json.loads(connection.queue("q").info().attributes["RetryPolicy"])
    rules = {"ValueError": "dead", "a.B": {"base": 1000, "cap": 120_000}}
    assert stored == {"base": 5000, "cap": 3_600_000, "exceptions": rules}
    assert re.search(r"RetryPolicy +5 s\.\.60 min, ", run("show", "q").output)
    run("set", "q", "--retry", "1s..7s")
    assert json.loads(connection.queue("q").info().attributes["RetryPolicy"]) == {"base": 1000, "cap": 7000}


def test_settings_are_typed_and_in_seconds_for_programs(run: Run, connection: rqsqs.Connection) -> None:
    connection.create_queue("dead.fifo")
    queue = connection.create_queue(
        "orders.fifo",
        dead_letter_queue="dead.fifo",
        max_receive_count=3,
        visibility_timeout=90,
        deduplication_window=3600,
        retry_policy=rqsqs.RetryPolicy(
            base=0.5, cap=60, dead_letter=(ValueError,), exceptions={"shop.Busy": rqsqs.RetryPolicy(2, 7)}
        ),
    )
    assert records(run("show", "orders.fifo", "--json"))[0]["oldest_age_s"] is None
    queue.send("x", group="a")
    (record,) = records(run("show", "orders.fifo", "--json"))
    assert record["attributes"] == {
        "ContentBasedDeduplication": False,
        "DeduplicationScope": "queue",
        "DeduplicationWindow": 3600,
        "DelaySeconds": 0,
        "FifoQueue": True,
        "FifoThroughputLimit": "perQueue",
        "MaximumMessageSize": 1_048_576,
        "MessageRetentionPeriod": 345_600,
        "ReceiveMessageWaitTimeSeconds": 0,
        "RedrivePolicy": {
            "deadLetterTargetArn": "arn:aws:sqs:us-east-1:000000000000:dead.fifo",
            "maxReceiveCount": 3,
        },
        "RetryPolicy": {
            "base": 0.5,
            "cap": 60.0,
            "exceptions": {"builtins.ValueError": "never", "shop.Busy": {"base": 2.0, "cap": 7.0}},
        },
        "SqsManagedSseEnabled": True,
        "VisibilityTimeout": 90,
    }
    assert 0 <= record["oldest_age_s"] < 3600
    for name in ("created_at", "modified_at"):
        assert datetime.fromisoformat(record[name]).utcoffset() == timedelta(0)


def test_the_dead_letter_queue_shows_its_sources(run: Run) -> None:
    run("create", "dead")
    run("create", "orders", "--dlq", "dead")
    assert "orders" in run("show", "dead").stdout


def test_pause_and_resume(run: Run) -> None:
    run("create", "orders")
    run("send", "orders", "x")
    assert run("pause", "orders").stderr == "paused orders\n"
    run("receive", "orders", code=4)
    assert "orders (paused)" in run("stats").stdout
    assert records(run("show", "orders", "--json"))[0]["paused"] is True
    run("resume", "orders")
    run("receive", "orders")


def test_one_group_is_paused(run: Run) -> None:
    run("create", "orders.fifo", "--content-based-deduplication")
    for group in ("a", "b"):
        run("send", "orders.fifo", group, "--group", group)
    run("pause", "orders.fifo", "--group", "a")
    assert run("receive", "orders.fifo", "-n", "10", "--body").stdout == "b\n"


def test_tags_are_set_shown_and_removed(run: Run, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    assert run("tag", "orders", code=4).stderr == "orders has no tags\n"
    assert run("tag", "orders", "team=blue", "costs=4=2").stderr == "changed orders\n"
    assert run("tag", "orders").stdout == "costs=4=2\nteam=blue\n"
    (record,) = records(run("tag", "orders", "area=1", "--remove", "costs", "-r", "nothing", "--json"))
    assert record == {"queue": "orders", "tags": {"area": "1", "team": "blue"}}
    assert queue.tags() == record["tags"]
    assert "is not NAME=VALUE" in run("tag", "orders", "team", code=2).stderr


def test_every_change_of_a_queue_speaks_json(run: Run) -> None:
    for arguments, answer in (
        (("create", "orders"), {"queue": "orders", "created": True}),
        (("set", "orders", "--delay", "1"), {"queue": "orders", "changed": ["delay"]}),
        (("pause", "orders"), {"queue": "orders", "paused": True}),
        (("pause", "orders", "--group", "a"), {"queue": "orders", "paused": True, "group": "a"}),
        (("resume", "orders"), {"queue": "orders", "paused": False}),
        (("rm", "orders", "--yes"), {"queue": "orders", "deleted": True}),
    ):
        result = run(*arguments, "--json")
        assert records(result) == [answer]
        assert result.stderr == ""


def test_removing_and_purging_ask_for_a_yes(run: Run, connection: rqsqs.Connection) -> None:
    run("create", "orders")
    run("send", "orders", "x")
    for command in (("rm", "orders"), ("purge", "orders")):
        assert "say --yes" in run(*command, code=2).stderr
    assert connection.queue("orders").counts().visible == 1
    assert run("purge", "orders", "--yes").stderr == "removed 1 message from orders\n"
    assert records(run("purge", "orders", "--yes", "--json")) == [{"queue": "orders", "purged": 0}]
    run("rm", "orders", "-y")
    assert not connection.exists("orders")


def test_bodies_are_text_json_or_bytes(run: Run, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    run("send", "orders", '{"id": 1}')
    run("send", "orders", '{"id": 1}', "--as", "json")
    run("send", "orders", "-", "--as", "bytes", input=b"\xff\x00\n")
    run("send", "orders", "-", input="from stdin\n")
    assert [m.body for m in queue.receive(4)] == ['{"id": 1}', {"id": 1}, b"\xff\x00\n", "from stdin"]
    assert "not JSON" in run("send", "orders", "{", "--as", "json", code=2).stderr
    assert "not UTF-8" in run("send", "orders", "-", input=b"\xff", code=2).stderr
    assert "BODY is missing" in run("send", "orders", code=2).stderr


def test_a_message_is_sent_with_options(run: Run, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    run("send", "orders", "x", "--delay", "15m", "-a", "color=red", "-g", "a", "--dedup-id", "1")
    assert "duplicate" in run("send", "orders", "x", "--dedup-id", "1").stdout
    (message,) = queue.peek(state="delayed")
    assert (message.group, message.deduplication_id, message.attributes) == ("a", "1", {"color": "red"})
    shown = run("peek", "orders", "--state", "delayed").stdout
    assert "color=red" in shown
    assert "visible in 15 min" in shown
    run("send", "orders", "y", "--at", "2100-01-01T00:00+01:00")
    assert queue.counts().delayed == 2


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["send", "orders", "x", "--delay", "soon"], "'soon' is not a duration"),
        (["send", "orders", "x", "--delay", "-1"], "'-1' is not a duration"),
        (["send", "orders", "x", "--at", "noon"], "'noon' is not a time"),
        (["send", "orders", "x", "-a", "color"], "is not NAME=VALUE"),
        (["send", "orders", "x", "-a", "a b=1"], "the name of an attribute must be"),
        (["send", "orders", "x", "--delay", "999999w"], "delay must be between"),
        (["send", "or ders", "x"], "the name of a queue must be"),
        (["send", "orders.fifo", "x"], "needs a group"),
        (["receive", "orders", "--max", "0"], "max_messages must be an int from 1 to 1000, got 0"),
        (["receive", "orders", "--max", "many"], "not a valid integer"),
        (["peek", "orders", "--state", "lost"], "'lost' is not one of"),
        (["search", "orders", "x", "--max", "0"], "0 is not in the range x>=1"),
        (["search", "orders", "x", "--max", "many"], "'many' is not a valid integer range"),
        (["server", "--port", "70000"], "70000 is not in the range 1<=x<=65535"),
        (["top", "--sort", "size"], "'size' is not one of"),
        (["completion", "csh"], "'csh' is not one of"),
        (["queue", "ls"], "there is no command"),
        (["send", "orders", "x", "--file", "f"], "not both"),
        (["nonsense"], "there is no command"),
        (["stats", "--nonsense"], "No such option"),
        (["--url", "http://x", "stats"], "a URL begins with"),
        (["--url", "embedded://host/x", "stats"], "names a host"),
        (["--prefix", "a b", "stats"], "prefix must be a str that is not empty"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_code_2(run: Run, arguments: list[str], part: str) -> None:
    result = run(*arguments, code=2)
    assert part in result.stderr
    assert result.stderr.startswith("rqsqs: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""


def test_a_queue_that_does_not_exist_is_exit_code_1(run: Run) -> None:
    for command in ("stats", "receive", "peek"):
        assert run(command, "orders", code=1).stderr == "rqsqs: the queue 'orders' does not exist\n"
    run("dlq", "redrive", "orders", code=1)
    run("rm", "orders", "--yes", code=1)


def test_trouble_with_the_server_is_exit_code_3(run: Run) -> None:
    result = run("stats", "--url", "redis://:secret@localhost:1/0", code=3)
    warning, trouble, rest = result.stderr.split("\n")
    assert warning == "rqsqs: --url has a password, which others can see (ps): use --url-file or RQSQS_URL"
    assert "no connection to redis://***@localhost:1/0" in trouble
    assert not rest


def test_the_url_can_stand_in_a_file(
    run: Run, valkey_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "url"
    file.write_text(f"{valkey_url}\n")
    monkeypatch.delenv("RQSQS_URL", raising=False)
    run("create", "in-a-file", "--url-file", str(file))
    monkeypatch.setenv("RQSQS_URL_FILE", str(file))
    assert "in-a-file" in run("ls").stdout
    file.write_text("")
    for arguments, what in [(("--url-file", str(file)), "--url-file"), ((), "RQSQS_URL_FILE")]:
        assert f"{what} must name a file that holds the URL of a server" in run("ls", *arguments, code=2).stderr


def test_common_options_stand_before_or_behind_the_command(run: Run) -> None:
    run("--prefix", "other", "create", "orders")
    assert "no queue is" in run("dlq", "--prefix", "other", "ls", code=4).stderr
    assert run("ls", "--prefix", "other").stdout == "orders\n"
    assert run("--json", "ls", "--prefix", "other").stdout.startswith("{")
    run("ls", code=4)
    run("rm", "orders", "-y", "--prefix", "other")


def test_json_of_received_messages_can_be_deleted_by_handle(run: Run, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders.fifo")
    queue.send({"id": 1}, group="a", deduplication_id="1", attributes={"n": 1, "b": b"x"})
    (record,) = records(run("receive", "orders.fifo", "--json"))
    assert record["body"] == {"id": 1}
    assert record["attributes"] == {"n": 1, "b": {"base64": "eA=="}}
    assert (record["group"], record["deduplication_id"], record["receive_count"]) == ("a", "1", 1)
    assert len(record["sequence_number"]) == 20
    run("delete", "orders.fifo", "-", input=record["receipt_handle"] + "\n")
    counts = queue.counts()
    assert (counts.visible, counts.in_flight) == (0, 0)


def test_handles_that_are_none_are_exit_code_1(run: Run, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    queue.send("x")
    handle = queue.receive()[0].receipt_handle
    result = run("delete", "orders", "nonsense", handle, code=1)
    assert "handle 1: " in result.stderr
    assert "deleted 1 message of orders" in result.stderr


def test_what_was_printed_as_json_can_be_sent_again(run: Run, connection: rqsqs.Connection) -> None:
    queue, copy = connection.create_queue("orders"), connection.create_queue("copy")
    queue.send("text", attributes={"n": 1.5, "b": b"\x00"})
    queue.send(b"\xff", group="a")
    queue.send([1, {"a": None}], deduplication_id="1")
    printed = run("peek", "orders", "--json").stdout
    result = run("send", "copy", "--file", "-", input=printed)
    assert result.stderr == "sent 3 messages to copy\n"
    assert [(m.body, m.attributes, m.group, m.deduplication_id) for m in copy.peek(10)] == [
        (m.body, m.attributes, m.group, m.deduplication_id) for m in queue.peek(10)
    ]


def test_a_file_of_many_messages_is_sent_in_order(run: Run, connection: rqsqs.Connection, tmp_path: Path) -> None:
    path = tmp_path / "messages.jsonl"
    lines = [json.dumps({"body": i, "group": "a", "deduplication_id": str(i)}) for i in range(450)]
    path.write_text("\n".join([*lines, "", lines[0]]))
    queue = connection.create_queue("orders.fifo")
    result = run("send", "orders.fifo", "--file", str(path), "--json")
    assert "sent 450 messages to orders.fifo, 1 more were duplicates" in result.stderr
    assert len(records(result)) == 451
    assert [m.body for m in queue.peek(450)] == list(range(450))


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("nonsense", "this is not JSON"),
        ('"text"', "a message is an object"),
        ("{}", "a message is an object"),
        ('{"body": 1, "body_base64": ""}', "a message is an object"),
        ('{"body_base64": "?"}', "not base64"),
        ('{"body": 1, "dealy": 5}', "got 'dealy'; did you mean 'delay'?"),
        ('{"body": 1, "at": "noon"}', "not a time"),
    ],
)
def test_a_line_that_is_no_message_is_named(run: Run, connection: rqsqs.Connection, line: str, part: str) -> None:
    connection.create_queue("orders")
    result = run("send", "orders", "--file", "-", input=f'{{"body": "fine"}}\n{line}\n', code=2)
    assert "line 2: " in result.stderr
    assert part in result.stderr
    assert connection.queue("orders").counts().visible == 0


def test_a_message_that_is_too_large_fails_alone(run: Run, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders", maximum_message_size=1024)
    lines = [json.dumps({"body": body}) for body in ("a", "x" * 2000, "b")]
    result = run("send", "orders", "--file", "-", input="\n".join(lines), code=1)
    assert "line 2: a message must have at most 1024 bytes" in result.stderr
    assert [m.body for m in queue.peek(10)] == ["a", "b"]
    assert "rqsqs: a message must have at most 1024 bytes" in run("send", "orders", "x" * 2000, code=1).stderr


def test_files_that_are_not_there_or_empty(run: Run, connection: rqsqs.Connection, tmp_path: Path) -> None:
    connection.create_queue("orders")
    assert "No such file" in run("send", "orders", "--file", str(tmp_path / "nothing"), code=1).stderr
    run("send", "orders", "--file", "-", input="", code=4)


def test_control_characters_of_bodies_do_not_reach_the_terminal(run: Run, connection: rqsqs.Connection) -> None:
    connection.create_queue("orders").send("\x1b[31mred\x07\nnext", group="\x1b]0;x")
    shown = run("peek", "orders").stdout
    assert r"\x1b[31mred\x07" in shown
    assert "  next" in shown


def test_binary_bodies_are_shown(run: Run, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    queue.send(b"\xff\xfe")
    assert "base64:" + base64.b64encode(b"\xff\xfe").decode() in run("peek", "orders").stdout
    assert run("peek", "orders", "--body").stdout_bytes == b"\xff\xfe\n"


def test_stats_are_exact(run: Run, connection: rqsqs.Connection) -> None:
    queue = connection.create_queue("orders")
    connection.create_queue("empty")
    queue.send_batch(range(5))
    queue.send("later", delay=60)
    queue.receive(2)
    table = [re.split(r"\s{2,}", line) for line in run("stats").stdout.splitlines()]
    assert table[0] == ["QUEUE", "VISIBLE", "IN FLIGHT", "DELAYED", "OLDEST", "SENT", "RECEIVED", "DELETED"]
    assert table[1] == ["empty", "0", "0", "0", "-", "0", "0", "0"]
    assert [*table[2][:4], *table[2][5:]] == ["orders", "3", "2", "1", "6", "2", "0"]
    (record,) = records(run("stats", "orders", "--json"))
    assert (record["visible"], record["in_flight"], record["delayed"], record["paused"]) == (3, 2, 1, False)
    assert 0 <= record["oldest_age_s"] < 60
    assert (record["sent"], record["received"], record["per_s"]["sent"]) == (6, 2, None)
    assert record["dwell_s"]["p50"] <= record["dwell_s"]["p99"]
    run("rm", "empty", "orders", "-y")
    run("stats", code=4)


def test_stats_measure_rates_within_an_interval(
    run: Run, connection: rqsqs.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    queue = connection.create_queue("orders")
    queue.send_batch(range(5))
    slept = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        queue.send_batch(range(10))
        queue.delete_batch(queue.receive(4))
        let_a_millisecond_pass(queue)

    monkeypatch.setattr(stats.time, "sleep", sleep)
    (record,) = records(run("stats", "orders", "--interval", "500ms", "--json"))
    assert slept == [0.5]
    assert round(record["in_per_s"] * record["span_s"]) == round(record["per_s"]["sent"] * record["span_s"]) == 10
    assert round(record["out_per_s"] * record["span_s"]) == 4
    header, row = run("stats", "--interval", "1s").stdout.splitlines()
    assert header.split()[-7:] == ["OLDEST", "IN/s", "OUT/s", "FAIL/s", "CONSUMERS", "EMPTY", "IN"]
    assert row.split()[1] == "17"


def test_dead_letters_go_back_or_elsewhere(run: Run, connection: rqsqs.Connection) -> None:
    dead = connection.create_queue("dead")
    other = connection.create_queue("other")
    queue = connection.create_queue("orders", dead_letter_queue=dead, max_receive_count=1)

    def die(count: int) -> None:
        queue.send_batch(range(count))
        queue.receive(count, visibility_timeout=0)
        assert queue.receive(count) == []
        assert dead.counts().visible == count

    die(5)
    assert run("dlq", "redrive", "dead").stderr == "moved 5 messages back\n"
    assert queue.counts().visible == 5
    assert run("dlq", "redrive", "dead", code=4).stderr == "dead is empty\n"
    queue.purge()
    die(2)
    (record,) = records(run("dlq", "redrive", "dead", "--to", "other", "--rate", "500", "--json"))
    assert (record["status"], record["moved"], record["to"]) == ("COMPLETED", 2, "other")
    assert other.counts().visible == 2
    assert "is not the dead-letter queue of any" in run("dlq", "redrive", "other", code=1).stderr
    assert "from 1 to 500, got 501" in run("dlq", "redrive", "dead", "--rate", "501", code=2).stderr


def all_commands() -> list[list[str]]:
    found = [[]]
    for name in COMMANDS:
        found.append([name])
        found += [[name, sub] for sub in getattr(program.get_command(None, name), "commands", {})]
    return found


@pytest.mark.parametrize("path", all_commands(), ids=" ".join)
def test_every_command_explains_itself(run: Run, path: list[str]) -> None:
    text = run(*path, "--help").stdout
    assert text.startswith("Usage: rqsqs")
    for option in ("--url", "--prefix", "--json"):
        assert option in text
    assert max(len(line) for line in text.splitlines()) <= 100
    assert "..." not in text.partition("Commands:")[2]  # no cut sentences


def test_the_help_groups_commands_by_topic(run: Run) -> None:
    text = run("--help").stdout
    topics = ["Queues:", "Messages:", "Dead letters:", "Fleet:", "Server:"]
    assert [line for line in text.splitlines() if line in topics] == topics
    for name in COMMANDS:
        assert len(re.findall(rf"^  {name}  ", text, re.MULTILINE)) == 1


def test_the_version_is_shown(run: Run) -> None:
    assert run("--version").stdout == f"rqsqs {rqsqs.__version__}\n"
