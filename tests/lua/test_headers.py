"""The headers of the scripts say what is true; every operation stays within one hash slot."""

from __future__ import annotations

import re
from dataclasses import dataclass

import msgpack
import pytest

from rqsqs._core import delivery, envelope, operations, receipts, scripts
from rqsqs._core.alarm_records import AlarmEvaluation, OutboxEntry, RuleEntry
from rqsqs._core.keys import Keyspace
from rqsqs._core.operation import Operation
from rqsqs._core.operations import (
    alarms,
    consumers,
    event_rules,
    events,
    leases,
    metric_history,
    metrics,
    moves,
    queues,
    server_memory,
    sessions,
)
from rqsqs._core.operations import browse as browsing
from rqsqs._core.operations import timeline as timelines
from rqsqs.alarm_models import Alarm, AlarmEvent, AlarmState
from rqsqs.errors import BY_CODE
from rqsqs.event_models import Actor, Event
from rqsqs.event_rule_models import EventRule
from rqsqs.limits import AWS, NATIVE
from rqsqs.metric_models import QueueMetrics
from rqsqs.models import Failure

SPACE = Keyspace("p")
Q, F = SPACE.queue("q"), SPACE.queue("f.fifo")
DLQ, FDLQ = SPACE.queue("d"), SPACE.queue("d.fifo")
BATCH = [envelope.outgoing("a"), envelope.outgoing("b")]
GROUPED = [envelope.outgoing("a", group="g", dedup_id="i", delay_ms=5), envelope.outgoing("b", group="g", due_ms=7)]
RECEIPT = receipts.Receipt(Q.home, "1700000000000", "170000000000000000000000" + "1700000000000", "0", "")
FIFO_RECEIPT = receipts.Receipt(F.home, "1700000000000", "1700000000000000", "1", "g")
FIELDS = {**queues.DEFAULTS, "created_us": "1", "modified_us": "1", "paused": "1", "messages": "5"}

DELIVERY = delivery.Delivery(Q.home, RECEIPT.key, BATCH[0].record, RECEIPT.received_ms, 1, 1)
FIFO_DELIVERY = delivery.Delivery(F.home, FIFO_RECEIPT.key, GROUPED[0].record, RECEIPT.received_ms, 1, 1, 1, "g")
CAUSE = Failure("ValueError", "no", "", "c", 1, 1, 1)

ALARM = Alarm("late", metric_name="oldest_age_s", queue="q", threshold=5, comparison_operator=">")
STATE = AlarmState("OK", "fine")
EVENT = AlarmEvent("late", 1, "StateUpdate", "it is well")
STORED = alarms.Stored("late", ALARM, STATE, None, b"{}", b"{}")
ENTRY = OutboxEntry("id", "log:", ALARM, STATE, STATE)
RULE = EventRule("gone", actions=["log:"])
RULE_ENTRY = RuleEntry("id", "log:", "gone", Event("1-1", 1, "queue-deleted", "q", Actor("native", "p")))

