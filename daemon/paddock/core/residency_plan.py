"""Residency in a plan: a plan of the store, with what memory needs beside it.

Pure. Models are there as they will be after the plan; a runner that the plan unloads is gone.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from paddock.core.desired import Desired, DesiredModel, Residency
from paddock.core.digest import Digest
from paddock.core.observed import Running, Unknown
from paddock.core.plan import Action, Plan, RemoveManifest, UnloadModel, WriteManifest
from paddock.core.policy import policy_at
from paddock.core.residency import plan_residency
from paddock.core.residency_cases import Moment, Runner, Want
from paddock.core.view import View

# Why a model is blocked, or waits, for memory alone: what is in the store is as it should be.
NO_ROOM, SOON = "DoesNotFit", frozenset({"MemoryInUse", "JustLeft"})
SILENT = Residency()


def with_memory(plan: Plan, desired: Desired, view: View) -> Plan:
    """The plan with loads and keep_alives, and with the models that have no place in memory."""
    observed = view.observed
    if isinstance(observed.running, Unknown):
        return plan
    runners = list(_runners(plan, observed.running, view))
    wants = [_want(model, plan, desired, view) for model in _saying(plan, desired, view)]
    moment = Moment(observed.at, plan.generation, desired.memory_limit_bytes, observed.coming)
    found = plan_residency(wants, runners, observed.memory, moment)
    busy = {action.name for action in plan.actions}
    return replace(
        plan,
        actions=tuple(sorted((*plan.actions, *found.actions), key=turn)),
        blocked=(*plan.blocked, *(b for b in found.blocked if b.name not in busy)),
        waiting=(*plan.waiting, *(w for w in found.waiting if w.name not in busy)),
        memory=found.memory,
    )


def without_memory(plan: Plan) -> Plan:
    """The plan without what it says of memory alone, but for the actions."""
    blocked = tuple(found for found in plan.blocked if found.reason != NO_ROOM)
    waiting = tuple(found for found in plan.waiting if found.reason not in SOON)
    return replace(plan, blocked=blocked, waiting=waiting, memory=None)


def is_moving(plan: Plan) -> bool:
    """Whether memory is about to change, so that it should be looked at again in a second."""
    return any(found.reason in SOON for found in plan.waiting)


def has_just_left(plan: Plan | None) -> bool:
    """Whether a model is loaded in a moment, unless a client does so itself."""
    return plan is not None and any(found.reason == "JustLeft" for found in plan.waiting)


def turn(action: Action) -> tuple[int, str]:
    """The legal order. Of one rank those of a kind together, for they may go side by side."""
    return action.rank, type(action).__name__


def _saying(plan: Plan, desired: Desired, view: View) -> list[DesiredModel]:
    """The models of which the file says something; with a memory limit, all of them count."""
    models, held = desired.models, view.observed.memory.held
    if desired.memory_limit_bytes is not None:
        return [models[name] for name in plan.made_of]
    return [models[n] for n in plan.made_of if models[n].residency != SILENT or n in held]


def _want(model: DesiredModel, plan: Plan, desired: Desired, view: View) -> Want:
    num_ctx = model.overrides.parameters.get("num_ctx")
    return Want(
        name=model.name,
        digest=plan.made_of[model.name],
        policy=policy_at(model.residency, desired.timezone, view.observed.at),
        priority=model.residency.priority,
        size_bytes=plan.sizes.get(model.name, 0),
        num_ctx=num_ctx if isinstance(num_ctx, int) else None,
        clients=model.residency.clients,
    )


def _runners(plan: Plan, running: tuple[Running, ...], view: View) -> Iterator[Runner]:
    going = {a.manifest_digest for a in plan.actions if isinstance(a, UnloadModel)}
    changed = {a.name for a in plan.actions if isinstance(a, WriteManifest | RemoveManifest)}
    for runner in running:
        if runner.manifest_digest not in going:
            digest = view.runner_digest(runner)
            reached = runner.name not in changed and _leads_to(runner, digest, view)
            yield Runner(runner, digest, reached)


def _leads_to(runner: Running, digest: Digest | None, view: View) -> bool:
    manifest = view.manifest(runner.name)
    return manifest is not None and manifest.model_digest == digest
