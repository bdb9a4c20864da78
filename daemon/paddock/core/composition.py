"""Composition: what a model's manifest must name, part by part.

Pure. A part is a blob of the manifest with the way to get it: bytes at hand (written), a source
file (linked), or neither (it must be in the store already, as a pulled or shared blob is).
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from paddock.core.desired import Overrides
from paddock.core.digest import Digest, digest_of
from paddock.core.files import PARTS, Role, UsableFile
from paddock.core.gguf import human_number
from paddock.core.manifest import (
    ADAPTER_TYPE,
    CONFIG_TYPE,
    DRAFT_TYPE,
    FILE_TYPES,
    MODEL_TYPE,
    PROJECTOR_TYPE,
    Descriptor,
    Manifest,
)
from paddock.core.observed import ProbeAnswer, SmallLayer, SourceFile


@dataclass(frozen=True, slots=True)
class Part:
    """One blob: its descriptor, and its bytes or the file to link, if it is ours to provide."""

    descriptor: Descriptor
    content: bytes | None = None
    link: SourceFile | None = None


@dataclass(frozen=True, slots=True)
class Composition:
    """A whole model. `stands` means that the manifest in the store is right as it is."""

    config: Part | None
    parts: tuple[Part, ...]
    stands: bool = False

    @property
    def all_parts(self) -> tuple[Part, ...]:
        """The config's part and every layer's."""
        return self.parts if self.config is None else (self.config, *self.parts)

    @property
    def files(self) -> tuple[Part, ...]:
        """The parts that are files: the GGUF and what goes with it."""
        return tuple(p for p in self.parts if p.descriptor.media_type in FILE_TYPES)

    @property
    def texts(self) -> tuple[Part, ...]:
        """The small layers."""
        return tuple(p for p in self.parts if p.descriptor.media_type not in FILE_TYPES)

    def lost(self, has: Callable[[Digest], bool]) -> tuple[Part, ...]:
        """The parts that are not ours to provide and that the store does not have."""
        given = [p for p in self.all_parts if p.content is None and p.link is None]
        return tuple(part for part in given if not has(part.descriptor.digest))

    def manifest(self, annotations: Mapping[str, str]) -> Manifest:
        """The manifest that names exactly these parts."""
        return Manifest(
            config=None if self.config is None else self.config.descriptor,
            layers=tuple(part.descriptor for part in self.parts),
            annotations=annotations,
        )

    @property
    def model_digest(self) -> Digest | None:
        """The GGUF that runs."""
        return self.manifest({}).model_digest


def from_manifest(manifest: Manifest, *, stands: bool = False) -> Composition:
    """A composition of blobs that the store has."""
    config = None if manifest.config is None else Part(manifest.config)
    return Composition(config, tuple(map(Part, manifest.layers)), stands=stands)


def from_files(files: Sequence[UsableFile], answer: ProbeAnswer) -> Composition:
    """Linked files with the config and small layers that the probe gave for them. The parts of a
    split GGUF stay in their order, which is what Ollama tells them by."""
    parameters = sum(file.facts.parameter_count for file in files if file.role in PARTS)
    config = with_model_type(answer.config, human_number(parameters))
    parts = [*map(_linked_part, files), *map(_text_part, answer.layers)]
    return Composition(_config_part(config), tuple(parts))


def derive(base: Composition, answer: ProbeAnswer) -> Composition:
    """A model over the files of `base`, with the config and small layers that the probe gave."""
    return Composition(_config_part(answer.config), (*base.files, *map(_text_part, answer.layers)))


def probe_key(stubs: Sequence[Digest], base: Composition | None, overrides: Overrides) -> Digest:
    """The key under which a probe's answer is remembered: all that the answer depends on."""
    document = {
        "stub": stubs[0] if len(stubs) == 1 else list(stubs),
        "base": None if base is None else [p.descriptor.digest for p in _base_parts(base)],
        "overrides": {
            "template": overrides.template,
            "system": overrides.system,
            "parameters": dict(overrides.parameters),
            "messages": [[m.role, m.content] for m in overrides.messages],
            "license": list(overrides.license),
        },
    }
    return digest_of(json.dumps(document, sort_keys=True).encode())


def with_model_type(config: bytes, model_type: str) -> bytes:
    """The config with the parameter size of the real file: the probe's stub has tensors of its own
    (ollama:server/create.go createModel sums them up)."""
    document = json.loads(config)
    document["model_type"] = model_type
    return json.dumps(document, separators=(",", ":"), ensure_ascii=False).encode()


_TYPES: Mapping[Role, str] = {
    "model": MODEL_TYPE,
    "part": MODEL_TYPE,
    "projector": PROJECTOR_TYPE,
    "adapter": ADAPTER_TYPE,
    "draft": DRAFT_TYPE,
}


def _linked_part(file: UsableFile) -> Part:
    assert file.digest is not None
    size_bytes = file.source.stat.size_bytes
    return Part(Descriptor(_TYPES[file.role], file.digest, size_bytes), link=file.source)


def _base_parts(base: Composition) -> tuple[Part, ...]:
    return base.texts if base.config is None else (base.config, *base.texts)


def _config_part(content: bytes) -> Part:
    return _text_part(SmallLayer(CONFIG_TYPE, content))


def _text_part(layer: SmallLayer) -> Part:
    descriptor = Descriptor(layer.media_type, digest_of(layer.content), len(layer.content))
    return Part(descriptor, content=layer.content)
