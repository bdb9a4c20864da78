"""Changes of folders where there is no inotify, by the library watchfiles."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import watchfiles

from paddock.edges.watching.change import Change
from paddock.edges.watching.changes import MOST_S, Scope

STEP_MS = 25

_CHANGES = {
    watchfiles.Change.added: Change.ADDED,
    watchfiles.Change.modified: Change.MODIFIED,
    watchfiles.Change.deleted: Change.DELETED,
}


async def changes_by_watchfiles(
    scope: Scope, stop: asyncio.Event, timeout_s: float
) -> AsyncGenerator[set[str], None]:
    """As `changes`, on any system; nothing says when the watch stands, but that time goes by."""
    watch = watchfiles.awatch(
        *scope.folders,
        watch_filter=lambda change, path: scope.matters(_CHANGES[change], path),
        debounce=round(MOST_S * 1000),
        step=STEP_MS,
        stop_event=stop,
        rust_timeout=round(timeout_s * 1000),
        yield_on_timeout=True,
        recursive=scope.below,
        ignore_permission_denied=True,
    )
    try:
        async for found in watch:
            yield {path for _, path in found}
    except RuntimeError as error:  # what its library meets
        raise OSError(str(error)) from error
