"""models.yaml is followed at once, whatever saves it: no poll comes to help in these tests.

The tools themselves are used where they are installed, else the system calls that they make. Each
saves twice: what watches a file and not its name sees the first save of most of them alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from at_rest import NO_POLL, QUIET_S, settle
from paddock.engine.triggers import LOOK_AGAIN_S
from paddock_cli import SMOL, Daemon, User, readiness
from real import RealOllama
from tiny_models import chat_model


def _text(name: str) -> str:
    return f"version: 1\nmodels:\n  {name}:\n    state: absent\n"


def _names(daemon: Daemon) -> list[str]:
    return sorted(model["name"] for model in daemon.status()["models"])


def _run(*command: str | Path, cwd: Path | None = None) -> None:
    env = os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null", "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(command, cwd=cwd, env=env, check=True, capture_output=True, timeout=30)


@pytest.fixture
def user(module_ollama: RealOllama, tmp_path: Path) -> User:
    """A user whose file names one model, which shall not be there."""
    user = User(tmp_path / "user", module_ollama)
    user.gguf.unlink()
    user.file.write_text(_text("zero"))
    return user


def _nano(file: Path, old: str, new: str) -> None:
    """nano and VS Code write in place."""
    file.write_text(file.read_text().replace(old, new))


def _vim(file: Path, old: str, new: str) -> None:
    if shutil.which("vim") is None:
        _emacs(file, old, new)  # the same calls
        return
    options = "set nocp noswapfile backup writebackup backupcopy=no backupdir=."
    _run("vim", "-u", "NONE", "-es", "-c", options, "-c", f"%s/{old}/{new}/", "-c", "wq", file)


def _emacs(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    file.rename(f"{file}~")
    file.write_text(text.replace(old, new))


def _sed(file: Path, old: str, new: str) -> None:
    _run("sed", "-i", f"s/{old}/{new}/", file)


def _atomic(file: Path, old: str, new: str) -> None:
    """gedit, and most programs: a new file beside it, renamed over it."""
    fresh = file.with_name(".models.yaml.XYZ")
    fresh.write_text(file.read_text().replace(old, new))
    fresh.replace(file)


def _removed_and_written(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    file.unlink()
    file.write_text(text.replace(old, new))


Save = Callable[[Path, str, str], None]


@pytest.mark.parametrize("save", [_nano, _vim, _emacs, _sed, _atomic, _removed_and_written])
def test_a_save_is_followed_at_once_and_so_is_the_next(user: User, save: Save) -> None:
    with user.daemon(**NO_POLL) as daemon:
        daemon.wait(lambda: _names(daemon) == ["zero"], "it has begun")
        for old, new in (("zero", "one"), ("one", "two"), ("two", "three")):
            save(user.file, old, new)
            daemon.wait(lambda new=new: _names(daemon) == [new], f"{new} is seen")  # type: ignore[misc]


@pytest.mark.parametrize("save", [_nano, _vim, _sed, _atomic])
def test_a_link_to_the_file_is_followed_when_what_it_leads_to_is_saved(
    user: User, save: Save
) -> None:
    kept = user.folder / "kept" / "deep"
    kept.mkdir(parents=True)
    user.file.rename(kept / "real.yaml")
    (user.folder / "now").symlink_to("kept")
    user.file.symlink_to("now/deep/real.yaml")
    with user.daemon(**NO_POLL) as daemon:
        daemon.wait(lambda: _names(daemon) == ["zero"], "it has begun")
        for old, new in (("zero", "one"), ("one", "two")):
            save(kept / "real.yaml", old, new)
            daemon.wait(lambda new=new: _names(daemon) == [new], f"{new} is seen")  # type: ignore[misc]


@pytest.fixture
def repository(user: User) -> Path:
    """A repository with models.yaml, a branch for each of three states."""
    folder = user.folder / "repository"
    folder.mkdir()
    git = ("git", "-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=zero")
    _run(*git, "init", cwd=folder)
    for name in ("zero", "one", "two"):
        if name != "zero":
            _run(*git, "checkout", "-b", name, cwd=folder)
        (folder / "models.yaml").write_text(_text(name))
        _run(*git, "add", "models.yaml", cwd=folder)
        _run(*git, "commit", "-m", name, cwd=folder)
    _run(*git, "checkout", "zero", cwd=folder)
    return folder


def test_a_checkout_is_followed(user: User, repository: Path) -> None:
    user.env["PADDOCK_FILE"] = str(repository / "models.yaml")
    with user.daemon(**NO_POLL) as daemon:
        for name in ("zero", "one", "two", "one"):
            _run("git", "checkout", name, cwd=repository)
            daemon.wait(lambda name=name: _names(daemon) == [name], f"{name} is seen")  # type: ignore[misc]


def _publish(volume: Path, number: int, name: str) -> None:
    """As kubelet's AtomicWriter does: a new folder, and `..data` renamed over to lead there."""
    fresh = volume / f"..2026_11_22_20_00_00.{number}"
    fresh.mkdir()
    (fresh / "models.yaml").write_text(_text(name))
    before = (volume / "..data").resolve()
    (volume / "..data_tmp").symlink_to(fresh.name)
    (volume / "..data_tmp").rename(volume / "..data")
    if before.name != "..data":
        shutil.rmtree(before)


