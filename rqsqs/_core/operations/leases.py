"""Builder of the lease that says which process does something for all."""

from __future__ import annotations

from rqsqs._core.operation import Operation


def take_lease(lease: str, holder: str, ms: int) -> Operation:
    """Take it, or keep it; the result is (who holds it now, the server's time in ms)."""
    return Operation("take_lease", (lease,), (holder, str(ms)), lambda r: (r[0].decode(errors="replace"), int(r[1])))
