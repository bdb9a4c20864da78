"""Readiness: only a file in the state in which it was hashed is served."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from paddock.core.digest import Digest
from paddock.core.observed import FileStat
from paddock.edges.state import FileRecord, State
from paddock.engine.slow import SlowLooks
from paddock.host.readiness import Link

DIGEST, OTHER = (Digest(f"sha256:{pair * 32}") for pair in ("ab", "cd"))


@pytest.fixture
def gguf(tmp_path: Path) -> Path:
    path = tmp_path / "m.gguf"
    path.write_bytes(b"weights")
    (tmp_path / "blob").symlink_to(path)
    return path


@pytest.fixture
def state(tmp_path: Path, gguf: Path) -> Iterator[State]:
    """A cache that knows the file as it is."""
    cache = State(tmp_path, writable=True)
    found = gguf.stat()
    stat = FileStat(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
    cache.remember_file(FileRecord(stat, DIGEST, None))
    yield cache
    cache.close()


def link(folder: Path, state: State | None, digest: Digest = DIGEST) -> Link:
    slow = SlowLooks(limit_s=0.05)
    return Link("smol", str(folder / "blob"), digest, state, remote=str(folder), slow=slow)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"!")


def replace(path: Path) -> None:
    copy = path.with_suffix(".new")
    shutil.copy2(path, copy)
    copy.replace(path)


def touch(path: Path) -> None:
    os.utime(path, ns=(1, 1))


def test_the_file_that_was_hashed_is_served(tmp_path: Path, gguf: Path, state: State) -> None:
    assert link(tmp_path, state).check() is None


@pytest.mark.parametrize("change", [grow, replace, touch])
def test_a_change_of_size_inode_or_time_is_seen(
    tmp_path: Path, gguf: Path, state: State, change: Callable[[Path], None]
) -> None:
    change(gguf)
    trouble = link(tmp_path, state).check()
    assert trouble is not None
    assert trouble[0] == "SourceChanged"


def test_a_file_that_was_hashed_to_another_digest_is_not_served(
    tmp_path: Path, gguf: Path, state: State
) -> None:
    trouble = link(tmp_path, state, OTHER).check()
    assert trouble is not None
    assert trouble[0] == "SourceChanged"


@pytest.mark.parametrize("gone", ["m.gguf", "blob"])
def test_a_missing_file_or_link_is_broken(
    tmp_path: Path, gguf: Path, state: State, gone: str
) -> None:
    (tmp_path / gone).unlink()
    trouble = link(tmp_path, state).check()
    assert trouble is not None
    assert trouble[0] == "LinkBroken"


def test_a_file_that_paddock_never_hashed_only_has_to_be_there(tmp_path: Path, gguf: Path) -> None:
    grow(gguf)
    assert link(tmp_path, None).check() is None


async def test_a_look_that_takes_too_long_says_nothing(
    tmp_path: Path, gguf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    let_go, begun = threading.Event(), list[str]()

    def hang(path: str) -> Any:
        begun.append(path)
        let_go.wait()
        raise FileNotFoundError

    monkeypatch.setattr("paddock.host.readiness.os", SimpleNamespace(stat=hang))
    slow = link(tmp_path, None)
    for _ in range(20):
        assert await slow.check_slowly() is None
    assert len(begun) == 1, "no pile of threads, of which others would have to wait for one"
    let_go.set()
