"""Settled: a plan that stands for as long as nothing of what it was made of changes.

Pure. What the store and the trees need does not depend on the time, as what memory shall hold does:
where a look finds what the last one found, and nothing was to be done, only memory is planned anew.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from paddock.core.desired import Desired
from paddock.core.observed import Observed
from paddock.core.plan import Plan
from paddock.core.residency_plan import without_memory


@dataclass(frozen=True, slots=True)
class Last:
    """A plan, and what it was made of."""

    desired: Desired
    observed: Observed
    plan: Plan


def stands(last: Last, desired: Desired, observed: Observed) -> bool:
    """Whether the last plan's word on the store holds for this look: it had nothing to do, and all
    that it was made of is the same."""
    plan, before = without_memory(last.plan), last.observed
    if plan.actions or plan.blocked or plan.waiting:
        return False
    if not before.complete or not observed.complete:
        return False
    now = replace(
        observed,
        at=before.at,
        memory=before.memory,
        running=before.running,
        coming=before.coming,
    )
    return desired == last.desired and now == before
