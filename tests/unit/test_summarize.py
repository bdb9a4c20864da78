"""Status: what is told of each model and of the host, in words that help."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from condition_lint import lint
from paddock.core.conditions import ModelStatus, Status, condition
from paddock.core.failures import learn
from paddock.core.model_status import Cycle
from paddock.core.names import Name
from paddock.core.observed import Unknown
from paddock.core.outcome import Outcome
from paddock.core.summarize import summarize
from paddock.errors import Retry
from worlds import World, desire, gguf

A = Name.parse("a")
GGUF = {"source": {"gguf": "/m/a.gguf"}}
PIN = {"a": GGUF | {"preload": True}}
FINITE = {"a": GGUF | {"preload": True, "keep_alive": "5m"}}


@pytest.fixture
def world() -> World:
    world = World()
    world.put("/m/a.gguf", "A")
    return world


def cycle(world: World, models: dict[str, Any], **more: Any) -> Cycle:
    desired = desire(models)
    return Cycle(desired, world.at, world.observe(desired), world.plan(desired), **more)


def status(world: World, models: dict[str, Any], **more: Any) -> Status:
    found = summarize(cycle(world, models, **more))
    assert lint(found, world.at) == []
    return found


def told(found: Status | ModelStatus, kind: str = "Ready") -> tuple[str, str, str]:
    it = condition(found.conditions, kind)
    return it.status, it.reason, it.message


def one(world: World, models: dict[str, Any], **more: Any) -> ModelStatus:
    (found,) = status(world, models, **more).models
    return found


def test_a_model_that_is_as_declared_is_ready(world: World) -> None:
    world.converge(desire(PIN))
    found = status(world, PIN)
    assert found.ready
    (model,) = found.models
    assert told(model) == ("True", "AsDeclared", "as the file says")
    assert told(model, "Loaded") == ("True", "Running", "for ever")
    assert told(model, "SourceAvailable") == ("True", "FileFound", "/m/a.gguf")
    assert told(model, "BlobsPresent") == ("True", "AllPresent", "3 blobs")
    assert (model.digest, model.loaded, model.keep_alive) == (gguf("A"), True, "for ever")
    assert model.size_bytes == 10**9 + len(b"template of stub A")
    assert 0 < model.copied_bytes < 1000
    assert told(found) == ("True", "Converged", "1 model is as the file says")


def test_a_new_model_says_what_is_done_next(world: World) -> None:
    model = one(world, PIN)
    assert told(model) == ("False", "SourceNew", "hash and link /m/a.gguf")
    assert told(model, "Stalled")[0] == "False"
    assert told(model, "ManifestCurrent") == ("False", "ManifestMissing", "no manifest yet")


def test_a_model_whose_file_changed_is_neither_current_nor_not(world: World) -> None:
    world.converge(desire(PIN))
    world.put("/m/a.gguf", "B")
    assert told(one(world, PIN), "ManifestCurrent")[:2] == ("Unknown", "SourceChanged")


def test_a_derived_model_waits_and_says_for_what(world: World) -> None:
    models = {"a": GGUF, "b": {"source": {"model": "a"}}}
    world.converge(desire(models))
    world.put("/m/a.gguf", "B")
    child = status(world, models).models[1]
    assert told(child) == ("False", "BaseNotReady", "derive from a (known after apply)")
    assert told(child, "ManifestCurrent")[:2] == ("Unknown", "BaseNotReady")


def test_a_blocked_model_is_stalled_with_the_same_words(world: World) -> None:
    world.create(A, "Larger")
    model = one(world, {"a": GGUF})
    assert told(model, "Stalled") == ("True", *told(model)[1:])
    assert told(model)[1] == "NotOwned"
    assert told(model)[2].endswith("claim it with: paddock adopt a")


def test_a_preload_that_was_evicted_is_not_ready(world: World) -> None:
    world.converge(desire(PIN))
    world.evict()
    assert told(one(world, PIN)) == ("False", "Evicted", "load, keep_alive for ever")
    assert told(one(world, PIN), "Loaded")[:2] == ("False", "Evicted")


def test_a_keep_alive_that_ran_out_leaves_the_model_ready(world: World) -> None:
    """Otherwise a daemon would be unready for as long as nobody chats."""
    world.converge(desire(FINITE))
    world.at += timedelta(minutes=6)
    world.running = []
    model = one(world, FINITE)
    assert told(model)[0] == "True"
    assert told(model, "Loaded")[:2] == ("False", "Expired")


def test_a_second_name_over_a_gguf_that_is_being_loaded_has_not_expired(world: World) -> None:
    models = PIN | {"b": PIN["a"]}
    world.converge(desire(models))
    world.evict()
    found = status(world, models)
    assert [told(model, "Loaded")[1] for model in found.models] == ["Evicted", "NotLoaded"]
    assert not found.ready


def test_a_model_that_is_not_preloaded_may_be_out_of_memory(world: World) -> None:
    world.converge(desire({"a": GGUF}))
    model = one(world, {"a": GGUF})
    assert told(model)[0] == "True"
    assert told(model, "Loaded") == ("False", "NotWanted", "not in memory")


def test_both_names_over_a_loaded_gguf_are_loaded(world: World) -> None:
    models = PIN | {"b": GGUF}
    world.converge(desire(models))
    assert [model.loaded for model in status(world, models).models] == [True, True]


def test_nobody_knows_what_is_loaded_while_ps_cannot_be_read(world: World) -> None:
    world.converge(desire(PIN | {"b": GGUF}))
    world.unknown["running"] = Unknown("OllamaFailed", "ps failed")
    found = status(world, PIN | {"b": GGUF})
    assert [told(model)[0] for model in found.models] == ["Unknown", "True"]
    assert told(found) == ("Unknown", "ModelsNotReady", "1 of 2 models not ready: a")


def test_an_absent_model_is_ready_once_it_is_gone(world: World) -> None:
    world.converge(desire({"a": GGUF}))
    absent = {"a": {"state": "absent"}}
    assert told(one(world, absent), "ManifestCurrent") == ("False", "Present", "there")
    assert told(one(world, absent)) == ("False", "Absent", "remove a")
    world.converge(desire(absent))
    assert told(one(world, absent), "ManifestCurrent") == ("True", "Absent", "not there")
    assert status(world, absent).ready


def test_a_broken_link_is_told_by_its_blob(world: World) -> None:
    world.converge(desire({"a": GGUF}))
    world.files.clear()
    model = one(world, {"a": GGUF})
    assert told(model, "BlobsPresent") == (
        "False",
        "BlobsMissing",
        f"1 missing or broken: {gguf('A')}",
    )
    assert told(model, "SourceAvailable")[:2] == ("False", "SourceMissing")


@pytest.mark.parametrize(
    ("retry", "kind", "words"),
    [
        (Retry.STALLED, "Stalled", "it broke"),
        (Retry.BACKOFF, "Reconciling", "it broke (try 2 at 03:04:06 UTC)"),
        (Retry.WAIT, "Reconciling", "it broke (try 2 at 03:04:10 UTC)"),
    ],
)
def test_a_failure_says_who_acts_next(world: World, retry: Retry, kind: str, words: str) -> None:
    plan = world.plan(desire(PIN))
    outcome = Outcome(plan.actions[0], "failed", 0.1, "Broken", "it broke", retry)
    failures = learn({}, plan, [outcome], world.at, 1.0)
    model = one(world, PIN, failures=failures)
    assert told(model) == ("False", "Broken", words)
    assert told(model, kind) == ("True", "Broken", words)


def test_before_the_first_look_nothing_is_known(world: World) -> None:
    found = summarize(Cycle(desire(PIN), world.at))
    assert lint(found, world.at) == []
    assert told(found.models[0]) == ("False", "NotObserved", "not looked at yet")
    assert told(found, "OllamaReachable")[0] == "Unknown"


def test_ollama_that_is_away_is_told_once_and_for_each_model(world: World) -> None:
    down = Unknown("OllamaUnreachable", "nobody answers")
    found = summarize(Cycle(desire(PIN), world.at, trouble=down))
    assert told(found, "OllamaReachable") == ("False", "OllamaUnreachable", "nobody answers")
    assert told(found) == told(found.models[0]) == ("False", "OllamaUnreachable", "nobody answers")
    assert told(found, "Stalled")[0] == "False"


def test_trouble_that_needs_a_person_is_stalled_and_not_reconciling(world: World) -> None:
    other = Unknown("StoreMismatch", "this is another store; set --models-dir")
    found = summarize(Cycle(desire(PIN), world.at, trouble=other, stalled=True))
    assert lint(found, world.at) == []
    for where in (found, found.models[0]):
        assert told(where, "Stalled")[:2] == ("True", "StoreMismatch")
        assert told(where, "Reconciling")[0] == "False"


def test_an_invalid_file_stalls_the_host_and_leaves_the_models_as_they_are(world: World) -> None:
    world.converge(desire(PIN))
    wrong = Unknown("SpecInvalid", "models.yaml:1:1: what; hint")
    found = status(world, PIN, spec_trouble=wrong)
    assert told(found, "Stalled")[:2] == ("True", "SpecInvalid")
    assert told(found)[:2] == ("False", "SpecInvalid")
    assert told(found.models[0])[0] == "True"


def test_a_list_of_many_models_is_cut() -> None:
    models = {f"m{n}": {"source": {"gguf": f"/m/{n}.gguf"}} for n in range(8)}
    found = status(World(), models)
    assert told(found) == (
        "False",
        "ModelsNotReady",
        "8 of 8 models not ready: m0, m1, m2, m3, m4 and 3 more",
    )


@pytest.mark.parametrize(
    ("model", "source"),
    [
        (GGUF, "gguf: /m/a.gguf"),
        ({"source": {"registry": "r:8b"}}, "registry: r:8b"),
        ({"source": {"model": "b"}}, "model: b"),
        ({"state": "absent"}, "absent"),
    ],
)
def test_a_source_is_told_as_people_write_it(
    world: World, model: dict[str, Any], source: str
) -> None:
    assert one(world, {"a": model}).source == source


def test_a_status_finds_its_models_by_name(world: World) -> None:
    found = status(world, PIN)
    assert found.model("a") is found.models[0]
    assert found.model("b") is None


def test_an_unknown_store_is_told_of_every_model(world: World) -> None:
    world.unknown["manifests"] = Unknown("StoreUnreadable", "cannot read it")
    found = status(world, PIN)
    assert told(found.models[0]) == ("False", "StoreUnreadable", "cannot read it")
    assert told(found.models[0], "ManifestCurrent")[0] == "Unknown"


def test_the_lint_tells_what_breaks_it(world: World) -> None:
    good = status(world, PIN)
    ready = condition(good.conditions, "Ready")

    def broken(change: Callable[[], Any]) -> list[str]:
        return lint(replace(good, conditions=(change(), *good.conditions[1:])), world.at)

    assert broken(lambda: replace(ready, reason="not camel"))
    assert broken(lambda: replace(ready, message="two\nlines"))
    assert broken(lambda: replace(ready, status="True"))
    assert broken(lambda: replace(ready, observed_generation=""))
    assert broken(lambda: replace(ready, last_transition_time=world.at + timedelta(days=1)))
    assert lint(replace(good, conditions=good.conditions[:-1]), world.at)
