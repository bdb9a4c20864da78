"""Remembered: what one look leaves for the next, beside what everybody can see.

Pure. Where ps could not be read, what earlier polls saw of it stays.
"""

from __future__ import annotations

from dataclasses import replace

from paddock.core.observed import Memory, Observed, Unknown
from paddock.core.plan import Plan, SetKeepAlive
from paddock.core.residency import remember
from paddock.core.view import view_of


def remembered(observed: Observed, plan: Plan) -> Memory:
    """The memory after this look and the plan that was made of it."""
    before = observed.memory
    gone = {b.name: before.gone.get(b.name, observed.at) for b in plan.blocked if b.gone}
    memory = replace(before, gone=gone)
    view = view_of(observed)
    if isinstance(observed.running, Unknown) or isinstance(view, Unknown):
        return memory
    running = [(runner, view.runner_digest(runner)) for runner in observed.running]
    asserting = {plan.made_of.get(a.name) for a in plan.actions if isinstance(a, SetKeepAlive)}
    return remember(memory, plan.made_of.items(), running, observed.at, asserting)
