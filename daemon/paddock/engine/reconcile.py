"""Reconcile: observe, plan, apply, until there is nothing left to do.

`plan`, `apply` and `run` are this one path with three stops. Facts that cost are won by actions, so
a new model takes a few rounds: hash, probe, publish. Each round observes anew.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import NamedTuple

from paddock.core.check_plan import check_plan
from paddock.core.desired import Desired
from paddock.core.digest import digest_of
from paddock.core.failures import learn, runnable
from paddock.core.model_status import Cycle
from paddock.core.names import Name
from paddock.core.observed import Memory, Observed, Unknown
from paddock.core.outcome import Failure, Outcome
from paddock.core.plan import Action, Plan, SetKeepAlive
from paddock.core.planner import make_plan
from paddock.core.residency import remember
from paddock.core.view import View, store_matches, view_of
from paddock.engine.apply import Report, apply_plan
from paddock.engine.observe import observe
from paddock.engine.probe import prove_store, store_mismatch
from paddock.engine.world import World
from paddock.errors import PaddockError

MAX_ROUNDS = 5
SECOND_LOOK_S = 0.2
_PROOF = b"paddock asks whether this is your models folder\n"


Publish = Callable[[Cycle], None]


@dataclass(slots=True)
class Recall:
    """What one cycle remembers for the next; a single `apply` starts with nothing."""

    memory: Memory = field(default_factory=Memory)
    failures: Mapping[Name, Failure] = field(default_factory=dict)


class Look(NamedTuple):
    """What was desired (in the store's spelling), seen and planned."""

    desired: Desired
    observed: Observed
    plan: Plan


async def look(world: World, wish: Desired, memory: Memory) -> Look:
    """Observe and plan. Raises OllamaUnreachable, and StoreError where the store is another's."""
    desired, observed = await observe(world, wish, memory)
    world.store.check_exists()
    if _matches(observed) is False:
        # A model may have been made between our look at the folder and at the tags.
        await asyncio.sleep(SECOND_LOOK_S)
        desired, observed = await observe(world, wish, memory)
        if _matches(observed) is False:
            raise store_mismatch(world)
    plan = make_plan(desired, observed)
    if broken := check_plan(plan, desired, observed):
        what = f"a plan broke a rule of the store, and nothing was done: {broken[0]}"
        raise PaddockError(f"{what}; this is a defect of paddock", reason="InvalidPlan")
    return Look(desired, observed, plan)


async def reconcile(
    world: World, wish: Desired, recall: Recall, report: Report, publish: Publish
) -> tuple[Cycle, list[Outcome]]:
    """One cycle, to its end. `publish` is told how it stands after each look."""
    outcomes: list[Outcome] = []
    last: tuple[Action, ...] = ()
    for _ in range(MAX_ROUNDS + wish.depth):
        desired, observed, plan = await look(world, wish, recall.memory)
        recall.memory = _remember(observed, plan)
        recall.failures = learn(recall.failures, plan, (), observed.at, 0.0)
        cycle = Cycle(desired, observed.at, observed, plan, recall.failures)
        publish(cycle)
        actions = runnable(plan, recall.failures, observed.at)
        if not actions:
            return cycle, outcomes
        if actions == last:
            recall.failures = _without_effect(recall.failures, plan, actions, observed.at)
            return replace(cycle, failures=recall.failures), outcomes
        done = await _apply(world, observed, actions, report)
        recall.failures = learn(
            recall.failures,
            plan,
            done,
            datetime.now(UTC),
            random.random(),  # noqa: S311
        )
        outcomes += done
        last = actions
    desired, observed, plan = await look(world, wish, recall.memory)
    return Cycle(desired, observed.at, observed, plan, recall.failures), outcomes


async def _apply(
    world: World, observed: Observed, actions: tuple[Action, ...], report: Report
) -> list[Outcome]:
    if _matches(observed) is None:
        # An empty store proves nothing by what it lists: see a blob of ours appear in it. One that
        # a killed process left there would prove any server's.
        world.store.remove_blob(digest_of(_PROOF))
        world.store.remove_blob(await prove_store(world, _PROOF))
    return await apply_plan(world, actions, report)


def _matches(observed: Observed) -> bool | None:
    view = view_of(observed)
    return store_matches(view) if isinstance(view, View) else None


def _remember(observed: Observed, plan: Plan) -> Memory:
    view = view_of(observed)
    if isinstance(observed.running, Unknown) or isinstance(view, Unknown):
        return observed.memory
    running = [(runner, view.runner_digest(runner)) for runner in observed.running]
    asserting = {plan.made_of.get(a.name) for a in plan.actions if isinstance(a, SetKeepAlive)}
    wants = plan.made_of.items()
    return remember(observed.memory, wants, running, observed.at, asserting)


def _without_effect(
    failures: Mapping[Name, Failure], plan: Plan, actions: tuple[Action, ...], now: datetime
) -> dict[Name, Failure]:
    """The same plan twice: what was done did not help, so it is tried again later, not at once."""
    outcomes = [
        Outcome(action, "failed", 0.0, "NoEffect", f"{action.message}: done, and had no effect")
        for action in actions
    ]
    return learn(failures, plan, outcomes, now, 0.0)
