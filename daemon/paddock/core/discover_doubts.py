"""Doubts: when what is not seen in a folder need not be gone.

Pure. A folder that is missing, unreadable, on another device than recorded or suddenly empty may be
a disk that is not mounted; so may a part of it. Of such a part nothing new is taken, and what was
known of it stays.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from paddock.core.discover_files import is_gguf
from paddock.core.discover_scan import Scan
from paddock.core.layouts import Layout, key_of
from paddock.core.observed import Known, Unknown


@dataclass(frozen=True, slots=True)
class Doubts:
    """Why parts of a folder prove nothing by what is not in them; the whole folder is ``""``."""

    by_path: Mapping[str, Unknown]

    @classmethod
    def of(
        cls,
        layout: Layout,
        folder: str,
        found: Known[Scan],
        known: Collection[str],
        devices: Mapping[str, int],
    ) -> Doubts:
        """The doubts about a folder of which files were `known` (by key), on these `devices` (by
        path)."""
        if isinstance(found, Unknown):
            return cls({"": found})
        return cls(dict(_doubts(layout, folder, found, set(known), devices)))

    @property
    def whole(self) -> Unknown | None:
        """Why the folder as a whole proves nothing, if so."""
        return self.by_path.get("")

    def of_key(self, key: str) -> Unknown | None:
        """Why it proves nothing that a file is not seen, if so."""
        return next((why for path, why in self.by_path.items() if _is_below(key, path)), None)


def devices_to_record(
    folder: str, scan: Scan, doubts: Doubts, recorded: Mapping[str, int]
) -> Mapping[str, int]:
    """The devices of a folder, and of those below it, that are not recorded so. A disk that got
    another number is known by its files."""
    paths = {_joined(folder, below): below for below in scan.devices}
    paths |= {path: _below_folder(path, folder) for path in recorded}
    now = {path: _device(scan, below) for path, below in paths.items()}
    return {
        path: device
        for path, device in now.items()
        if recorded.get(path) != device and doubts.of_key(paths[path]) is None
    }


def _doubts(
    layout: Layout, folder: str, scan: Scan, known: set[str], devices: Mapping[str, int]
) -> Iterator[tuple[str, Unknown]]:
    there = {key_of(layout, e.path) for e in scan.entries if is_gguf(e.path)}
    if known and not there:
        what = f"{folder} holds no GGUF any more, and did before; mount it if it is not mounted"
        yield "", Unknown("FolderEmpty", f"{what}, or remove it from discover")
    for path, device in sorted(devices.items()):
        below = _below_folder(path, folder)
        inside = {key for key in known if _is_below(key, key_of(layout, below))}
        if _device(scan, below) != device and inside and not inside & there:
            what = f"{path} is on another device than before, and none of its models is there"
            yield key_of(layout, below), Unknown("FolderElsewhere", f"{what}; mount it")
    for path, why in scan.unread.items():
        yield key_of(layout, path), why


def _device(scan: Scan, below: str) -> int:
    """The device that a folder is on: that of the nearest one above it where another begins."""
    nearest = max((path for path in scan.devices if _is_below(below, path)), key=len)
    return scan.devices[nearest]


def _is_below(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(f"{folder}/")


def _joined(folder: str, below: str) -> str:
    return f"{folder.rstrip('/')}/{below}" if below else folder


def _below_folder(path: str, folder: str) -> str:
    return "" if path == folder else path.removeprefix(f"{folder.rstrip('/')}/")
