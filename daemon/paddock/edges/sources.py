"""The user's model files: looked at, read, hashed. Opened read-only and never touched.

A path is resolved to its real path; only a regular file is opened, and never one that would block.
A digest counts only if the file was the same before and after it was read.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat as modes
from collections.abc import Callable

from paddock.core.digest import Digest
from paddock.core.gguf import Facts, facts, read_header
from paddock.core.observed import FileStat, SourceMissing, Unknown
from paddock.errors import SourceError

_CHUNK_BYTES = 1 << 20
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})

Progress = Callable[[int], None]


def look(path: str) -> tuple[str, FileStat] | SourceMissing | Unknown:
    """The real path of a source and its state, or why it cannot be told."""
    try:
        real = os.path.realpath(path, strict=True)
        found = os.stat(real)  # noqa: PTH116
    except OSError as error:
        if error.errno in _GONE:
            return SourceMissing(f"{path} does not exist")
        return Unknown("SourceUnreadable", f"cannot look at {path}: {_words(error)}")
    if not modes.S_ISREG(found.st_mode):
        return Unknown("NotAFile", f"{path} is not a regular file; name a GGUF file")
    if not os.access(real, os.R_OK):
        hint = "make it readable for the user that runs Ollama"
        return Unknown("SourceUnreadable", f"cannot read {path}: permission denied; {hint}")
    return real, _stat(found)


def read_facts(real_path: str) -> Facts:
    """The facts of a GGUF's header. Raises InvalidGguf, SourceError."""
    with _Opened(real_path) as file:
        return facts(read_header(file.read_at, file.stat.size_bytes))


def hash_file(
    real_path: str, *, progress: Progress, stopped: Callable[[], bool]
) -> tuple[Digest, FileStat]:
    """The SHA-256 of a file, read once in 1 MiB steps, and the state that it was in.

    `progress` is told the bytes read so far. Raises SourceError when the file changes meanwhile,
    and InterruptedError once `stopped` says so.
    """
    with _Opened(real_path) as file:
        digest = _sha256(file.descriptor, progress, stopped)
        if _stat(os.fstat(file.descriptor)) != file.stat:
            what = f"{real_path} changed while it was hashed"
            raise SourceError(f"{what}; it is hashed again later", reason="SourceChanging")
    return digest, file.stat


def _sha256(descriptor: int, progress: Progress, stopped: Callable[[], bool]) -> Digest:
    hasher, buffer, done = hashlib.sha256(), bytearray(_CHUNK_BYTES), 0
    window = memoryview(buffer)
    while count := os.readv(descriptor, [buffer]):
        hasher.update(window[:count])
        done += count
        progress(done)
        if stopped():
            raise InterruptedError("hashing was stopped")
    return Digest(f"sha256:{hasher.hexdigest()}")


class _Opened:
    """A regular file, open for reading, with its state at the opening."""

    def __init__(self, real_path: str):
        self._path = real_path

    def __enter__(self) -> _Opened:
        # The path has no link left to follow, and a FIFO put in its place must not block us.
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        try:
            self.descriptor = os.open(self._path, flags)
        except OSError as error:
            what = f"cannot open {self._path}: {_words(error)}"
            reason = "SourceMissing" if error.errno in _GONE else "SourceUnreadable"
            raise SourceError(what, reason=reason) from error
        found = os.fstat(self.descriptor)
        if not modes.S_ISREG(found.st_mode):
            os.close(self.descriptor)
            raise SourceError(f"{self._path} is not a regular file", reason="NotAFile")
        self.stat = _stat(found)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def read_at(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self.descriptor, length, offset)
        except OSError as error:
            raise SourceError(f"cannot read {self._path}: {_words(error)}") from error


def _stat(found: os.stat_result) -> FileStat:
    return FileStat(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def _words(error: OSError) -> str:
    text = error.strerror or str(error)
    return text[:1].lower() + text[1:]
