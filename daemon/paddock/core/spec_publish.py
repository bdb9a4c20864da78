"""The publish entries of models.yaml: folders in which links to Ollama's models are kept.

Owns the shape of one entry. Opens no file: a path is text.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

from pydantic import BeforeValidator, Field

from paddock.core.parameters import one_or_many
from paddock.core.spec_values import FilePath, Strict

Globs: TypeAlias = Annotated[
    tuple[Annotated[str, Field(min_length=1)], ...],
    Field(strict=False),  # YAML gives lists; each item stays strict
    BeforeValidator(one_or_many, json_schema_input_type=str | list[str]),
]


class PublishSpec(Strict):
    """A folder of readable links to the GGUFs that Ollama holds, for programs that look for files.
    Only links that Paddock made there are ever changed or removed."""

    path: FilePath = Field(
        description="The folder; made if its parent is there. Relative to the file that holds it, "
        "~ is the daemon's user."
    )
    layout: Literal["directory", "lmstudio", "transformerlab"] = Field(
        "directory",
        description="directory: NAME.gguf, as llama-server --models-dir reads it; lmstudio: "
        "publisher/NAME/NAME.gguf; transformerlab: NAME.gguf/NAME.gguf with an index.json.",
    )
    include: Globs = Field(
        ("*",), description="Installed models by name, declared or not; * is any text."
    )
    exclude: Globs = Field((), description="Models to leave out of those.")
