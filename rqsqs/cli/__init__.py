"""The command `rqsqs`. One module per group of commands; `program` puts them together, `settings` connects.

What all commands share: --url, --prefix and --json before or behind the command's name, and these exit codes.

    0  done
    1  refused or failed: the queue does not exist, a message is too large, some entries of a batch failed
    2  called in a wrong way: an unknown option, a value that its rule does not allow
    3  trouble with the server: unreachable, read-only, full, wrong password
    4  nothing there: an empty receive, no queues to list, nothing found, nothing to move

Results go to stdout, everything else to stderr: notes, progress, and errors in one line.
"""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line."""
    try:
        from rqsqs.cli.program import program

        program()
    except ImportError as error:
        if (error.name or "").partition(".")[0] not in ("click", "rich"):
            raise
        print("rqsqs: the command line needs click and rich: pip install 'rqsqs[cli]'", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:  # while still importing
        print("rqsqs: interrupted", file=sys.stderr)
        sys.exit(130)
