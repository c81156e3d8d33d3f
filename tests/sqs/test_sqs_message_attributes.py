"""What a message may carry, without a server."""

from __future__ import annotations

from typing import Any

import pytest

from rqsqs.errors import InvalidMessageContents, InvalidParameterValue, MissingParameter, UnsupportedOperation
from rqsqs.sqs import message_attributes as ma

CHARACTERS = (
    "Invalid characters found. Valid unicode characters are #x9 | #xA | #xD | #x20 to #xD7FF | #xE000 to #xFFFD | "
    "#x10000 to #x10FFFF"
)
NAME_CHARACTERS = (
    "Message (user) attributes name can only contain upper and lower score characters, digits, periods, hyphens and "
    "underscores. "
)
RESERVED = (
    "You can't use message attribute names beginning with 'AWS.' or 'Amazon.'. These strings are reserved for "
    "internal use. Additionally, they cannot start or end with '.'."
)


def string(value: str) -> dict[str, Any]:
    return {"DataType": "String", "StringValue": value}


@pytest.mark.parametrize("body", ["a", "\t\n\r ", "é", "\ud7ff\ue000\ufffd", "\U00010000\U0010ffff", "&quot;\r\n<a/>"])
def test_allowed_bodies_pass_unchanged(body: str) -> None:
    assert ma.check_body(body) == body


@pytest.mark.parametrize("char", ["\x00", "\x08", "\x0b", "\x0c", "\x0e", "\x1f", "\ufffe", "\uffff", "\ud800"])
def test_forbidden_characters_are_refused_in_bodies_and_string_values(char: str) -> None:
    with pytest.raises(InvalidMessageContents) as caught:
        ma.check_body(f"a{char}b")
    assert caught.value.sqs_message == CHARACTERS
    with pytest.raises(InvalidParameterValue) as value_error:
        ma.check_attributes({"a": string(f"a{char}b")}, "SendMessage")
    assert value_error.value.sqs_code == "InvalidParameterValue"


@pytest.mark.parametrize("body", ["", None])
def test_an_empty_body_is_a_missing_parameter(body: str | None) -> None:
    with pytest.raises(MissingParameter) as caught:
        ma.check_body(body)
    assert caught.value.sqs_message == "The request must contain the parameter MessageBody."


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        (
            {f"a{i}": string("x") for i in range(11)},
            "Number of message attributes [11] exceeds the allowed maximum [10].",
        ),
        ({"": string("x")}, "The request must contain non-empty message (user) attribute names."),
        ({"x" * 257: string("x")}, "Message (user) attribute names must be shorter than 256 Bytes"),
        ({"a b": string("x")}, NAME_CHARACTERS),
        ({"a/b": string("x")}, NAME_CHARACTERS),
        ({".a": string("x")}, RESERVED),
        ({"a.": string("x")}, RESERVED),
        ({"a..b": string("x")}, RESERVED),
        ({"AWS.a": string("x")}, RESERVED),
        ({"aws.a": string("x")}, RESERVED),
        ({"Amazon.a": string("x")}, RESERVED),
        ({"AMAZON.a": string("x")}, RESERVED),
        (
            {"a": {"StringValue": "x"}},
            "The message (user) attribute 'a' must contain a non-empty message attribute type.",
        ),
        (
            {"a": {"DataType": "String." + "x" * 250, "StringValue": "x"}},
            "Message (user) attribute types must be shorter than 256 Bytes",
        ),
        *(
            (
                {"a": {"DataType": data_type, "StringValue": "x"}},
                "The type of message (user) attribute 'a' is invalid. You must use only the following supported type "
                "prefixes: Binary, Number, String.",
            )
            for data_type in ("string", "Stringlike", "Float", ".String")
        ),
        (
            {"a": {"DataType": "String"}},
            "The message (user) attribute 'a' must contain a non-empty message attribute value.",
        ),
        (
            {"a": string("")},
            "Message (user) attribute 'a' must contain a non-empty value of type 'String'.",
        ),
        (
            {"a": {"DataType": "Number", "StringValue": ""}},
            "Message (user) attribute 'a' must contain a non-empty value of type 'Number'.",
        ),
        (
            {"a": {"DataType": "Binary", "BinaryValue": b""}},
            "Message (user) attribute 'a' must contain a non-empty value of type 'Binary'.",
        ),
        (
            {"a": {"DataType": "Binary", "StringValue": "x"}},
            "Message (user) attribute 'a' must contain a non-empty value of type 'Binary'.",
        ),
        (
            {"a": {"DataType": "Number", "StringValue": "x"}},
            "Can't cast the value of message (user) attribute 'a' to a number.",
        ),
    ],
)
def test_attributes_that_break_a_rule_are_refused_with_the_text_of_sqs(
    attributes: dict[str, dict[str, Any]], text: str
) -> None:
    with pytest.raises(InvalidParameterValue) as caught:
        ma.check_attributes(attributes, "SendMessage")
    assert caught.value.sqs_message == text


