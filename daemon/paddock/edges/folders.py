"""The user's folders of models: walked, never opened.

A look reads names, sizes and times; of a GGUF not one byte. Links to folders are not followed, so
that a walk ends and stays below its folder. What cannot be read is told apart from what is not
there. The one file that is read is the reference of a cached repository: 40 characters.
"""

from __future__ import annotations

import errno
import os
import stat as modes
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from paddock.core.discover_files import matters
from paddock.core.discover_scan import Entry, Scan
from paddock.core.layouts import Layout, enters
from paddock.core.observed import Known, Unknown

MAX_ENTRIES = 200_000
MAX_DEPTH = 32

_GONE = frozenset({errno.ENOENT, errno.ENOTDIR})
_DENIED = frozenset({errno.EACCES, errno.EPERM})
_NOT_ENTERED = frozenset({"lost+found"})
_REF_BYTES = 64


def default_folders(layout: Layout, environ: Mapping[str, str], home: Path) -> tuple[str, ...]:
    """Where a program keeps its models if nobody says otherwise; nothing for plain folders."""
    cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    match layout:
        case "lmstudio":
            found = [home / ".lmstudio/models", home / ".cache/lm-studio/models"]
        case "huggingface":
            base = Path(environ.get("HF_HOME") or cache / "huggingface")
            given = environ.get("HF_HUB_CACHE") or environ.get("HUGGINGFACE_HUB_CACHE")
            found = [Path(given or base / "hub")]
        case "llamacpp":
            found = [Path(environ.get("LLAMA_CACHE") or cache / "llama.cpp")]
        case "transformerlab":
            found = [home / ".transformerlab/workspace/models"]
        case "directory":
            found = []
    return tuple(os.path.normpath(path) for path in found)


def look(folder: str, layout: Layout) -> Known[Scan]:
    """What lies in a folder, or why that cannot be told."""
    walk = _Walk(layout)
    try:
        root = os.path.realpath(folder, strict=True)
        device = os.stat(root).st_dev  # noqa: PTH116
        walk.run(root, device)
    except OSError as error:
        return _unknown(folder, error)
    if walk.seen > MAX_ENTRIES:
        what = f"{folder} holds more than {MAX_ENTRIES} files and folders"
        return Unknown("FolderTooLarge", f"{what}; name the folders of models in it")
    return Scan(
        at_ns=time.time_ns(),
        entries=tuple(sorted(walk.entries, key=lambda entry: entry.path)),
        devices=walk.devices,
        refs=_refs(root, walk.entries),
        unread=walk.unread,
        folder_links=tuple(sorted(walk.folder_links)),
    )


