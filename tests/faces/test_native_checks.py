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
    kinds = "it is a number of seconds or a timedelta"
    bad: list[tuple[Any, str]] = [
        ("5", f"{parameter} is '5': {kinds}"),
        (True, f"{parameter} is True: {kinds}"),
        ([1], f"{parameter} is [1]: {kinds}"),
        (math.nan, f"{parameter} is nan: {kinds}"),
        (math.inf, f"{parameter} is inf: {kinds}"),
        (-1, f"{parameter} is -1 s: it is between 0 and"),
        (timedelta(seconds=-2), f"{parameter} is -2 s: it is between 0 and"),
        (1e10, f"{parameter} is 10000000000 s: it is between 0 and 315"),
    ]
    return [case(f"{name}-{value!r}", lambda c, q, f, v=value: call(c, q, v), text) for value, text in bad]


def labels(name: str, parameter: str, call: Callable[[Any, Any, Any], Call]) -> list[Any]:
    """The bad inputs of a message group or deduplication id."""
    bad: list[tuple[Any, str]] = [
        (5, f"{parameter} is 5: it is text"),
        (b"x", f"{parameter} is b'x': it is text"),
        ("", f"{parameter} has 0 characters: it has 1 to 128"),
        (LONG, f"{parameter} has 129 characters: it has 1 to 128"),
        ("a\nb", f"{parameter} 'a\\nb' holds a line break"),
        ("\ud800", f"{parameter} '\\ud800' is not valid Unicode"),
    ]
    return [case(f"{name}-{value!a:.12}", lambda c, q, f, v=value: call(c, q, v), text) for value, text in bad]


def numbers(name: str, parameter: str, maximum: int, call: Callable[[Any, Any, Any], Call]) -> list[Any]:
    """The bad inputs of a whole number from 1 to a maximum."""
    bad: list[tuple[Any, str]] = [
        (0, f"{parameter} is 0: it is between 1 and {maximum}"),
        (-1, f"{parameter} is -1: it is between 1 and {maximum}"),
        (maximum + 1, f"{parameter} is {maximum + 1}: it is between 1 and {maximum}"),
        ("1", f"{parameter} is '1': it is a whole number"),
        (1.0, f"{parameter} is 1.0: it is a whole number"),
        (True, f"{parameter} is True: it is a whole number"),
    ]
    return [case(f"{name}-{value!r}", lambda c, q, f, v=value: call(c, q, v), text) for value, text in bad]