def test_a_config_map_that_is_swapped_twice_in_a_row_is_followed(user: User) -> None:
    volume = user.folder / "config"
    volume.mkdir()
    (volume / "models.yaml").symlink_to("..data/models.yaml")
    _publish(volume, 1, "zero")
    user.env["PADDOCK_FILE"] = str(volume / "models.yaml")
    with user.daemon(**NO_POLL) as daemon:
        daemon.wait(lambda: _names(daemon) == ["zero"], "it has begun")
        _publish(volume, 2, "one")
        _publish(volume, 3, "two")
        daemon.wait(lambda: _names(daemon) == ["two"], "the second swap is seen")
        _publish(volume, 4, "three")
        daemon.wait(lambda: _names(daemon) == ["three"], "the third swap is seen")
        _publish(volume, 5, "four")
        daemon.wait(lambda: _names(daemon) == ["four"], "the fourth swap is seen")


def test_a_folder_of_files_is_followed_and_so_is_a_swap_of_the_folder(user: User) -> None:
    for release in ("one", "two"):
        (user.folder / release).mkdir()
        (user.folder / release / "a.yaml").write_text(_text(release))
    (user.folder / "models.d").symlink_to("one")
    user.env["PADDOCK_FILE"] = str(user.folder / "models.d")
    with user.daemon(**NO_POLL) as daemon:
        daemon.wait(lambda: _names(daemon) == ["one"], "it has begun")
        (user.folder / "one/b.yaml").write_text(_text("more"))
        daemon.wait(lambda: _names(daemon) == ["more", "one"], "a new file is seen")
        _sed(user.folder / "one/b.yaml", "more", "other")
        daemon.wait(lambda: _names(daemon) == ["one", "other"], "its change is seen")
        (user.folder / "one/b.yaml").unlink()
        daemon.wait(lambda: _names(daemon) == ["one"], "its end is seen")
        (user.folder / "next").symlink_to("two")
        (user.folder / "next").rename(user.folder / "models.d")
        daemon.wait(lambda: _names(daemon) == ["two"], "the other folder is seen")


def test_a_file_that_is_half_written_keeps_the_last_good_one(user: User) -> None:
    text = _text("one") + "  two:\n    state: absent\n"
    middle = text.index("absent") + 3
    with user.daemon(**NO_POLL) as daemon, user.file.open("w") as file:
        daemon.wait(lambda: daemon.condition("Stalled")[1] == "SpecInvalid", "it is told")
        file.write(text[:middle])
        file.flush()
        assert _names(daemon) == ["zero"]
        file.write(text[middle:])
        file.flush()
        daemon.wait(lambda: _names(daemon) == ["one", "two"], "the whole file is seen")
        assert daemon.condition("Stalled")[0] == "False"


def test_a_daemon_that_has_nothing_to_do_comes_to_rest(user: User) -> None:
    """And what programs write beside the file does not wake it."""
    with user.daemon(**NO_POLL) as daemon:
        daemon.wait(lambda: _names(daemon) == ["zero"], "it has begun")
        settle(user.server)
        with user.server.recorded() as requests:
            for number in range(100):
                (user.folder / f"download{number}").write_bytes(b"x")
            (user.folder / ".models.yaml.swp").write_bytes(b"x")
            time.sleep(QUIET_S)
        assert requests == []
        user.file.write_text(_text("one"))
        daemon.wait(lambda: _names(daemon) == ["one"], "it still watches")


def test_a_source_that_an_edit_names_is_watched_at_once(tiny_user: User) -> None:
    user, file = tiny_user, tiny_user.folder / "far/other.gguf"
    file.parent.mkdir()
    made = user.folder / "made.gguf"
    made.write_bytes(chat_model(seed=2))
    os.utime(made, (1, 1))
    user.declare(SMOL)
    with user.daemon(**NO_POLL) as daemon:
        daemon.wait_ready()
        settle(user.server)
        user.declare(f"{SMOL}  other:\n    source: {{gguf: ./far/other.gguf}}\n")
        daemon.wait(lambda: "other" in readiness(daemon.status()), "the edit is seen")
        time.sleep(1)  # no cycle of the edit is left
        made.rename(file)
        daemon.wait(
            lambda: readiness(daemon.status())["other"][0] == "True",
            "the file is seen",
            timeout_s=0.7 * LOOK_AGAIN_S,
        )
