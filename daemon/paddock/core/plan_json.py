"""A plan as JSON: what `paddock plan -o json` prints and `/paddock/plan` serves.

Pure.
"""

from __future__ import annotations

from typing import Any

from paddock.core.conditions import FORMAT_VERSION
from paddock.core.names import Name
from paddock.core.plan import Action, Blocked, Plan, Waiting
from paddock.core.suspend import why


def plan_to_json(plan: Plan) -> dict[str, Any]:
    """The JSON of a plan. `copied_bytes` is null where it is known only after apply."""
    return {
        "format_version": FORMAT_VERSION,
        "file": plan.file,
        "generation": plan.generation,
        "actions": [_action(action) for action in plan.actions],
        "waiting": [{"symbol": waiting.symbol, **_reasoned(waiting)} for waiting in plan.waiting],
        "blocked": [_reasoned(blocked) for blocked in plan.blocked],
        "suspended": [_suspended(name, plan) for name in sorted(plan.suspended)],
        "notes": [{"path": n.path, "reason": n.reason, "message": n.message} for n in plan.notes],
        "summary": dict(plan.summary),
    }


def _action(action: Action) -> dict[str, Any]:
    return {
        "action": type(action).__name__,
        "symbol": action.symbol,
        "name": action.name.display,
        "reason": action.reason,
        "message": action.message,
        "linked_bytes": action.linked_bytes,
        "copied_bytes": action.copied_bytes,
    }


def _suspended(name: Name, plan: Plan) -> dict[str, str]:
    reason = plan.suspended[name]
    return {"name": name.display, "reason": reason, "message": why(name, reason, plan.file)}


def _reasoned(found: Blocked | Waiting) -> dict[str, str]:
    return {"name": found.name.display, "reason": found.reason, "message": found.message}