OPERATIONS: list[Operation] = [
    operations.send_messages(Q.home, BATCH, NATIVE),
    operations.send_messages(Q.home, GROUPED, NATIVE),
    operations.send_messages(F.home, GROUPED, AWS),
    operations.receive_messages(Q.home, NATIVE, 10, None, "?", "w"),
    operations.receive_messages(F.home, AWS, 10, 5, "+1", "w", "attempt", True),
    operations.delete_messages(Q.home, [RECEIPT, RECEIPT], AWS),
    operations.delete_messages(F.home, [FIFO_RECEIPT], AWS),
    operations.change_visibility(Q.home, [(RECEIPT, 5)], AWS),
    operations.change_visibility(F.home, [(FIFO_RECEIPT, 5)], AWS),
    operations.wake_waiter(Q.home),
    operations.count_empty_receives(Q.home, 3),
    operations.wake_waiter(F.home, "w"),
    operations.watch(Q.home, "w"),
    operations.mark_connection(operations.watch(Q.home, "w")),
    operations.forget_answer("p:{q/0}:q:call:x", -1234567),
    browsing.count(Q.home),
    browsing.count(F.home),
    browsing.groups(Q.home, 0, 10),
    browsing.groups(F.home, 0, 10),
    browsing.peek(Q.home, "ready", "g", 0, 10),
    browsing.peek_group(F.home, "g", 0, 10),
    browsing.browse_groups(Q.home, "", 10),
    browsing.browse_fifo(F.home, "v", "1:3:5:g", 10),
    browsing.look_at_groups(Q.home, ["g"]),
    browsing.look_at_groups(F.home, ["g", "h"]),
    browsing.cancel(Q.home, "1" * 24, [], None),
    browsing.cancel(F.home, "1" * 16, ["g"], 5),
    browsing.find(Q.home, "1" * 24, ["g"]),
    browsing.find(F.home, "1" * 16, ["g"]),
    browsing.find_duplicate(Q.home, Q.home.dedup("=", "x"), forget=False),
    browsing.find_duplicate(F.home, F.home.dedup("=", "x", "g"), forget=True),
    moves.move(DLQ.partition("q/0"), 10, ""),
    moves.move(FDLQ.partition("f.fifo/0"), 10, "f.fifo"),
    moves.take(DLQ.home, 10, "", "id"),
    moves.put(Q.home, "id", Q.home, [b"1700000000000000", b"g", b"r", b""]),
    moves.put(F.home, "id", F.home, [b"1700000000000000", b"g", b"r", b""]),
    moves.move_one(DLQ.home, "1" * 24, [], "", "", ready_only=False),
    moves.move_one(FDLQ.home, "1" * 16, ["g"], "f.fifo", "id", ready_only=False),
    moves.clear(DLQ.home, "id", "arrived"),
    moves.end(Q.home, "id"),
    moves.start(DLQ, "id", "", 5, 10),
    moves.start(DLQ, "id", "", None, 2, chosen=[("one", None), ("two", "g")]),
    moves.read_chosen(DLQ),
    moves.update(DLQ, "id", "advance", 5),
    moves.list_tasks(DLQ),
    timelines.read(Q.home, "0199c1a2-7f3e-7000-8000-0123456789ab", ""),
    queues.create_queue(Q.home, {"VisibilityTimeout": "5"}, {"k": "v"}, AWS),
    queues.create_queue(F.home, {}, {}, NATIVE),
    queues.set_attributes(Q.home, {"VisibilityTimeout": "5", "Policy": None}, field="Policy", expected="x"),
    queues.get_queue(Q.home),
    queues.find_damage(Q.home.keys("meta")[0]),
    metrics.recount(Q.home),
    metrics.recount(F.home),
    queues.delete_queue(Q.home, AWS, purge=False, first=True),
    queues.delete_queue(F.home, AWS, purge=True, first=False),
    queues.register_queue(SPACE, "q", "1"),
    queues.list_queues(SPACE, "", "", 10),
    queues.get_tags(Q),
    queues.set_tags(Q, {"k": "v"}, ["x"], 50),
    queues.attach_source(DLQ, "q", ["q/0"]),
    queues.put_shard(DLQ.partition("q/0"), Q.home, FIELDS),
    queues.put_shard(Q.partition("q/1"), Q.partition("q/1"), FIELDS, "1/2"),
    queues.set_partition(Q.home, "0/2/1"),
    queues.paused_groups(F.home, 0, 10),
    queues.suspend_dlq(Q.home, DLQ, 60_000),
    queues.get_members(DLQ),
    queues.pause_group(Q.home, "g", resume=False),
    queues.pause_group(F.home, "g", resume=True),
    operations.release_messages(Q.home, [operations.Outcome(DELIVERY, "requeue")]),
    operations.release_messages(F.home, [operations.Outcome(FIFO_DELIVERY, "retry", CAUSE, ("ValueError",), 5, 7)]),
    consumers.beat(Q.home, [DELIVERY], 10, "c", {"state": "running"}, 20),
    consumers.begin(DELIVERY, 10),
    consumers.list_consumers(Q),
    consumers.order_consumer(Q, "c", "drain"),
    leases.take_lease(SPACE.sampler, "c", 5),
    sessions.put_session(SPACE, "s", b"{}", idle_ms=5, longest_ms=9),
    sessions.read_session(SPACE, "s", idle_ms=5),
    sessions.end_session(SPACE, "s"),
    sessions.list_sessions(SPACE, 0),
    sessions.admit_login(SPACE, {"address": sessions.Bucket(10, 5), "key": sessions.Bucket(1, 60)}),
    events.add_event(SPACE, "queue-created", "q", Actor("native", "p"), {}, {"VisibilityTimeout": "5"}, {}),
    events.add_event(SPACE, "worker-lost", "q", Actor("worker", "p"), {}, {}, {"consumer": "c"}, "c", 5),
    events.read_events(SPACE, "", "-5"),
    metric_history.append(Q.home, QueueMetrics("q", 1, 1, sent=5)),
    metric_history.pack(Q.home, [b"1700000000000" + msgpack.packb([60_000, {"0": 5}])]),
    metric_history.read(Q.home, 5, 2),
    alarms.read_alarms(SPACE),
    alarms.put_alarm(SPACE, b"0", ALARM, STATE, EVENT, None),
    alarms.delete_alarms(SPACE, b"0", [EVENT]),
    alarms.set_state(SPACE, STORED, STATE, EVENT, [ENTRY]),
    alarms.mark_evaluation(SPACE, AlarmEvaluation(1, 0, 1)),
    alarms.read_history(SPACE, "late"),
    alarms.list_histories(SPACE, 0, 0, 10),
    alarms.read_actions(SPACE),
    alarms.claim_actions(SPACE, [("id", 5), ("other", 6)]),
    alarms.release_actions(SPACE, ["id", "other"]),
    alarms.settle_action(SPACE, ENTRY, "failed", 1, EVENT, 5),
    alarms.read_health(SPACE),
    alarms.settle_action(SPACE, RULE_ENTRY, "done", 1, EVENT),
    alarms.read_history(SPACE, "gone", of_rule=True),
    server_memory.read_memory(SPACE.memory),
    server_memory.append_memory(SPACE, server_memory.Memory(5, 10, 50)),
    server_memory.read_history(SPACE),
    event_rules.put_rule(SPACE, RULE, "1-0"),
    event_rules.delete_rules(SPACE, ["gone"]),
    event_rules.read_rules(SPACE),
    event_rules.put_actions(SPACE, b"1-0", "1-1", 1, [RULE_ENTRY]),
]


