"""The spec: models.yaml, version 1, as its author wrote it.

Owns the shape of the file: keys, types and the words that an editor shows for them. A new key is a
new field here. Kept apart from Desired, so that defaults never hide what was written:
`core/spec_merge.py` lays them under each model. Cross checks are in `core/spec_check.py`.
Opens no file: paths are text.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, BeforeValidator, ConfigDict, Field

from paddock.core.parameters import Parameters, Texts
from paddock.core.spec_discover import DiscoverKeys
from paddock.core.spec_publish import PublishSpec
from paddock.core.spec_residency import ClientsValue, ResidencySpec, Schedule
from paddock.core.spec_sources import Source
from paddock.core.spec_values import Accounts, FilePath, KeepAliveValue, ModelName, Strict

VERSION = 1


def _check_version(value: object) -> object:
    if type(value) is not int or value != VERSION:  # True == 1, and 1.0 == 1
        raise ValueError(f"must be {VERSION}, the one version there is; write version: {VERSION}")
    return value


class Message(Strict):
    """One message of a conversation that the model starts with."""

    role: Literal["system", "user", "assistant"] = Field(description="Who says it.")
    content: str = Field(description="What is said.")


class AccessSpec(Strict):
    """Who may use a model through the socket; for everybody else it does not exist."""

    users: Accounts = Field((), description="Users by name or numeric id; root always may.")
    groups: Accounts = Field((), description="Groups by name or numeric id.")


class Defaults(Strict):
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
    schedule: Schedule | None = Field(
        None,
        description="Times of the week in which another preload or keep_alive holds; the first "
        "window that is open counts.",
    )
    priority: int | None = Field(
        None, description="Where memory is short, the higher priority stays. 0 by default."
    )
    client_keep_alive: ClientsValue | None = Field(
        None,
        description="What a client's own keep_alive counts, through the socket: deny (nothing), "
        "allow, or {min, max}. deny by default where the file gives a keep_alive.",
    )
    access: AccessSpec | None = Field(
        None,
        description="Who may use the model through the socket; without it, whoever may open that.",
    )
    suspend: bool | None = Field(
        None, description="true leaves the model alone: nothing is made, changed or removed."
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
        description="Where the model comes from: exactly one of gguf, registry, model, "
        "modelfile and huggingface.",
    )
    state: Literal["present", "absent"] = Field(
        "present", description="absent removes the model, if Paddock made it."
    )


def _check_most(value: int) -> int:
    if value < 0:
        raise ValueError("must not be negative; write how many models may go at once")
    return value


class PruneSpec(Strict):
    """Removal of models that Paddock made and the file no longer names."""

    max: Annotated[int, AfterValidator(_check_most)] | None = Field(
        None, description="So many may go at once, whatever their share."
    )


def _as_prune(value: object) -> object:
    if isinstance(value, bool):
        return {} if value else None
    if isinstance(value, Mapping | PruneSpec | None):
        return value
    raise ValueError("is neither true nor false; write true, false or {max: N}")


class DiscoverSpec(DiscoverKeys, Defaults):
    """A folder in which every GGUF becomes a model, and what is set over each of them."""


class Spec(Strict):
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
    discover: Annotated[tuple[DiscoverSpec, ...], Field(strict=False)] = Field(
        (), description="Folders in which every GGUF becomes a model."
    )
    publish: Annotated[tuple[PublishSpec, ...], Field(strict=False)] = Field(
        (), description="Folders of links to Ollama's models, for other programs to read."
    )
    residency: ResidencySpec | None = Field(
        None, description="How much memory models may take, and the time zone of schedules."
    )
    prune: Annotated[
        PruneSpec | None, BeforeValidator(_as_prune, json_schema_input_type=bool | PruneSpec)
    ] = Field(
        None,
        description="true removes models that Paddock made and the file no longer names, but never "
        "more than half of them at once; {max: N} allows so many.",
    )
