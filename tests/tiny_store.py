"""A model put into a store by hand: links, a config and a manifest, and nothing of Paddock.

What Ollama's create refuses to make can be tried so, and whether links do where create would copy.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

_CONFIG = "application/vnd.docker.container.image.v1+json"
_LAYER = "application/vnd.ollama.image."
_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
LLAMA = {"model_format": "gguf", "model_family": "llama", "model_families": ["llama"]}


def put_model(
    models_dir: Path,
    name: str,
    files: Sequence[tuple[str, Path]],
    config: Mapping[str, Any] = LLAMA,
) -> None:
    """Writes `name:latest`, whose layers are links to `files`; each with its kind, as `model`."""
    blobs = models_dir / "blobs"
    blobs.mkdir(parents=True, exist_ok=True)
    content = json.dumps(config).encode()
    path = blobs / _digest(content).replace(":", "-")
    path.write_bytes(content)
    document = {
        "schemaVersion": 2,
        "mediaType": _MANIFEST,
        "config": _part(_CONFIG, content),
        "layers": [_link(blobs, kind, file) for kind, file in files],
    }
    manifest = models_dir / "manifests/registry.ollama.ai/library" / name / "latest"
    manifest.parent.mkdir(parents=True, exist_ok=True)
    manifest.write_text(json.dumps(document))


def layers(models_dir: Path, name: str) -> list[tuple[str, str]]:
    """The layers of `name:latest` in their order: what each is, and its blob's file name."""
    manifest = models_dir / "manifests/registry.ollama.ai/library" / name / "latest"
    found = json.loads(manifest.read_bytes())["layers"]
    return [
        (layer["mediaType"].removeprefix(_LAYER), layer["digest"].replace(":", "-"))
        for layer in found
    ]


def config(models_dir: Path, name: str) -> dict[str, Any]:
    """The config of `name:latest`."""
    manifest = models_dir / "manifests/registry.ollama.ai/library" / name / "latest"
    digest = json.loads(manifest.read_bytes())["config"]["digest"]
    found: dict[str, Any] = json.loads(
        (models_dir / "blobs" / digest.replace(":", "-")).read_bytes()
    )
    return found


def _link(blobs: Path, kind: str, file: Path) -> dict[str, Any]:
    part = _part(_LAYER + kind, file.read_bytes())
    link = blobs / part["digest"].replace(":", "-")
    if not link.is_symlink():
        link.symlink_to(file)
    return part


def _part(media_type: str, content: bytes) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": _digest(content), "size": len(content)}


def _digest(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"
