"""Respelling: the declared names in the case that the store already uses.

Pure. Ollama finds names whatever their case, but stores them as given and looks them up by what it
finds first (ollama:server/routes.go getExistingName): a second case of one part may hide a model.
"""

from __future__ import annotations

import contextlib
import operator
from collections.abc import Iterable
from dataclasses import replace

from paddock.core.desired import Desired, DesiredModel, FromModel, FromRegistry
from paddock.core.names import CaseConflict, Name, Spelling


def respell(desired: Desired, present: Iterable[Name]) -> Desired:
    """The same models under the names that the store spells; a conflict is left to the planner."""
    spelling = Spelling(present)
    models = [_model(model, spelling) for model in desired.models.values()]
    if all(map(operator.is_, models, desired.models.values())):
        return desired
    return replace(desired, models={model.name: model for model in models})


def _model(model: DesiredModel, spelling: Spelling) -> DesiredModel:
    source, name = model.source, _name(model.name, spelling)
    match source:
        case FromModel(base):
            source = FromModel(_name(base, spelling))
        case FromRegistry(reference):
            source = replace(source, reference=_name(reference, spelling))
        case _:
            pass
    if name == model.name and source == model.source:
        return model
    return replace(model, name=name, source=source)


def _name(name: Name, spelling: Spelling) -> Name:
    with contextlib.suppress(CaseConflict):
        return spelling.respell(name)
    return name
