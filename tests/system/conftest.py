"""Hosts with a real systemd: one for each module, as it was for each test."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from giving_up import give_up
from provider import ROOT, RealPaths
from system.bed import obstacle
from system.debs import CACHE, EPOCH, packages, raised
from system.hosts import Host, prepared


@pytest.fixture(scope="session")
def bedding() -> None:
    """Whether there can be a host with a systemd; without one: skipped at home, failed in CI."""
    if why := obstacle():
        give_up(f"no real systemd: {why}")


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The packages of this tree, by the ends of their names: wheel, sdist and .deb."""
    command = [ROOT / "scripts" / "apt-need", "python3", "dpkg", "lintian", "man-db"]
    needed = subprocess.run(command, capture_output=True, text=True, check=False)
    if needed.returncode != 0:
        give_up(f"no .deb: {needed.stderr.strip()}")
    return packages(ROOT, tmp_path_factory.mktemp("made"), "--cache", CACHE)


@pytest.fixture(scope="session")
def made_higher(made: dict[str, Path], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same with a higher version."""
    folder = tmp_path_factory.mktemp("higher")
    root = raised(folder / "tree")
    return packages(root, folder / "dist", "--cache", CACHE, SOURCE_DATE_EPOCH=EPOCH)


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
