"""docs/socket.md tells of every route, limit and metric."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from paddock.core.conditions import Status
from paddock.endpoint import routes
from paddock.endpoint.ports import StreamCounts
from paddock.host.metrics import Metrics
from paddock.service import limits_of
from paddock.settings import Settings
from prometheus_text import parse

TEXT = (Path(__file__).resolve().parents[2] / "docs" / "socket.md").read_text()
TOLD = {
    f"`{name}`"
    for code in re.findall(r"`([^`]+)`", TEXT)
    for name in (code, re.sub(r"^(GET|POST|HEAD|DELETE) |[?{].*$", "", code))
}
TOLD |= {re.sub(r"(GET|POST) ", "", told) for told in TOLD}


@pytest.mark.parametrize("path", sorted(routes._TABLE))
def test_every_route_is_told(path: str) -> None:
    assert f"`{path}`" in TOLD


def test_no_route_is_told_that_does_not_exist() -> None:
    rows = TEXT.partition("## Routes")[2].partition("Everything else")[0]
    paths = re.findall(r"(?:GET |POST |`)(/[^`?]*)", rows)
    told = [path for path in paths if "{" not in path and "…" not in path]
    assert len(told) > 20
    assert [path for path in told if routes.find_route(path) is None] == []


@pytest.mark.parametrize(
    "name", sorted(parse(Metrics().render(Status("", "", (), ()), StreamCounts())))
)
def test_every_metric_is_told(name: str) -> None:
    assert f"`{name}`" in TOLD


def _settings_of_limits() -> list[str]:
    """The settings that change a limit of the endpoint."""
    plain = limits_of(Settings())
    names = [
        name for name, found in Settings.model_fields.items() if found.annotation in {int, float}
    ]
    return [
        name for name in names if limits_of(Settings().model_copy(update={name: 12_345})) != plain
    ]


@pytest.mark.parametrize("name", _settings_of_limits())
def test_every_limit_is_told(name: str) -> None:
    assert f"`PADDOCK_{name.upper()}`" in TOLD
