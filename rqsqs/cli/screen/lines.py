"""Lines of the screen: text with a few styles, cut to the width of the terminal.

Styles are what every terminal has, on light and dark ground alike: bold, dim, reversed, and red for what needs
somebody. Where there are no colours, red is bold; nothing is told by a colour alone.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from rqsqs._text import printable

_SGR = {"bold": "1", "dim": "2", "alert": "1;31"}
_WITHOUT_COLOURS = _SGR | {"alert": "1"}
_TO_ASCII = str.maketrans("…▾▴↑↓─", "~v^^v-")


@dataclass
class Line:
    """Text with styles ("" = none); reversed = the row that is selected."""

    spans: list[tuple[str, str]] = field(default_factory=list)
    is_reversed: bool = False

    def add(self, text: str, style: str = "") -> Line:
        """More text; what others wrote in it becomes harmless."""
        if text:
            self.spans.append((printable(text), style))
        return self

    @property
    def text(self) -> str:
        return "".join([text for text, _ in self.spans])

    def ansi(self, width: int, *, colours: bool = True, plain: bool = False) -> str:
        """As the terminal wants it, in so many columns at most.

        Args:
            plain: ASCII only.
        """
        codes, left, found = _SGR if colours else _WITHOUT_COLOURS, width, []
        for text, style in [*self.spans, (" " * width, "")] if self.is_reversed else self.spans:
            if left <= 0:
                break
            if plain:
                text = text.translate(_TO_ASCII).encode("ascii", "replace").decode()
            text, used = fitted(text, left)
            left -= used
            code = ";".join([c for c in (self.is_reversed and "7", codes.get(style)) if c])
            found.append(f"\x1b[{code}m{text}\x1b[0m" if code else text)
        return "".join(found)


def fitted(text: str, width: int) -> tuple[str, int]:
    """As much of a text as fits, and how many columns it takes."""
    if text.isascii():
        return text[:width], min(len(text), width)
    from rich.cells import cell_len, set_cell_size

    length = cell_len(text)
    return (text, length) if length <= width else (set_cell_size(text, width), width)


def shortened(text: str, width: int) -> str:
    """Both ends of a name that is too long."""
    if len(text) <= width:
        return text
    end = max((width - 1) // 2, 0)
    return f"{text[: width - 1 - end]}…{text[-end:] if end else ''}" if width > 1 else text[:width]
