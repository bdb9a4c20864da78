"""Glance: which sources are as they were at the last look, at the cost of one `lstat` each.

Remembers what was found at a path and in which state of its file. Stands only for a plain file,
hashed in that very state, in a folder that no link leads to, on a local file system: anything else
is looked at anew. Reads states; opens nothing.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from paddock.core.observed import FileStat, SourceFact, SourceFile
from paddock.edges.mounts import way
from paddock.edges.sources import Rules, state_of
from paddock.edges.state import FileRecord, State


@dataclass(slots=True)
class Glances:
    """What was found at each path, from one look to the next."""

    found: dict[str, tuple[SourceFile, FileRecord]] = field(default_factory=dict)


class Glance:
    """One pass over the sources: what it finds out of a folder holds for all files in it. `plain`
    are local folders that no link leads to, as far as they were looked at; `rules` those of it."""

    def __init__(self, glances: Glances, state: State, rules: Rules, mounted: Mapping[str, str]):
        # Which folders a source must lie in, and who else must reach it, is for a whole look.
        self._is_on = not rules.roots and rules.reader is None
        self._known, glances.found = glances.found, {}
        self._seen = glances.found
        self._state = state
        self._mounted = mounted
        self.rules = rules.for_a_pass()
        self._folders: dict[str, bool] = {}
        self.plain = set[str]()

    def unchanged(self, path: str) -> SourceFile | None:
        """What was found at a path, where a whole look would find the same."""
        known = self._known.get(path)
        if known is None or not self._is_plain(path):
            return None
        fact, record = known
        if _state(path) != fact.stat or self._state.file(fact.stat) is not record:
            return None
        self._seen[path] = known
        return fact

    def remember(self, path: str, fact: SourceFact) -> None:
        """Keep what a whole look found, where it may stand for the next one."""
        if not self._is_on or not isinstance(fact, SourceFile) or fact.problem is not None:
            return
        record = self._state.file(fact.stat)
        if record is not None and fact.proof == "hashed" and fact.real_path == path:
            self._seen[path] = fact, record

    def _is_plain(self, path: str) -> bool:
        """Whether a path leads through no link, and none of it can hang or is Ollama's own."""
        folder = path.rpartition("/")[0]
        if folder not in self._folders:
            found = way(folder, self._mounted, self.plain)
            is_itself = found.remote is None and found.entries == (folder,)
            self._folders[folder] = is_itself and not self._is_of_store(folder)
        return self._folders[folder] and path not in self._mounted

    def _is_of_store(self, folder: str) -> bool:
        private = self.rules.private
        return private is not None and f"{folder}/".startswith(private)


def _state(path: str) -> FileStat | None:
    try:
        return state_of(os.lstat(path))
    except (OSError, ValueError):
        return None
