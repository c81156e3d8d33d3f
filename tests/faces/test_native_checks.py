"""Every parameter's bad input is refused before any round trip, in a sentence that names value and rule."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import pytest

import rqsqs

pytestmark = pytest.mark.either_server  # the subject is the client

NOWHERE = "redis://127.0.0.1:1/0"  # nobody listens there: a round trip would be a ConnectionFailed
UUID = "01a201bc-a518-70c1-8f4e-f21e0027e39d"
LONG = "x" * 129

Call = Callable[[rqsqs.Connection, rqsqs.Queue, rqsqs.Queue], Any]


@pytest.fixture
def nowhere() -> Iterator[rqsqs.Connection]:
    with rqsqs.connect(NOWHERE) as connection:
        yield connection


def case(name: str, call: Call, sentence: str, error: type[Exception] = rqsqs.InvalidParameterValue) -> Any:
    return pytest.param(call, sentence, error, id=name)


def seconds(name: str, parameter: str, call: Callable[[Any, Any, Any], Call]) -> list[Any]:
    """The bad inputs of a number of seconds."""
    most = 31_536_000 if parameter == "deduplication_window" else 315_360_000
    kinds = "must be a number of seconds or a timedelta, got"
    bad: list[tuple[Any, str]] = [
        ("5", f"{parameter} {kinds} '5'"),
        (True, f"{parameter} {kinds} True"),
        ([1], f"{parameter} {kinds} [1]"),
        (math.nan, f"{parameter} {kinds} nan"),
        (math.inf, f"{parameter} {kinds} inf"),
        (-1, f"{parameter} must be between 0 and {most} s, got -1 s"),
        (timedelta(seconds=-2), f"{parameter} must be between 0 and {most} s, got -2 s"),
        (1e10, f"{parameter} must be between 0 and {most} s, got 10000000000 s"),
    ]
    return [case(f"{name}-{value!r}", lambda c, q, f, v=value: call(c, q, v), text) for value, text in bad]


def labels(name: str, parameter: str, call: Callable[[Any, Any, Any], Call]) -> list[Any]:
    """The bad inputs of a message group or deduplication id."""
    bad: list[tuple[Any, str]] = [
        (5, f"{parameter} must be a str of 1 to 128 characters, got 5"),
        (b"x", f"{parameter} must be a str of 1 to 128 characters, got b'x'"),
        ("", f"{parameter} must be a str of 1 to 128 characters, got ''"),
        (LONG, f"{parameter} must be a str of 1 to 128 characters, got {LONG!r:.77}... (129 characters)"),
        ("a\nb", f"{parameter} must be a str without line breaks, got 'a\\nb'"),
        ("\ud800", f"{parameter} must be a str of valid Unicode, got '\\ud800'"),
    ]
    return [case(f"{name}-{value!a:.12}", lambda c, q, f, v=value: call(c, q, v), text) for value, text in bad]


def numbers(name: str, parameter: str, maximum: int, call: Callable[[Any, Any, Any], Call]) -> list[Any]:
    """The bad inputs of a whole number from 1 to a maximum."""
    bad: list[tuple[Any, str]] = [
        (0, f"{parameter} must be an int from 1 to {maximum}, got 0"),
        (-1, f"{parameter} must be an int from 1 to {maximum}, got -1"),
        (maximum + 1, f"{parameter} must be an int from 1 to {maximum}, got {maximum + 1}"),
        ("1", f"{parameter} must be an int from 1 to {maximum}, got '1'"),
        (1.0, f"{parameter} must be an int from 1 to {maximum}, got 1.0"),
        (True, f"{parameter} must be an int from 1 to {maximum}, got True"),
    ]
    return [case(f"{name}-{value!r}", lambda c, q, f, v=value: call(c, q, v), text) for value, text in bad]


def names(name: str, call: Callable[[Any, Any, Any], Call]) -> list[Any]:
    """The bad inputs of a queue's name."""
    bad = ["", "a b", "x" * 81, "x" * 76 + ".fifo", ".fifo", "a.b", "ü", "a\n", 5, b"orders"]
    rule = "the name of a queue must be a str of 1 to 80 letters, digits, '-' and '_', with '.fifo' at the end for"
    return [
        case(f"{name}-{value!a:.12}", lambda c, q, f, v=value: call(c, q, v), rule)
        for value in bad
        if not (name.startswith("dead_letter_queue") and value == "")  # which removes it
    ]


