"""What a models folder means, read from the disk: which manifests there are, and what each needs.

Independent of `paddock.edges.store`, so that reader and writer can disagree. Only reads.
"""

from __future__ import annotations

import json
from pathlib import Path

from snapshots import Entry, store_snapshot


def needs(models_dir: Path) -> dict[str, set[str]]:
    """The blobs that each manifest names, as file names; by its path below `manifests/`."""
    folder = models_dir / "manifests"
    found = {}
    for path in folder.rglob("*"):
        if path.is_file():
            manifest = json.loads(path.read_bytes())
            parts = [manifest["config"], *manifest["layers"]]
            name = str(path.relative_to(folder))
            found[name] = {part["digest"].replace(":", "-") for part in parts}
    return found


def check_whole(models_dir: Path) -> None:
    """Asserts that every manifest has all its blobs."""
    for name, blobs in needs(models_dir).items():
        for blob in blobs:
            assert (models_dir / "blobs" / blob).exists(), f"{name} lacks {blob}"


def unnamed(models_dir: Path) -> set[str]:
    """The blobs that no manifest names. Ollama's own create leaves layers that it has merged."""
    named = set().union(*needs(models_dir).values())
    return {path.name for path in (models_dir / "blobs").iterdir()} - named


def links(models_dir: Path) -> list[Path]:
    """The blobs that are links."""
    return [path for path in (models_dir / "blobs").iterdir() if path.is_symlink()]


def belongings(models_dir: Path, model: str) -> dict[str, Entry]:
    """The manifest of `model:latest` and its blobs, as they lie on the disk. Times of blobs are
    left out: Ollama touches a layer that a create shares (ollama:manifest/layer.go touchLayer)."""
    manifest = f"registry.ollama.ai/library/{model}/latest"
    blobs = {f"blobs/{blob}" for blob in needs(models_dir)[manifest]}
    found = store_snapshot(models_dir)
    mine = {path: found[path]._replace(mtime_ns=0) for path in blobs}
    return mine | {manifest: found[f"manifests/{manifest}"]}