@pytest.mark.parametrize("member", ["StringListValues", "BinaryListValues"])
def test_list_values_are_not_supported(member: str) -> None:
    attributes: dict[str, dict[str, Any]] = {"a": {"DataType": "String", "StringValue": "x", member: ["x"]}}
    with pytest.raises(UnsupportedOperation) as caught:
        ma.check_attributes(attributes, "SendMessageBatch")
    assert caught.value.sqs_message == (
        "Message attribute list values in SendMessageBatch operation are not supported."
    )
    assert caught.value.sqs_code == "AWS.SimpleQueueService.UnsupportedOperation"


def test_good_attributes_come_back_in_their_internal_form() -> None:
    attributes = {
        "attr.1øßä": string("x"),
        "label": {"DataType": "String.my-label", "StringValue": "é"},
        "number": {"DataType": "Number.int", "StringValue": "1", "BinaryValue": b"ignored"},
        "blob": {"DataType": "Binary.png", "BinaryValue": bytearray(b"\x00\x01")},
        "x" * 256: string("y"),
        "empty-lists": {**string("z"), "StringListValues": [], "BinaryListValues": []},
    }
    assert ma.check_attributes(attributes, "SendMessage") == {
        "attr.1øßä": ("String", "x"),
        "label": ("String.my-label", "é"),
        "number": ("Number.int", "1"),
        "blob": ("Binary.png", b"\x00\x01"),
        "x" * 256: ("String", "y"),
        "empty-lists": ("String", "z"),
    }
    assert ma.check_attributes(None, "SendMessage") == {}
    assert len(ma.check_attributes({f"a{i}": string("x") for i in range(50)}, "SendMessage", 0)) == 50


@pytest.mark.parametrize("text", ["0", "-0.0", "1", "-1.5", "+3", ".5", "5.", "1e126", "1E-128", "9" * 38, "0" * 60])
def test_numbers(text: str) -> None:
    assert ma.is_number(text)


@pytest.mark.parametrize(
    "text", ["", "x", "1_0", "NaN", "Infinity", "1e127", "1e-129", "1" * 39, "1 ", "٣", "0x10", "1,5", "1e9999999"]
)
def test_what_is_no_number(text: str) -> None:
    assert not ma.is_number(text)


@pytest.mark.parametrize(
    ("attributes", "text"),
    [
        ({"X": string("x")}, "Message system attribute name 'X' is invalid."),
        (
            {"AWSTraceHeader": {"DataType": "Number", "StringValue": "1"}},
            "The type of message (system) attribute 'AWSTraceHeader' is invalid. You must use only the following "
            "supported type prefixes: String.",
        ),
        (
            {"AWSTraceHeader": string("")},
            "The message (system) attribute 'AWSTraceHeader' must contain a non-empty message attribute value.",
        ),
        (
            {"AWSTraceHeader": {"StringValue": "x"}},
            "The message (system) attribute 'AWSTraceHeader' must contain a non-empty message attribute type.",
        ),
        (
            {"AWSTraceHeader": string("a\nb")},
            "The value of message (system) attribute 'AWSTraceHeader' is not a trace header.",
        ),
    ],
)  # fmt: skip
def test_system_attributes_that_break_a_rule(attributes: dict[str, dict[str, Any]], text: str) -> None:
    with pytest.raises(InvalidParameterValue) as caught:
        ma.check_system_attributes(attributes)
    assert caught.value.sqs_message == text


def test_the_trace_header_is_the_only_system_attribute() -> None:
    assert ma.check_system_attributes({"AWSTraceHeader": string("Root=1")}) == {"AWSTraceHeader": ("String", "Root=1")}


def test_size_counts_body_names_types_and_values_in_bytes() -> None:
    assert ma.size_of("é", {}) == 2
    assert ma.size_of("a", {"nä": ("String.l", "v€"), "b": ("Binary", b"123")}) == 1 + (3 + 8 + 4) + (1 + 6 + 3)


ATTRIBUTES = {name: ("String", name) for name in ("Hello", "Help.Me", "General", "hello")}


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        ([], set()),
        (["All"], set(ATTRIBUTES)),
        ([".*"], set(ATTRIBUTES)),
        (["*"], set(ATTRIBUTES)),
        (["Hello"], {"Hello"}),
        (["Hel.*"], {"Hello", "Help.Me"}),
        (["Help.*"], {"Help.Me"}),
        (["Hel*"], set()),
        (["missing", "General"], {"General"}),
        (["General", "hel.*"], {"General", "hello"}),
        (["all"], set()),
    ],
)
def test_selection(patterns: list[str], names: set[str]) -> None:
    assert ma.select(ATTRIBUTES, patterns).keys() == names


def test_shapes_carry_text_or_bytes_by_type() -> None:
    assert ma.as_shape({"n": ("Number", "1"), "b": ("Binary.x", b"\x00")}) == {
        "n": {"DataType": "Number", "StringValue": "1"},
        "b": {"DataType": "Binary.x", "BinaryValue": b"\x00"},
    }
