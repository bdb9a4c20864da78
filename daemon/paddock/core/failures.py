"""Failures: which model is tried again, and when.

Pure; the time and the jitter come in as arguments. A failure holds a model back only while the plan
for it stays the same: anything that changes the plan (an edit, another file) lifts it at once.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import assert_never

from paddock.core.outcome import Failure, Outcome
from paddock.core.plan import Action, Plan, Subject
from paddock.errors import Retry

FIRST_S = 1.0
LONGEST_S = 300.0
WAIT_S = 5.0


def runnable(plan: Plan, failures: Mapping[Subject, Failure], now: datetime) -> tuple[Action, ...]:
    """The plan's actions without those of models (and paths of publish trees) that
    are held back."""
    by_subject = _by_subject(plan)
    held = {what for what, f in failures.items() if _holds(f, by_subject.get(what, ()), now)}
    return tuple(action for action in plan.actions if action.subject not in held)


def learn(
    failures: Mapping[Subject, Failure],
    plan: Plan,
    outcomes: Iterable[Outcome],
    now: datetime,
    jitter: float,
) -> dict[Subject, Failure]:
    """What is remembered after a round. `jitter` from 0 to 1 spreads the next attempts."""
    by_subject = _by_subject(plan)
    kept = {what: f for what, f in failures.items() if f.actions == by_subject.get(what)}
    for outcome in outcomes:
        what = outcome.action.subject
        if outcome.result == "done":
            if kept.get(what) is failures.get(what):
                kept.pop(what, None)
        elif outcome.result == "failed":
            attempts = failures[what].attempts + 1 if what in failures else 1
            delay = _delay_s(outcome.retry, attempts, jitter)
            next_at = None if delay is None else now + timedelta(seconds=delay)
            kept[what] = Failure(
                what, outcome.reason, outcome.message, attempts, next_at, by_subject.get(what, ())
            )
    return kept


def next_attempt(failures: Mapping[Subject, Failure]) -> datetime | None:
    """When the first held model is due."""
    return min((f.next_at for f in failures.values() if f.next_at is not None), default=None)


def backoff_s(attempts: int, jitter: float) -> float:
    """1 s, doubling to 5 min, spread by up to a fifth."""
    delay = min(FIRST_S * 2.0 ** min(attempts - 1, 16), LONGEST_S)
    return delay * (0.8 + 0.2 * jitter)


def _by_subject(plan: Plan) -> Mapping[Subject, tuple[Action, ...]]:
    """The actions of each model, and of each path of a publish tree, in order."""
    found: defaultdict[Subject, list[Action]] = defaultdict(list)
    for action in plan.actions:
        found[action.subject].append(action)
    return {what: tuple(actions) for what, actions in found.items()}


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


def postponed(failures: Mapping[Subject, Failure], by: timedelta) -> dict[Subject, Failure]:
    """The same failures, each held back for so much longer: the wall clock was set."""
    return {
        subject: f if f.next_at is None else replace(f, next_at=f.next_at + by)
        for subject, f in failures.items()
    }


def all_due(failures: Mapping[Subject, Failure], now: datetime) -> dict[Subject, Failure]:
    """The same failures, each to be tried again at once."""
    return {subject: replace(failure, next_at=now) for subject, failure in failures.items()}
