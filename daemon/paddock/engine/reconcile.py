"""Reconcile: observe, plan, apply, until there is nothing left to do.

`plan`, `apply` and `run` are this one path with three stops. Facts that cost are won by actions, so
a new model takes a few rounds: hash, probe, publish. Each round observes anew.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta

import structlog

from paddock.core.desired import Desired
from paddock.core.digest import digest_of
from paddock.core.failures import learn, postponed, runnable
from paddock.core.model_status import Cycle
from paddock.core.observed import Memory, Observed, Unknown
from paddock.core.outcome import Failure, Outcome
from paddock.core.plan import Action, LoadModel, Plan, SetKeepAlive, Subject
from paddock.core.planner import plan_again
from paddock.core.questions import unverified
from paddock.core.remembered import moved, remembered
from paddock.core.residency_memory import learned, restarted, under_way
from paddock.core.residency_plan import is_moving
from paddock.core.settled import Last, stands
from paddock.core.view import view_of
from paddock.core.withdraw import GONE
from paddock.engine.apply import Report, apply_plan
from paddock.engine.clock import Clock
from paddock.engine.jobs import LONG, MEMORY, Jobs
from paddock.engine.observe import observe_memory
from paddock.engine.planning import Look, look, matches
from paddock.engine.polls import is_written
from paddock.engine.probe import prove_store
from paddock.engine.world import World

log = structlog.get_logger()

MAX_ROUNDS = 5
MOVES = timedelta(seconds=1)
_PROOF = b"paddock asks whether this is your models folder\n"


Publish = Callable[[Cycle], None]


@dataclass(slots=True)
class Recall:
    """What one cycle remembers for the next; a single `apply` starts with nothing, and has nobody
    to do `jobs` beside it. `is_poll`: nobody asked for this cycle, and all that is there is watched
    but memory; `looked` says when all was looked at last, for which wish."""

    memory: Memory = field(default_factory=Memory)
    failures: Mapping[Subject, Failure] = field(default_factory=dict)
    jobs: Jobs | None = None
    last: Last | None = None
    is_poll: bool = False
    looked: tuple[datetime, Desired] | None = None
    clock: Clock = field(default_factory=Clock)

    @classmethod
    def of(cls, world: World, jobs: Jobs) -> Recall:
        """What a daemon begins with: some of memory is known from before its start."""
        return cls(Memory(sizes=world.state.sizes(), held=world.state.held()), jobs=jobs)

    def ollama_restarted(self) -> None:
        """Nothing has been loaded since Ollama started."""
        self.memory = restarted(self.memory)

    def follow_clock(self) -> bool:
        """What waits goes on to wait for as long as it had to, though the wall clock was set;
        whether it was."""
        if by := self.clock.moved_by():
            log.info("clock moved", by_s=round(by.total_seconds(), 1))
            self.memory, self.failures = moved(self.memory, by), postponed(self.failures, by)
        return bool(by)


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
    recall.follow_clock()
    ended = [] if recall.jobs is None else recall.jobs.take()
    _learn_residency(recall, ended)
    desired, observed, plan = await _look(world, wish, recall)
    if recall.follow_clock():  # the look is dated by the new one, what it remembers by the old one
        desired, observed, plan = await _look(world, wish, recall)
    recall.last = Last(desired, observed, plan)
    recall.memory = remembered(observed, plan)
    if recall.jobs is not None:
        world.state.remember_held(recall.memory.held)
    ended = [_judged(outcome, plan) for outcome in ended]
    recall.failures = learn(recall.failures, plan, ended, observed.at, _jitter())
    cycle = Cycle(desired, observed.at, observed, plan, recall.failures)
    return cycle, runnable(plan, recall.failures, observed.at)


async def _look(world: World, wish: Desired, recall: Recall) -> Look:
    """A poll looks at memory alone, where that shows nothing to be done, all else stood when it was
    looked at last, and that is not long ago."""
    last, is_poll, recall.is_poll = recall.last, recall.is_poll, False
    if last is not None and is_poll and not recall.failures and _is_fresh(world, wish, recall):
        observed = await observe_memory(world, last.observed, recall.memory)
        if stands(last, last.desired, observed):
            plan = plan_again(last.plan, last.desired, observed)
            if not plan.actions:
                return Look(last.desired, observed, plan)
    found = await look(world, lambda: wish, recall.memory, last)
    recall.looked = found.observed.at, wish
    return found


def _is_fresh(world: World, wish: Desired, recall: Recall) -> bool:
    if recall.looked is None or recall.looked[1] is not wish:
        return False
    if recall.last is not None and is_written(recall.last.desired):
        return False
    age_s = (world.clock() - recall.looked[0]).total_seconds()
    return 0 <= age_s < world.interval_s - world.interval_s / 10


def _beside(jobs: Jobs | None, cycle: Cycle, actions: tuple[Action, ...]) -> tuple[Action, ...]:
    """Have what takes long done beside the cycles, where there is somebody for it; the rest."""
    if jobs is None or cycle.plan is None or cycle.observed is None:
        return actions
    here = tuple(action for action in actions if not isinstance(action, LONG))
    changing = {action.subject for action in here}
    # A model is loaded once the store has it as it shall be.
    early = [a for a in cycle.plan.actions if isinstance(a, MEMORY) and a.subject in changing]
    jobs.give_up_but(
        [action for action in cycle.plan.actions if action not in early],
        _loading(cycle.plan, cycle.observed),
    )
    jobs.start(a for a in actions if isinstance(a, LONG) and a not in early)
    if not actions:
        jobs.verify(unverified(cycle.desired, cycle.observed))
    return here


def _loading(plan: Plan, observed: Observed) -> Set[object]:
    """The questions about models of which no plan tells while they are loaded: a keep_alive may
    load its model anew, and an old Ollama lists one that it is loading."""
    view = view_of(observed)
    if isinstance(observed.running, Unknown) or isinstance(view, Unknown):
        return frozenset()
    running = {view.runner_digest(runner) for runner in observed.running}
    listed = {(LoadModel, name) for name, digest in plan.made_of.items() if digest in running}
    return listed | {(SetKeepAlive, name) for name in plan.made_of}


async def _second_look(cycle: Cycle) -> bool:
    """Wait until what is gone counts as gone, where a model is withdrawn, or loaded, for it."""
    times = [] if cycle.plan is None else [b.withdraw_at for b in cycle.plan.blocked]
    if cycle.plan is not None and is_moving(cycle.plan):
        times.append(cycle.at + MOVES)
    due = max((at for at in times if at is not None), default=None)
    if due is None:
        return False
    rest = min(max(due - datetime.now(UTC), timedelta()), GONE)  # the clock may be set meanwhile
    await asyncio.sleep(rest.total_seconds() + 0.01)
    return True


async def _prove(world: World, cycle: Cycle) -> None:
    """Before anything is changed the folder is known to be the server's."""
    if cycle.observed is not None and matches(cycle.observed) is None:
        # An empty store proves nothing by what it lists: see a blob of ours appear in it. One that
        # a killed process left there would prove any server's.
        world.store.remove_blob(digest_of(_PROOF))
        world.store.remove_blob(await prove_store(world, _PROOF))