CASES: list[Any] = [
    # create_queue and configure
    *names("create_queue", lambda c, q, v: c.create_queue(v)),
    *names("queue", lambda c, q, v: c.queue(v)),
    *names("exists", lambda c, q, v: c.exists(v)),
    *names("delete_queue", lambda c, q, v: c.delete_queue(v)),
    *names("dead_letter_queue", lambda c, q, v: c.create_queue("orders", dead_letter_queue=v)),
    *names("redrive", lambda c, q, v: q.redrive(v)),
    *[
        param
        for setting in ("visibility_timeout", "delay", "retention", "wait", "deduplication_window")
        for param in [
            *seconds(f"create-{setting}", setting, lambda c, q, v, s=setting: c.create_queue("orders", **{s: v})),
            *seconds(f"configure-{setting}", setting, lambda c, q, v, s=setting: q.configure(**{s: v})),
            case(f"create-{setting}-half", lambda c, q, f, s=setting: c.create_queue("orders", **{s: 1.5}),
                 f"{setting} must be a whole number of seconds from"),
        ]
    ],
    case("retention-0", lambda c, q, f: c.create_queue("orders", retention=0),
         "retention must be a whole number of seconds from 1 to 315360000, got 0 s"),
    *numbers("maximum_message_size", "maximum_message_size", 256 * 2**20,
             lambda c, q, v: c.create_queue("orders", maximum_message_size=v)),
    *numbers("max_receive_count", "max_receive_count", 1000,
             lambda c, q, v: c.create_queue("orders", dead_letter_queue="dead", max_receive_count=v)),
    case("max_receive_count-alone", lambda c, q, f: c.create_queue("orders", max_receive_count=3),
         "max_receive_count needs dead_letter_queue: say where", rqsqs.MissingParameter),
    case("dlq-of-other-kind", lambda c, q, f: c.create_queue("orders", dead_letter_queue="dead.fifo"),
         "the dead-letter queue of 'orders' must be a standard queue as well, got 'dead.fifo'"),
    case("content-based-standard", lambda c, q, f: c.create_queue("orders", content_based_deduplication=True),
         "content_based_deduplication must be left out for a standard queue, got it for 'orders'; the name of a FIFO"),
    case("content-based-text", lambda c, q, f: c.create_queue("a.fifo", content_based_deduplication="no"),
         "content_based_deduplication must be True or False, got 'no'"),
    case("scope-standard", lambda c, q, f: c.create_queue("orders", deduplication_scope="queue"),
         "deduplication_scope must be left out for a standard queue, got it for 'orders'"),
    case("scope-unknown", lambda c, q, f: c.create_queue("a.fifo", deduplication_scope="group"),
         "deduplication_scope must be 'queue' or 'messageGroup', got 'group'"),
    case("metrics-unknown", lambda c, q, f: c.create_queue("orders", metrics="all"),
         "metrics must be 'full' or 'basic', got 'all'"),
    case("metrics-configure", lambda c, q, f: q.configure(metrics=True),
         "metrics must be 'full' or 'basic', got True"),
    *[
        case(f"{name}-retry-{value!r:.40}", lambda c, q, f, v=value, s=change: s(c, q, v), sentence)
        for name, change in (
            ("create", lambda c, q, v: c.create_queue("orders", retry_policy=v)),
            ("create-fifo", lambda c, q, v: c.create_queue("orders.fifo", retry_policy=v)),
            ("configure", lambda c, q, v: q.configure(retry_policy=v)),
        )
        for value, sentence in (
            (5, "retry_policy must be a rqsqs.RetryPolicy, got 5"),
            ({"base": 1}, "retry_policy must be a rqsqs.RetryPolicy, got {'base': 1}"),
            (rqsqs.RetryPolicy, "retry_policy must be a rqsqs.RetryPolicy, got <class 'rqsqs.RetryPolicy'>"),
            (rqsqs.RetryPolicy("1"), "base must be a number of seconds or a timedelta, got '1'"),
            (rqsqs.RetryPolicy(True), "base must be a number of seconds or a timedelta, got True"),
            (rqsqs.RetryPolicy(math.nan), "base must be a number of seconds or a timedelta, got nan"),
            (rqsqs.RetryPolicy(-1), "base must be between 0 and 31536000 s, got -1 s"),
            (rqsqs.RetryPolicy(1, None), "cap must be a number of seconds or a timedelta, got None"),
            (rqsqs.RetryPolicy(1, math.inf), "cap must be a number of seconds or a timedelta, got inf"),
            (rqsqs.RetryPolicy(1, 31_536_001), "cap must be between 0 and 31536000 s, got 31536001 s"),
            (rqsqs.RetryPolicy(0), "base and cap must be 0.001 <= base <= cap seconds, got 0 and 300.0"),
            (rqsqs.RetryPolicy(0.0004), "base and cap must be 0.001 <= base <= cap seconds, got 0.0004 and 300.0"),
            (rqsqs.RetryPolicy(301), "base and cap must be 0.001 <= base <= cap seconds, got 301 and 300.0"),
            (rqsqs.RetryPolicy(2, 1), "base and cap must be 0.001 <= base <= cap seconds, got 2 and 1"),
            (rqsqs.RetryPolicy(dead_letter="ValueError"),
                 "dead_letter must be a tuple of exceptions, got 'ValueError'"),
            (rqsqs.RetryPolicy(dead_letter=ValueError),
             "dead_letter must be a tuple of exceptions, got <class 'ValueError'>"),
            (rqsqs.RetryPolicy(dead_letter=None), "dead_letter must be a tuple of exceptions, got None"),
            (rqsqs.RetryPolicy(dead_letter=(int,)),
             "an exception must be given as a class or its name, got <class 'int'>"),
            (rqsqs.RetryPolicy(dead_letter=(ValueError(),)),
                 "an exception must be given as a class or its name, got ValueError()"),
            *[(rqsqs.RetryPolicy(dead_letter=(name,)),
                 f"an exception must be given as a class or its name, got {name!r}")
              for name in ("", "a b", "a..b", ".a", "1a", "a-b", 5, None, ["a"])],
            (rqsqs.RetryPolicy(exceptions=[ValueError]),
             "exceptions must map exceptions to retry policies, got [<class 'ValueError'>]"),
            (rqsqs.RetryPolicy(exceptions={ValueError: 5}),
             "the policy for <class 'ValueError'> must be a rqsqs.RetryPolicy, got 5"),
            (rqsqs.RetryPolicy(exceptions={int: rqsqs.RetryPolicy()}),
                 "an exception must be given as a class or its name, got <class 'int'>"),
            (rqsqs.RetryPolicy(exceptions={"E": rqsqs.RetryPolicy(0)}),
                 "base and cap must be 0.001 <= base <= cap seconds, got 0 and 300.0"),
            (rqsqs.RetryPolicy(exceptions={"E": rqsqs.RetryPolicy(1, "5")}),
                 "cap must be a number of seconds or a timedelta, got '5'"),
        )
    ],
    *[
        case(f"{order}-{value!r}", lambda c, q, f, v=value, o=order: getattr(q, o)(v),
             f"consumer must be a str, got {value!r}")
        for order in ("drain", "evict") for value in (5, None, b"c")
    ],
    *[
        case(f"{name}-{value!r}", lambda c, q, f, v=value, t=tag: t(c, q, v), sentence)
        for name, tag in (("create-tags", lambda c, q, v: c.create_queue("orders", tags=v)),
                          ("tag", lambda c, q, v: q.tag(v)))
        for value, sentence in (
            (5, "tags must map names to str, got 5"),
            (["a"], "tags must map names to str, got ['a']"),
            ({"a": 5}, "tag 'a' must be a str, got 5"),
            ({5: "a"}, "the name of a tag must be a str that is not empty, got 5"),
            ({"": "a"}, "the name of a tag must be a str that is not empty, got ''"),
        )
    ],
    case("untag", lambda c, q, f: q.untag("a", None), "the name of a tag must be a str, got None"),
    case("queues", lambda c, q, f: list(c.queues(5)), "prefix must be a str, got 5"),
    # send
    *seconds("send-delay", "delay", lambda c, q, v: q.send("x", delay=v)),
    *seconds("entry-delay", "delay", lambda c, q, v: q.send_batch([rqsqs.Entry("x", delay=v)])),
    *seconds("send-window", "deduplication_window", lambda c, q, v: q.send("x", deduplication_window=v)),
    *labels("send-group", "group", lambda c, q, v: q.send("x", group=v)),
    *labels("send-dedup", "deduplication_id", lambda c, q, v: q.send("x", deduplication_id=v)),
    *labels("entry-group", "group", lambda c, q, v: q.send_batch([rqsqs.Entry("x", group=v)])),
    *[
        case(f"{name}-at-{value!r}", lambda c, q, f, v=value, s=send: s(q, v), sentence)
        for name, send in (("send", lambda q, v: q.send("x", at=v)),
                           ("reschedule", lambda q, v: q.reschedule(UUID, at=v)))
        for value, sentence in (
            ("noon", "at must be a datetime with a time zone or epoch seconds, got 'noon'"),
            (True, "at must be a datetime with a time zone or epoch seconds, got True"),
            (math.nan, "at must be a datetime with a time zone or epoch seconds, got nan"),
            (datetime(2030, 1, 1),
                 "at must be a datetime with a time zone, got 2030-01-01T00:00:00 without one: say which it is in"),
            (-1, "at must be a time between 1970 and 2200, got -1"),
            (1e18, "at must be a time between 1970 and 2200, got 1e+18"),
        )
    ],
    case("delay-and-at", lambda c, q, f: q.send("x", delay=1, at=1),
         "delay or at must be given, not both, got delay=1 and at=1"),
    case("fifo-without-group", lambda c, q, f: f.send("x"), "needs a group", rqsqs.MissingParameter),
    case("fifo-batch-without-group", lambda c, q, f: f.send_batch(["x"]), "needs a group", rqsqs.MissingParameter),
    *[
        case(f"body-{type(value).__name__}", lambda c, q, f, v=value: q.send(v), "a body must be a str, bytes, or None")
        for value in (object(), {1, 2}, 2**70, {"a": object()}, "\ud800", datetime(2030, 1, 1))
    ],
    *[
        case(f"attributes-{value!r:.20}", lambda c, q, f, v=value: q.send("x", attributes=v), sentence)
        for value, sentence in (
            (5, "attributes must map names to str, numbers or bytes, got 5"),
            ({"a b": 1},
                 "the name of an attribute must be a str of 1 to 256 letters, digits, '_', '-' and '.', got 'a b'"),
            ({"": 1}, "the name of an attribute must be a str of 1 to 256 letters, digits, '_', '-' and '.', got ''"),
            ({"x" * 257: 1},
                 "the name of an attribute must be a str of 1 to 256 letters, digits, '_', '-' and '.', got 'xxx"),
            ({5: 1}, "the name of an attribute must be a str of 1 to 256 letters, digits, '_', '-' and '.', got 5"),
            ({"a": None}, "attribute 'a' must be a str, a number or bytes, got None"),
            ({"a": True}, "attribute 'a' must be a str, a number or bytes, got True"),
            ({"a": math.inf}, "attribute 'a' must be a str, a number or bytes, got inf"),
            ({"a": []}, "attribute 'a' must be a str, a number or bytes, got []"),
        )
    ],
    # batches
    *[
        case(f"{name}-{value!r:.12}", lambda c, q, f, v=value, s=send: s(q, v), sentence)
        for name, parameter, send in (
            ("send_batch", "messages", lambda q, v: q.send_batch(v)),
            ("delete_batch", "messages", lambda q, v: q.delete_batch(v)),
            ("change_visibility_batch", "changes", lambda q, v: q.change_visibility_batch(v)),
        )
        for value, sentence in (
            ("abc", f"{parameter} must be a list or another iterable, got 'abc'"),
            (b"abc", f"{parameter} must be a list or another iterable, got b'abc'"),
            ({"a": 1}, f"{parameter} must be a list or another iterable, got {{'a': 1}}"),
            (5, f"{parameter} must be a list or another iterable, got 5"),
            (None, f"{parameter} must be a list or another iterable, got None"),
            ([], f"{parameter} must have 1 to 1000 entries, got 0"),
            ([("h", 1)] * 1001, f"{parameter} must have 1 to 1000 entries, got 1001"),
        )
    ],
    *[
        case(f"pair-{value!r}", lambda c, q, f, v=value: q.change_visibility_batch([v]),
             "each change must be a pair of a message and seconds from now, got ")
        for value in (5, "ab", ("h",), ("h", 1, 2))
    ],
    # receive
    *numbers("receive", "max_messages", 1000, lambda c, q, v: q.receive(v)),
    *seconds("receive-wait", "wait", lambda c, q, v: q.receive(wait=v)),
    *seconds("receive-visibility", "visibility_timeout", lambda c, q, v: q.receive(visibility_timeout=v)),
    *labels("attempt_id", "attempt_id", lambda c, q, v: q.receive(attempt_id=v)),
    case("receive-delete", lambda c, q, f: q.receive(delete="yes"), "delete must be True or False, got 'yes'"),
    *numbers("messages", "max_messages", 1000, lambda c, q, v: next(q.messages(prefetch=v))),
    *seconds("messages-wait", "wait", lambda c, q, v: next(q.messages(wait=v))),
    *seconds("messages-visibility", "visibility_timeout", lambda c, q, v: next(q.messages(visibility_timeout=v))),
    # delete and change_visibility
    *[
        case(f"{name}-{value!r}", lambda c, q, f, v=value, g=given: g(q, v), "must be passed on unchanged",
             rqsqs.ReceiptHandleIsInvalid)
        for name, given in (("delete", lambda q, v: q.delete(v)),
                            ("change_visibility", lambda q, v: q.change_visibility(v, 5)))
        for value in (None, 5, "", "nonsense", b"x", "ü")
    ],
    case("delete_batch-handles", lambda c, q, f: q.delete_batch(["x", "y"]), "2 of 2 entries failed",
         rqsqs.BatchFailed),
    *seconds("change_visibility", "timeout", lambda c, q, v: q.change_visibility("h", v)),
    *seconds("change_visibility_batch", "timeout", lambda c, q, v: q.change_visibility_batch([("h", v)])),
    # looking, cancelling, pausing
    *[
        param
        for name, call in (
            ("counts", lambda c, q, v: q.counts(v)),
            ("pause", lambda c, q, v: q.pause(v)),
            ("resume", lambda c, q, v: q.resume(v)),
            ("cancel", lambda c, q, v: q.cancel(UUID, group=v)),
            ("reschedule", lambda c, q, v: q.reschedule(UUID, delay=1, group=v)),
        )
        for param in labels(f"{name}-group", "group", call)
    ],
    *numbers("peek", "max_messages", 1000, lambda c, q, v: q.peek(v)),
    *numbers("browse", "max_messages", 1000, lambda c, q, v: q.browse(max_messages=v)),
    *[
        case(f"{name}-state-{value!r}", lambda c, q, f, v=value, s=see: s(q, v),
             f"state must be 'visible', 'in_flight' or 'delayed', got {value!r}")
        for name, see in (("peek", lambda q, v: q.peek(state=v)), ("browse", lambda q, v: q.browse(v)))
        for value in ("lost", 5, None, [])
    ],
    *[
        case(f"cursor-{value!r}", lambda c, q, f, v=value: q.browse(cursor=v),
             f"cursor must be '' or what browse() of the same state returned, got {value!r}")
        for value in (5, None, "garbage", "|", "0|ready:x", "-1|", "0|delayed:0", "0|0:0")
    ],
    case("cursor-fifo", lambda c, q, f: f.browse(cursor="0|ready:0"), "returned, got '0|ready:0'"),
    *[
        case(f"{name}-{value!r}", lambda c, q, f, v=value, s=take: s(q, v),
             f"message must be a message or the message_id of one, got {value!r}")
        for name, take in (("cancel", lambda q, v: q.cancel(v)), ("reschedule", lambda q, v: q.reschedule(v, delay=1)))
        for value in (5, "", "nonsense", UUID + "0", b"x")
    ],
    *labels("cancel-dedup", "deduplication_id", lambda c, q, v: q.cancel(deduplication_id=v)),
    case("cancel-nothing", lambda c, q, f: q.cancel(),
         "cancel() needs a message or a deduplication_id", rqsqs.MissingParameter),
    case("cancel-both", lambda c, q, f: q.cancel(UUID, deduplication_id="1"), "one of them", rqsqs.MissingParameter),
    *seconds("reschedule", "delay", lambda c, q, v: q.reschedule(UUID, delay=v)),
    case("reschedule-nothing", lambda c, q, f: q.reschedule(UUID),
         "reschedule() needs delay or at", rqsqs.MissingParameter),
    case("reschedule-both", lambda c, q, f: q.reschedule(UUID, delay=1, at=1), "one of them", rqsqs.MissingParameter),
    # redrive
    *numbers("redrive-rate", "max_per_second", 500, lambda c, q, v: q.redrive(max_per_second=v)),
    case("redrive-itself", lambda c, q, f: q.redrive(q),
         "destination must be another standard queue than 'orders', got 'orders'"),
    case("redrive-other-kind", lambda c, q, f: q.redrive(f),
         "destination must be another standard queue than 'orders', got 'orders.fifo'"),
    case("cancel_redrive", lambda c, q, f: q.cancel_redrive(5), "task_id must be a str, got 5"),
]  # fmt: skip


