"""Bodies as people read them: nothing is interpreted, and no body takes long."""

from __future__ import annotations

from typing import Any

import pytest

from rqsqs.inspection.body_views import LARGEST, MOST, VIEWS, shown_as, usual_view

HARD = {
    "comments that do not end": "<!--" * 200_000,
    "sections that do not end": "<![CDATA[" * 100_000,
    "both": "<!--<![CDATA[" * 70_000,
    "tags that do not end": "<a" * 400_000,
    "only brackets": "<" * 800_000,
    "deep tags": "<a>" * 300_000,
    "deep JSON": "[" * 500_000,
    "blanks": " " * 1_000_000,
    "one line": "<a>" + "x" * LARGEST,
}


@pytest.mark.parametrize("view", VIEWS)
@pytest.mark.parametrize("text", HARD.values(), ids=HARD)
def test_no_body_takes_long(text: str, view: str) -> None:
    usual_view(text)
    shown, is_cut = shown_as(view, text)
    assert len(shown) <= MOST
    assert is_cut or view != "text"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("<a/>", ["<a/>"]),
        (
            "<?xml version='1.0'?><a x='>'><b>t</b></a>",
            ["<?xml version='1.0'?>", "<a x='>", "  '>", "  <b>t</b>", "</a>"],
        ),
        ("<a><!-- <b> --><c>1</c></a>", ["<a>", "  <!-- <b> -->", "  <c>1</c>", "</a>"]),
        ("<a><![CDATA[<b>]]></a>", ["<a>", "  <![CDATA[<b>]]>", "</a>"]),
        ("</a></b>text", ["</a>", "</b>", "text"]),
        ("1 < 2", ["1", "<", "2"]),
    ],
)
def test_xml_is_indented(text: str, lines: list[str]) -> None:
    assert shown_as("xml", text) == ("\n".join(lines), False)


@pytest.mark.parametrize(
    ("body", "view"),
    [
        ({"a": 1}, "json"),
        ([], "json"),
        (None, "json"),
        (5, "json"),
        ('{"a": 1}', "json"),
        (" [1]", "json"),
        ("[1", "text"),
        ("5", "text"),
        ("<a>1</a>\n", "xml"),
        ("<3 you", "text"),
        ("", "text"),
        (b"text \xc3\xa4", "text"),
        (b"\xff", "hex"),
        (b"a\x00b", "hex"),
        ("ä".encode() * LARGEST, "text"),
    ],
)
def test_a_body_is_shown_as_what_it_looks_like(body: Any, view: str) -> None:
    assert usual_view(body) == view


@pytest.mark.parametrize("body", ["x", b"\xff", {"a": b"\xff"}, {1: {2: 3}}, float("nan"), "\ud800"])
@pytest.mark.parametrize("view", VIEWS)
def test_every_body_has_every_view(body: Any, view: str) -> None:
    shown, is_cut = shown_as(view, body)
    assert shown
    assert not is_cut
