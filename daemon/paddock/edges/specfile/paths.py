"""Paths: every file that a spec names, made absolute. Opens nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from paddock.core.spec_publish import PublishSpec
from paddock.core.spec_sources import FileSpec, GgufSource
from paddock.edges.specfile.files import absolute

Absolute = Callable[[str], Path]


def with_paths(source: GgufSource, resolve: Absolute) -> GgufSource:
    """The source with the path of each of its files absolute."""

    def of(file: FileSpec) -> FileSpec:
        return file.model_copy(update={"path": str(resolve(file.path))})

    beside = {"projector": source.projector, "draft": source.draft}
    given = {key: of(file) for key, file in beside.items() if file is not None}
    update = {"gguf": of(source.gguf), "adapters": tuple(map(of, source.adapters)), **given}
    return source.model_copy(update=update)


def with_tree_path(entry: PublishSpec, base_dir: Path, home: Path) -> PublishSpec:
    """A publish entry with its path absolute."""
    return entry.model_copy(update={"path": str(absolute(entry.path, base_dir, home))})
