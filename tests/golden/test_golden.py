"""What the commands print, word for word. `pytest --update-golden` writes it: read the diff."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from paddock.cli.events import line
from paddock.cli.explain import text as explained
from paddock.cli.views import applied_text, outcome_line, plan_text, status_text
from paddock.core.conditions import date_transitions
from paddock.core.events import EventLog
from paddock.core.explain import Told, explain
from paddock.core.failures import learn
from paddock.core.model_status import Cycle
from paddock.core.names import Name
from paddock.core.observed import Unknown
from paddock.core.outcome import Failure, Outcome
from paddock.core.plan import Subject
from paddock.core.plan_json import plan_to_json
from paddock.core.summarize import summarize
from paddock.errors import Retry
from worlds import NOW, World, desire, gguf

Golden = Callable[[str, str], None]

MODELS: dict[str, Any] = {
    "smollm2": {"source": {"gguf": "/srv/models/smollm2.gguf"}, "preload": True},
    "terse": {"source": {"model": "smollm2"}, "system": "Answer in one sentence."},
    "llama3.2:3b": {"source": {"registry": "llama3.2:3b"}, "keep_alive": "10m"},
    "vision": {"source": {"gguf": "/srv/models/missing.gguf"}},
    "mine": {"source": {"gguf": "/srv/models/other.gguf"}},
    "old": {"state": "absent"},
}


@pytest.fixture
def world() -> World:
    """A host where one model is somebody's, one is to go, and the others are to be made."""
    world = World()
    world.put("/srv/models/smollm2.gguf", "S")
    world.put("/srv/models/other.gguf", "Longer")
    world.offer(Name.parse("llama3.2:3b"), "L")
    world.create(Name.parse("mine"), "X")
    world.converge(desire({"old": {"source": {"gguf": "/srv/models/smollm2.gguf"}}}))
    world.hashed.clear()
    return world


def _plan(world: World, models: dict[str, Any], *, verbose: bool = False) -> str:
    plan = world.plan(desire(models))
    return plan_text(plan_to_json(plan), plan.models, verbose=verbose)


def _cycle(world: World, models: dict[str, Any], **more: Any) -> Cycle:
    desired = desire(models)
    return Cycle(desired, world.at, world.observe(desired), world.plan(desired), **more)


def test_a_plan_of_new_models(world: World, golden: Golden) -> None:
    golden("plan-new.txt", _plan(world, MODELS))


def test_a_plan_with_its_actions(world: World, golden: Golden) -> None:
    desired = desire(MODELS)
    for _ in range(2):
        world.apply(world.plan(desired))
    golden("plan-verbose.txt", _plan(world, MODELS, verbose=True))


def test_a_plan_of_changes(world: World, golden: Golden) -> None:
    world.converge(desire(MODELS))
    world.load(Name.parse("smollm2"), 300.0)
    del world.blobs[next(d for d, blob in world.blobs.items() if isinstance(blob, str))]
    changed = MODELS | {"terse": MODELS["terse"] | {"system": "Be kind."}}
    golden("plan-changes.txt", _plan(world, changed))


def test_a_plan_without_changes(world: World, golden: Golden) -> None:
    world.converge(desire({"smollm2": MODELS["smollm2"]}))
    golden("plan-none.txt", _plan(world, {"smollm2": MODELS["smollm2"]}))


def test_what_an_apply_did(world: World, golden: Golden) -> None:
    """One model is made, one fails and is tried again, one is blocked."""
    models = {name: MODELS[name] for name in ("smollm2", "llama3.2:3b", "mine")}
    desired = desire(models)
    plan = world.plan(desired)
    outcomes = [Outcome(a, "done", 1.234) for a in plan.actions if a.name.model == "smollm2"]
    pull = next(action for action in plan.actions if action.name.model == "llama3.2")
    why = "llama3.2:3b is not in its registry; see https://ollama.com/library"
    outcomes.append(Outcome(pull, "failed", 0.5, "OllamaRefused", why, Retry.BACKOFF))
    outcomes.append(Outcome(pull, "skipped", 0.0, "OllamaRefused", why))
    failures = learn({}, plan, outcomes, NOW, 1.0)
    world.converge(desire({"smollm2": MODELS["smollm2"]}))
    status = summarize(_cycle(world, models, failures=failures)).to_json()
    told = [outcome.to_json() for outcome in outcomes]
    golden("apply.txt", "\n".join([*map(outcome_line, told), applied_text(told, status)]))


