"""A pull's stream, line by line, and how long it may bring nothing.

Ollama writes a line every 60 ms while it waits for a layer, also when no byte comes, and none at
all while it verifies (ollama:server/download.go Wait, server/images.go PullModel): so it is not the
silence that counts, but the time since something last changed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from paddock.core.names import Name
from paddock.errors import OllamaError

if TYPE_CHECKING:
    import ollama

PULL_STALL_S = 120.0
# The slowest disk on which Ollama is given the time to verify what it fetched.
VERIFY_BYTES_PER_S = 20e6


@dataclass(frozen=True, slots=True)
class PullLine:
    """What Ollama says that it does; for a layer its digest, and its bytes done and in all."""

    status: str
    digest: str
    done_bytes: int
    total_bytes: int


Progress = Callable[[PullLine], None]


async def follow(
    reference: Name, parts: AsyncIterator[ollama.ProgressResponse], progress: Progress
) -> None:
    """Read a pull's stream to its end. Raises OllamaError(PullStalled) when nothing changes."""
    clock = asyncio.get_running_loop().time
    last, total_bytes = PullLine("", "", 0, 0), 0
    try:
        async with asyncio.timeout(PULL_STALL_S) as limit:
            async for part in parts:
                line = _line(part)
                if line != last:
                    total_bytes += line.total_bytes if line.digest != last.digest else 0
                    verify_s = 0.0 if line.digest else total_bytes / VERIFY_BYTES_PER_S
                    limit.reschedule(clock() + PULL_STALL_S + verify_s)
                    last = line
                progress(line)
    except TimeoutError as error:
        at = f"at {last.status}, " if last.status else ""
        what = f"the pull of {reference} stands still: {at}nothing new for {PULL_STALL_S:g} s"
        hint = "what came is kept, and the next try goes on from there"
        raise OllamaError(f"{what}; {hint}", reason="PullStalled") from error


def _line(part: ollama.ProgressResponse) -> PullLine:
    return PullLine(part.status or "", part.digest or "", part.completed or 0, part.total or 0)
