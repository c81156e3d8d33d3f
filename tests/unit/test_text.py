"""Foreign text becomes visible and harmless, and stays readable."""

import json
import time
import unicodedata

import pytest

from rqsqs._text import printable, printable_json, printable_lines, shortened

BIDI = [*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200E, 0x200F, 0x061C]
OBEYED = [*range(32), *range(0x7F, 0xA0), *BIDI, 0x2028, 0x2029, 0xD800, 0xDFFF]
UNSEEN = [0xAD, 0x200B, 0x2060, 0xFEFF, 0x3164, 0xE0000, 0xE0041, 0xE0100, 0x1D173]
ORDINARY = [
    "",
    "plain",
    'C:\\new "quoted" \\x1b',
    "Grüße, 東京 مرحبا שלום नमस्ते",
    "a\u00a0b\u3000c",
    "👩\u200d💻 ❤️ 🇩🇪",
    "می\u200cخواهم",
]


@pytest.mark.parametrize("code", [*OBEYED, *UNSEEN])
def test_what_a_terminal_obeys_or_hides_is_shown_by_its_code(code):
    shown = printable(f"<{chr(code)}>")
    assert shown.isascii()
    assert shown.isprintable()
    assert shown[1:-1].encode().decode("unicode_escape") == chr(code)
    assert printable(shown) == shown


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_of_all_scripts_stays_as_it_is(text):
    assert printable(text) == printable_lines(text) == printable_json(text) == text


def test_no_control_character_of_unicode_is_left():
    controls = {
        character
        for character in map(chr, range(0x110000))
        if unicodedata.category(character) in CONTROL_CATEGORIES or unicodedata.bidirectional(character) in BIDI_CLASSES
    }
    assert len(controls) > 2000
    assert not {character for character in controls if printable(character) == character}


CONTROL_CATEGORIES = {"Cc", "Zl", "Zp", "Cs"}
BIDI_CLASSES = {"LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"}


def test_joiners_stay_inside_words_and_emoji_only():
    assert printable("admin\u200d") == "admin\\u200d"
    assert printable("ad\u200cmin") == "ad\\u200cmin"
    assert printable("é\u200d\u200dé") == "é\\u200d\\u200dé"


def test_one_line_stays_one_line_and_lines_stay_lines():
    text = "a\tb\r\nc\u2028d\x85e\x0b\x0c\x1c"
    assert printable(text) == "a\\tb\\r\\nc\\u2028d\\x85e\\x0b\\x0c\\x1c"
    assert printable_lines(text) == "a\tb\\r\nc\\u2028d\\x85e\\x0b\\x0c\\x1c"
    assert len(printable(text).splitlines()) == 1
    assert len(printable_lines(text).splitlines()) == 2


def test_json_means_the_same_afterwards():
    value = {" ".join(map(chr, OBEYED)): "".join(map(chr, UNSEEN)) + "Grüße 👩\u200d💻"}
    line = printable_json(json.dumps(value, ensure_ascii=False))
    assert json.loads(line) == value
    assert printable(line) == line
    assert "Grüße 👩\u200d💻" in line
    line.encode()


def test_what_is_left_out_is_counted():
    assert shortened("abc", 3) == "abc"
    assert shortened("x" * 1_234_569, 2) == "xx... and 1,234,567 more characters"


def test_ordinary_text_costs_next_to_nothing():
    text = "an ordinary line of text " * 40_000  # a megabyte
    began = time.process_time()
    for _ in range(10):
        assert printable(text) is text
    assert time.process_time() - began < 1
