"""From what was wanted, seen, planned and done to a Status.

Pure. Decides nothing: it words what the planner decided and what the edges saw.
"""

from __future__ import annotations

from dataclasses import replace

from paddock.core.conditions import (
    Condition,
    Fact,
    ModelStatus,
    Status,
    Truth,
    condition,
    conditions_of,
    date_transitions,
)
from paddock.core.model_status import Cycle, Index, model_status
from paddock.core.ownership import ledger_note
from paddock.core.plan import Blocked
from paddock.core.policy import next_change
from paddock.core.tree_status import published
from paddock.core.view import View, view_of
from paddock.errors import listed


def summarize(cycle: Cycle) -> Status:
    """The status of the host and of each declared model, in the order of their names."""
    cycle = _without_server(cycle)
    view = None if cycle.observed is None else view_of(cycle.observed)
    index = Index.of(cycle, view if isinstance(view, View) else None)
    names = sorted(cycle.desired.models)
    models = tuple(model_status(cycle.desired.models[name], index) for name in names)
    return Status(
        file=cycle.desired.file,
        generation=cycle.desired.generation,
        conditions=_host(cycle, models, index.view),
        models=models,
    )


def retold(status: Status, told: Cycle, cycle: Cycle) -> Status:
    """The status after another one, which was of the cycle `told`: each condition dated by when it
    changed. The same object where, but for the time, nothing is to be told anew."""
    if _tells_the_same(told, cycle):
        return status
    return date_transitions(summarize(cycle), status)


def _tells_the_same(before: Cycle, now: Cycle) -> bool:
    if before.observed is None or now.observed is None or now.at < before.at:
        return False
    if (changes_at := next_change(before.desired, before.at)) is not None and changes_at <= now.at:
        return False
    looked = replace(now.observed, at=before.observed.at, memory=before.observed.memory)
    return replace(now, at=before.at, observed=looked) == before


def _without_server(cycle: Cycle) -> Cycle:
    """Where we start the server ourselves: why it does not answer, in place of that it does not."""
    server = cycle.server
    if server is None or server.serves or (cycle.trouble is None and cycle.observed is not None):
        return cycle
    return replace(cycle, trouble=server.trouble, stalled=server.stalled)


def _host(
    cycle: Cycle, models: tuple[ModelStatus, ...], view: View | None
) -> tuple[Condition, ...]:
    trees = published(cycle, view)
    told = None if view is None else ledger_note(view)
    facts: dict[str, Fact] = {
        "Ready": _host_ready(cycle, models),
        "Reconciling": _host_reconciling(cycle, models),
        "Stalled": _host_stalled(cycle, models),
        "OllamaReachable": _host_reachable(cycle),
        **({} if cycle.server is None else {"ServerRunning": cycle.server.fact}),
        **({} if trees is None else {"Published": trees}),
        **({"Watched": _host_watched(cycle)} if cycle.unwatched else {}),
        **({} if told is None else {"LedgerIntact": ("False", told.reason, told.message)}),
    }
    return conditions_of(facts, cycle.desired.generation, cycle.at)


def _host_ready(cycle: Cycle, models: tuple[ModelStatus, ...]) -> Fact:
    trouble = cycle.trouble or cycle.spec_trouble
    if trouble is not None:
        return "False", trouble.reason, trouble.message
    awake = tuple(model for model in models if not model.suspended)
    alone = len(models) - len(awake)
    rest = f", {alone} left alone" if alone else ""
    unready = _names(awake, "Ready", "False") or _names(awake, "Ready", "Unknown")
    if unready:
        truth: Truth = "False" if _names(awake, "Ready", "False") else "Unknown"
        what = f"{len(unready)} of {len(awake)} models not ready: {listed(unready)}"
        return truth, "ModelsNotReady", what + rest
    mass = _mass_removal(cycle)
    if mass is not None:
        return "False", mass.reason, mass.message
    what = "1 model is" if len(awake) == 1 else f"{len(awake)} models are"
    return "True", "Converged", f"{what} as the file says{rest}"


def _mass_removal(cycle: Cycle) -> Blocked | None:
    """What is not done to models that no status shows, for the file no longer names them."""
    blocked = () if cycle.plan is None else cycle.plan.blocked
    declared = cycle.desired.models
    kept = (b for b in blocked if b.reason == "NotAdopted" and b.name not in declared)
    return next((found for found in blocked if found.reason == "MassRemoval"), next(kept, None))


def _host_reconciling(cycle: Cycle, models: tuple[ModelStatus, ...]) -> Fact:
    if cycle.trouble is not None and not cycle.stalled:
        return "True", cycle.trouble.reason, cycle.trouble.message
    busy = _names(models, "Reconciling", "True")
    return ("True", "Progressing", listed(busy)) if busy else ("False", "Idle", "nothing to do")


def _host_stalled(cycle: Cycle, models: tuple[ModelStatus, ...]) -> Fact:
    if cycle.spec_trouble is not None:
        return "True", cycle.spec_trouble.reason, cycle.spec_trouble.message
    if cycle.trouble is not None and cycle.stalled:
        return "True", cycle.trouble.reason, cycle.trouble.message
    stalled = _names(models, "Stalled", "True")
    if stalled:
        return "True", "ModelsStalled", listed(stalled)
    mass = _mass_removal(cycle)
    if mass is not None:
        return "True", mass.reason, mass.message
    return "False", "Idle", "nothing needs a person"


def _host_reachable(cycle: Cycle) -> Fact:
    not_served = None if cycle.server is None else cycle.server.trouble
    trouble = cycle.trouble
    if trouble is not None and (trouble.reason == "OllamaUnreachable" or trouble == not_served):
        return "False", trouble.reason, trouble.message
    if cycle.observed is None:
        return "Unknown", "NotObserved", "not looked at yet"
    return "True", "Answers", f"Ollama {cycle.observed.version} answers"


def _host_watched(cycle: Cycle) -> Fact:
    whys = sorted(set(cycle.unwatched.values()))
    where = listed(sorted(cycle.unwatched))
    return "False", "Polled", f"changes are seen at a poll, not at once: {where} ({whys[0]})"


def _names(models: tuple[ModelStatus, ...], kind: str, truth: Truth) -> list[str]:
    return [m.name for m in models if condition(m.conditions, kind).status == truth]
