"""Write the table of permissions in docs/console.md: what each page and button of the console needs.

python tools/console_permissions.py             writes it
python tools/console_permissions.py --check     fails if the file says something else
"""

from __future__ import annotations

import sys
from pathlib import Path

from rqsqs.console.permissions import NEEDS, Needs

FILE = Path(__file__).parent.parent / "docs" / "console.md"
BEGIN = "<!-- the table is written by tools/console_permissions.py -->\n"
END = "<!-- end of the table -->\n"


def main() -> int:
    """Do what the command line says."""
    text = FILE.read_text("utf-8")
    written = with_table(text)
    if "--check" in sys.argv[1:]:
        if text != written:
            print(f"{FILE} has another table: python tools/console_permissions.py writes it")
        return int(text != written)
    FILE.write_text(written, "utf-8")
    return 0


def with_table(text: str) -> str:
    """The text of the page with the table as it must be."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table()}\n{END}{after}"


def table() -> str:
    """The table, in Markdown."""
    rows = [f"| {needs.does} | `{route}` | {_permissions(needs)} |" for route, needs in NEEDS.items()]
    return "\n".join(["| To | Request | Permissions |", "|---|---|---|", *rows, ""])


def _permissions(needs: Needs) -> str:
    if needs.is_for_all:
        return "nobody needs to be logged in"
    texts = [" or ".join(f"`{each}`" for each in one.split(" or ")) for one in needs.permissions]
    return " and ".join(texts) or "being logged in"


if __name__ == "__main__":
    sys.exit(main())
