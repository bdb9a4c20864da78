"""Changes of real folders, as inotify tells of them, and as watchfiles does where there is none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from paddock.edges.watching.change import Change
from paddock.edges.watching.changes import Scope, changes_by_inotify
from paddock.edges.watching.elsewhere import changes_by_watchfiles
from paddock.edges.watching.inotify import Inotify

Changes = Callable[[Scope, asyncio.Event, float], AsyncGenerator[set[str], None]]
Told = set[tuple[Change, str]]
WAIT_S = 20.0


def _by_inotify(
    scope: Scope, stop: asyncio.Event, timeout_s: float
) -> AsyncGenerator[set[str], None]:
    return changes_by_inotify(scope, stop, asyncio.Event(), timeout_s)


@pytest.fixture(params=[_by_inotify, changes_by_watchfiles])
def changes(request: pytest.FixtureRequest) -> Changes:
    """Each way in turn."""
    found: Changes = request.param
    return found


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path.resolve()


def _scope(*folders: Path, below: bool = False) -> Scope:
    return Scope(tuple(map(str, folders)), below=below, contents=True, matters=lambda *_: True)


async def _until(found: AsyncGenerator[set[str], None], path: Path) -> None:
    async with asyncio.timeout(WAIT_S):
        async for paths in found:
            if str(path) in paths:
                return


async def test_what_is_made_written_moved_and_removed_is_told(changes: Changes, root: Path) -> None:
    kept, moved = root / "kept", root / "moved"
    kept.touch()
    async with aclosing(changes(_scope(root), asyncio.Event(), 0.1)) as found:
        assert await anext(found) == set()
        for change, path in (
            (lambda: kept.write_text("more"), kept),
            (lambda: kept.rename(moved), moved),
            (moved.unlink, moved),
        ):
            change()
            await _until(found, path)


async def test_folders_that_come_are_watched_with_all_below_them(
    changes: Changes, root: Path
) -> None:
    async with aclosing(changes(_scope(root, below=True), asyncio.Event(), 0.1)) as found:
        assert await anext(found) == set()
        (root / "new" / "deep").mkdir(parents=True)
        await _until(found, root / "new")
        (root / "new" / "deep" / "a").touch()
        await _until(found, root / "new" / "deep" / "a")


async def test_what_does_not_matter_is_not_told(changes: Changes, root: Path) -> None:
    scope = Scope((str(root),), below=False, contents=True, matters=lambda _, p: p.endswith("b"))
    async with aclosing(changes(scope, asyncio.Event(), 0.2)) as found:
        assert await anext(found) == set()
        (root / "a").touch()
        assert await anext(found) == set()
        (root / "b").touch()
        await _until(found, root / "b")


async def test_it_ends_when_it_is_told_to_stop(changes: Changes, root: Path) -> None:
    stop = asyncio.Event()
    async with asyncio.timeout(WAIT_S), aclosing(changes(_scope(root), stop, 0.1)) as found:
        assert await anext(found) == set()
        stop.set()
        assert [paths async for paths in found if paths] == []


def _told(inotify: Inotify) -> Told:
    """All that has happened: an event is there as soon as the call that caused it returns."""
    return inotify.read()


def test_a_write_is_told_of_while_it_goes_on_only_where_that_is_asked_for(root: Path) -> None:
    """A download writes thousands of times; that it is whole is told in any case."""
    path = root / "a"
    path.touch()
    with (
        Inotify([str(root)], below=False, contents=False) as seldom,
        Inotify([str(root)], below=False, contents=True) as often,
        path.open("w") as file,
    ):
        file.write("half")
        file.flush()
        assert _told(seldom) == set()
        assert _told(often) == {(Change.MODIFIED, str(path))}
        file.close()
        assert _told(seldom) == _told(often) == {(Change.WRITTEN, str(path))}


def test_reading_a_file_is_no_change(root: Path) -> None:
    """Ollama reads each manifest whenever it is asked for its models."""
    path = root / "a"
    path.write_text("manifest")
    with Inotify([str(root)], below=True, contents=True) as inotify:
        path.read_text()
        list(root.iterdir())
        assert _told(inotify) == set()


def test_a_folder_that_was_moved_is_known_by_its_new_name_alone(root: Path) -> None:
    (root / "old" / "deep").mkdir(parents=True)
    with Inotify([str(root)], below=True, contents=True) as inotify:
        (root / "old").rename(root / "new")
        _told(inotify)
        (root / "new" / "deep" / "a").touch()
        assert (Change.ADDED, str(root / "new" / "deep" / "a")) in _told(inotify)
        (root / "new").rename(root.parent / f"{root.name}-away")
        _told(inotify)
        (root.parent / f"{root.name}-away" / "deep" / "b").touch()
        assert _told(inotify) == set()


def test_links_in_a_circle_end_and_each_folder_is_entered_once(root: Path) -> None:
    (root / "a").mkdir()
    (root / "a" / "up").symlink_to("..")
    with Inotify([str(root)], below=True, contents=True) as inotify:
        (root / "a" / "b").touch()
        assert {path for _, path in _told(inotify)} >= {str(root / "a" / "b")}


def test_the_end_of_a_folder_is_told_by_its_own_path(root: Path) -> None:
    (root / "a").mkdir()
    with Inotify([str(root / "a")], below=False, contents=False) as inotify:
        (root / "a").rmdir()
        assert _told(inotify) == {(Change.DELETED, str(root / "a"))}
    (root / "b").mkdir()
    with Inotify([str(root / "b")], below=False, contents=False) as inotify:
        (root / "b").rename(root / "c")
        assert _told(inotify) == {(Change.DELETED, str(root / "b"))}


def test_what_was_lost_in_a_flood_counts_as_a_change_of_each_folder(root: Path) -> None:
    most = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    with Inotify([str(root)], below=False, contents=False) as inotify:
        for number in range(most // 2 + 1):  # the kernel keeps what comes and goes as two
            path = root / str(number)
            path.mkdir()
            path.rmdir()
        assert (Change.MODIFIED, str(root)) in _told(inotify)


def test_a_folder_that_is_gone_or_none_is_passed_over(root: Path) -> None:
    (root / "file").touch()
    folders = [str(root / "gone"), str(root / "file"), str(root)]
    with Inotify(folders, below=False, contents=True) as inotify:
        (root / "a").touch()
        assert (Change.ADDED, str(root / "a")) in _told(inotify)


async def test_nothing_is_asked_and_no_thread_waits_while_nothing_changes(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reads, read = list[int](), Inotify.read

    def counted(inotify: Inotify) -> Told:
        reads.append(1)
        return read(inotify)

    monkeypatch.setattr(Inotify, "read", counted)
    before = threading.active_count()
    async with aclosing(_by_inotify(_scope(root), asyncio.Event(), 0.3)) as found:
        assert [await anext(found) for _ in range(3)] == [set(), set(), set()]
        assert reads == []
        assert threading.active_count() <= before + 1, "the one that made the watch"


async def test_who_wants_it_looked_at_again_waits_for_no_time_to_pass(root: Path) -> None:
    again, hour_s = asyncio.Event(), 3600.0
    by_hand = changes_by_inotify(_scope(root), asyncio.Event(), again, hour_s)
    async with asyncio.timeout(WAIT_S), aclosing(by_hand) as found:
        assert await anext(found) == set()
        again.set()
        assert await anext(found) == set()
        (root / "a").touch()
        again.clear()
        assert await anext(found) == {str(root / "a")}
