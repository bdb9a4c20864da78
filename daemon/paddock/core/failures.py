"""Failures: which model is tried again, and when.

Pure; the time and the jitter come in as arguments. A failure holds a model back only while the plan
for it stays the same: anything that changes the plan (an edit, another file) lifts it at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import assert_never

from paddock.core.names import Name
from paddock.core.outcome import Failure, Outcome
from paddock.core.plan import Action, Plan
from paddock.errors import Retry

FIRST_S = 1.0
LONGEST_S = 300.0
WAIT_S = 5.0


def runnable(plan: Plan, failures: Mapping[Name, Failure], now: datetime) -> tuple[Action, ...]:
    """The plan's actions without those of models that are held back."""
    by_name = actions_by_name(plan)
    held = {name for name, f in failures.items() if _holds(f, by_name.get(name, ()), now)}
    return tuple(action for action in plan.actions if action.name not in held)


def learn(
    failures: Mapping[Name, Failure],
    plan: Plan,
    outcomes: Iterable[Outcome],
    now: datetime,
    jitter: float,
) -> dict[Name, Failure]:
    """What is remembered after a round. `jitter` from 0 to 1 spreads the next attempts."""
    by_name = actions_by_name(plan)
    kept = {name: f for name, f in failures.items() if f.actions == by_name.get(name)}
    for outcome in outcomes:
        name = outcome.action.name
        if outcome.result == "done":
            if kept.get(name) is failures.get(name):
                kept.pop(name, None)
        elif outcome.result == "failed":
            attempts = failures[name].attempts + 1 if name in failures else 1
            delay = _delay_s(outcome.retry, attempts, jitter)
            next_at = None if delay is None else now + timedelta(seconds=delay)
            kept[name] = Failure(
                name, outcome.reason, outcome.message, attempts, next_at, by_name.get(name, ())
            )
    return kept


def next_attempt(failures: Mapping[Name, Failure]) -> datetime | None:
    """When the first held model is due."""
    return min((f.next_at for f in failures.values() if f.next_at is not None), default=None)


def backoff_s(attempts: int, jitter: float) -> float:
    """1 s, doubling to 5 min, spread by up to a fifth."""
    delay = min(FIRST_S * 2.0 ** min(attempts - 1, 16), LONGEST_S)
    return delay * (0.8 + 0.2 * jitter)


def actions_by_name(plan: Plan) -> Mapping[Name, tuple[Action, ...]]:
    """Each model's actions, in order."""
    found: defaultdict[Name, list[Action]] = defaultdict(list)
    for action in plan.actions:
        found[action.name].append(action)
    return {name: tuple(actions) for name, actions in found.items()}


def _holds(failure: Failure, actions: tuple[Action, ...], now: datetime) -> bool:
    due = failure.next_at is not None and failure.next_at <= now
    return failure.actions == actions and not due


def _delay_s(retry: Retry, attempts: int, jitter: float) -> float | None:
    match retry:
        case Retry.STALLED:
            return None
        case Retry.WAIT:
            return WAIT_S
        case Retry.BACKOFF:
            return backoff_s(attempts, jitter)
        case _:
            assert_never(retry)
