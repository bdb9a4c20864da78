"""Resolve: from a Spec to Desired.

Pure. Defaults are laid under each model, names and sources become nouns of ours; the same meaning
gives the same generation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import assert_never

from paddock.core.access import Access
from paddock.core.desired import (
    Desired,
    DesiredModel,
    FromFile,
    FromModel,
    FromRegistry,
    Message,
    Overrides,
    Residency,
    Source,
    State,
)
from paddock.core.digest import digest_of, parse_digest
from paddock.core.names import Name
from paddock.core.spec import (
    AccessSpec,
    GgufSource,
    ModelfileSource,
    ModelSource,
    ModelSpec,
    RegistrySource,
    Spec,
)
from paddock.core.spec import Source as SourceSpec
from paddock.core.spec_merge import with_defaults


def resolve(spec: Spec, file: str) -> Desired:
    """What a valid spec asks for; `file` is its path as people know it."""
    models = {}
    for text, merged in with_defaults(spec).items():
        model = _model(Name.parse(text), merged.spec)
        models[model.name] = model
    return Desired(models, _generation(models), file)


def _model(name: Name, spec: ModelSpec) -> DesiredModel:
    state = State(spec.state)
    parameters = {} if spec.parameters is None else dict(spec.parameters.options())
    return DesiredModel(
        name=name,
        state=state,
        source=_source(spec.source),
        overrides=Overrides(
            template=spec.template,
            system=spec.system,
            parameters=parameters,
            messages=tuple(Message(m.role, m.content) for m in spec.messages or ()),
            license=tuple(spec.license or ()),
        ),
        residency=Residency(preload=bool(spec.preload), keep_alive=spec.keep_alive),
        access=_access(spec.access),
    )


def _access(access: AccessSpec | None) -> Access | None:
    """The same rule in any order is one rule."""
    if access is None:
        return None
    return Access(tuple(sorted({*access.users})), tuple(sorted({*access.groups})))


def _source(source: SourceSpec | None) -> Source | None:
    match source:
        case GgufSource():
            return FromFile(source.gguf)
        case RegistrySource():
            digest = None if source.digest is None else parse_digest(source.digest)
            return FromRegistry(Name.parse(source.registry), digest, source.insecure)
        case ModelSource():
            return FromModel(Name.parse(source.model))
        case ModelfileSource():
            raise AssertionError("what a Modelfile asks for is in the spec once that is loaded")
        case None:
            return None
        case _:
            assert_never(source)


def _generation(models: Mapping[Name, DesiredModel]) -> str:
    """A short hash of the meaning: comments, order and file names do not change it."""
    document = [[type(model.source).__name__, asdict(model)] for _, model in sorted(models.items())]
    text = json.dumps(document, sort_keys=True, default=str)
    return digest_of(text.encode()).removeprefix("sha256:")[:12]
