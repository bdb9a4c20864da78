"""The shapes of what Paddock tells as JSON: the plan and the status.

Pure. Their JSON Schemas are made from these models; the documents themselves come from
`core/plan_json.py` and `core/conditions.py`, and a test holds the two together.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from paddock.core.conditions import FORMAT_VERSION
from paddock.errors import PaddockError


class _Document(BaseModel):
    model_config = ConfigDict(extra="forbid")


class ActionDocument(_Document):
    """One thing that apply would do."""

    action: str = Field(description="The action's type, such as LinkBlob.")
    symbol: Literal["+", "~", "-", "!"] = Field(description="Create, change, remove, blocked.")
    name: str = Field(description="The model.")
    reason: str = Field(description="Why, as one CamelCase word.")
    message: str = Field(description="What, for people.")
    linked_bytes: int = Field(description="Bytes linked, and not copied.")
    copied_bytes: int | None = Field(description="Bytes copied; null: known after apply.")


class BlockedDocument(_Document):
    """A model for which nothing can be done now."""

    name: str
    reason: str
    message: str = Field(description="Why, and what a person can do.")


class WaitingDocument(_Document):
    """A model whose actions are known only once its base is made."""

    symbol: Literal["+", "~"]
    name: str
    reason: str
    message: str


class SuspendedDocument(_Document):
    """A model that is left alone."""

    name: str
    reason: Literal["SuspendedInFile", "Paused"]
    message: str = Field(description="Why, and what ends it.")


class NoteDocument(_Document):
    """A path of a publish tree that stays as it is."""

    path: str
    reason: str
    message: str = Field(description="Why, and what a person can do.")


class SummaryDocument(_Document):
    """How many models each thing happens to."""

    add: int
    change: int
    remove: int
    blocked: int


class PlanDocument(_Document):
    """What `paddock plan -o json` prints."""

    format_version: Literal[1]
    file: str
    generation: str = Field(description="A hash of what the file means.")
    actions: list[ActionDocument]
    waiting: list[WaitingDocument]
    blocked: list[BlockedDocument]
    suspended: list[SuspendedDocument]
    notes: list[NoteDocument]
    summary: SummaryDocument


class ConditionDocument(_Document):
    """One fact, as Kubernetes' metav1.Condition."""

    type: str
    status: Literal["True", "False", "Unknown"]
    reason: str
    message: str
    observedGeneration: str  # noqa: N815  Kubernetes' own spelling
    lastTransitionTime: datetime  # noqa: N815


class ModelDocument(_Document):
    """One declared model."""

    name: str
    source: str
    digest: str | None = Field(description="Of the GGUF; null while it is not known.")
    size_bytes: int
    copied_bytes: int = Field(description="What the store holds of it as files of its own.")
    loaded: bool
    keep_alive: str | None = Field(description="As the file says now; null leaves it to clients.")
    expires_at: datetime | None = Field(description="Null where it is not loaded, or for ever.")
    window_until: datetime | None = Field(description="When the window closes that is open.")
    conditions: list[ConditionDocument]


class StatusDocument(_Document):
    """What `paddock status -o json` prints and `/paddock/status` serves."""

    format_version: Literal[1]
    file: str
    generation: str
    conditions: list[ConditionDocument]
    models: list[ModelDocument]


def plan_from_json(document: object) -> PlanDocument:
    """The plan that a JSON tells of, as far as it tells: what an action writes is not in it, and no
    apply reads it, which plans anew. Raises PaddockError."""
    try:
        return PlanDocument.model_validate(document)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        where = ".".join(map(str, first["loc"])) or "the document"
        what = f"not a plan of format version {FORMAT_VERSION}: {where}: {first['msg'].lower()}"
        raise PaddockError(what, reason="InvalidPlan") from error