def names(name: str, call: Callable[[Any, Any, Any], Call]) -> list[Any]:
    """The bad inputs of a queue's name."""
    bad = ["", "a b", "x" * 81, "x" * 76 + ".fifo", ".fifo", "a.b", "ü", "a\n", 5, b"orders"]
    rule = "is not a queue name: 1 to 80 letters, digits, '-' and '_'"
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
                 f"{setting} is 1.5 s: it is a whole number of seconds"),
        ]
    ],
    case("retention-0", lambda c, q, f: c.create_queue("orders", retention=0), "retention is 0 s: it is a whole"),
    *numbers("maximum_message_size", "maximum_message_size", 256 * 2**20,
             lambda c, q, v: c.create_queue("orders", maximum_message_size=v)),
    *numbers("max_receive_count", "max_receive_count", 1000,
             lambda c, q, v: c.create_queue("orders", dead_letter_queue="dead", max_receive_count=v)),
    case("max_receive_count-alone", lambda c, q, f: c.create_queue("orders", max_receive_count=3),
         "max_receive_count without dead_letter_queue", rqsqs.MissingParameter),
    case("dlq-of-other-kind", lambda c, q, f: c.create_queue("orders", dead_letter_queue="dead.fifo"),
         "the dead-letter queue 'dead.fifo' of 'orders' must be of the same kind"),
    case("content-based-standard", lambda c, q, f: c.create_queue("orders", content_based_deduplication=True),
         "content_based_deduplication is for FIFO queues; the name 'orders' does not end in '.fifo'"),
    case("content-based-text", lambda c, q, f: c.create_queue("a.fifo", content_based_deduplication="no"),
         "content_based_deduplication is 'no': it is True or False"),
    case("scope-standard", lambda c, q, f: c.create_queue("orders", deduplication_scope="queue"),
         "deduplication_scope is for FIFO queues"),
    case("scope-unknown", lambda c, q, f: c.create_queue("a.fifo", deduplication_scope="group"),
         "deduplication_scope is 'group': it is 'queue' or 'messageGroup'"),
    *[
        case(f"{name}-retry-{value!r:.40}", lambda c, q, f, v=value, s=change: s(c, q, v), sentence)
        for name, change in (
            ("create", lambda c, q, v: c.create_queue("orders", retry_policy=v)),
            ("create-fifo", lambda c, q, v: c.create_queue("orders.fifo", retry_policy=v)),
            ("configure", lambda c, q, v: q.configure(retry_policy=v)),
        )
        for value, sentence in (
            (5, "retry_policy is 5: it is a rqsqs.RetryPolicy"),
            ({"base": 1}, "retry_policy is {'base': 1}: it is a rqsqs.RetryPolicy"),
            (rqsqs.RetryPolicy, "retry_policy is <class 'rqsqs.RetryPolicy'>: it is a rqsqs.RetryPolicy"),
            (rqsqs.RetryPolicy("1"), "base is '1': it is a number of seconds or a timedelta"),
            (rqsqs.RetryPolicy(True), "base is True: it is a number of seconds or a timedelta"),
            (rqsqs.RetryPolicy(math.nan), "base is nan: it is a number of seconds or a timedelta"),
            (rqsqs.RetryPolicy(-1), "base is -1 s: it is between 0 and 31536000 s"),
            (rqsqs.RetryPolicy(1, None), "cap is None: it is a number of seconds or a timedelta"),
            (rqsqs.RetryPolicy(1, math.inf), "cap is inf: it is a number of seconds or a timedelta"),
            (rqsqs.RetryPolicy(1, 31_536_001), "cap is 31536001 s: it is between 0 and 31536000 s"),
            (rqsqs.RetryPolicy(0), "base is 0 and cap 300.0: 0.001 <= base <= cap seconds"),
            (rqsqs.RetryPolicy(0.0004), "base is 0.0004 and cap 300.0: 0.001 <= base <= cap seconds"),
            (rqsqs.RetryPolicy(301), "base is 301 and cap 300.0: 0.001 <= base <= cap seconds"),
            (rqsqs.RetryPolicy(2, 1), "base is 2 and cap 1: 0.001 <= base <= cap seconds"),
            (rqsqs.RetryPolicy(dead_letter="ValueError"), "dead_letter is 'ValueError': it is a tuple of exceptions"),
            (rqsqs.RetryPolicy(dead_letter=ValueError),
             "dead_letter is <class 'ValueError'>: it is a tuple of exceptions"),
            (rqsqs.RetryPolicy(dead_letter=None), "dead_letter is None: it is a tuple of exceptions"),
            (rqsqs.RetryPolicy(dead_letter=(int,)),
             "<class 'int'> is no exception: it is a class or the name of one"),
            (rqsqs.RetryPolicy(dead_letter=(ValueError(),)), "ValueError() is no exception"),
            *[(rqsqs.RetryPolicy(dead_letter=(name,)), f"{name!r} is no exception: it is a class or the name of one")
              for name in ("", "a b", "a..b", ".a", "1a", "a-b", 5, None, ["a"])],
            (rqsqs.RetryPolicy(exceptions=[ValueError]),
             "exceptions is [<class 'ValueError'>]: it maps exceptions to retry policies"),
            (rqsqs.RetryPolicy(exceptions={ValueError: 5}),
             "the policy for <class 'ValueError'> is 5: it is a rqsqs.RetryPolicy"),
            (rqsqs.RetryPolicy(exceptions={int: rqsqs.RetryPolicy()}), "<class 'int'> is no exception"),
            (rqsqs.RetryPolicy(exceptions={"E": rqsqs.RetryPolicy(0)}), "base is 0 and cap 300.0: 0.001 <= base"),
            (rqsqs.RetryPolicy(exceptions={"E": rqsqs.RetryPolicy(1, "5")}), "cap is '5': it is a number of seconds"),
        )
    ],
    *[
        case(f"{order}-{value!r}", lambda c, q, f, v=value, o=order: getattr(q, o)(v),
             f"consumer is {value!r}: it is text")
        for order in ("drain", "evict") for value in (5, None, b"c")
    ],
    case("configure-unknown", lambda c, q, f: q.configure(dealy=1), "'dealy' is not a setting: there are"),
    case("configure-near", lambda c, q, f: q.configure(dealy=1), "wait; did you mean 'delay'?"),
    *[
        case(f"{name}-{value!r}", lambda c, q, f, v=value, t=tag: t(c, q, v), sentence)
        for name, tag in (("create-tags", lambda c, q, v: c.create_queue("orders", tags=v)),
                          ("tag", lambda c, q, v: q.tag(v)))
        for value, sentence in (
            (5, "tags is 5: it maps names to text"),
            (["a"], "tags is ['a']: it maps names to text"),
            ({"a": 5}, "tag 'a' is 5: it is text"),
            ({5: "a"}, "5 is not the name of a tag"),
            ({"": "a"}, "'' is not the name of a tag"),
        )
    ],
    case("untag", lambda c, q, f: q.untag("a", None), "the name of a tag is None: it is text"),
    case("queues", lambda c, q, f: list(c.queues(5)), "prefix is 5: it is text"),
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
            ("noon", "at is 'noon': it is a datetime with time zone or epoch seconds"),
            (True, "at is True: it is a datetime with time zone or epoch seconds"),
            (math.nan, "at is nan: it is"),
            (datetime(2030, 1, 1), "at is 2030-01-01T00:00:00 without a time zone: say which it is in"),
            (-1, "at is -1: it is a time between 1970 and 2200"),
            (1e18, "at is 1e+18: it is a time between 1970 and 2200"),
        )
    ],
    case("delay-and-at", lambda c, q, f: q.send("x", delay=1, at=1), "delay is 1 and at is 1: give one of them"),
    case("fifo-without-group", lambda c, q, f: f.send("x"), "needs a group", rqsqs.MissingParameter),
    case("fifo-batch-without-group", lambda c, q, f: f.send_batch(["x"]), "needs a group", rqsqs.MissingParameter),
    *[
        case(f"body-{type(value).__name__}", lambda c, q, f, v=value: q.send(v), "the message cannot be packed: ")
        for value in (object(), {1, 2}, 2**70, {"a": object()}, "\ud800", datetime(2030, 1, 1))
    ],
    *[
        case(f"attributes-{value!r:.20}", lambda c, q, f, v=value: q.send("x", attributes=v), sentence)
        for value, sentence in (
            (5, "attributes is 5: it maps names to text, numbers or bytes"),
            ({"a b": 1}, "'a b' is not an attribute name"),
            ({"": 1}, "'' is not an attribute name"),
            ({"x" * 257: 1}, "is not an attribute name: 1 to 256 letters"),
            ({5: 1}, "5 is not an attribute name"),
            ({"a": None}, "attribute 'a' is None: it is text, a number or bytes"),
            ({"a": True}, "attribute 'a' is True: it is text, a number or bytes"),
            ({"a": math.inf}, "attribute 'a' is inf: it is text, a number or bytes"),
            ({"a": []}, "attribute 'a' is []: it is text, a number or bytes"),
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
            ("abc", f"{parameter} is 'abc': it is a list or another iterable"),
            (b"abc", f"{parameter} is b'abc': it is a list or another iterable"),
            ({"a": 1}, f"{parameter} is {{'a': 1}}: it is a list or another iterable"),
            (5, f"{parameter} is 5: it is a list or another iterable"),
            (None, f"{parameter} is None: it is a list or another iterable"),
            ([], "the number of messages in a batch is 0: it is between 1 and 1000"),
            ([("h", 1)] * 1001, "the number of messages in a batch is 1001: it is between 1 and 1000"),
        )
    ],
    *[
        case(f"pair-{value!r}", lambda c, q, f, v=value: q.change_visibility_batch([v]), "is not a pair of a message")
        for value in (5, "ab", ("h",), ("h", 1, 2))
    ],
    # receive
    *numbers("receive", "max_messages", 1000, lambda c, q, v: q.receive(v)),
    *seconds("receive-wait", "wait", lambda c, q, v: q.receive(wait=v)),
    *seconds("receive-visibility", "visibility_timeout", lambda c, q, v: q.receive(visibility_timeout=v)),
    *labels("attempt_id", "attempt_id", lambda c, q, v: q.receive(attempt_id=v)),
    case("receive-delete", lambda c, q, f: q.receive(delete="yes"), "delete is 'yes': it is True or False"),
    *numbers("messages", "max_messages", 1000, lambda c, q, v: next(q.messages(prefetch=v))),
    *seconds("messages-wait", "wait", lambda c, q, v: next(q.messages(wait=v))),
    *seconds("messages-visibility", "visibility_timeout", lambda c, q, v: next(q.messages(visibility_timeout=v))),
    # delete and change_visibility
    *[
        case(f"{name}-{value!r}", lambda c, q, f, v=value, g=given: g(q, v), "is not a receipt handle",
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
             "it is 'visible', 'in_flight' or 'delayed'")
        for name, see in (("peek", lambda q, v: q.peek(state=v)), ("browse", lambda q, v: q.browse(v)))
        for value in ("lost", 5, None, [])
    ],
    *[
        case(f"cursor-{value!r}", lambda c, q, f, v=value: q.browse(cursor=v), "what browse() of the same state")
        for value in (5, None, "garbage", "|", "0|ready:x", "-1|", "0|delayed:0", "0|0:0")
    ],
    case("cursor-fifo", lambda c, q, f: f.browse(cursor="0|ready:0"), "cursor is '0|ready:0'"),
    *[
        case(f"{name}-{value!r}", lambda c, q, f, v=value, s=take: s(q, v), "it is a message, or the message_id of one")
        for name, take in (("cancel", lambda q, v: q.cancel(v)), ("reschedule", lambda q, v: q.reschedule(v, delay=1)))
        for value in (5, "", "nonsense", UUID + "0", b"x")
    ],
    *labels("cancel-dedup", "deduplication_id", lambda c, q, v: q.cancel(deduplication_id=v)),
    case("cancel-nothing", lambda c, q, f: q.cancel(), "takes a message or a deduplication_id", rqsqs.MissingParameter),
    case("cancel-both", lambda c, q, f: q.cancel(UUID, deduplication_id="1"), "one of them", rqsqs.MissingParameter),
    *seconds("reschedule", "delay", lambda c, q, v: q.reschedule(UUID, delay=v)),
    case("reschedule-nothing", lambda c, q, f: q.reschedule(UUID), "takes delay or at", rqsqs.MissingParameter),
    case("reschedule-both", lambda c, q, f: q.reschedule(UUID, delay=1, at=1), "one of them", rqsqs.MissingParameter),
    # redrive
    *numbers("redrive-rate", "max_per_second", 500, lambda c, q, v: q.redrive(max_per_second=v)),
    case("redrive-itself", lambda c, q, f: q.redrive(q), "messages of 'orders' cannot be moved to 'orders'"),
    case("redrive-other-kind", lambda c, q, f: q.redrive(f), "messages of 'orders' cannot be moved to 'orders.fifo'"),
    case("cancel_redrive", lambda c, q, f: q.cancel_redrive(5), "task_id is 5: it is text"),
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
        ({"url": "redis://localhost/nine"}, "stands the number of a database, as in /0", rqsqs.UsageError),
        ({"url": "redis://:secret@localhost/nine"}, "redis://***@localhost/nine", rqsqs.UsageError),
        (
            {"url": "redis://localhost:port/0"},
            "HOST or HOST:PORT, PORT being a number up to 65535",
            rqsqs.UsageError,
        ),
        ({"url": "embedded://host/folder"}, "names a host", rqsqs.UsageError),
        ({"url": NOWHERE, "nonsense": 5}, "nonsense is not an option of connections", rqsqs.UsageError),
        ({"url": f"{NOWHERE}?retry=3"}, "retry is not an option that a URL can have", rqsqs.UsageError),
        ({"url": f"{NOWHERE}?protocol=9"}, "protocol must be 2 or 3, got", rqsqs.UsageError),
        ({"url": f"{NOWHERE}?socket_timeout=-1"}, "socket_timeout must be more than 0", rqsqs.UsageError),
        ({"url": NOWHERE, "socket_connect_timeout": "5"}, "1,000,000,000 seconds, got '5'", rqsqs.UsageError),
        ({"url": NOWHERE, "client_name": "a b"}, "client_name must be a str of visible ASCII", rqsqs.UsageError),
        ({"url": "redis://[::1"}, "it has brackets or other characters", rqsqs.UsageError),
        ({"prefix": ""}, "prefix must be a str that is not empty and has no blanks", rqsqs.InvalidParameterValue),
        ({"prefix": "a{b}"}, "got 'a{b}'", rqsqs.InvalidParameterValue),
        ({"prefix": "a b"}, "got 'a b'", rqsqs.InvalidParameterValue),
        ({"prefix": "a\tb"}, "got 'a\\tb'", rqsqs.InvalidParameterValue),
        ({"prefix": 5}, "*?[]\\, such as 'shop:test', got 5", rqsqs.InvalidParameterValue),
        ({"limits": "sqs"}, "limits is 'sqs': it is 'native' or 'aws'", rqsqs.InvalidParameterValue),
        ({"limits": []}, "limits is []: it is 'native' or 'aws'", rqsqs.InvalidParameterValue),
        ({"clock": 5}, "clock is 5: it has a method now_us()", rqsqs.InvalidParameterValue),
    ],
)
def test_connect_refuses(arguments: dict[str, Any], sentence: str, error: type[Exception]) -> None:
    with pytest.raises(error) as refused:
        rqsqs.connect(**arguments)
    assert sentence in str(refused.value)


