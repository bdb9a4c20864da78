"""The sources of models.yaml: where a model comes from.

Owns one class a kind of source, told apart by its key. A new kind is a new class here, and one of
`Source`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeAlias

from pydantic import BeforeValidator, Discriminator, Field, Tag
from pydantic_core import PydanticKnownError

from paddock.core.hub import DEFAULT_REVISION
from paddock.core.spec_values import (
    DigestValue,
    FilePath,
    HubPattern,
    HubRepo,
    HubRevision,
    ModelName,
    Sha256,
    Strict,
    TrustValue,
    check_path,
)

SOURCE_ERROR = "paddock_source"
SOURCE_KEYS = ("gguf", "registry", "model", "modelfile", "huggingface")


def _as_file(value: object) -> object:
    """A path alone is short for `{path: ...}`; what is wrong with it is wrong with the key."""
    if isinstance(value, str):
        return {"path": check_path(value)}
    if not isinstance(value, Mapping | FileSpec):
        raise PydanticKnownError("string_type")
    return value


class FileSpec(Strict):
    """A file on this host, and what is known of it."""

    path: FilePath = Field(
        description="Path of the file; relative to the file that holds it, ~ is the daemon's user."
    )
    sha256: Sha256 | None = Field(None, description="SHA-256 of the file: 64 hexadecimal digits.")
    trust: TrustValue | None = Field(
        None,
        description="verify (the default) hashes the file before it is used; name takes the digest "
        "at its word (sha256, or the name in a cache), and hashes the file in the background.",
    )


FileValue: TypeAlias = Annotated[
    FileSpec, BeforeValidator(_as_file, json_schema_input_type=FilePath | FileSpec)
]


class GgufSource(Strict):
    """A GGUF file on this host, with the files that go with it. They are linked where they lie,
    never copied or changed. Each is a path, or {path, sha256, trust}."""

    gguf: FileValue = Field(description="The model itself; of a split GGUF, its first part.")
    projector: FileValue | None = Field(
        None, description="The projector of a model that sees or hears (mmproj)."
    )
    adapters: Annotated[tuple[FileValue, ...], Field(strict=False)] = Field(
        (), description="LoRA adapters, as GGUF."
    )
    draft: FileValue | None = Field(
        None, description="A small model that drafts for this one (speculative decoding)."
    )
    sha256: Sha256 | None = Field(None, description="SHA-256 of the file that gguf names.")
    trust: TrustValue | None = Field(None, description="verify or name, for the file of gguf.")


class RegistrySource(Strict):
    """A model that Ollama pulls from a registry."""

    registry: ModelName = Field(description="Name in the registry, such as llama3.2:3b.")
    digest: DigestValue | None = Field(
        None, description="Pins the registry's manifest: sha256: and 64 hexadecimal digits."
    )
    insecure: bool = Field(False, description="Allow a registry without TLS.")


class ModelSource(Strict):
    """Another model, declared here or installed, whose files are shared."""

    model: ModelName = Field(description="Name of the base model.")


class ModelfileSource(Strict):
    """A Modelfile, as `ollama create` takes it: its FROM is the source, its other commands are
    set where models.yaml sets nothing. Where the spec is loaded, that takes this one's place."""

    modelfile: FilePath = Field(
        description="Path of the Modelfile; relative to the file that holds it. Paths in the "
        "Modelfile are relative to itself."
    )


class HuggingfaceSource(Strict):
    """A GGUF of a repository on the Hugging Face Hub: linked where a local cache has it, else
    downloaded (which needs the extra paddock[hf]) and kept beside the models folder's ledger."""

    huggingface: HubRepo = Field(description="The repository: ORG/REPO.")
    file: HubPattern = Field(
        description="The file there, or a glob that matches one GGUF, or the parts of one; its "
        "case counts, and * matches folders too."
    )
    revision: HubRevision = Field(
        DEFAULT_REVISION, description="A branch, a tag or a commit; a commit never moves."
    )
    projector: HubPattern | None = Field(
        None, description="The projector (mmproj) in the same repository: a file, or a glob."
    )
    sha256: Sha256 | None = Field(None, description="SHA-256 of the file: 64 hexadecimal digits.")
    trust: TrustValue | None = Field(
        None,
        description="verify (the default) hashes the files before they are used; name takes the "
        "names in the cache at their word, and hashes the files in the background.",
    )


def _source_tag(value: object) -> str | None:
    keys = value.keys() if isinstance(value, Mapping) else getattr(value, "__dict__", {}).keys()
    given = [key for key in SOURCE_KEYS if key in keys]
    return f"<{given[0]}>" if len(given) == 1 else None


Source: TypeAlias = Annotated[
    Annotated[GgufSource, Tag("<gguf>")]
    | Annotated[RegistrySource, Tag("<registry>")]
    | Annotated[ModelSource, Tag("<model>")]
    | Annotated[ModelfileSource, Tag("<modelfile>")]
    | Annotated[HuggingfaceSource, Tag("<huggingface>")],
    Discriminator(
        _source_tag, custom_error_type=SOURCE_ERROR, custom_error_message="not one source"
    ),
]
