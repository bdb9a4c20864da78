"""Conditions: dated by when they changed, one line each, and as Kubernetes writes them."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from paddock.core.conditions import (
    Fact,
    Status,
    condition,
    conditions_of,
    date_transitions,
)
from worlds import NOW

EARLIER = NOW - timedelta(hours=1)


def status(facts: dict[str, Fact], at: Any = NOW, generation: str = "g") -> Status:
    return Status("models.yaml", generation, conditions_of(facts, generation, at), ())


def test_a_condition_is_written_as_kubernetes_writes_it() -> None:
    (found,) = status({"Ready": ("True", "Converged", "as the file says")}).conditions
    assert found.to_json() == {
        "type": "Ready",
        "status": "True",
        "reason": "Converged",
        "message": "as the file says",
        "observedGeneration": "g",
        "lastTransitionTime": "2026-01-02T03:04:05Z",
    }


def test_a_message_of_several_lines_is_put_on_one() -> None:
    (found,) = status({"Ready": ("False", "Broken", "one\n  two\r\nthree ")}).conditions
    assert found.message == "one two three"


def test_a_condition_that_stays_keeps_its_time_and_takes_the_new_words() -> None:
    old = status({"Ready": ("False", "NotLoaded", "loading")}, EARLIER, "old")
    new = date_transitions(status({"Ready": ("False", "Broken", "it broke")}), old)
    (found,) = new.conditions
    assert (found.last_transition_time, found.reason, found.observed_generation) == (
        EARLIER,
        "Broken",
        "g",
    )


@pytest.mark.parametrize("truth", ["True", "Unknown"])
def test_a_condition_that_changes_takes_the_new_time(truth: Any) -> None:
    old = status({"Ready": ("False", "Broken", "it broke")}, EARLIER)
    new = date_transitions(status({"Ready": (truth, "Converged", "as the file says")}), old)
    assert new.conditions[0].last_transition_time == NOW


def test_a_new_condition_and_a_first_status_have_the_time_of_now() -> None:
    fresh = status({"Ready": ("True", "Converged", "x"), "Stalled": ("False", "Idle", "y")})
    old = status({"Ready": ("False", "Broken", "x")}, EARLIER)
    assert {c.last_transition_time for c in date_transitions(fresh, old).conditions} == {NOW}
    assert date_transitions(fresh, None) == fresh


def test_a_clock_that_was_set_back_leaves_no_time_in_the_future() -> None:
    old = status({"Ready": ("True", "Converged", "x")}, NOW + timedelta(days=1))
    new = date_transitions(status({"Ready": ("True", "Converged", "x")}), old)
    assert new.conditions[0].last_transition_time == NOW


def test_a_condition_that_is_not_there_is_an_error() -> None:
    with pytest.raises(KeyError, match="Ready"):
        condition((), "Ready")
