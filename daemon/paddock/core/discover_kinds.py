"""Kinds: files of discover folders that turn out to be no model, once their headers were read.

Pure. A folder may hold adapters, projectors under any name, and downloads under their last name.
Such a file is told of; a file that has a name already stays a model, and its trouble is shown as
that of any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import replace

from paddock.core.desired import Desired, DesiredModel, FromFile, LeftOut
from paddock.core.gguf import Kind
from paddock.core.observed import SourceFact, SourceFile, SourceMissing, Unknown

_WHAT: Mapping[Kind, str] = {
    "adapter": "an adapter, no model; name it under adapters of the model that it is for",
    "projector": "a projector, no model; name it as projector of the model that it is for",
    "draft": "a model that only drafts for others; name it as draft of one",
    "imatrix": "an importance matrix, no model",
}


def with_doubts(
    sources: Mapping[str, SourceFact], unsure: Mapping[str, Unknown]
) -> Mapping[str, SourceFact]:
    """The sources, with those that are missing from a folder that is not whole as unknown."""
    if not unsure:
        return sources
    missing = {path for path, fact in sources.items() if isinstance(fact, SourceMissing)}
    return {**sources, **{path: why for path, why in unsure.items() if path in missing}}


def without_others(desired: Desired, sources: Mapping[str, SourceFact]) -> Desired:
    """The models but those found newly in folders whose files are no models, which are told of."""
    found = desired.found
    new = {path: key for path, key in found.files.items() if key in found.names}
    left = {
        name: out
        for name, model in desired.models.items()
        if (out := _left_out(model, new.keys(), sources)) is not None
    }
    if not left:
        return desired
    gone = {new[out.path] for out in left.values()}
    kept = {key: name for key, name in found.names.items() if key not in gone}
    return replace(
        desired,
        models={name: model for name, model in desired.models.items() if name not in left},
        found=replace(found, names=kept, notes=(*found.notes, *left.values())),
    )


def _left_out(
    model: DesiredModel, new: Set[str], sources: Mapping[str, SourceFact]
) -> LeftOut | None:
    """Why a file that was found newly is no model, if so."""
    source = model.source
    if not isinstance(source, FromFile) or source.model.path not in new:
        return None
    path = source.model.path
    for file in source.files:
        fact = sources.get(file.path)
        if isinstance(fact, SourceFile) and fact.problem is not None:
            return LeftOut(path, fact.problem.reason, fact.problem.message)
    fact = sources.get(path)
    kind = None if not isinstance(fact, SourceFile) or fact.facts is None else fact.facts.kind
    if kind is None or kind not in _WHAT:
        return None
    return LeftOut(path, "NotAModel", f"it is {_WHAT[kind]}")
