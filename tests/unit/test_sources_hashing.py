"""A digest counts only for a file that was the same before and after it was read."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from paddock.edges.sources import hash_file, look
from paddock.errors import SourceError

CONTENT = os.urandom(3 << 20)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "model.gguf"
    path.write_bytes(CONTENT)
    os.utime(path, (1, 1))
    return path


def _never() -> bool:
    return False


def _meanwhile(deed: Callable[[], None]) -> Callable[[int], None]:
    """Does something once, after the first piece."""
    done: list[int] = []

    def progress(read_bytes: int) -> None:
        if not done:
            deed()
        done.append(read_bytes)

    return progress


def test_a_file_is_hashed_and_left_as_it_was(file: Path) -> None:
    before = file.stat()
    digest, stat = hash_file(str(file), progress=lambda _: None, stopped=_never)
    assert digest == f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
    assert look(str(file)) == (str(file), stat)
    after = file.stat()
    assert (after.st_mtime_ns, after.st_ctime_ns) == (before.st_mtime_ns, before.st_ctime_ns)


def _grow(file: Path) -> None:
    with file.open("ab") as opened:
        opened.write(b"more")


def _cut(file: Path) -> None:
    os.truncate(file, 1 << 20)


def _overwrite(file: Path) -> None:
    with file.open("r+b") as opened:
        opened.write(b"other")
    os.utime(file, (1, 1))


def _replace(file: Path) -> None:
    other = file.with_name("other")
    other.write_bytes(CONTENT[::-1])
    os.utime(other, (1, 1))
    other.replace(file)


def _remove(file: Path) -> None:
    file.unlink()


@pytest.mark.parametrize("deed", [_grow, _cut, _overwrite, _replace, _remove])
def test_a_file_that_changes_meanwhile_has_no_digest(
    file: Path, deed: Callable[[Path], None]
) -> None:
    """Its size and mtime may be as before: the ctime tells."""
    with pytest.raises(SourceError) as raised:
        hash_file(str(file), progress=_meanwhile(lambda: deed(file)), stopped=_never)
    assert raised.value.reason == "SourceChanging"
    what = f"{file} changed while it was hashed; it is hashed again later"
    assert raised.value.message == what


def test_a_fifo_in_the_place_of_a_file_is_not_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(SourceError, match="is not a regular file") as raised:
        hash_file(str(path), progress=lambda _: None, stopped=_never)
    assert raised.value.reason == "NotAFile"


def test_a_link_in_the_place_of_a_file_is_not_followed(tmp_path: Path, file: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    with pytest.raises(SourceError, match="cannot open"):
        hash_file(str(link), progress=lambda _: None, stopped=_never)


def test_a_file_that_is_gone_is_missing(tmp_path: Path) -> None:
    with pytest.raises(SourceError) as raised:
        hash_file(str(tmp_path / "gone"), progress=lambda _: None, stopped=_never)
    assert raised.value.reason == "SourceMissing"