@pytest.mark.parametrize(("call", "sentence", "error"), CASES)
def test_bad_input_is_refused_before_any_round_trip(
    nowhere: rqsqs.Connection, call: Call, sentence: str, error: type[Exception]
) -> None:
    with pytest.raises(error) as refused:
        call(nowhere, nowhere.queue("orders"), nowhere.queue("orders.fifo"))
    assert type(refused.value) is error
    assert sentence in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("arguments", "sentence", "error"),
    [
        ({"url": 5}, "url must be a str such as redis://localhost:6379/0, got a value of int", rqsqs.UsageError),
        ({"url": ""}, "cannot connect to '': a URL begins with", rqsqs.UsageError),
        ({"url": "localhost:6379"}, "a URL begins with redis://, rediss://, unix://, embedded://", rqsqs.UsageError),
        ({"url": "http://localhost"}, "a URL begins with", rqsqs.UsageError),
        ({"url": "redis://localhost/nine"}, "followed by the number of a database, as in /0", rqsqs.UsageError),
        ({"url": "redis://:secret@localhost/nine"}, "redis://***@localhost/nine", rqsqs.UsageError),
        (
            {"url": "redis://localhost:port/0"},
            "HOST or HOST:PORT, with a PORT up to 65535",
            rqsqs.UsageError,
        ),
        ({"url": "embedded://host/folder"}, "names a host", rqsqs.UsageError),
        ({"url": NOWHERE, "nonsense": 5}, "nonsense is not an option of connections", rqsqs.UsageError),
        ({"url": f"{NOWHERE}?retry=3"}, "retry is not an option that a URL can have", rqsqs.UsageError),
        ({"url": f"{NOWHERE}?protocol=9"}, "protocol must be 2 or 3, got", rqsqs.UsageError),
        ({"url": f"{NOWHERE}?socket_timeout=-1"}, "socket_timeout must be more than 0", rqsqs.UsageError),
        ({"url": NOWHERE, "socket_connect_timeout": "5"}, "1,000,000,000 seconds, got '5'", rqsqs.UsageError),
        ({"url": NOWHERE, "client_name": "a b"}, "client_name must be a str of visible ASCII", rqsqs.UsageError),
        ({"url": "redis://[::1"}, "its host must be a name or an address", rqsqs.UsageError),
        ({"prefix": ""}, "prefix must be a str that is not empty and has no blanks", rqsqs.InvalidParameterValue),
        ({"prefix": "a{b}"}, "got 'a{b}'", rqsqs.InvalidParameterValue),
        ({"prefix": "a b"}, "got 'a b'", rqsqs.InvalidParameterValue),
        ({"prefix": "a\tb"}, "got 'a\\tb'", rqsqs.InvalidParameterValue),
        ({"prefix": 5}, "*?[]\\, such as 'shop:test', got 5", rqsqs.InvalidParameterValue),
        ({"limits": "sqs"}, "limits must be 'native', 'aws' or a rqsqs.Limits, got 'sqs'", rqsqs.InvalidParameterValue),
        ({"limits": []}, "limits must be 'native', 'aws' or a rqsqs.Limits, got []", rqsqs.InvalidParameterValue),
        (
            {"clock": 5},
            "clock must have a method now_us(), as rqsqs.testing.VirtualClock has, got 5",
            rqsqs.InvalidParameterValue,
        ),
    ],
)
def test_connect_refuses(arguments: dict[str, Any], sentence: str, error: type[Exception]) -> None:
    with pytest.raises(error) as refused:
        rqsqs.connect(**arguments)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda q: q.send("x", delay=901), "delay must be between 0 and 900 s, got 901 s"),
        (lambda q: q.receive(11), "max_messages must be an int from 1 to 10, got 11"),
        (lambda q: q.receive(wait=21), "wait must be between 0 and 20 s, got 21 s"),
        (
            lambda q: q.receive(visibility_timeout=43_201),
            "visibility_timeout must be between 0 and 43200 s, got 43201 s",
        ),
        (lambda q: q.send_batch(["x"] * 11), "messages must have 1 to 10 entries, got 11"),
        (lambda q: q.send_batch(["x" * 600_000] * 2), "a batch must have at most 1048576 bytes, got 1200000"),
        (
            lambda q: q.send("x", attributes={f"a{i}": 1 for i in range(11)}),
            "a message must have at most 10 attributes, got 11",
        ),
        (
            lambda q: q.configure(retention=59),
            "retention must be a whole number of seconds from 60 to 1209600, got 59 s",
        ),
        (
            lambda q: q.configure(maximum_message_size=1023),
            "maximum_message_size must be an int from 1024 to 1048576, got 1023",
        ),
    ],
)
def test_the_limits_of_sqs_can_be_had(call: Callable[[rqsqs.Queue], Any], sentence: str) -> None:
    with rqsqs.connect(NOWHERE, limits="aws") as connection:
        with pytest.raises(rqsqs.InvalidParameterValue) as refused:
            call(connection.queue("orders"))
        assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda c, q: q.send("x", dely=1), "send() got an unexpected keyword argument 'dely'; did you mean 'delay'?"),
        (lambda c, q: rqsqs.Entry("x", grop="a"), "Entry() got an unexpected keyword argument 'grop'; did you mean"),
        (lambda c, q: q.configure(visibility_timout=1), "'visibility_timout'; did you mean 'visibility_timeout'?"),
        (lambda c, q: c.create_queue("orders", dealy=1), "create_queue() got an unexpected keyword argument 'dealy'"),
        (lambda c, q: q.send("x", tag="a"), "'tag'; there are at, attributes, deduplication_id, dedup"),
    ],
)
@pytest.mark.parametrize("name", ["orders", "orders.fifo"])
def test_an_option_that_does_not_exist_is_refused_as_python_does_it(
    name: str, call: Callable[[rqsqs.Connection, rqsqs.Queue], Any], sentence: str
) -> None:
    with rqsqs.connect(NOWHERE) as connection:
        with pytest.raises(TypeError) as refused:
            call(connection, connection.queue(name))
        assert sentence in str(refused.value)


def test_refusals_are_value_errors_and_carry_what_sqs_says() -> None:
    with rqsqs.connect(NOWHERE) as connection, pytest.raises(ValueError, match="delay") as refused:
        connection.queue("orders").send("x", delay=-1)
    assert isinstance(refused.value, rqsqs.RequestError)
    assert (refused.value.sqs_code, refused.value.http_status) == ("InvalidParameterValue", 400)


def test_numbers_of_somebody_elses_class_may_have_no_hash(valkey_url: str, prefix: str) -> None:
    class Whole(int):
        __hash__ = None  # type: ignore[assignment]

    class Number(float):
        __hash__ = None  # type: ignore[assignment]

    with rqsqs.connect(valkey_url, prefix=prefix) as connection:
        queue = connection.create_queue("q")
        queue.send_batch([1, 2, 3])
        found = queue.receive(Whole(2), visibility_timeout=Number(60))
        assert [m.body for m in found] == [1, 2]
        more, failures = queue.delete_and_receive(found, Whole(2), wait=Number(0.5))
        assert ([m.body for m in more], failures) == ([3], [])
