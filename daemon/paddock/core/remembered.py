"""Remembered: what one look leaves for the next, beside what everybody can see.

Pure. Where ps could not be read, what earlier polls saw of it stays.
"""

from __future__ import annotations

from dataclasses import replace

from paddock.core.observed import Memory, Observed
from paddock.core.plan import Plan


def remembered(observed: Observed, plan: Plan) -> Memory:
    """The memory after this look and the plan that was made of it."""
    before = observed.memory
    gone = {b.name: before.gone.get(b.name, observed.at) for b in plan.blocked if b.gone}
    return replace(plan.memory or before, gone=gone)
