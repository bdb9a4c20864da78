"""The user's model files: looked at, read, hashed. Opened read-only and never touched.

A path is resolved to its real path; only a regular file is opened, and never one that would block.
A digest counts only if the file was the same before and after it was read.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat as modes
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from paddock.core.digest import Digest, parse_digest
from paddock.core.gguf import Facts, facts, read_header
from paddock.core.observed import FileStat, SourceMissing, Unknown
from paddock.edges.sources_reach import Reader, closed_part
from paddock.errors import InvalidDigest, SourceError, shown, words

_CHUNK_BYTES = 1 << 20
_SAMPLES = 64
_SAMPLE_BYTES = 64 << 10
_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})
_CLOSED = frozenset({errno.EACCES, errno.EPERM})
_HINTS = {
    errno.ELOOP: "its links lead in a circle, or there are too many; name the file itself",
    errno.ENAMETOOLONG: "use a shorter path",
}
_KINDS = {
    modes.S_IFDIR: "a folder",
    modes.S_IFIFO: "a FIFO",
    modes.S_IFSOCK: "a socket",
    modes.S_IFCHR: "a device",
    modes.S_IFBLK: "a device",
}

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Rules:
    """What a source has to keep to: its real path must lie below one of `roots` (none: anywhere);
    `store` is the models folder, `reader` the user that Ollama runs as. `private` are the real
    paths of what Ollama keeps for itself in `store`, where one pass found them for many looks."""

    roots: tuple[str, ...] = ()
    store: str | None = None
    reader: Reader | None = None
    private: tuple[str, str] | None = None

    def for_a_pass(self) -> Rules:
        """The same, with what it costs to find out found out."""
        return self if self.store is None else replace(self, private=_private(self.store))


_NO_RULES = Rules()


def look(path: str, rules: Rules = _NO_RULES) -> tuple[str, FileStat] | SourceMissing | Unknown:
    """The real path of a source and its state, or why it cannot be told or used."""
    try:
        real = os.path.realpath(path, strict=True)
        found = os.stat(real)  # noqa: PTH116
    except OSError as error:
        return _unseen(path, error)
    except ValueError as error:  # a NUL, or what no file name can hold
        what = f"{shown(path)} cannot be a path: {words(error)}; name a GGUF file"
        return Unknown("SourceUnreadable", what)
    refused = _refusal(path, real, found.st_mode, rules)
    return refused or (real, state_of(found))


def _unseen(path: str, error: OSError) -> SourceMissing | Unknown:
    if error.errno in _GONE:
        return SourceMissing(f"{shown(path)} does not exist{_where_it_leads(path)}")
    what = f"cannot look at {shown(path)}: {words(error)}"
    me = Reader.ourselves()
    closed = closed_part(error.filename, me) if error.errno in _CLOSED else None
    if closed is not None:
        what = f"cannot look at {shown(path)}: {me.name} may not pass {shown(closed.path)}"
        return Unknown("SourceUnreadable", f"{what}; {closed.hint(me)}")
    hint = _HINTS.get(error.errno or 0, "see the file system")
    return Unknown("SourceUnreadable", f"{what}; {hint}")


def _where_it_leads(path: str) -> str:
    """The end of a chain of links, where there is one that leads nowhere."""
    end = os.path.realpath(path)
    return "" if end == os.path.normpath(path) else f": it leads to {shown(end)}"


def _refusal(path: str, real: str, mode: int, rules: Rules) -> Unknown | None:
    """Why a file that is there cannot be a source, if so."""
    if rules.roots and not _is_below(real, (*rules.roots, *_downloads(rules))):
        return _outside(path, real, rules.roots)
    if not modes.S_ISREG(mode):
        kind = _KINDS.get(modes.S_IFMT(mode), "something else")
        return Unknown("NotAFile", f"{shown(path)} is {kind}, not a regular file; name a GGUF file")
    if rules.store is not None and _is_unfit(real, *(rules.private or _private(rules.store))):
        what = f"{shown(path)} lies in the models folder and is no blob of it; name another file"
        return Unknown("SourceInStore", what)
    if not os.access(real, os.R_OK):
        return _unreadable(path, real)
    return None if rules.reader is None else _unreachable(path, real, rules.reader)


def _is_below(real: str, folders: Iterable[str]) -> bool:
    return any(Path(real).is_relative_to(os.path.realpath(folder)) for folder in folders)


def _downloads(rules: Rules) -> Iterable[str]:
    """Where Paddock's own downloads lie: they are sources like others, and nobody's choice."""
    return () if rules.store is None else (str(Path(rules.store) / ".paddock" / "hf"),)


def _outside(path: str, real: str, roots: tuple[str, ...]) -> Unknown:
    leads = "" if real == path else f" (it leads to {shown(real)})"
    what = f"{shown(path)}{leads} lies outside the folders that sources may be in"
    hint = f"move it below {' or '.join(map(shown, roots))}, or set PADDOCK_ROOTS"
    return Unknown("SourceOutsideRoots", f"{what}; {hint}")


def _private(store: str) -> tuple[str, str]:
    """Where Ollama keeps what is its own, each with a slash at its end: manifests, and blobs."""
    manifests, blobs = (
        f"{os.path.realpath(f'{store}/{name}')}/" for name in ("manifests", "blobs")
    )
    return manifests, blobs


def _is_unfit(real: str, manifests: str, blobs: str) -> bool:
    """What Ollama keeps for itself: manifests, and blobs that are not whole yet."""
    if real.startswith(manifests):
        return True
    if not real.startswith(blobs):
        return False
    name = real.rpartition("/")[2]
    try:
        return parse_digest(name).replace(":", "-") != name
    except InvalidDigest:
        return True


def _unreadable(path: str, real: str) -> Unknown:
    me = Reader.ourselves()
    closed = closed_part(real, me)
    hint = "make it readable for that user" if closed is None else closed.hint(me)
    what = f"cannot read {shown(path)}: permission denied for {me.name}"
    return Unknown("SourceUnreadable", f"{what}; {hint}")


def _unreachable(path: str, real: str, reader: Reader) -> Unknown | None:
    """What root may read, and Ollama may not."""
    closed = closed_part(real, reader)
    if closed is None:
        return None
    if closed.is_folder:
        what = f"Ollama cannot see {shown(path)}: its user {reader.name} may not pass "
        what += shown(closed.path)
        return Unknown("NotVisibleToOllama", f"{what}; {closed.hint(reader)}")
    what = f"Ollama cannot read {shown(path)}: permission denied for its user {reader.name}"
    return Unknown("SourceUnreadable", f"{what}; {closed.hint(reader)}")


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
        if state_of(os.fstat(file.descriptor)) != file.stat:
            what = f"{shown(real_path)} changed while it was hashed"
            raise SourceError(f"{what}; it is hashed again later", reason="SourceChanging")
    return digest, file.stat


def sample_file(real_path: str) -> tuple[str, FileStat]:
    """A print of a few MB of a file, spread over its length, and the state that it was in: equal
    for a file whose times alone have changed, different for all but a small change of another."""
    with _Opened(real_path) as file:
        hasher, size_bytes = hashlib.sha256(), file.stat.size_bytes
        for offset in sorted({step * size_bytes // _SAMPLES for step in range(_SAMPLES)}):
            hasher.update(file.read_at(offset, _SAMPLE_BYTES))
        hasher.update(file.read_at(max(size_bytes - _SAMPLE_BYTES, 0), _SAMPLE_BYTES))
    return hasher.hexdigest(), file.stat


def one_link_on(path: str) -> str:
    """Where a path leads in one step, if it is a link: a blob in a cache may be a link itself, to a
    name that means something else."""
    try:
        target = os.readlink(path)  # noqa: PTH115
        return os.path.normpath(os.path.join(os.path.dirname(path), target))  # noqa: PTH118, PTH120
    except OSError:
        return path


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
            what = f"cannot open {shown(self._path)}: {words(error)}"
            reason = "SourceMissing" if error.errno in _GONE else "SourceUnreadable"
            raise SourceError(what, reason=reason) from error
        found = os.fstat(self.descriptor)
        if not modes.S_ISREG(found.st_mode):
            os.close(self.descriptor)
            what = f"{shown(self._path)} is not a regular file; name a GGUF file"
            raise SourceError(what, reason="NotAFile")
        self.stat = state_of(found)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self.descriptor)

    def read_at(self, offset: int, length: int) -> bytes:
        try:
            return os.pread(self.descriptor, length, offset)
        except OSError as error:
            what = f"cannot read {shown(self._path)}: {words(error)}"
            raise SourceError(what) from error


def state_of(found: os.stat_result) -> FileStat:
    """The state of a file, as the system tells it."""
    return FileStat(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
