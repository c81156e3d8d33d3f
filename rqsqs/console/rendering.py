"""Templates and what they know. Whatever comes from elsewhere (bodies, names, tags, causes) is only ever text."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from rqsqs._text import printable, printable_lines, shortened
from rqsqs.inspection import words
from rqsqs.inspection.looks import empty_in

HERE = Path(__file__).parent
STATIC = HERE / "static"
SPARK_WIDTH, SPARK_HEIGHT = 96, 20


@lru_cache(maxsize=1)
def environment() -> Environment:
    """Jinja2 with our filters; everything is escaped."""
    found = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    found.filters |= {
        "age": lambda seconds: "–" if seconds is None else words.age(seconds),
        "number": words.number,
        "rate": words.rate,
        "counted": words.counted,
        "since": lambda moment: words.since(_moment(moment)),
        "until": lambda moment: words.until(_moment(moment)),
        "moment": _moment_text,
        "iso": lambda moment: _moment(moment).isoformat(timespec="milliseconds"),
        "line": printable,
        "lines": printable_lines,
        "shortened": shortened,
        "spark": spark,
        "empty_in": empty_in,
        "urldecoded": unquote,
    }
    macros = found.get_template("macros.html").module
    found.globals |= {name: macro for name, macro in vars(macros).items() if not name.startswith("_")}
    return found


def prepare() -> None:
    """Compile the first page, so that nobody waits for that."""
    environment().get_template("queues.html")
    environment().get_template("base.html")


def render(template: str, values: Mapping[str, Any], block: str | None = None) -> str:
    """A page, or one block of it."""
    found = environment().get_template(template)
    if block is None:
        return found.render(values)
    return "".join(found.blocks[block](found.new_context(dict(values))))


def lives(template: str) -> bool:
    """Whether a page has a part that is sent again when it changes."""
    return "live" in environment().get_template(template).blocks


@lru_cache(maxsize=32)
def fingerprint(name: str) -> str:
    """Changes when a static file does, so that browsers may keep them."""
    return hashlib.sha256((STATIC / name).read_bytes()).hexdigest()[:12]


def spark(values: list[float | None]) -> Markup:
    """A small chart without axes. Its points are numbers of ours, so it is no text to be escaped."""
    known = [value for value in values if value is not None]
    if len(known) < 2:
        return Markup("")
    highest = max(known) or 1
    step = SPARK_WIDTH / (len(values) - 1)
    parts, is_drawn = [], False
    for n, value in enumerate(values):
        if value is None:
            is_drawn = False
            continue
        y = SPARK_HEIGHT - 1 - (SPARK_HEIGHT - 2) * value / highest
        parts.append(f"{'L' if is_drawn else 'M'}{n * step:.1f} {y:.1f}")
        is_drawn = True
    return Markup(
        f'<svg class="spark" viewBox="0 0 {SPARK_WIDTH} {SPARK_HEIGHT}" aria-hidden="true">'
        f'<path d="{"".join(parts)}"/></svg>'
    )


def _moment(moment: datetime | float) -> datetime:
    """A datetime, or epoch milliseconds."""
    return moment if isinstance(moment, datetime) else datetime.fromtimestamp(moment / 1000, UTC)


def _moment_text(moment: datetime | float) -> str:
    return f"{_moment(moment):%Y-%m-%d %H:%M:%S}"
