"""Charts as SVG, in a light and a dark variant: horizontal bars, because names are long and phones narrow.

Text is text, in whatever font the reader has; colours stand on the page's own ground, so they have to contrast with it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

WIDTH, MARGIN = 400, 8
ROW, BAR = 38, 12  # a name with its value above the bar
SCHEMES = {  # text, text of values, our bars, others, the line of a target
    "light": ("#1f2328", "#59636e", "#0969da", "#8c959f", "#9a6700"),
    "dark": ("#f0f6fc", "#9198a1", "#4493f8", "#6e7681", "#d29922"),
}
FONT = "-apple-system, BlinkMacSystemFont, 'Segoe UI', 'Noto Sans', Helvetica, Arial, sans-serif"


@dataclass(frozen=True, slots=True)
class Bar:
    """One row.

    Attributes:
        is_ours: drawn in the colour of what the page is about.
    """

    name: str
    value: float
    is_ours: bool = False


@dataclass(frozen=True, slots=True)
class Chart:
    """A title, what it counts, and the bars.

    Attributes:
        name: of the files.
        digits: how many after the point.
        mark: a line across all bars, and what it is called.
    """

    name: str
    title: str
    unit: str
    bars: Sequence[Bar]
    digits: int = 0
    mark: tuple[float, str] | None = None

    def svg(self, scheme: str) -> str:
        """The picture."""
        text, faint, ours, others, line = SCHEMES[scheme]
        most = max([bar.value for bar in self.bars] + ([self.mark[0]] if self.mark else [])) or 1
        full = WIDTH - 2 * MARGIN
        height = 56 + ROW * len(self.bars) + (18 if self.mark else 0)
        parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}" '
            f'role="img" aria-labelledby="title" font-family="{FONT}" font-size="14">',
            f'<title id="title">{escape(self.text())}</title>',
            f'<text x="{MARGIN}" y="20" font-size="16" font-weight="600" fill="{text}">{escape(self.title)}</text>',
            f'<text x="{MARGIN}" y="39" fill="{faint}">{escape(self.unit)}</text>',
        ]
        for i, bar in enumerate(self.bars):
            y = 56 + ROW * i
            weight = ' font-weight="600"' if bar.is_ours else ""
            long = max(2.0, full * bar.value / most)
            parts += [
                f'<text x="{MARGIN}" y="{y + 13}" fill="{text}"{weight}>{escape(bar.name)}</text>',
                f'<text x="{WIDTH - MARGIN}" y="{y + 13}" text-anchor="end" fill="{text}"{weight}>'
                f"{self.number(bar.value)}</text>",
                f'<rect x="{MARGIN}" y="{y + 18}" width="{long:.1f}" height="{BAR}" rx="2" '
                f'fill="{ours if bar.is_ours else others}"/>',
            ]
        if self.mark:
            x, bottom = MARGIN + full * self.mark[0] / most, 56 + ROW * len(self.bars)
            anchor = "end" if x > WIDTH / 2 else "start"
            for i in range(len(self.bars)):
                y = 56 + ROW * i + 16
                parts.append(f'<path d="M{x:.1f} {y}v{BAR + 4}" stroke="{line}" stroke-width="2"/>')
            parts.append(
                f'<text x="{x:.1f}" y="{bottom + 8}" text-anchor="{anchor}" font-size="13" fill="{line}">'
                f"{escape(self.mark[1])}</text>"
            )
        return "\n".join([*parts, "</svg>", ""])

    def number(self, value: float) -> str:
        """As people read it."""
        return f"{value:,.{self.digits}f}"

    def text(self) -> str:
        """All of it in words, for those who do not see it."""
        rows = "; ".join(f"{bar.name} {self.number(bar.value)}" for bar in self.bars)
        mark = f". {self.mark[1]}" if self.mark else ""
        return f"{self.title}, {self.unit}: {rows}{mark}"

    def write(self, folder: Path) -> None:
        """Both variants."""
        folder.mkdir(exist_ok=True)
        for scheme in SCHEMES:
            (folder / f"{self.name}-{scheme}.svg").write_text(self.svg(scheme), "utf-8")

    def html(self, folder: str) -> str:
        """What shows the one that fits the reader's colours."""
        alt = escape(self.text(), {'"': "&quot;"})
        return (
            f'<picture><source media="(prefers-color-scheme: dark)" srcset="{folder}/{self.name}-dark.svg">'
            f'<img src="{folder}/{self.name}-light.svg" width="{WIDTH}" align="top" alt="{alt}"></picture>'
        )
