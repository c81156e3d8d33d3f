"""Development: tells when Python files change. Needs watchfiles."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Iterable, Sequence
from pathlib import Path

from rqsqs.errors import UsageError


async def changes(folders: Sequence[Path]) -> AsyncIterator[list[str]]:
    """Names of *.py files below the folders that were written, made or removed; hidden folders do not count."""
    require(folders)
    import watchfiles

    ignored = set(watchfiles.DefaultFilter.ignore_dirs)

    def counts(_: watchfiles.Change, path: str) -> bool:
        return path.endswith(".py") and ignored.isdisjoint(path.split(os.sep))

    async for found in watchfiles.awatch(*folders, watch_filter=counts):
        yield _names(found)


def _names(found: Iterable[tuple[object, str]]) -> list[str]:
    return sorted({os.path.relpath(path) for _, path in found})


def require(folders: Sequence[Path]) -> None:
    """Can they be watched? If not, UsageError tells why."""
    try:
        import watchfiles  # noqa: F401
    except ImportError:
        raise UsageError("--reload needs watchfiles: pip install 'rqsqs[cli]'") from None
    for folder in folders:
        if not folder.is_dir():
            raise UsageError(f"there is no folder {str(folder)!r} to watch")
