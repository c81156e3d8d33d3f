"""Digests against values that SQS returned."""

from __future__ import annotations

import pytest

from rqsqs._core.envelope import content_hash
from rqsqs.sqs.digests import md5_of_attributes, md5_of_body

TRACE = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


@pytest.mark.parametrize(
    ("body", "digest"),
    [
        ("hello", "5d41402abc4b2a76b9719d911017c592"),
        ("foobar", "3858f62230ac3c915f300c664312c63f"),
        ("message", "78e731027d8fd50ed642340b7c9a63b3"),
        ("a", "0cc175b9c0f1b6a831c399e269772661"),
    ],
)
def test_md5_of_body(body: str, digest: str) -> None:
    assert md5_of_body(body) == digest


def test_content_hash() -> None:
    assert content_hash("same") == "0967115f2813a3541eaef77de9d9d5773f1c0c04314b0bbfe4ff3b3b1c55b5d5"


@pytest.mark.parametrize(
    ("attributes", "digest"),
    [
        ({"timestamp": ("Number", "1493147359900")}, "235c5c510d26fb653d073faed50ae77c"),
        (
            {"attr1": ("Binary", b"traceparent\x1e00-774062d6c37081a5a0b9b5b88e30627c-2d2482211f6489da-01")},
            "8cbe4db156db8a94db8b801b7addb984",
        ),
        ({"MyAttribute": ("String", "foobar")}, "adb59cd4678ea5a855436b949cd07ab6"),
        ({"Foo": ("String", "Bar")}, "ae7155c6026991b6d54b11589678bf9c"),
        ({"Hello": ("String", "World")}, "7db7fb1ba7f41366a8ea5eb18220b26d"),
        (
            {"Help.Me": ("String", "Me"), "Hello": ("String", "There"), "General": ("String", "Kenobi")},
            "4c360f3fdafd970e05fae2f149d997f5",
        ),
        ({"color": ("String", "blue")}, "da1b33cc3cbfe8b1630921e78e6b9880"),
        (
            {"color": ("String", "blue"), "count": ("Number", "3"), "blob": ("Binary", b"\x01\x02\x03")},
            "d838729972a4b70e2d2acd9d59ac847c",
        ),
        ({"price": ("Number.float", "1.5")}, "fb788a366da50b1e572d7a375bf69198"),
        ({"a": ("String", "y"), "B": ("String", "x")}, "5095a90be4aed2fdcf27e6f2ab0ee4e4"),
        ({"AWSTraceHeader": ("String", TRACE)}, "5ae4d5d7636402d80f4eb6d213245a88"),
    ],
)
def test_md5_of_attributes(attributes: dict[str, tuple[str, str | bytes]], digest: str) -> None:
    assert md5_of_attributes(attributes) == digest
