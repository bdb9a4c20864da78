"""The spec: models.yaml, version 1, as its author wrote it.

Owns the shape of the file: keys, types and the words that an editor shows for them. A new key is a
new field here (and leaves `LATER` in `core/spec_problems.py`). Kept apart from Desired, so that
defaults never hide what was written: `core/spec_merge.py` lays them under each model. Cross checks
are in `core/spec_check.py`. Opens no file: paths are text.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PlainSerializer,
    PlainValidator,
    Tag,
)

from paddock.core.digest import Digest, parse_digest
from paddock.core.keep_alive import KeepAlive
from paddock.core.names import Name, is_scratch
from paddock.core.parameters import Parameters, Texts, one_or_many
from paddock.errors import InvalidDigest, InvalidName

VERSION = 1
MAX_ID = 2**32 - 2  # the one above it means "no id" to the kernel
_ACCOUNT = re.compile(r"[^\s:,/\x00-\x1f-][^\s:,/\x00-\x1f]*")
SOURCE_ERROR = "paddock_source"
SOURCE_KEYS = ("gguf", "registry", "model", "modelfile")


def _check_name(text: str) -> str:
    try:
        name = Name.parse(text)
    except InvalidName as error:
        raise ValueError(error.message) from error
    if is_scratch(name):
        raise ValueError(f"{text} is a name that Paddock keeps for itself; use another one")
    return text


def _check_digest(text: str) -> Digest:
    try:
        return parse_digest(text)
    except InvalidDigest as error:
        raise ValueError(error.message) from error


def _check_version(value: object) -> object:
    if type(value) is not int or value != VERSION:  # True == 1, and 1.0 == 1
        raise ValueError(f"must be {VERSION}, the one version there is; write version: {VERSION}")
    return value


def _check_path(text: str) -> str:
    if "://" in text:
        raise ValueError("must be a path on this host, not an address; download the file first")
    if text.startswith("~") and text[1:2] not in {"", "/"}:
        raise ValueError(
            "~ is understood for the daemon's own user only; write the whole path, "
            "or ./~... for a file of that name"
        )
    return text


def _check_account(value: object) -> object:
    if type(value) is int:
        value = str(value)
    if isinstance(value, str):
        if value.isdecimal() and int(value) > MAX_ID:
            raise ValueError(f"no id is larger than {MAX_ID}; write a name or a smaller number")
        if not _ACCOUNT.fullmatch(value):
            raise ValueError("is no name of a user or group; write a name or a numeric id")
    return value


def _one_or_many(value: object) -> object:
    return (value,) if type(value) is int else one_or_many(value)


def _wire(keep_alive: KeepAlive) -> int | float:
    return keep_alive.wire


ModelName: TypeAlias = Annotated[str, AfterValidator(_check_name)]
FilePath: TypeAlias = Annotated[str, Field(min_length=1), AfterValidator(_check_path)]
Accounts: TypeAlias = Annotated[
    tuple[Annotated[str, BeforeValidator(_check_account, json_schema_input_type=str | int)], ...],
    Field(strict=False),  # YAML gives lists; each item stays strict
    BeforeValidator(_one_or_many, json_schema_input_type=str | int | list[str | int]),
]
KeepAliveValue: TypeAlias = Annotated[
    KeepAlive,
    PlainValidator(KeepAlive.parse, json_schema_input_type=str | int | float),
    PlainSerializer(_wire, return_type=int | float),
]


class _Strict(BaseModel):
    """What every mapping of the file has in common: no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class GgufSource(_Strict):
    """A GGUF file on this host. It is linked where it lies, never copied or changed."""

    gguf: FilePath = Field(
        description="Path of the file; relative to the file that holds it, ~ is the daemon's user."
    )


class RegistrySource(_Strict):
    """A model that Ollama pulls from a registry."""

    registry: ModelName = Field(description="Name in the registry, such as llama3.2:3b.")
    digest: Annotated[str, AfterValidator(_check_digest)] | None = Field(
        None, description="Pins the registry's manifest: sha256: and 64 hexadecimal digits."
    )
    insecure: bool = Field(False, description="Allow a registry without TLS.")


