"""Where in a tree a model lies, by layout, and what Transformer Lab wants to read beside it.

Pure. File names are made of letters, digits and `_ . -` only, never begin with a dot, and fit any
file system; two models that would get one name are told apart by a piece of their name's hash.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import assert_never

from paddock.core.digest import digest_of
from paddock.core.names import DEFAULT_HOST, DEFAULT_NAMESPACE, DEFAULT_TAG, Name
from paddock.core.tree_facts import Layout

# With `mmproj-` before it and `.gguf` after it, a name still has less than 255 bytes.
_STEM_CHARS = 200
_HASH_CHARS = 6
_OLLAMA = "ollama"  # who publishes what has no namespace
INDEX = "index.json"


@dataclass(frozen=True, slots=True)
class Spot:
    """The folder of a model, relative to the tree ("" for the tree itself), and the stem of its
    file's name."""

    folder: str
    stem: str

    @property
    def model(self) -> str:
        """The relative path of the model's file."""
        return self._in_folder(f"{self.stem}.gguf")

    @property
    def projector(self) -> str:
        """The relative path of the projector: in the model's folder, and named mmproj*, by which
        llama-server (llama.cpp:tools/server/README.md) and LM Studio know it."""
        return self._in_folder(f"mmproj-{self.stem}.gguf")

    @property
    def index(self) -> str:
        """The relative path of the file by which Transformer Lab knows a model."""
        return self._in_folder(INDEX)

    def _in_folder(self, file: str) -> str:
        return f"{self.folder}/{file}" if self.folder else file


def spots(layout: Layout, models: Mapping[Name, bool]) -> Mapping[Name, Spot]:
    """Where each model lies; True for one with a projector. Of models that clash, the first by name
    keeps the plain place."""
    taken: defaultdict[str, list[Name]] = defaultdict(list)
    for name in sorted(models):
        taken[f"{_publisher(layout, name)}/{_stem(layout, name)}".lower()].append(name)
    found: dict[Name, Spot] = {}
    for first, *others in taken.values():
        found[first] = _spot(layout, first, _stem(layout, first), beside=models[first])
        for name in others:
            stem = f"{_stem(layout, name)}-{_hash(name)}"
            found[name] = _spot(layout, name, stem, beside=models[name])
    return found


def index_json(name: Name, spot: Spot) -> bytes:
    """What makes Transformer Lab list a model, as its own import from Ollama writes it
    (transformerlab-app:api/transformerlab/models/ollamamodel.py install)."""
    model_id = f"{spot.stem}.gguf"
    title = f"{name.display} (Ollama)"
    document = {
        "model_id": model_id,
        "model_filename": model_id,
        "name": title,
        "source": "ollama",
        "json_data": {
            "uniqueID": model_id,
            "name": title,
            "model_filename": model_id,
            "description": f"Link to Ollama model {name.short}",
            "source": "ollama",
            "architecture": "GGUF",
            "formats": ["GGUF"],
            "huggingface_repo": "",
        },
    }
    return json.dumps(document).encode() + b"\n"


def _spot(layout: Layout, name: Name, stem: str, *, beside: bool) -> Spot:
    match layout:
        case Layout.DIRECTORY:
            return Spot(stem if beside else "", stem)
        case Layout.LMSTUDIO:
            return Spot(f"{_publisher(layout, name)}/{stem}", stem)
        case Layout.TRANSFORMERLAB:
            return Spot(f"{stem}.gguf", stem)
        case _:
            assert_never(layout)


def _publisher(layout: Layout, name: Name) -> str:
    """LM Studio sorts by who has published a model; the others do not."""
    if layout is not Layout.LMSTUDIO:
        return ""
    is_official = (name.host.lower(), name.namespace.lower()) == (DEFAULT_HOST, DEFAULT_NAMESPACE)
    return _OLLAMA if is_official else name.namespace


def _stem(layout: Layout, name: Name) -> str:
    match layout:
        case Layout.DIRECTORY:
            text = name.display
        case Layout.LMSTUDIO:
            text = f"{name.model}:{name.tag}".removesuffix(f":{DEFAULT_TAG}")
        case Layout.TRANSFORMERLAB:
            # It finds a folder by secure_filename(id), which takes these off the front.
            text = name.display.lstrip("._") or "model"
        case _:
            assert_never(layout)
    plain = re.sub(r"[^A-Za-z0-9_.-]", "-", text.replace("/", "_"))
    if len(plain) <= _STEM_CHARS:
        return plain
    return f"{plain[: _STEM_CHARS - _HASH_CHARS - 1]}-{_hash(name)}"


def _hash(name: Name) -> str:
    return digest_of(name.full.encode()).removeprefix("sha256:")[:_HASH_CHARS]
