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
from paddock.core.observed import Memory, Observed
from paddock.core.outcome import Failure, Outcome
from paddock.core.plan import Action, Plan, Subject
from paddock.core.planner import make_plan, plan_again
from paddock.core.questions import unverified
from paddock.core.remembered import remembered
from paddock.core.settled import Last, stands
from paddock.core.view import View, store_matches, view_of
from paddock.engine.apply import Report, apply_plan
from paddock.engine.jobs import LONG, Jobs
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
    """What one cycle remembers for the next; a single `apply` starts with nothing, and has nobody
    to do `jobs` beside it."""

    memory: Memory = field(default_factory=Memory)
    failures: Mapping[Subject, Failure] = field(default_factory=dict)
    jobs: Jobs | None = None
    last: Last | None = None


class Look(NamedTuple):
    """What was desired (in the store's spelling), seen and planned."""

    desired: Desired
    observed: Observed
    plan: Plan


async def look(world: World, wish: Desired, memory: Memory, last: Last | None = None) -> Look:
    """Observe and plan; `last` spares planning anew what it settled. Raises OllamaUnreachable, and
    StoreError where the store is another's."""
    desired, observed = await observe(world, wish, memory)
    world.store.check_exists()
    settled = last if last is not None and stands(last, desired, observed) else None
    if settled is None and _matches(observed) is False:
        # A model may have been made between our look at the folder and at the tags.
        await asyncio.sleep(SECOND_LOOK_S)
        desired, observed = await observe(world, wish, memory)
        if _matches(observed) is False:
            raise store_mismatch(world)
    if settled is None:
        plan = make_plan(desired, observed)
    else:
        plan = plan_again(settled.plan, desired, observed)
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
        cycle, actions = await _round(world, wish, recall)
        publish(cycle)
        if not all(recall.jobs is not None and recall.jobs.has(action) for action in actions):
            await _prove(world, cycle)
        actions = _beside(recall.jobs, cycle, actions)
        if not actions and recall.jobs is None and await _second_look(cycle):
            continue
        if not actions:
            return cycle, outcomes
        if actions == last:
            _learn(recall, cycle, _without_effect(actions))
            return replace(cycle, failures=recall.failures), outcomes
        world.state.record_discovered(cycle.desired.found.names, cycle.desired.found.devices)
        done = await apply_plan(world, actions, report)
        _learn(recall, cycle, done)
        outcomes += done
        last = actions
    cycle, _ = await _round(world, wish, recall)
    return cycle, outcomes


async def _round(world: World, wish: Desired, recall: Recall) -> tuple[Cycle, tuple[Action, ...]]:
    """Look and plan; the cycle as it stands, and what is to be done now."""
    ended = [] if recall.jobs is None else recall.jobs.take()
    desired, observed, plan = await look(world, wish, recall.memory, recall.last)
    recall.last = Last(desired, observed, plan)
    recall.memory = remembered(observed, plan)
    recall.failures = learn(recall.failures, plan, ended, observed.at, _jitter())
    cycle = Cycle(desired, observed.at, observed, plan, recall.failures)
    return cycle, runnable(plan, recall.failures, observed.at)


def _beside(jobs: Jobs | None, cycle: Cycle, actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """Have what takes long done beside the cycles, where there is somebody for it; the rest."""
    if jobs is None or cycle.plan is None or cycle.observed is None:
        return actions
    jobs.give_up_but(cycle.plan.actions)
    jobs.start(action for action in actions if isinstance(action, LONG))
    if not actions:
        jobs.verify(unverified(cycle.desired, cycle.observed))
    return tuple(action for action in actions if not isinstance(action, LONG))


async def _second_look(cycle: Cycle) -> bool:
    """Wait until what is gone counts as gone, where a model shall be withdrawn for it."""
    times = [] if cycle.plan is None else [b.withdraw_at for b in cycle.plan.blocked]
    due = max((at for at in times if at is not None), default=None)
    if due is None:
        return False
    await asyncio.sleep(max((due - datetime.now(UTC)).total_seconds(), 0) + 0.01)
    return True


async def _prove(world: World, cycle: Cycle) -> None:
    """Before anything is changed the folder is known to be the server's."""
    if cycle.observed is not None and _matches(cycle.observed) is None:
        # An empty store proves nothing by what it lists: see a blob of ours appear in it. One that
        # a killed process left there would prove any server's.
        world.store.remove_blob(digest_of(_PROOF))
        world.store.remove_blob(await prove_store(world, _PROOF))


def _learn(recall: Recall, cycle: Cycle, outcomes: list[Outcome]) -> None:
    assert cycle.plan is not None
    now = datetime.now(UTC)
    recall.failures = learn(recall.failures, cycle.plan, outcomes, now, _jitter())


def _jitter() -> float:
    return random.random()  # noqa: S311


def _matches(observed: Observed) -> bool | None:
    view = view_of(observed)
    return store_matches(view) if isinstance(view, View) else None


def _without_effect(actions: tuple[Action, ...]) -> list[Outcome]:
    """The same plan twice: what was done did not help, so it is tried again later, not at once."""
    return [
        Outcome(action, "failed", 0.0, "NoEffect", f"{action.message}: done, and had no effect")
        for action in actions
    ]