@dataclass(frozen=True)
class Header:
    """What a header says: how many there are at least, whether more may follow, and the error codes.

    Attributes:
        also: keys that the script touches without being given them.
        has_slot: the runner puts a call slot in front.
    """

    keys: int
    more_keys: bool
    args: int | None
    more_args: bool
    returns: str
    errors: frozenset[str]
    also: str
    has_slot: bool


def header_of(script: str) -> Header:
    text = (scripts._folder() / f"{script}.lua").read_text("utf-8")
    match = re.match(r"(?:#!lua flags=allow-oom\n)?--\[\[\n(.*?)\n\]\]", text, re.DOTALL)
    assert match, f"{script}: no header"
    parts: dict[str, list[str]] = {}
    current = ""
    for line in match[1].splitlines():
        word = re.match(r"(KEYS|ALSO|ARGV|RETURN|ERRORS|BOUND) ", line + " ")
        if word:
            current = word[1]
        if current:
            parts.setdefault(current, []).append(line.removeprefix(current).strip())
    also = " ".join(parts.pop("ALSO", []))
    assert list(parts) == ["KEYS", "ARGV", "RETURN", "ERRORS", "BOUND"], f"{script}: {list(parts)}"

    def numbered(lines: list[str]) -> tuple[int | None, bool]:
        if lines[0].startswith("as in "):
            return None, False
        if lines == ["-"]:
            return 0, False
        numbers = [re.match(r"(\d+)(\.\.\.)?(?= )", line) for line in lines]
        found = [(int(m[1]), bool(m[2])) for m in numbers if m]
        assert [n for n, _ in found] == list(range(1, len(found) + 1)), f"{script}: {found}"
        assert not any(more for _, more in found[:-1])
        more = found[-1][1]
        return found[-1][0] - more, more

    keys, more_keys = numbered(parts["KEYS"])
    args, more_args = numbered(parts["ARGV"])
    assert keys is not None
    errors = frozenset(re.findall(r"[A-Z_]{3,}", " ".join(parts["ERRORS"])))
    has_slot = parts["KEYS"][0].startswith("1 slot ")
    return Header(keys, more_keys, args, more_args, " ".join(parts["RETURN"]), errors, also, has_slot)


