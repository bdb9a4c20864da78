"""What the daemon tells Prometheus, as Prometheus' own linter reads it."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from giving_up import give_up
from paddock.core.conditions import Condition, ModelStatus, Status
from paddock.core.digest import Digest
from paddock.core.names import Name
from paddock.core.outcome import Outcome
from paddock.core.plan import LoadModel
from paddock.endpoint.ports import StreamCounts
from paddock.engine.loop import Finished
from paddock.host.metrics import Metrics
from promtool import check_metrics, find_promtool

NOW = datetime(2026, 3, 4, tzinfo=UTC)


@pytest.fixture(scope="module")
def text() -> str:
    """Every family, each with a sample."""
    ready = Condition("Ready", "True", "AsDeclared", "", "g", NOW)
    model = ModelStatus(
        "smol", "gguf", Digest("sha256:" + "0" * 64), 1000, 10, loaded=True, keep_alive=None,
        expires_at=None, conditions=(ready,),
    )  # fmt: skip
    status = Status("f", "g", (ready,), (model,))
    load = LoadModel(
        name=Name.parse("smol"), reason="Evicted", message="", symbol="~", keep_alive=-1
    )
    outcomes = (Outcome(load, "done", 0.1, ""), Outcome(load, "failed", 0.1, "OutOfMemory"))
    metrics, counts = Metrics(), StreamCounts()
    metrics.cycle_ended(Finished(1, outcomes, status, "partial", 0.25, NOW))
    counts.first_byte.observe(0.2)
    return metrics.render(status, counts, {"HashSource": 1000})


def test_promtool_has_nothing_against_the_metrics(text: str) -> None:
    promtool = find_promtool()
    if promtool is None:
        give_up("no promtool: it comes with Prometheus, on Debian in the package prometheus")
    assert check_metrics(promtool, text) == ""
    worse = text.replace("paddock_loads_total", "paddock_loads_ms")
    assert "paddock_loads_ms" in check_metrics(promtool, worse), "the linter does lint"
