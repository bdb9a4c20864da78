"""Wheel and sdist on every Python at hand from 3.11 on: installed where nothing was, and used.

`scripts/debian-python` brings those of other Debians.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import paddock
from paddock_cli import SMOL, Daemon, User, clean_environment
from real import RealOllama

ROOT = Path(__file__).resolve().parents[2]
UV = Path(sys.prefix, "bin", "uv")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "paddock", "pythons")
OLDEST = (3, 11)


def pythons() -> dict[str, Path]:
    """The first interpreter of each version that there is, and Debian's own in any case."""
    found = {"debian": Path("/usr/bin/python3")}
    for path in _candidates():
        ask = [path, "-Ic", "import sys; print(*sys.version_info[:2], sys._base_executable)"]
        try:
            done = subprocess.run(ask, capture_output=True, text=True, check=False)
        except OSError:  # made for another place, or another user
            continue
        major, minor, where = done.stdout.split() if done.returncode == 0 else ("0", "0", "")
        if (int(major), int(minor)) >= OLDEST:
            found.setdefault(f"{major}.{minor}", Path(where))
    return {name: path for name, path in found.items() if path.exists()}


def _candidates() -> list[Path]:
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv", "versions")
    there = (shutil.which(f"python3.{minor}") for minor in range(OLDEST[1], 30))
    brought = CACHE.glob("*/usr/bin/python3.[0-9]*[0-9]")
    own = [*sorted(pyenv.glob("3.*/bin/python3")), *sorted(brought)]
    return [Path(sys._base_executable), *map(Path, filter(None, there)), *own]


PYTHONS = pythons()


def _do(*command: str | Path, cwd: Path | None = None, **env: str) -> str:
    done = subprocess.run(
        command,
        cwd=cwd,
        env=clean_environment(**env),
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel and the sdist."""
    folder = tmp_path_factory.mktemp("built")
    _do(sys.executable, "-m", "hatchling", "build", "-d", folder, cwd=ROOT)
    return folder


def installed(python: Path, package: Path, folder: Path) -> Path:
    """The command of Paddock, installed in an environment that was empty."""
    _do(UV, "venv", "-q", "--no-project", "--python", python, folder)
    lock = ROOT / "requirements.lock"
    options = ("--python", folder / "bin" / "python", "--only-binary", ":all:", "-c", lock)
    options += ("--no-binary", "paddock") if package.suffix == ".gz" else ()
    _do(UV, "pip", "install", "-q", *options, package)
    return folder / "bin" / "paddock"


@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS)
def test_an_installed_wheel_validates_applies_runs_and_stops(
    python: Path, built: Path, ollama: RealOllama, tmp_path: Path
) -> None:
    [wheel] = built.glob("*.whl")
    command = installed(python, wheel, tmp_path / "venv")
    user = User(tmp_path / "user", ollama, {"PYTHONWARNINGS": "error"})
    assert _do(command, "--version") == f"paddock {paddock.__version__}\n"
    schema = json.loads(_do(command, "schema"))
    assert schema == json.loads((ROOT / "schemas/models.v1.schema.json").read_text())
    user.declare(SMOL)
    _do(command, "validate", user.file)
    with Daemon(user, {"PADDOCK_LOG_FORMAT": "json"}, command=(command,)) as daemon:
        daemon.wait_ready()
        assert list(ollama.tags()) == ["smol:latest"]
        assert Path(f"/proc/{daemon.pid}/exe").samefile(python.resolve())


@pytest.mark.parametrize("python", PYTHONS.values(), ids=PYTHONS)
def test_an_installed_sdist_is_what_the_wheel_is(python: Path, built: Path, tmp_path: Path) -> None:
    [wheel], [sdist] = built.glob("*.whl"), built.glob("*.tar.gz")
    trees = []
    for package in (wheel, sdist):
        venv = tmp_path / package.suffix
        command = installed(python, package, venv)
        assert _do(command, "--version") == f"paddock {paddock.__version__}\n"
        folder = next(venv.glob("lib/python3.*/site-packages/paddock"))
        files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
        trees.append({path.relative_to(folder): path.read_bytes() for path in files})
    assert trees[0] == trees[1]


def test_uv_installs_it_as_a_tool_with_the_extra(built: Path, tmp_path: Path) -> None:
    [wheel] = built.glob("*.whl")
    env = {"UV_TOOL_DIR": str(tmp_path / "tools"), "UV_TOOL_BIN_DIR": str(tmp_path / "bin")}
    options = ("--python", sys._base_executable, "-c", ROOT / "requirements.lock")
    _do(UV, "tool", "install", "-q", *options, f"paddock[hf] @ {wheel.as_uri()}", **env)
    assert _do(tmp_path / "bin" / "paddock", "--version") == f"paddock {paddock.__version__}\n"
    _do(tmp_path / "tools" / "paddock" / "bin" / "python", "-c", "import huggingface_hub")
