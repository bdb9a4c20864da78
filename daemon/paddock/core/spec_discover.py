"""The discover entries of models.yaml: folders in which every GGUF becomes a model.

Owns the keys of an entry beside those that it shares with `defaults`. Opens no file: a path is
text.
"""

from __future__ import annotations

from typing import Annotated, TypeAlias

from pydantic import AfterValidator, ConfigDict, Field

from paddock.core.discover_names import NameTemplate
from paddock.core.layouts import NAMES, Layout
from paddock.core.spec_publish import Globs
from paddock.core.spec_values import FilePath, Strict, TrustValue


def _check_template(text: str) -> str:
    NameTemplate.parse(text)
    return text


TemplateText: TypeAlias = Annotated[str, AfterValidator(_check_template)]


class DiscoverKeys(Strict):
    """Which folder is looked at, which files in it are meant, and what they are called."""

    model_config = ConfigDict(
        json_schema_extra={
            "anyOf": [
                {"required": ["path"]},
                {"required": ["layout"], "not": {"properties": {"layout": {"const": "directory"}}}},
            ]
        }
    )

    layout: Layout = Field(
        "directory",
        description="How the files lie: directory (plain folders), or as a program keeps them: "
        "lmstudio, huggingface, llamacpp, transformerlab.",
    )
    path: FilePath | None = Field(
        None,
        description="The folder; relative to the file that holds it, ~ is the daemon's user. "
        "Without one, where the layout's program keeps its models.",
    )
    include: Globs = Field(
        (), description="Files by path below the folder, such as **/*Q4_K_M.gguf; all if empty."
    )
    exclude: Globs = Field((), description="Files, or folders of them, to leave out of those.")
    name: TemplateText | None = Field(
        None,
        description="What models are called: text with {publisher} {repo} {stem} {dir} {quant}. "
        + "; ".join(f"{layout}: {template}" for layout, template in NAMES.items()),
    )
    trust: TrustValue | None = Field(
        None,
        description="verify (the default) hashes a file before it is used; name takes the digest "
        "that its name in a cache tells, and hashes the file in the background.",
    )
