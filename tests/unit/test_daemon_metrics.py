"""The daemon's metrics: what a cycle and its actions count for."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from paddock import __version__
from paddock.core.conditions import Condition, ModelStatus, Status
from paddock.core.digest import Digest
from paddock.core.names import Name
from paddock.core.outcome import Outcome, Result
from paddock.core.plan import Action, LoadModel, SetKeepAlive, UnlinkBlob
from paddock.endpoint.ports import StreamCounts
from paddock.engine.loop import Finished
from paddock.host.metrics import Metrics
from prometheus_text import Metric, parse

SMOL = Name.parse("smol")
DIGEST = Digest("sha256:" + "0" * 64)
EMPTY = Status("f", "g", (), ())


def load(reason: str) -> Action:
    return LoadModel(name=SMOL, reason=reason, message="", symbol="~", keep_alive=-1)


def outcome(action: Action, result: Result = "done", reason: str = "") -> Outcome:
    return Outcome(action, result, 0.0, reason)


def ended(
    result: Any, elapsed_s: float, at_s: float, outcomes: tuple[Outcome, ...] = ()
) -> Finished:
    return Finished(1, outcomes, EMPTY, result, elapsed_s, datetime.fromtimestamp(at_s, UTC))


def rendered(metrics: Metrics, status: Status = EMPTY) -> dict[str, Metric]:
    return parse(metrics.render(status, StreamCounts()))


def test_there_is_a_value_for_every_result_before_the_first_cycle() -> None:
    found = rendered(Metrics())
    for result in ("ok", "partial", "error"):
        assert found["paddock_reconciles_total"].value(result=result) == 0
    assert found["paddock_build_info"].value(version=__version__) == 1
    assert found["paddock_last_success_timestamp_seconds"].value() == 0


def test_actions_are_counted_by_their_cause_and_failures_apart() -> None:
    metrics = Metrics()
    pin = SetKeepAlive(
        name=SMOL, reason="Unpinned", message="", symbol="~", keep_alive=-1, running=SMOL
    )
    unlink = UnlinkBlob(name=SMOL, reason="Unnamed", message="", symbol="-", digest=DIGEST)
    outcomes = (
        outcome(load("Evicted")),
        outcome(load("NotLoaded")),
        outcome(pin),
        outcome(unlink, "failed", "ReadOnly"),
        outcome(unlink, "skipped", "OllamaUnreachable"),
    )
    metrics.cycle_ended(ended("partial", 0.3, 5.0, outcomes))
    found = rendered(metrics)
    drift = {
        dict(labels)["reason"]: n for (_, labels), n in found["paddock_drift_total"].samples.items()
    }
    assert {reason: n for reason, n in drift.items() if n} == {"Evicted": 1, "Unpinned": 1}
    failed = found["paddock_actions_failed_total"]
    assert failed.value(action="UnlinkBlob", reason="ReadOnly") == 1
    assert found["paddock_loads_total"].value() == 2
    assert found["paddock_repins_total"].value() == 1
    assert found["paddock_reconciles_total"].value(result="partial") == 1
    assert found["paddock_last_success_timestamp_seconds"].value() == 0


def test_only_a_cycle_without_a_failure_is_a_success() -> None:
    metrics = Metrics()
    metrics.cycle_ended(ended("ok", 0.1, 1000.0))
    metrics.cycle_ended(ended("error", 0.1, 2000.0))
    found = rendered(metrics)
    assert found["paddock_last_success_timestamp_seconds"].value() == 1000
    name = "paddock_reconcile_duration_seconds"
    assert found[name].samples[f"{name}_count", ()] == 2


def test_models_that_share_a_file_count_its_bytes_once() -> None:
    ready = Condition("Ready", "True", "AsDeclared", "", "g", datetime.now(UTC))

    def model(name: str) -> ModelStatus:
        return ModelStatus(
            name=name,
            source="",
            digest=DIGEST,
            size_bytes=1000,
            copied_bytes=10,
            loaded=name == "a",
            keep_alive=None,
            expires_at=None,
            conditions=(ready,),
        )

    found = rendered(Metrics(), Status("f", "g", (ready,), (model("a"), model("b"))))
    assert found["paddock_linked_bytes"].value() == 990
    assert found["paddock_copied_bytes"].value() == 10
    assert found["paddock_models"].value(condition="Ready", status="True") == 2
    assert found["paddock_models"].value(condition="Ready", status="Unknown") == 0
    assert found["paddock_models_loaded"].value() == 1
    assert found["paddock_ready"].value() == 1
