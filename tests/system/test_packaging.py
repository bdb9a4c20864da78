"""The package as users get it: a wheel that runs, a whole sdist, and locks that hold."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

import paddock

ROOT = Path(__file__).resolve().parents[2]


def _run(*arguments: str | Path, cwd: Path = ROOT, **env: str) -> str:
    result = subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=os.environ | env,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    return result.stdout


def _build(kind: str, folder: Path) -> Path:
    _run("-m", "hatchling", "build", "-t", kind, "-d", folder)
    [built] = folder.iterdir()
    return built


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _build("wheel", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel in it, and nothing else."""
    target = tmp_path_factory.mktemp("installed")
    _run("-m", "pip", "install", "-q", "--no-deps", "--no-index", "--target", target, wheel)
    return target


def test_the_installed_wheel_runs_from_its_own_files_and_says_its_version(
    installed: Path, tmp_path: Path
) -> None:
    env = {"PYTHONPATH": str(installed)}
    where = _run("-c", "import paddock; print(paddock.__file__)", cwd=tmp_path, **env)
    assert Path(where.strip()).is_relative_to(installed)
    said = _run("-m", "paddock", "--version", cwd=tmp_path, **env)
    assert paddock.__version__ in said.split()


def test_the_installed_command_is_called_paddock(installed: Path, tmp_path: Path) -> None:
    said = _run(installed / "bin" / "paddock", "--version", cwd=tmp_path, PYTHONPATH=str(installed))
    assert paddock.__version__ in said.split()


def test_the_wheel_holds_every_module_unit_and_page_and_nothing_of_the_workshop(
    wheel: Path,
) -> None:
    source, units = ROOT / "daemon", ROOT / "systemd"
    manual = f"paddock-{paddock.__version__}.data/data/share/man"
    with zipfile.ZipFile(wheel) as archive:
        packed = {name for name in archive.namelist() if ".dist-info/" not in name}
    modules = {str(path.relative_to(source)) for path in source.rglob("*.py")}
    files = (path.relative_to(units) for path in units.rglob("*") if path.is_file())
    pages = {f"{manual}/man1/paddock.1", f"{manual}/man5/models.yaml.5"}
    assert packed == modules | pages | {f"paddock/units/{file}" for file in files}


def test_the_installed_wheel_finds_its_units(installed: Path, tmp_path: Path) -> None:
    said = _run(
        "-c",
        "from paddock.edges.systemd_manager import shipped_units as units;"
        "print(*sorted(units(is_user=False)), *sorted(units(is_user=True)))",
        cwd=tmp_path,
        PYTHONPATH=str(installed),
    )
    each = ["paddock.service", "paddock.service.d/notify-reload.conf", "paddock.socket"]
    assert said.split() == [*each, *each]


def test_the_wheel_carries_its_licence_and_its_needs(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        info = f"paddock-{paddock.__version__}.dist-info"
        metadata = archive.read(f"{info}/METADATA").decode()
        licence = archive.read(f"{info}/licenses/LICENSE").decode()
    assert "License-Expression: Apache-2.0\n" in metadata
    assert "Requires-Python: >=3.11\n" in metadata
    assert "Copyright 2026 The Paddock authors" in licence


@pytest.mark.parametrize("folder", ["schemas", "examples", "systemd", "docs", "man"])
def test_the_sdist_holds_what_an_administrator_copies(sdist: set[str], folder: str) -> None:
    files = [path for path in (ROOT / folder).rglob("*") if path.is_file()]
    assert files
    assert {str(path.relative_to(ROOT)) for path in files} <= sdist


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """The paths in the sdist, below its one folder."""
    with tarfile.open(_build("sdist", tmp_path_factory.mktemp("sdist"))) as archive:
        return {name.partition("/")[2] for name in archive.getnames()}


def _names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", line, maxsplit=1)[0].lower() for line in requirements}


@pytest.mark.parametrize("lock", ["requirements.lock", "requirements-dev.lock"])
def test_every_declared_dependency_is_locked_to_a_version_with_hashes(lock: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    declared = _names(project["project"]["dependencies"])
    if "dev" in lock:
        declared |= _names(project["dependency-groups"]["dev"])
    text = (ROOT / lock).read_text()
    pins = re.split(r"\n(?=\S)", text.strip())
    assert declared <= _names(pins)
    assert [pin for pin in pins if "==" not in pin or "--hash=sha256:" not in pin] == []
    assert "://" not in text, "a lock names no address"
