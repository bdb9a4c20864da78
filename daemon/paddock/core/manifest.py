"""Ollama's manifest: parsed from bytes, and written as the very bytes whose digest Ollama reports.

Pure. A manifest names a config blob and layers by digest; Ollama decodes it with Go's
encoding/json, ignores keys that it does not know, and reports sha256 of the bytes that its decoder
has read as the model's digest (ollama:manifest/manifest.go ParseNamedManifest). So nothing follows
the closing brace here, and our own hash of the file can be compared with `/api/tags`.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from paddock.core.digest import Digest, digest_of, parse_digest
from paddock.errors import InvalidDigest, InvalidManifest

MANIFEST_TYPE = "application/vnd.docker.distribution.manifest.v2+json"
CONFIG_TYPE = "application/vnd.docker.container.image.v1+json"
MODEL_TYPE = "application/vnd.ollama.image.model"
PROJECTOR_TYPE = "application/vnd.ollama.image.projector"
ADAPTER_TYPE = "application/vnd.ollama.image.adapter"
DRAFT_TYPE = "application/vnd.ollama.image.draft"
TEMPLATE_TYPE = "application/vnd.ollama.image.template"
SYSTEM_TYPE = "application/vnd.ollama.image.system"
PARAMS_TYPE = "application/vnd.ollama.image.params"
MESSAGES_TYPE = "application/vnd.ollama.image.messages"
LICENSE_TYPE = "application/vnd.ollama.image.license"

# The blobs that are (large) files of their own; all other layers are small texts.
FILE_TYPES = frozenset({MODEL_TYPE, PROJECTOR_TYPE, ADAPTER_TYPE, DRAFT_TYPE})

# Two manifests with these layers equal are the same model (licences do not change behaviour).
_IDENTITY_TYPES = FILE_TYPES | {TEMPLATE_TYPE, SYSTEM_TYPE, PARAMS_TYPE, MESSAGES_TYPE}

# Annotations: Ollama keeps them through `/api/copy`, so they count only with both marks equal.
NAME_MARK = "paddock.name"
STORE_MARK = "paddock.store"
GENERATION_MARK = "paddock.generation"
_MAX_DIGITS = 18

# Ollama's own have some kilobytes; a model of thousands of tensors stays below this.
MAX_MANIFEST_BYTES = 4 << 20
_MAX_SIZE_BYTES = (1 << 63) - 1
_SHOWN_CHARS = 80


@dataclass(frozen=True, slots=True)
class Descriptor:
    """An OCI descriptor: media type, digest and size in bytes of one blob."""

    media_type: str
    digest: Digest
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """A config blob, layers, and our annotations."""

    config: Descriptor | None
    layers: tuple[Descriptor, ...]
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def model_digest(self) -> Digest | None:
        """The GGUF that Ollama would run; of several model layers the first one, for the others
        are the further parts of a split GGUF (ollama:server/images.go GetModel, v0.34.4)."""
        found = (layer.digest for layer in self.layers if layer.media_type == MODEL_TYPE)
        return next(found, None)

    @property
    def files(self) -> frozenset[Digest]:
        """The blobs that are files: the GGUF in all its parts, and what goes with it."""
        return frozenset(d.digest for d in self.layers if d.media_type in FILE_TYPES)

    @property
    def digests(self) -> frozenset[Digest]:
        """Every blob that this manifest needs."""
        config = () if self.config is None else (self.config,)
        return frozenset(d.digest for d in (*config, *self.layers))

    @property
    def generation(self) -> int:
        """Our counter, raised when a link was mended: other bytes, so that no cache of Ollama's
        that is keyed by the manifest's digest keeps what it saw through the broken link."""
        text = self.annotations.get(GENERATION_MARK, "0")
        return int(text) if text.isdecimal() and len(text) <= _MAX_DIGITS else 0

    def same_model(self, other: Manifest) -> bool:
        """Whether both answer alike: equal files, template, system, parameters, messages."""
        return _identity(self) == _identity(other)

    def encode(self) -> bytes:
        """The file's bytes, always the same for the same manifest, with no trailing newline."""
        document: dict[str, Any] = {"schemaVersion": 2, "mediaType": MANIFEST_TYPE}
        if self.config is not None:
            document["config"] = _encode_descriptor(self.config)
        document["layers"] = [_encode_descriptor(layer) for layer in self.layers]
        if self.annotations:
            document["annotations"] = dict(sorted(self.annotations.items()))
        return json.dumps(document, separators=(",", ":")).encode()


