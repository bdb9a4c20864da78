"""Remembered: what one look leaves for the next, beside what everybody can see.

Pure. Where ps could not be read, what earlier polls saw of it stays.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from paddock.core.observed import Memory, Observed
from paddock.core.plan import Plan


def remembered(observed: Observed, plan: Plan) -> Memory:
    """The memory after this look and the plan that was made of it."""
    before = observed.memory
    gone = {b.name: before.gone.get(b.name, observed.at) for b in plan.blocked if b.gone}
    return replace(plan.memory or before, gone=gone)


def moved(memory: Memory, by: timedelta) -> Memory:
    """The memory once the wall clock was set, or the host slept: what waits goes on to wait for as
    long as it had to. When a poll was, and what Ollama said of expiries, stays as it was said."""
    full = memory.full
    return replace(
        memory,
        gone={name: at + by for name, at in memory.gone.items()},
        went={digest: replace(went, at=went.at + by) for digest, went in memory.went.items()},
        coming={digest: at + by for digest, at in memory.coming.items()},
        full=full and replace(full, since=full.since + by, until=full.until + by),
    )