@pytest.mark.parametrize(
    ("call", "sentence"),
    [
        (lambda q: q.send("x", delay=901), "delay is 901 s: it is between 0 and 900 s"),
        (lambda q: q.receive(11), "max_messages is 11: it is between 1 and 10"),
        (lambda q: q.receive(wait=21), "wait is 21 s: it is between 0 and 20 s"),
        (lambda q: q.receive(visibility_timeout=43_201), "visibility_timeout is 43201 s: it is between 0 and 43200 s"),
        (lambda q: q.send_batch(["x"] * 11), "the number of messages in a batch is 11: it is between 1 and 10"),
        (lambda q: q.send_batch(["x" * 600_000] * 2), "the batch has 1200000 bytes: it has at most 1048576"),
        (lambda q: q.send("x", attributes={f"a{i}": 1 for i in range(11)}), "there are 11 attributes"),
        (lambda q: q.configure(retention=59), "retention is 59 s: it is a whole number of seconds from 60 to 1209600"),
        (lambda q: q.configure(maximum_message_size=1023), "maximum_message_size is 1023: it is between 1024"),
    ],
)
def test_the_limits_of_sqs_can_be_had(call: Callable[[rqsqs.Queue], Any], sentence: str) -> None:
    with rqsqs.connect(NOWHERE, limits="aws") as connection:
        with pytest.raises(rqsqs.InvalidParameterValue) as refused:
            call(connection.queue("orders"))
        assert sentence in str(refused.value)


def test_refusals_are_value_errors_and_carry_what_sqs_says() -> None:
    with rqsqs.connect(NOWHERE) as connection, pytest.raises(ValueError, match="delay") as refused:
        connection.queue("orders").send("x", delay=-1)
    assert isinstance(refused.value, rqsqs.RequestError)
    assert (refused.value.sqs_code, refused.value.http_status) == ("InvalidParameterValue", 400)