def parse_manifest(data: bytes) -> Manifest:
    """Read a manifest file. Raises InvalidManifest on anything that Ollama could not serve."""
    if len(data) > MAX_MANIFEST_BYTES:
        raise InvalidManifest(f"manifest has more than {MAX_MANIFEST_BYTES} bytes")
    try:
        # An object becomes a tuple of its pairs: keys that are there twice must not be lost.
        document = json.loads(data.decode(), object_pairs_hook=tuple, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidManifest(f"manifest is not JSON: {error}") from error
    if not isinstance(document, tuple):
        raise InvalidManifest("manifest is not a JSON object")
    fields = _fields(document)
    layers = fields.get("layers") or []
    if not isinstance(layers, list):
        raise InvalidManifest("manifest has layers that are not a list")
    return Manifest(
        config=_parse_config(fields.get("config")),
        layers=tuple(_parse_descriptor(layer) for layer in layers),
        annotations=_parse_annotations(fields.get("annotations")),
    )


def manifest_digests(data: bytes) -> frozenset[Digest]:
    """The digests that Ollama may report for a manifest file: it hashes what its decoder has read,
    and a newline after the closing brace can fall outside that read."""
    return frozenset(map(digest_of, {data, data.rstrip()}))


def _identity(manifest: Manifest) -> tuple[tuple[str, str], ...]:
    return tuple(
        sorted((d.media_type, d.digest) for d in manifest.layers if d.media_type in _IDENTITY_TYPES)
    )


def _encode_descriptor(descriptor: Descriptor) -> dict[str, Any]:
    return {
        "mediaType": descriptor.media_type,
        "digest": descriptor.digest,
        "size": descriptor.size_bytes,
    }


def _fields(pairs: tuple[tuple[str, Any], ...]) -> dict[str, Any]:
    """An object's fields as Go's decoder finds them, in any case of their keys; an object that
    could be read in two ways is refused."""
    found: dict[str, Any] = {}
    for key, value in pairs:
        folded = key.casefold()
        if folded in found:
            raise InvalidManifest(f"manifest has the key {key[:_SHOWN_CHARS]!a} twice")
        found[folded] = value
    return found


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")


def _parse_config(document: object) -> Descriptor | None:
    if not isinstance(document, tuple) or not _fields(document).get("digest"):
        return None
    return _parse_descriptor(document)


def _parse_descriptor(document: object) -> Descriptor:
    if not isinstance(document, tuple):
        raise InvalidManifest("manifest has a layer that is not a JSON object")
    fields = _fields(document)
    size = fields.get("size") or 0
    if type(size) is not int or not 0 <= size <= _MAX_SIZE_BYTES:
        raise InvalidManifest(f"manifest has a layer with the size {size!r:.{_SHOWN_CHARS}}")
    try:
        digest = parse_digest(_text(fields, "digest"))
    except InvalidDigest as error:
        raise InvalidManifest(f"manifest has a layer with an invalid digest: {error}") from error
    return Descriptor(_text(fields, "mediatype"), digest, size)


def _text(fields: Mapping[str, object], key: str) -> str:
    value = fields.get(key) or ""
    if not isinstance(value, str):
        raise InvalidManifest(f"manifest has a layer whose {key} is not text")
    return value


def _parse_annotations(document: object) -> Mapping[str, str]:
    if not isinstance(document, tuple):
        return {}
    return {key: value for key, value in document if isinstance(value, str)}