def _learn(recall: Recall, cycle: Cycle, outcomes: list[Outcome]) -> None:
    assert cycle.plan is not None
    now = datetime.now(UTC)
    _learn_residency(recall, outcomes)
    recall.failures = learn(recall.failures, cycle.plan, outcomes, now, _jitter())


def _learn_residency(recall: Recall, outcomes: Iterable[Outcome]) -> None:
    """What actions on memory came to, and which loads are under way: to be asked before a look."""
    made_of = {} if recall.last is None else recall.last.plan.made_of
    names = [] if recall.jobs is None else recall.jobs.loading
    recall.memory = under_way(learned(recall.memory, outcomes, made_of), names, made_of)


def _jitter() -> float:
    return random.random()  # noqa: S311


def _judged(outcome: Outcome, plan: Plan) -> Outcome:
    """What a job did to memory and is to be done again has had no effect."""
    action = outcome.action
    if outcome.result == "done" and isinstance(action, MEMORY) and action in plan.actions:
        return _without_effect((action,))[0]
    return outcome


def _without_effect(actions: tuple[Action, ...]) -> list[Outcome]:
    """The same plan twice: what was done did not help, so it is tried again later, not at once."""
    return [
        Outcome(action, "failed", 0.0, "NoEffect", f"{action.message}: done, and had no effect")
        for action in actions
    ]
