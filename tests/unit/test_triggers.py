"""What is watched for a file, and that bursts of changes wake the loop seldom."""

from __future__ import annotations

import asyncio
import errno
import itertools
import os
import shutil
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from paddock.edges.watching import Change, Matters, Scope, changes
from paddock.engine import triggers
from paddock.engine.triggers import (
    Bell,
    Watch,
    Watched,
    comes_or_goes,
    watched_blobs,
    watched_files,
    watched_trees,
)

WAIT_S = 20.0


def test_a_file_is_watched_as_written_and_wherever_its_links_lead(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    (root / "disk" / "deep").mkdir(parents=True)
    (root / "disk" / "deep" / "real.gguf").touch()
    (root / "drive").symlink_to("disk")
    (root / "written.gguf").symlink_to("drive/deep/real.gguf")
    found = watched_files([root / "written.gguf"])
    assert found.entries == {
        str(root / "written.gguf"),
        str(root / "drive"),
        str(root / "disk/deep/real.gguf"),
    }
    assert found.folders == {str(root), str(root / "disk/deep")}
    assert (found.whole, found.unwatched) == (frozenset(), {})


def test_of_a_path_that_is_not_there_the_nearest_folder_is_watched(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    found = watched_files([root / "drive/models/a.gguf"])
    assert found.entries == {str(root / "drive")}
    assert found.folders == {str(root)}
    (root / "link").symlink_to("nowhere/else")
    assert watched_files([root / "link"]).entries == {str(root / "link"), str(root / "nowhere")}


def test_links_in_a_circle_end(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("a")
    assert {Path(e).name for e in watched_files([tmp_path / "a"]).entries} == {"a", "b"}


def test_other_files_beside_a_watched_one_matter_not(tmp_path: Path) -> None:
    root = tmp_path.resolve()
    (root / "models.d").mkdir()
    found = watched_files([root / "a.gguf", root / "models.d"])
    assert found.matters(Change.MODIFIED, str(root / "a.gguf"))
    assert not found.matters(Change.MODIFIED, str(root / "download.bin"))
    assert found.matters(Change.ADDED, str(root / "models.d/new.yaml"))
    assert not found.matters(Change.ADDED, str(root / "models.d/.new.yaml.swp"))
    assert found.matters(Change.DELETED, str(root)), "a watch ends with its folder"


@pytest.mark.parametrize(
    ("change", "path", "matters"),
    [
        (Change.ADDED, "sha256-aa", True),
        (Change.DELETED, "sha256-aa", True),
        (Change.MODIFIED, "sha256-aa", False),
        (Change.MODIFIED, "sha256-aa-partial", False),
        (Change.ADDED, "sha256-aa-partial-3", False),
    ],
)
def test_a_pull_under_way_matters_not_and_its_end_does(
    tmp_path: Path, change: Change, path: str, matters: bool
) -> None:
    found = watched_blobs(tmp_path)
    assert found.matters(change, str(tmp_path.resolve() / path)) is matters


def test_what_lies_on_a_network_is_not_asked_and_said_to_be_unwatched(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path.resolve()
    nas = str(root / "nas")
    (root / "local").symlink_to(f"{nas}/a.gguf")
    monkeypatch.setattr(triggers, "mounts", lambda: {"/": "ext4", nas: "nfs4"})
    for found in (watched_files([root / "local"]), watched_trees([root / "local"])):
        assert list(found.unwatched) == [str(root / "local")]
        assert f"nfs4 at {nas} does not tell" in found.unwatched[str(root / "local")]
        assert nas not in found.folders
    assert watched_files([root / "local"]).entries == {str(root / "local")}


async def test_a_burst_wakes_at_once_and_then_the_more_seldom_the_longer_it_lasts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """One clock that only the bell's own waits move."""
    woken, wake, now_s = list[float](), asyncio.Event(), 100.0

    async def sleep(seconds: float) -> None:
        nonlocal now_s
        now_s += seconds

    monkeypatch.setattr(time, "monotonic", lambda: now_s)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    bell = Bell(wake)
    for _ in range(8):
        await bell.ring()
        assert wake.is_set()
        woken.append(now_s)
        wake.clear()
    gaps = [round(after - before, 3) for before, after in itertools.pairwise(woken)]
    assert gaps == [0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0]
    now_s += 10.0
    before_s = now_s
    await bell.ring()
    assert now_s == before_s, "after a quiet time it wakes at once"


@pytest.fixture(autouse=True)
def _hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Looks again so often that quiet comes soon."""
    monkeypatch.setattr(triggers, "LOOK_AGAIN_S", 0.15)


class Rung:
    """A wake event that others can wait for, again and again."""

    def __init__(self) -> None:
        self.wake = asyncio.Event()
        self.told: list[Mapping[str, str]] = []

    async def rings(self) -> None:
        """Waits for the next ring."""
        async with asyncio.timeout(WAIT_S):
            await self.wake.wait()
        self.wake.clear()

    async def rings_for(self, change: Callable[[], object], *, times: int = 1) -> None:
        """Makes a change, and waits until it rang for it."""
        for _ in range(times):
            change()
            await self.rings()

    async def is_quiet(self) -> None:
        """Waits until nothing has rung for longer than a watch takes to look again."""
        while True:
            try:
                async with asyncio.timeout(3 * triggers.LOOK_AGAIN_S):
                    await self.wake.wait()
            except TimeoutError:
                return
            self.wake.clear()


@asynccontextmanager
async def watching(
    wanted: Callable[[], Watched], matters: Matters = triggers.is_kept
) -> AsyncIterator[Rung]:
    """A watch under way, that has rung for its start."""
    rung, stop = Rung(), asyncio.Event()
    watch = Watch(wanted, Bell(rung.wake), rung.told.append, matters)
    task = asyncio.create_task(watch.run(stop))
    await rung.rings()
    try:
        yield rung
    finally:
        stop.set()
        await task


def _files(*paths: Path) -> Callable[[], Watched]:
    return lambda: watched_files(paths)


async def test_a_source_that_changes_goes_and_returns_rings_each_time(tmp_path: Path) -> None:
    model, away = tmp_path / "a.gguf", tmp_path / "away"
    model.write_bytes(b"a")
    async with watching(_files(model)) as rung:
        await rung.rings_for(lambda: model.write_bytes(b"b"))
        await rung.rings_for(lambda: model.rename(away))
        await rung.rings_for(lambda: away.rename(model))
        (tmp_path / "new").write_bytes(b"c")
        await rung.rings_for(lambda: (tmp_path / "new").replace(model))
        await rung.is_quiet()
        for number in range(50):
            (tmp_path / f"other{number}").write_bytes(b"x")
        (tmp_path / "download").write_bytes(b"x" * 1000)
        await rung.is_quiet()
        await rung.rings_for(model.unlink)


async def test_the_end_of_a_link_rings_and_so_does_the_link_in_the_middle(tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.gguf").write_bytes(name.encode())
    (tmp_path / "now").symlink_to("one")
    (tmp_path / "written.gguf").symlink_to("now/a.gguf")

    def swap() -> None:
        (tmp_path / "next").symlink_to("two")
        (tmp_path / "next").rename(tmp_path / "now")

    async with watching(_files(tmp_path / "written.gguf")) as rung:
        await rung.rings_for(lambda: (tmp_path / "one/a.gguf").write_bytes(b"more"))
        await rung.rings_for(swap)
        await rung.is_quiet()
        await rung.rings_for(lambda: (tmp_path / "two/a.gguf").write_bytes(b"more"))
        await rung.is_quiet()
        (tmp_path / "one/a.gguf").unlink()
        await rung.is_quiet()
        assert not rung.wake.is_set()


async def test_a_folder_that_goes_and_comes_back_rings_and_is_watched_again(
    tmp_path: Path,
) -> None:
    drive, model = tmp_path / "drive", tmp_path / "drive/models/a.gguf"
    async with watching(_files(model)) as rung:
        await rung.rings_for(lambda: model.parent.mkdir(parents=True))
        await rung.is_quiet()
        await rung.rings_for(model.touch)
        await rung.rings_for(lambda: drive.rename(tmp_path / "gone"))
        await rung.is_quiet()
        await rung.rings_for(lambda: (tmp_path / "gone").rename(drive))
        await rung.is_quiet()
        await rung.rings_for(lambda: shutil.rmtree(drive))
        await rung.rings_for(lambda: model.parent.mkdir(parents=True))
        await rung.is_quiet()
        await rung.rings_for(model.touch)


async def test_what_is_newly_wanted_is_watched_once_that_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "LOOK_AGAIN_S", 3600.0)
    first, second, stop = tmp_path / "a/a.gguf", tmp_path / "b/b.gguf", asyncio.Event()
    for file in (first, second):
        file.parent.mkdir()
        file.touch()
    files, rung = [first], Rung()
    watch = Watch(
        lambda: watched_files(files), Bell(rung.wake), rung.told.append, made_of=lambda: [*files]
    )
    task = asyncio.create_task(watch.run(stop))
    await rung.rings()
    files.append(second)
    await rung.rings_for(watch.again.set)  # what changed before the new watch stood
    await rung.rings_for(lambda: second.write_bytes(b"new"))
    stop.set()
    await task


async def test_a_tree_that_is_replaced_is_watched_again(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    (tree / "deep").mkdir(parents=True)
    async with watching(lambda: watched_trees([tree]), comes_or_goes) as rung:
        await rung.rings_for((tree / "deep/a.gguf").touch)
        await rung.rings_for(lambda: shutil.rmtree(tree))
        await rung.rings_for(lambda: (tree / "other").mkdir(parents=True))
        await rung.is_quiet()
        await rung.rings_for((tree / "other/b.gguf").touch)


async def test_what_cannot_be_watched_is_told_once_and_again_when_it_can(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(triggers, "TRY_AGAIN_S", 0.05)
    broken = True

    def limited(
        scope: Scope, *, stop: asyncio.Event, again: asyncio.Event, timeout_s: float
    ) -> AsyncGenerator[set[str], None]:
        if broken:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return changes(scope, stop=stop, again=again, timeout_s=timeout_s)

    monkeypatch.setattr(triggers, "changes", limited)
    rung, stop = Rung(), asyncio.Event()
    changed = asyncio.Event()

    def tell(paths: Mapping[str, str]) -> None:
        rung.told.append(paths)
        changed.set()

    (tmp_path / "a.gguf").touch()
    watch = Watch(_files(tmp_path / "a.gguf"), Bell(rung.wake), tell)
    task = asyncio.create_task(watch.run(stop))
    async with asyncio.timeout(WAIT_S):
        await changed.wait()
        changed.clear()
        broken = False
        while rung.told[-1]:
            await changed.wait()
            changed.clear()
    await rung.rings()
    stop.set()
    await task
    whys = [" ".join(paths.values()) for paths in rung.told]
    assert whys[0].startswith("the limit of watches is reached; raise fs.inotify.")
    assert whys[-1] == ""
