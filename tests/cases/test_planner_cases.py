"""One file a case: what models.yaml says, what has happened, and the plan that follows.

A bug of the planner becomes a file in `planner/`, named by the sentence that shall be true. Every
case is also carried out: it has to end in a world that needs no plan, or where `after` says.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from paddock.core.plan import Plan
from sentences import tell
from worlds import World, desire

FOLDER = Path(__file__).parent / "planner"
CASES = sorted(FOLDER.glob("*.yaml"))
SAID = {"plan", "waiting", "blocked", "suspended", "notes", "loaded", "after", "prune"}
KEYS = {"why", "given", "models", "publish", "residency"} | SAID


def read(path: Path) -> dict[str, Any]:
    case: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert case.keys() <= KEYS, path.name
    assert case["why"], path.name
    return case


def told(plan: Plan) -> dict[str, list[str]]:
    return {
        "plan": [f"{a.symbol} {type(a).__name__} {a.name} {a.reason}" for a in plan.actions],
        "waiting": [f"{w.symbol} {w.name} {w.reason}: {w.message}" for w in plan.waiting],
        "blocked": [f"{b.name} {b.reason}: {b.message}" for b in plan.blocked],
        "suspended": [f"{name} {plan.suspended[name]}" for name in sorted(plan.suspended)],
        "notes": [f"{n.path} {n.reason}: {n.message}" for n in plan.notes],
    }


def test_there_are_cases() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_plan_is_as_the_case_says(path: Path) -> None:
    case = read(path)
    world = World()
    for sentence in case.get("given", []):
        tell(world, sentence)
    desired = desire(
        case["models"],
        **{key: case[key] for key in ("prune", "publish", "residency") if key in case},
    )
    plan = world.plan(desired)
    assert told(plan) == {
        "plan": case.get("plan", []),
        "waiting": case.get("waiting", []),
        "blocked": case.get("blocked", []),
        "suspended": case.get("suspended", []),
        "notes": case.get("notes", []),
    }
    end = world.converge(desired)
    said = {key: case.get(key, []) for key in ("blocked", "suspended", "notes")}
    converged = {"plan": [], "waiting": [], **said}
    assert told(end) == converged | case.get("after", {})
    loaded = sorted(str(running.name) for running in world.running)
    assert loaded == case.get("loaded", loaded)