@pytest.mark.parametrize("script", scripts.names())
def test_every_script_has_a_header_and_an_operation(script: str) -> None:
    header = header_of(script)
    assert header.returns
    assert any(operation.script == script for operation in OPERATIONS), f"nobody builds {script}"


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.script)
def test_builders_pass_what_the_header_names(operation: Operation) -> None:
    header = header_of(operation.script)
    in_front = int(header.has_slot)  # by the runner
    keys, args = len(operation.keys) + in_front, len(operation.args) + in_front
    assert keys >= header.keys if header.more_keys else keys == header.keys
    if header.args is None:
        header = header_of(operation.script.removesuffix("_fifo"))
    assert header.args is not None
    assert args >= header.args if header.more_args else args == header.args


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.script)
def test_keys_are_named_in_the_order_of_the_header(operation: Operation) -> None:
    text = (scripts._folder() / f"{operation.script}.lua").read_text("utf-8")
    named = re.findall(r"^(?:KEYS  |      ) (\d+) (\w+) +[A-Z]+\b", text.split("ARGV", 1)[0], re.MULTILINE)
    for number, key in named:
        if key == "slot":
            assert number == "1"
            continue
        last = operation.keys[int(number) - 1 - named.count(("1", "slot"))].rsplit(":", 1)[1]
        if key in ("meta", "ready", "store", "inflight", "delayed", "wakeups", "timer", "available", "tags", "tasks"):
            assert last == key


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda o: o.script)
def test_an_operation_stays_in_one_hash_slot(operation: Operation) -> None:
    tags = {key[key.index("{") + 1 : key.index("}")] for key in operation.keys}
    assert len(tags) == 1


@pytest.mark.parametrize("script", scripts.names())
def test_error_codes_are_those_of_the_header_and_all_registered(script: str) -> None:
    source = scripts.get(script).source
    raised = set(re.findall(r'error_reply\("([A-Z_]+)[ "]', source))
    if script.endswith("receive_message_fifo"):
        raised.discard("OVER_LIMIT")
    assert raised == header_of(script).errors
    assert raised <= set(BY_CODE)


def test_every_registered_code_is_raised_by_a_script_or_by_the_flows() -> None:
    raised = set().union(*(header_of(script).errors for script in scripts.names()))
    of_flows = {"RECEIPT_HANDLE_EXPIRED", "MESSAGE_NOT_AVAILABLE", "INVALID_PARAMETER"}
    assert raised | of_flows == set(BY_CODE)


def test_what_frees_memory_runs_when_it_is_full() -> None:
    flagged = {s for s in scripts.names() if scripts.get(s).source.startswith("#!lua flags=allow-oom\n")}
    freeing = {"receive_message", "delete_message", "change_message_visibility", "cancel_message", "count_messages"}
    assert {f"{s}{kind}" for s in freeing for kind in ("", "_fifo")} <= flagged
    assert {"delete_queue", "wake_waiter"} <= flagged
    assert not {"send_message", "send_message_fifo", "create_queue"} & flagged


def test_modules_define_every_function_that_is_called() -> None:
    folder = scripts._folder()
    modules = {file.name[:-4]: file.read_text("utf-8") for file in (folder / "lib").iterdir()}
    defined = {
        (name, function) for name, text in modules.items() for function in re.findall(r"function \w+\.(\w+)", text)
    }
    defined |= {(name, value) for name, text in modules.items() for value in re.findall(r"^\w+\.(\w+) =", text, re.M)}
    texts = [*modules.values(), *((folder / f"{script}.lua").read_text("utf-8") for script in scripts.names())]
    called: set[tuple[str, str]] = set()
    for text in texts:
        called |= set(re.findall(r'require\("lib\.(\w+)"\)\.(\w+)', text))
        for tables, required in re.findall(r'local ([\w, ]+) = ((?:(?:, )?require\("lib\.\w+"\))+)', text):
            for table, module in zip(tables.split(", "), re.findall(r"lib\.(\w+)", required), strict=False):
                called |= {(module, function) for function in re.findall(rf"(?<![.\w/]){table}\.(\w+)\(", text)}
    assert len(called) > 50
    assert called <= defined
