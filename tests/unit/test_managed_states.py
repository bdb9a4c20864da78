"""A server that we start: what is told of it, when it starts again, what it is given."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from condition_lint import lint
from paddock.core import managed
from paddock.core.conditions import condition
from paddock.core.desired import Desired
from paddock.core.managed import ServerState, failed_before, pause_s, serve_environment
from paddock.core.model_status import Cycle
from paddock.core.summarize import summarize
from paddock.core.unknown import Unknown

AT = datetime(2026, 1, 31, 12, 0, 5, tzinfo=UTC)
NOBODY = Unknown("OllamaUnreachable", "Ollama does not answer")
STATES = (
    managed.looking("http://127.0.0.1:11434"),
    managed.starting(7, AT),
    managed.serving(7, AT),
    managed.found("http://127.0.0.1:11434"),
    managed.away("http://127.0.0.1:11434", AT),
    managed.ended("was killed by SIGKILL").until(AT, 2),
    managed.stuck("PortTaken", "the port is taken").until(AT, 3),
)


def cycle(server: ServerState | None, trouble: Unknown | None = None) -> Cycle:
    return Cycle(Desired({}, "abc", "models.yaml"), AT, trouble=trouble, server=server)


@pytest.mark.parametrize("state", STATES, ids=lambda state: state.reason)
@pytest.mark.parametrize("trouble", [None, NOBODY], ids=["silent", "unreachable"])
def test_each_state_makes_a_status_that_keeps_the_conventions(
    state: ServerState, trouble: Unknown | None
) -> None:
    status = summarize(cycle(state, trouble))
    assert lint(status, AT) == []
    told = condition(status.conditions, "ServerRunning")
    assert (told.status, told.reason) == ("True" if state.serves else "False", state.reason)


def test_why_the_server_does_not_answer_is_told_in_place_of_that_it_does_not() -> None:
    status = summarize(cycle(managed.starting(7, AT), NOBODY))
    reachable = condition(status.conditions, "OllamaReachable")
    assert (reachable.status, reachable.reason) == ("False", "OllamaStarting")
    assert reachable.message == "ollama serve (pid 7) is starting since 12:00:05 UTC"
    assert condition(status.conditions, "Reconciling").status == "True"
    assert condition(status.conditions, "Stalled").status == "False"


def test_a_server_that_a_person_must_help_is_a_stall() -> None:
    status = summarize(cycle(STATES[-1], NOBODY))
    assert condition(status.conditions, "Stalled").reason == "PortTaken"
    assert condition(status.conditions, "Ready").message == (
        "the port is taken (try 3 at 12:00:05 UTC)"
    )


def test_without_a_server_of_ours_nothing_is_told_of_one() -> None:
    status = summarize(cycle(None, NOBODY))
    assert "ServerRunning" not in {found.type for found in status.conditions}
    assert condition(status.conditions, "OllamaReachable").reason == "OllamaUnreachable"


def test_the_first_death_is_mended_at_once_and_later_ones_with_growing_pauses() -> None:
    assert [pause_s(failed, 1.0) for failed in range(1, 6)] == [0, 1, 2, 4, 8]
    assert pause_s(100, 1.0) == 300


def test_a_server_that_held_for_a_minute_begins_the_count_anew() -> None:
    assert failed_before(5, 59.0) == 5
    assert failed_before(5, 60.0) == 0


def test_it_is_given_all_but_what_is_for_us_alone() -> None:
    ours = {"PADDOCK_HF_TOKEN": "secret", "NOTIFY_SOCKET": "/run/x", "LISTEN_FDS": "1"}
    theirs = {"OLLAMA_NOPRUNE": "1", "CUDA_VISIBLE_DEVICES": "0", "HOME": "/home/a"}
    given = serve_environment(ours | theirs, bind="0.0.0.0:1", models_dir="/m", home="/root")
    assert given == theirs | {"OLLAMA_HOST": "0.0.0.0:1", "OLLAMA_MODELS": "/m"}


def test_a_service_without_a_home_is_given_one() -> None:
    assert serve_environment({}, bind="h:1", models_dir="/m", home="/root")["HOME"] == "/root"
