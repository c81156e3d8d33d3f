"""The text in which Prometheus reads metrics: its format 0.0.4, and OpenMetrics 1.0.

A family is written as its head and then its samples, all of them before the next family begins.
Sources: prometheus.io, "Exposition formats"; the OpenMetrics 1.0 specification.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, NamedTuple


class Format(NamedTuple):
    """A format of the text."""

    name: str
    content_type: str
    is_openmetrics: bool


TEXT = Format("text/plain", "text/plain; version=0.0.4; charset=utf-8", False)
OPENMETRICS = Format("application/openmetrics-text", "application/openmetrics-text; version=1.0.0; charset=utf-8", True)
END = "# EOF\n"  # of OpenMetrics
_SUFFIXES = {"counter": "_total", "info": "_info"}


@dataclass(frozen=True, slots=True)
class Family:
    """Metrics of one name.

    Attributes:
        name: without `_total` and `_info`.
        kind: what its numbers are.
        help: what they say.
    """

    name: str
    kind: Literal["counter", "gauge", "histogram", "info"]
    help: str

    @property
    def sample(self) -> str:
        """The name of its samples; of a histogram what they begin with."""
        return self.name + _SUFFIXES.get(self.kind, "")

    def head(self, format: Format) -> str:
        """The lines before its samples."""
        if not format.is_openmetrics:
            kind = "gauge" if self.kind == "info" else self.kind
            return f"# HELP {self.sample} {self.help}\n# TYPE {self.sample} {kind}\n"
        unit = next((unit for unit in ("seconds", "bytes") if self.name.endswith("_" + unit)), None)
        lines = f"# HELP {self.name} {self.help}\n# TYPE {self.name} {self.kind}\n"
        return lines if unit is None or self.kind == "info" else f"{lines}# UNIT {self.name} {unit}\n"

    def written(self, format: Format, samples: Iterable[tuple[str, float]]) -> str:
        """Head and samples, each with its suffix and labels as text; nothing without samples."""
        lines = [f"{self.sample}{rest} {value}\n" for rest, value in samples]
        return "".join([self.head(format), *lines]) if lines else ""


def labels(**values: str) -> str:
    """Labels as they stand behind a name."""
    written = [f'{name}="{_escaped(value)}"' for name, value in values.items()]
    return "{" + ",".join(written) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")


def format_for(accept: str) -> Format:
    """The format that an Accept header likes best: OpenMetrics only if it is named, else the text format."""
    best: dict[Format, float] = {TEXT: 0.0, OPENMETRICS: 0.0}
    for media in accept.lower().split(","):
        kind, *parameters = [part.strip() for part in media.split(";")]
        given = dict([parameter.partition("=")[::2] for parameter in parameters])
        if kind == OPENMETRICS.name and given.get("version", "1.0.0") in ("1.0.0", "0.0.1"):
            best[OPENMETRICS] = max(best[OPENMETRICS], _quality(given))
        elif kind in (TEXT.name, "text/*", "*/*"):
            best[TEXT] = max(best[TEXT], _quality(given))
    return OPENMETRICS if best[OPENMETRICS] and best[OPENMETRICS] >= best[TEXT] else TEXT


def takes_gzip(accept_encoding: str) -> bool:
    """Whether an Accept-Encoding header takes gzip."""
    for coding in accept_encoding.lower().split(","):
        name, *parameters = [part.strip() for part in coding.split(";")]
        if name == "gzip":
            return _quality(dict([parameter.partition("=")[::2] for parameter in parameters])) > 0
    return False


def _quality(parameters: dict[str, str]) -> float:
    try:
        return float(parameters.get("q", "1"))
    except ValueError:
        return 0.0
