"""Parameters: the options of Ollama that a model may set.

Owns their names and types (`ollama:api/types.go` Options and Runner, v0.34.4), because the server
checks neither when a model is made: a wrong one fails at each request later. What Ollama no longer
has is named here too, so that an error can say so. The JSON Schema is made from these fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

ParameterValue: TypeAlias = bool | int | float | str | tuple[str, ...]

_MAX_WHOLE = 2**53 - 1  # Ollama reads every JSON number as a float64: a larger one would change
_MAX_FLOAT32 = 3.4028234663852886e38


def one_or_many(value: object) -> object:
    """Returns a lone text as a list of one; anything else as it is."""
    return (value,) if isinstance(value, str) else value


Texts: TypeAlias = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    Field(strict=False),  # YAML gives lists; each item stays strict
    BeforeValidator(one_or_many, json_schema_input_type=str | list[str]),
]
_Whole: TypeAlias = Annotated[int, Field(ge=-_MAX_WHOLE, le=_MAX_WHOLE)] | None
_Real: TypeAlias = (
    Annotated[float, Field(ge=-_MAX_FLOAT32, le=_MAX_FLOAT32, allow_inf_nan=False)] | None
)


class Parameters(BaseModel):
    """Options that a model sets; null clears what `defaults` give."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    num_ctx: _Whole = Field(None, description="Tokens of context. A change reloads the model.")
    num_batch: _Whole = Field(None, description="Tokens read at once from a prompt.")
    num_gpu: _Whole = Field(None, description="Layers on the GPU; -1 lets Ollama choose.")
    main_gpu: _Whole = Field(None, description="Index of the GPU that holds small tensors.")
    use_mmap: bool | None = Field(None, description="Map the file into memory.")
    num_thread: _Whole = Field(None, description="CPU threads; 0 lets Ollama choose.")
    draft_num_predict: _Whole = Field(None, description="Tokens that a draft model proposes.")

    num_keep: _Whole = Field(None, description="Tokens kept when the context is full.")
    seed: _Whole = Field(None, description="Seed of the sampler: the same seed, the same answer.")
    num_predict: _Whole = Field(None, description="Most tokens in an answer; -1 is no limit.")
    top_k: _Whole = Field(None, description="Sample from the k likeliest tokens.")
    top_p: _Real = Field(None, description="Sample from the tokens that make up this share.")
    min_p: _Real = Field(None, description="Least share of the likeliest token's chance.")
    repeat_last_n: _Whole = Field(None, description="Tokens looked back at for repeats.")
    temperature: _Real = Field(None, description="0 is sober, 1 is lively.")
    repeat_penalty: _Real = Field(None, description="Above 1 discourages repeats.")
    presence_penalty: _Real = Field(None, description="Above 0 favours new words.")
    frequency_penalty: _Real = Field(None, description="Above 0 discourages frequent words.")
    stop: Texts | None = Field(None, description="Texts that end an answer: one, or a list.")

    def options(self) -> Mapping[str, ParameterValue]:
        """Returns what is set, by Ollama's name; what is null or unwritten is left out."""
        return self.model_dump(exclude_none=True)

    def over(self, defaults: Parameters) -> Parameters:
        """Returns `defaults` with what is written here in place, key by key."""
        written = {key: getattr(self, key) for key in self.model_fields_set}
        return defaults.model_copy(update=written)


OBSOLETE = frozenset(
    {
        "embedding_only",
        "f16_kv",
        "logits_all",
        "low_vram",
        "mirostat",
        "mirostat_eta",
        "mirostat_tau",
        "numa",
        "penalize_newline",
        "tfs_z",
        "typical_p",  # refused since it left the server (ollama:server/create.go)
        "use_mlock",
        "vocab_only",
    }
)
