"""The JSON Schemas of models.yaml, the plan and the status, for editors and other tools.

Owns what pydantic does not give: the dialect, the identity, and taking out what only repeats the
keys. `schemas/` holds its output. Writes no file.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel

from paddock.core.conditions import FORMAT_VERSION
from paddock.core.documents import PlanDocument, StatusDocument
from paddock.core.spec import VERSION, Spec

DIALECT = "https://json-schema.org/draft/2020-12/schema"


def models_schema() -> dict[str, Any]:
    """Returns the JSON Schema of models.yaml, version 1."""
    schema = _tidy(Spec.model_json_schema(mode="validation"))
    return {"$schema": DIALECT, "$id": f"urn:paddock:schemas:models:v{VERSION}", **schema}


def schema_of(kind: str) -> dict[str, Any]:
    """Returns the JSON Schema of `models` (models.yaml), of a `plan` or of the `status`."""
    if kind == "models":
        return models_schema()
    documents: dict[str, type[BaseModel]] = {"plan": PlanDocument, "status": StatusDocument}
    schema = _tidy(documents[kind].model_json_schema(mode="serialization"))
    return {"$schema": DIALECT, "$id": f"urn:paddock:schemas:{kind}:v{FORMAT_VERSION}", **schema}


def schema_text(schema: Mapping[str, Any]) -> str:
    """Returns a schema as it is committed: keys sorted, indented by 2, a newline at the end."""
    return json.dumps(schema, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _tidy(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Drops the titles that pydantic makes from field names, and defaults of null."""
    tidy: dict[str, Any] = {}
    for key, value in schema.items():
        if key in {"properties", "$defs"}:
            tidy[key] = {name: _without_title(_tidy(item)) for name, item in value.items()}
        elif key in {"anyOf", "oneOf"}:
            tidy[key] = [_tidy(item) for item in value]
        elif (key, value) != ("default", None):
            tidy[key] = value
    return tidy


def _without_title(schema: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in schema.items() if key != "title"}