class ModelSource(_Strict):
    """Another model, declared here or installed, whose files are shared."""

    model: ModelName = Field(description="Name of the base model.")


class ModelfileSource(_Strict):
    """A Modelfile, as `ollama create` takes it: its FROM is the source, its other commands are
    set where models.yaml sets nothing. Where the spec is loaded, that takes this one's place."""

    modelfile: FilePath = Field(
        description="Path of the Modelfile; relative to the file that holds it. Paths in the "
        "Modelfile are relative to itself."
    )


def _source_tag(value: object) -> str | None:
    keys = value.keys() if isinstance(value, Mapping) else getattr(value, "__dict__", {}).keys()
    given = [key for key in SOURCE_KEYS if key in keys]
    return f"<{given[0]}>" if len(given) == 1 else None


Source: TypeAlias = Annotated[
    Annotated[GgufSource, Tag("<gguf>")]
    | Annotated[RegistrySource, Tag("<registry>")]
    | Annotated[ModelSource, Tag("<model>")]
    | Annotated[ModelfileSource, Tag("<modelfile>")],
    Discriminator(
        _source_tag, custom_error_type=SOURCE_ERROR, custom_error_message="not one source"
    ),
]


class Message(_Strict):
    """One message of a conversation that the model starts with."""

    role: Literal["system", "user", "assistant"] = Field(description="Who says it.")
    content: str = Field(description="What is said.")


class AccessSpec(_Strict):
    """Who may use a model through the socket; for everybody else it does not exist."""

    users: Accounts = Field((), description="Users by name or numeric id; root always may.")
    groups: Accounts = Field((), description="Groups by name or numeric id.")


class Defaults(_Strict):
    """What holds for every model that does not say otherwise; null on a model clears a default."""

    system: str | None = Field(None, description="The system message.")
    template: str | None = Field(
        None, description="Prompt template in Go's syntax; without one the GGUF's own is used."
    )
    template_file: FilePath | None = Field(None, description="File that holds the template.")
    parameters: Parameters | None = Field(None, description="Options of Ollama, such as num_ctx.")
    messages: Annotated[tuple[Message, ...], Field(strict=False)] | None = Field(
        None, description="A conversation that the model starts with."
    )
    license: Texts | None = Field(None, description="Licence of the model: one text, or a list.")
    keep_alive: KeepAliveValue | None = Field(
        None,
        description="How long the model stays in memory after use: 5m, 1h30m, seconds, "
        "0 (not at all) or forever.",
    )
    preload: bool | None = Field(
        None, description="Load the model now, and keep it loaded unless keep_alive is finite."
    )
    access: AccessSpec | None = Field(
        None,
        description="Who may use the model through the socket; without it, whoever may open that.",
    )
    labels: Mapping[str, str | None] | None = Field(
        None, description="Words of your own, shown in status."
    )


class ModelSpec(Defaults):
    """One model: where it comes from, what is set over it, and how long it stays in memory."""

    model_config = ConfigDict(
        title="Model",
        json_schema_extra={
            "if": {"properties": {"state": {"const": "absent"}}, "required": ["state"]},
            "then": {"not": {"required": ["source"]}},
            "else": {"required": ["source"]},
        },
    )

    source: Source | None = Field(
        None,
        description="Where the model comes from: exactly one of gguf, registry, model and "
        "modelfile.",
    )
    state: Literal["present", "absent"] = Field(
        "present", description="absent removes the model, if Paddock made it."
    )


class Spec(_Strict):
    """The Ollama models of one host, as they shall be."""

    model_config = ConfigDict(title="models.yaml, version 1")

    version: Annotated[
        int, BeforeValidator(_check_version, json_schema_input_type=Literal[VERSION])
    ] = Field(description="Version of this format: 1.")
    defaults: Defaults = Field(
        default_factory=Defaults,
        description="Any key of a model but source and state.",
    )
    models: Mapping[ModelName, ModelSpec] = Field(
        default_factory=dict,
        description="Models by name, in Ollama's grammar; :latest is implied.",
    )
