"""Planning: one look at everything, and the plan that it makes.

What `paddock plan` stops at. Changes nothing; a store that is another server's is refused here, and
no plan leaves that breaks a rule of the store.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple

from paddock.core.check_plan import check_plan
from paddock.core.desired import Desired
from paddock.core.observed import Memory, Observed
from paddock.core.plan import Plan
from paddock.core.planner import make_plan, plan_again
from paddock.core.settled import Last, stands
from paddock.core.view import View, store_matches, view_of
from paddock.engine.look import hold_store
from paddock.engine.observe import Wish, observe
from paddock.engine.probe import store_mismatch
from paddock.engine.world import World
from paddock.errors import PaddockError

SECOND_LOOK_S = 0.2


class Look(NamedTuple):
    """What was desired (in the store's spelling), seen and planned."""

    desired: Desired
    observed: Observed
    plan: Plan


async def look(world: World, wish: Wish, memory: Memory, last: Last | None = None) -> Look:
    """Observe and plan; `last` spares planning anew what it settled. Raises OllamaUnreachable,
    SpecError, and StoreError where the store is another's."""
    await asyncio.to_thread(hold_store, world)
    desired, observed = await observe(world, wish, memory)
    world.store.check_exists()
    settled = last if last is not None and stands(last, desired, observed) else None
    if settled is None and matches(observed) is False:
        # A model may have been made between our look at the folder and at the tags.
        await asyncio.sleep(SECOND_LOOK_S)
        desired, observed = await observe(world, wish, memory)
        if matches(observed) is False:
            raise store_mismatch(world)
    if settled is None:
        plan = make_plan(desired, observed)
    else:
        plan = plan_again(settled.plan, desired, observed)
    if broken := check_plan(plan, desired, observed):
        what = f"a plan broke a rule of the store, and nothing was done: {broken[0]}"
        raise PaddockError(f"{what}; this is a defect of paddock", reason="InvalidPlan")
    return Look(desired, observed, plan)


def matches(observed: Observed) -> bool | None:
    """Whether what the server lists is in this store; None: nothing tells."""
    view = view_of(observed)
    return store_matches(view) if isinstance(view, View) else None
