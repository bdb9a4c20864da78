"""Hosts with a real systemd: one for each module, as it was for each test."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from provider import RealPaths
from system.bed import obstacle
from system.hosts import Host, prepared


@pytest.fixture(scope="session")
def bedding() -> None:
    """Whether there can be a host with a systemd; without one: skipped at home, failed in CI."""
    if why := obstacle():
        give_up = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        give_up(f"no real systemd: {why}")


@pytest.fixture(scope="module")
def module_host(
    bedding: None, real: RealPaths, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Host]:
    """A host on which Ollama runs, for the tests of one module."""
    with prepared(tmp_path_factory.mktemp("bed"), real) as host:
        yield host


@pytest.fixture
def host(module_host: Host) -> Host:
    """The same for one test: Paddock is not started, and its units are as they are shipped."""
    module_host.fresh()
    return module_host
