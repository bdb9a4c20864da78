"""Failures: held back while the plan stays the same, for longer each time."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from paddock.core.digest import digest_of
from paddock.core.failures import backoff_s, learn, next_attempt, runnable
from paddock.core.names import Name
from paddock.core.outcome import Failure, Outcome, Result
from paddock.core.plan import Action, LoadModel, Plan, RemoveManifest
from paddock.errors import Retry
from worlds import NOW

A, B = Name.parse("a"), Name.parse("b")


def load(name: Name, keep_alive: int = -1) -> LoadModel:
    return LoadModel(name=name, reason="NotLoaded", message="", symbol="~", keep_alive=keep_alive)


def remove(name: Name) -> RemoveManifest:
    digest = digest_of(b"")
    return RemoveManifest(name=name, reason="Absent", message="", symbol="-", digest=digest)


def plan(*actions: Action) -> Plan:
    return Plan("g", "models.yaml", 1, actions)


def outcome(action: Action, result: Result = "failed", retry: Retry = Retry.BACKOFF) -> Outcome:
    return Outcome(action, result, 0.1, "Broken", "it broke", retry)


def failed(at: datetime = NOW, retry: Retry = Retry.BACKOFF, times: int = 1) -> dict[Name, Failure]:
    found: dict[Name, Failure] = {}
    for _ in range(times):
        found = learn(found, plan(load(A)), [outcome(load(A), retry=retry)], at, 1.0)
    return found


def test_a_failure_is_kept_with_what_was_tried() -> None:
    due = NOW + timedelta(seconds=1)
    assert failed() == {A: Failure(A, "Broken", "it broke", 1, due, (load(A),))}


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(1, 1), (2, 2), (3, 4), (8, 128), (9, 256), (10, 300), (10_000, 300)]
)
def test_the_wait_doubles_from_one_second_to_five_minutes(attempts: int, seconds: int) -> None:
    assert backoff_s(attempts, 1.0) == seconds
    assert backoff_s(attempts, 0.0) == pytest.approx(seconds * 0.8)


def test_attempts_are_counted_while_the_plan_stays() -> None:
    found = failed(times=4)[A]
    assert (found.attempts, found.next_at) == (4, NOW + timedelta(seconds=8))


def test_a_failed_model_is_held_until_it_is_due_and_no_other_one_is() -> None:
    failures = failed()
    both = plan(load(A), load(B))
    assert runnable(both, failures, NOW) == (load(B),)
    assert runnable(both, failures, NOW + timedelta(seconds=1)) == (load(A), load(B))


def test_a_stalled_model_is_held_for_ever() -> None:
    failures = failed(retry=Retry.STALLED)
    assert failures[A].stalled
    assert runnable(plan(load(A)), failures, NOW + timedelta(days=999)) == ()


def test_a_wait_is_short_and_does_not_grow() -> None:
    found = failed(retry=Retry.WAIT, times=9)[A]
    assert found.next_at == NOW + timedelta(seconds=5)


def test_another_plan_lifts_a_failure_at_once() -> None:
    failures = failed(retry=Retry.STALLED)
    edited = plan(load(A, keep_alive=300))
    assert runnable(edited, failures, NOW) == edited.actions
    assert learn(failures, edited, [], NOW, 0.0) == {}


def test_a_plan_without_the_model_lifts_its_failure() -> None:
    assert learn(failed(), plan(load(B)), [], NOW, 0.0) == {}


def test_other_words_are_no_other_plan() -> None:
    same = plan(LoadModel(name=A, reason="NotLoaded", message="x", symbol="~", keep_alive=-1))
    assert learn(failed(), same, [], NOW, 0.0) == failed()


def test_success_lifts_a_failure() -> None:
    assert learn(failed(), plan(load(A)), [outcome(load(A), "done")], NOW, 0.0) == {}


def test_what_was_done_before_the_failure_in_one_round_does_not_hide_it() -> None:
    done, broken = outcome(load(A), "done"), outcome(remove(A))
    found = learn({}, plan(load(A), remove(A)), [done, broken], NOW, 1.0)
    assert found[A].attempts == 1
    again = learn(found, plan(load(A), remove(A)), [done, broken], NOW, 1.0)
    assert again[A].attempts == 2


def test_what_was_skipped_neither_fails_nor_succeeds() -> None:
    assert learn(failed(), plan(load(A)), [outcome(load(A), "skipped")], NOW, 0.0) == failed()
    assert learn({}, plan(load(A)), [outcome(load(A), "skipped")], NOW, 0.0) == {}


def test_the_next_attempt_is_the_first_that_is_due() -> None:
    stalled = failed(retry=Retry.STALLED)
    assert next_attempt({}) is None
    assert next_attempt(stalled) is None
    late = learn({}, plan(load(B)), [outcome(load(B))], NOW + timedelta(seconds=9), 1.0)
    assert next_attempt(stalled | late | failed() | {A: failed()[A]}) == NOW + timedelta(seconds=1)
