"""Folders of models for tests of discovering, written down and not made on disk."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from paddock.core.desired import Desired, DesiredModel, Discover, State
from paddock.core.discover import Discovered, Looked, Remembered, with_discovered
from paddock.core.discover_names import NameTemplate
from paddock.core.discover_scan import Entry, Scan
from paddock.core.layouts import NAMES, Layout
from paddock.core.names import Name
from paddock.core.observed import Known

FOLDER = "/srv/models"
STORE = "/var/lib/ollama/models"
NOW_NS = 1_800_000_000 * 10**9
OLD_NS = NOW_NS - 3600 * 10**9
DEVICE = 7
NO_WISH = Desired({}, "generation", "models.yaml")


def entry(path: str, **fields: object) -> Entry:
    """A file of 1 kB that was written an hour ago."""
    plain = Entry(path, 1000, OLD_NS, f"{FOLDER}/{path}")
    return replace(plain, **fields)  # type: ignore[arg-type]


def scan(*files: str | Entry, **fields: object) -> Scan:
    """A look at a folder with these files."""
    entries = tuple(entry(file) if isinstance(file, str) else file for file in files)
    return replace(Scan(NOW_NS, entries, {"": DEVICE}), **fields)  # type: ignore[arg-type]


def discover(layout: Layout = "directory", name: str = "", **fields: object) -> Discover:
    """An entry of discover."""
    template = NameTemplate.parse(name or NAMES[layout])
    model = DesiredModel(Name.parse("unnamed"), State.PRESENT, None)
    return replace(Discover(layout, FOLDER, template, model), **fields)  # type: ignore[arg-type]


def look(found: Known[Scan], entry: Discover | None = None, **fields: object) -> Looked:
    """A look at the folder of an entry."""
    return replace(Looked(entry or discover(), FOLDER, found), **fields)  # type: ignore[arg-type]


def discovered(
    *looks: Looked,
    wish: Desired = NO_WISH,
    names: Mapping[str, str] | None = None,
    devices: Mapping[str, int] | None = None,
    declared: frozenset[str] = frozenset(),
) -> Discovered:
    """What is desired with these folders; `names` are those given to files of FOLDER."""
    given = {(FOLDER, key): Name.parse(name) for key, name in (names or {}).items()}
    remembered = Remembered(given, devices or {})
    return with_discovered(wish, looks, remembered, declared=declared, store=STORE)


def names_of(found: Discovered) -> list[str]:
    """The models that are desired, as people read them."""
    return sorted(name.display for name in found.desired.models)
