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
KEYS = {"why", "given", "models", "plan", "waiting", "blocked", "loaded", "after"}


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
    }


def test_there_are_cases() -> None:
    assert len(CASES) >= 40


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_the_plan_is_as_the_case_says(path: Path) -> None:
    case = read(path)
    world = World()
    for sentence in case.get("given", []):
        tell(world, sentence)
    desired = desire(case["models"])
    plan = world.plan(desired)
    assert told(plan) == {
        "plan": case.get("plan", []),
        "waiting": case.get("waiting", []),
        "blocked": case.get("blocked", []),
    }
    end = world.converge(desired)
    converged = {"plan": [], "waiting": [], "blocked": case.get("blocked", [])}
    assert told(end) == converged | case.get("after", {})
    loaded = sorted(str(running.name) for running in world.running)
    assert loaded == case.get("loaded", loaded)