@dataclass(slots=True)
class _Walk:
    """One walk: what it found so far."""

    layout: Layout
    entries: list[Entry] = field(default_factory=list)
    devices: dict[str, int] = field(default_factory=dict)
    unread: dict[str, Unknown] = field(default_factory=dict)
    folder_links: list[str] = field(default_factory=list)
    seen: int = 0
    real_folders: dict[str, str] = field(default_factory=dict)

    def run(self, root: str, device: int) -> None:
        """Walk all that is below `root`. Raises OSError when that itself cannot be listed."""
        self.devices[""] = device
        waiting = self._listed(root, "", device)
        while waiting and self.seen <= MAX_ENTRIES:
            path, device = waiting.pop()
            try:
                waiting += self._listed(root, path, device)
            except OSError as error:
                self._cannot(path, error)

    def _listed(self, root: str, path: str, device: int) -> list[tuple[str, int]]:
        """Take in one folder, and return the folders in it with their devices."""
        below: list[tuple[str, int]] = []
        with os.scandir(os.path.join(root, path)) as found:  # noqa: PTH118
            for entry in found:
                self.seen += 1
                if not entry.name.startswith(".") and entry.name not in _NOT_ENTERED:
                    self._take(root, path, entry, (device, below))
                if self.seen > MAX_ENTRIES:
                    break
        return below

    def _take(
        self,
        root: str,
        above: str,
        entry: os.DirEntry[str],
        folders: tuple[int, list[tuple[str, int]]],
    ) -> None:
        path = f"{above}/{entry.name}" if above else entry.name
        try:
            path.encode()
            if entry.is_dir(follow_symlinks=False):
                self._take_folder(path, entry, folders)
            elif matters(entry.name):
                self._take_file(root, path, entry)
            elif entry.is_symlink() and entry.is_dir():
                self.folder_links.append(path)
        except OSError as error:
            self._cannot(path, error)
        except UnicodeEncodeError:
            name = os.fsencode(path).decode("utf-8", "backslashreplace")
            self.unread[name] = Unknown("NameNotText", f"{name}: its name is not UTF-8; rename it")

    def _take_folder(
        self, path: str, entry: os.DirEntry[str], folders: tuple[int, list[tuple[str, int]]]
    ) -> None:
        if not enters(self.layout, path):
            return
        if path.count("/") >= MAX_DEPTH:
            what = f"{path} lies more than {MAX_DEPTH} folders deep; name a folder nearer to it"
            self.unread[path] = Unknown("FolderTooDeep", what)
            return
        above, below = folders
        device = entry.stat(follow_symlinks=False).st_dev
        if device != above:
            self.devices[path] = device
        below.append((path, device))

    def _take_file(self, root: str, path: str, entry: os.DirEntry[str]) -> None:
        found = entry.stat(follow_symlinks=False)
        if modes.S_ISREG(found.st_mode):
            real = f"{root}/{path}"
            self.entries.append(Entry(path, found.st_size, found.st_mtime_ns, real))
        elif modes.S_ISLNK(found.st_mode):
            self._take_link(path, entry, found.st_mtime_ns)

    def _take_link(self, path: str, entry: os.DirEntry[str], linked_ns: int) -> None:
        hop = os.path.normpath(
            os.path.join(os.path.dirname(entry.path), os.readlink(entry.path))  # noqa: PTH115, PTH118, PTH120
        )
        real, found = self._resolved(hop)
        if modes.S_ISDIR(found.st_mode):
            self.folder_links.append(path)
        elif modes.S_ISREG(found.st_mode):
            size, written = found.st_size, found.st_mtime_ns
            self.entries.append(Entry(path, size, written, real, hop, linked_ns))

    def _resolved(self, path: str) -> tuple[str, os.stat_result]:
        """A path without links, and what it is; a cache's thousand links lead to a few folders."""
        folder, name = os.path.split(path)
        if folder not in self.real_folders:
            self.real_folders[folder] = os.path.realpath(folder, strict=True)
        real = f"{self.real_folders[folder].rstrip('/')}/{name}"
        found = os.lstat(real)
        if modes.S_ISLNK(found.st_mode):
            real = os.path.realpath(real, strict=True)
            found = os.stat(real)  # noqa: PTH116
        return real, found

    def _cannot(self, path: str, error: OSError) -> None:
        if error.errno not in _GONE:  # what went away meanwhile is not there
            self.unread[path] = _unknown(path, error)


def _refs(root: str, entries: list[Entry]) -> Mapping[str, str]:
    """The commit that each cached repository stands at: that of main, else the newest reference."""
    repos = {e.path.partition("/")[0] for e in entries if "/snapshots/" in e.path}
    return {repo: commit for repo in repos if (commit := _commit(Path(root, repo, "refs")))}


def _commit(folder: Path) -> str:
    try:
        found = sorted(_files_of(folder), key=lambda f: (f.name == "main", f.stat().st_mtime_ns))
        flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        descriptor = os.open(found[-1], flags)
        try:
            return os.read(descriptor, _REF_BYTES).decode("ascii", "replace").strip()
        finally:
            os.close(descriptor)
    except (OSError, IndexError):
        return ""  # then the newest file is taken


def _files_of(folder: Path) -> Iterator[Path]:
    return (path for path in folder.iterdir() if path.is_file())


def _unknown(path: str, error: OSError) -> Unknown:
    if error.errno in _GONE:
        what = f"{path} does not exist; create it, mount it, or remove it from discover"
        return Unknown("FolderMissing", what)
    if error.errno in _DENIED:
        what = f"{path} may not be read: permission denied; let the user of paddock read it"
        return Unknown("FolderUnreadable", what)
    text = (error.strerror or str(error)).lower()
    return Unknown("FolderUnreadable", f"{path} cannot be read: {text}")
