"""Disks that are full, read-only or elsewhere: one clear line, whole models, and no half work."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from at_rest import NO_POLL, settle
from gguf_files import model_bytes
from giving_up import give_up
from paddock.engine.triggers import LOOK_AGAIN_S
from paddock_cli import Result, User, readiness
from provider import RealPaths
from real import RealOllama
from snapshots import store_snapshot
from stores import check_whole, links

TINY = "  tiny:\n    source: {gguf: ./tiny.gguf}\n    system: Be kind.\n"
MORE = "  more:\n    source: {gguf: ./more.gguf}\n    system: Be brief.\n"
PAGE = os.sysconf("SC_PAGE_SIZE")


@contextlib.contextmanager
def _mounted(folder: Path, *options: str | Path) -> Iterator[None]:
    if os.geteuid() != 0:
        give_up("only root may mount a file system")
    folder.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", *options, folder], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        give_up(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", folder], check=True)


Mount = Callable[..., None]


@pytest.fixture
def mount() -> Iterator[Mount]:
    """Mounts file systems, and takes them away at the end of the test."""
    with contextlib.ExitStack() as stack:
        yield lambda folder, *options: stack.enter_context(_mounted(folder, *options))


@pytest.fixture
def small(real: RealPaths, tmp_path: Path, mount: Mount) -> Iterator[User]:
    """A user whose models folder is on a disk of 2 MB of its own."""
    mount(tmp_path / "ollama" / "models", "-t", "tmpfs", "-o", "size=2m,mode=755", "tmpfs")
    with RealOllama(real, tmp_path / "ollama") as server:
        user = User(tmp_path / "user", server)
        for name in ("tiny", "more"):
            path = user.folder / f"{name}.gguf"
            path.write_bytes(model_bytes() + bytes(32 * len(name)))
            os.utime(path, (1, 1))
        yield user


def _fill(folder: Path, spare_bytes: int) -> Path:
    """Fills a disk but for some bytes."""
    filler = folder / "filler"
    facts = os.statvfs(folder)
    with filler.open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(facts.f_bavail * facts.f_bsize - spare_bytes, 1))
    return filler


def _one_line(result: Result) -> str:
    """What went wrong: one line for the command, or one for the model."""
    assert "Traceback" not in result.err + result.out
    told = [line for line in result.out.splitlines() if line.startswith("!")]
    told += [line for line in result.err.splitlines() if line.startswith("paddock: ")]
    [line] = told
    return line


@pytest.mark.parametrize("pages", [0, 1, 2, 3, 4, 6, 8, 10, 12, 14, 17, 20])
def test_a_disk_that_is_full_at_any_write_is_told_and_leaves_no_half_model(
    small: User, pages: int
) -> None:
    store = small.server.models_dir
    filler = _fill(store, pages * PAGE)
    small.declare(TINY)
    result = small.paddock("apply")
    if result.code != 0:
        line = _one_line(result)
        assert "no space left on device" in line.lower() or "is full" in line, line
        assert small.server.tags() == {}
    check_whole(store)
    filler.unlink()
    small.apply()
    assert list(small.server.tags()) == ["tiny:latest"]
    assert small.apply().out.startswith("No changes.")
    check_whole(store)
    assert list((store / ".paddock" / "tmp").iterdir()) == []


@pytest.mark.parametrize("pages", [0, 1, 2, 4])
def test_a_disk_that_is_full_for_the_next_model_keeps_the_first_one(
    small: User, pages: int
) -> None:
    small.declare(TINY)
    small.apply()
    store = small.server.models_dir
    before = store_snapshot(store)
    filler = _fill(store, pages * PAGE)
    small.declare(TINY + MORE)
    result = small.paddock("apply")
    assert result.code in {1, 3}, result
    line = _one_line(result)
    assert "no space left on device" in line.lower() or "is full" in line, line
    after = store_snapshot(store)
    assert {path: after.get(path) for path in before if path != "blobs"} == {
        path: entry for path, entry in before.items() if path != "blobs"
    }
    check_whole(store)
    filler.unlink()
    small.apply()
    assert set(small.server.tags()) == {"tiny:latest", "more:latest"}


def test_a_daemon_on_a_full_disk_lives_says_so_and_goes_on_when_there_is_room(small: User) -> None:
    small.declare(TINY)
    small.apply()
    with small.daemon() as daemon:
        daemon.wait_ready()
        filler = _fill(small.server.models_dir, 0)
        small.declare(TINY + MORE)
        daemon.wait(lambda: small.statuses().get("more", ("", ""))[0] == "False", "it says so")
        assert small.statuses()["tiny"][0] == "True"
        filler.unlink()
        daemon.wait_ready()
    assert set(small.server.tags()) == {"tiny:latest", "more:latest"}


def test_a_disk_that_comes_back_is_seen_at_once(
    tiny_user: User, mount: Mount, tmp_path: Path
) -> None:
    """Though nothing else happens where it is mounted, and no poll comes to help."""
    disk, drive = tmp_path / "disk", tiny_user.folder / "drive"
    for folder in (disk, drive):
        folder.mkdir()
    tiny_user.gguf.rename(disk / "smol.gguf")
    tiny_user.declare("  smol:\n    source: {gguf: ./drive/smol.gguf}\n")
    with tiny_user.daemon(**NO_POLL) as daemon:
        missing = {"smol": ("False", "SourceMissing")}
        daemon.wait(lambda: readiness(daemon.status()) == missing, "it is missed")
        settle(tiny_user.server)
        mount(drive, "--bind", disk)
        daemon.wait(daemon.is_ready, "it is made", timeout_s=0.7 * LOOK_AGAIN_S)


def test_a_read_only_store_is_told_in_one_line_and_can_be_looked_at(
    small: User, mount: Mount, tmp_path: Path
) -> None:
    small.declare(TINY)
    small.apply()
    store = small.server.models_dir
    twin = tmp_path / "twin"
    mount(twin, "--bind", store)
    subprocess.run(["mount", "-o", "remount,bind,ro", twin], check=True)
    before = store_snapshot(store)
    for command in (["apply"], ["run"], ["adopt", "tiny"]):
        result = small.paddock(*command, "--models-dir", twin)
        assert (result.code, result.out) == (1, ""), result
        line = _one_line(result)
        assert f"cannot write {twin}/.paddock" in line or f"cannot use {twin}/.paddock" in line
        assert "read-only file system" in line.lower()
        assert line.endswith("; the file system is read-only; mount it writable")
    plan = small.paddock("plan", "--models-dir", twin)
    assert (plan.code, plan.err) == (0, "")
    assert plan.out.startswith("No changes.")
    assert store_snapshot(store) == before


@pytest.mark.parametrize("trees", [["blobs"], ["manifests"], ["blobs", "manifests"]])
def test_a_store_whose_parts_are_links_to_another_disk_is_written_whole(
    small: User, mount: Mount, tmp_path: Path, trees: Sequence[str]
) -> None:
    """A rename does not leave its disk, so that what is new is made there, at a depth where Ollama
    takes it for nothing."""
    disk = tmp_path / "disk"
    mount(disk, "-t", "tmpfs", "-o", "size=2m,mode=755", "tmpfs")
    store = small.server.models_dir
    small.server.tags()
    small.server.stop()
    for tree in trees:
        shutil.rmtree(store / tree, ignore_errors=True)
        (disk / tree).mkdir()
        (store / tree).symlink_to(disk / tree)
    small.server.start()
    small.declare(TINY)
    small.apply()
    assert list(small.server.tags()) == ["tiny:latest"]
    assert [str(link.readlink()) for link in links(store)] == [str(small.folder / "tiny.gguf")]
    assert all((store / tree).is_symlink() for tree in trees)
    for tree in trees:
        assert [p.name for p in (disk / tree).iterdir() if p.name.startswith(".")] == []
        (disk / tree / ".paddock-0123456789abcdef").write_bytes(b"left by a crash")
    small.server.restart()
    assert small.apply().out.startswith("No changes.")
    for tree in trees:
        assert [p.name for p in (disk / tree).iterdir() if p.name.startswith(".")] == []
    small.declare("  tiny: {state: absent}\n")
    small.apply()
    assert links(store) == []


@pytest.mark.parametrize("trees", [["blobs"], ["manifests"]])
def test_a_full_disk_under_a_part_of_the_store_is_told(
    small: User, mount: Mount, tmp_path: Path, trees: Sequence[str]
) -> None:
    disk = tmp_path / "disk"
    mount(disk, "-t", "tmpfs", "-o", "size=1m,mode=755", "tmpfs")
    store = small.server.models_dir
    small.server.stop()
    for tree in trees:
        shutil.rmtree(store / tree, ignore_errors=True)
        (disk / tree).mkdir()
        (store / tree).symlink_to(disk / tree)
    small.server.start()
    small.server.tags()
    filler = _fill(disk, 0)
    small.declare(TINY)
    result = small.paddock("apply")
    assert result.code in {1, 3}, result
    assert "no space left on device" in _one_line(result)
    filler.unlink()
    small.apply()
    assert list(small.server.tags()) == ["tiny:latest"]