def test_an_apply_that_had_nothing_to_do(world: World, golden: Golden) -> None:
    models = {"smollm2": MODELS["smollm2"]}
    world.converge(desire(models))
    golden("apply-none.txt", applied_text([], summarize(_cycle(world, models)).to_json()))


def test_the_status_of_models_in_every_state(world: World, golden: Golden) -> None:
    world.converge(desire(MODELS))
    world.load(Name.parse("llama3.2:3b"), 600.0)
    golden("status.txt", status_text(summarize(_cycle(world, MODELS)).to_json()))


def test_the_status_while_ollama_is_away(golden: Golden) -> None:
    desired = desire({"smollm2": MODELS["smollm2"]})
    down = Unknown("OllamaUnreachable", "nobody answers at http://127.0.0.1:11434; is Ollama up?")
    before = summarize(Cycle(desired, NOW - timedelta(hours=1)))
    status = date_transitions(summarize(Cycle(desired, NOW, trouble=down)), before)
    golden("status-away.txt", status_text(status.to_json()))


def test_the_status_with_an_invalid_file(world: World, golden: Golden) -> None:
    models = {"smollm2": MODELS["smollm2"]}
    world.converge(desire(models))
    wrong = Unknown("SpecInvalid", 'models.yaml:3:5: models: unknown key; did you mean "source"?')
    cycle = replace(_cycle(world, models), spec_trouble=wrong)
    golden("status-invalid-file.txt", status_text(summarize(cycle).to_json()))


def test_a_model_explained(world: World, golden: Golden) -> None:
    """Its link is gone, and to mend it has failed twice."""
    said = {"system": "Answer in one sentence.", "parameters": {"num_ctx": 4096}}
    models = {"smollm2": MODELS["smollm2"] | said}
    world.converge(desire(models))
    del world.blobs[gguf("S")]
    plan = world.plan(desire(models))
    failures: dict[Subject, Failure] = {}
    for _ in range(2):
        failed = Outcome(plan.actions[0], "failed", 0.1, "StoreReadOnly", "cannot write blobs")
        failures = learn(failures, plan, [failed], NOW, 1.0)
    log = EventLog()
    log.add_outcome(failed, NOW)
    cycle = _cycle(world, models, failures=failures)
    told = Told(None, [event.to_json() for event in log.after(0)], "/etc/paddock/models.yaml:4")
    golden("explain.txt", explained(explain(Name.parse("smollm2"), cycle, told)))


def test_a_model_explained_that_is_left_alone_by_no_daemon(world: World, golden: Golden) -> None:
    models = {"smollm2": MODELS["smollm2"] | {"suspend": True}}
    world.converge(desire({"smollm2": MODELS["smollm2"]}))
    cycle = _cycle(world, models)
    golden("explain-suspended.txt", explained(explain(Name.parse("smollm2"), cycle, Told())))


def test_a_plan_and_a_status_with_a_model_that_is_left_alone(world: World, golden: Golden) -> None:
    models = {"smollm2": MODELS["smollm2"], "mine": MODELS["mine"] | {"suspend": True}}
    world.converge(desire(models))
    golden("plan-suspended.txt", _plan(world, models))
    golden("status-suspended.txt", status_text(summarize(_cycle(world, models)).to_json()))


def test_the_events_of_a_model_that_is_made(world: World, golden: Golden) -> None:
    models = {"smollm2": MODELS["smollm2"]}
    log, before = EventLog(), summarize(Cycle(desire(models), NOW))
    for _ in range(3):
        plan = world.plan(desire(models))
        world.apply(plan)
        for action in plan.actions:
            log.add_outcome(Outcome(action, "done", 0.1), NOW)
    log.add_changes(before, summarize(_cycle(world, models)), NOW)
    golden("events.txt", "\n".join(line(event.to_json()) for event in log.after(0)))
