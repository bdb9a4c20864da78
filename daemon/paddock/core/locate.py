"""Locate: a model of the Hugging Face Hub whose files are all on this host is a model of files.

Pure. Where one is missing the source stays as it was declared, for `compose` to ask for a download.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import TypeAlias

from paddock.core.desired import Desired, DesiredModel, File, FromFile, FromHub
from paddock.core.hub import HubFile, HubFound
from paddock.core.observed import HubFact, SourceMissing, Unknown

HubFacts: TypeAlias = Mapping[HubFile, HubFact]


def hub_files(wish: Desired) -> frozenset[HubFile]:
    """Every file of the hub that a model is declared to be made of."""
    sources = (model.source for model in wish.models.values())
    return frozenset(f for s in sources if isinstance(s, FromHub) for f in s.files)


def locate(wish: Desired, facts: HubFacts) -> Desired:
    """What is desired, with files in the place of what was found."""
    if not facts:
        return wish
    return replace(wish, models={n: _locate(m, facts) for n, m in wish.models.items()})


def _locate(model: DesiredModel, facts: HubFacts) -> DesiredModel:
    source = model.source
    if not isinstance(source, FromHub):
        return model
    found = [fact for fact in map(facts.get, source.files) if isinstance(fact, HubFound)]
    if len(found) < len(source.files):
        return model
    first, *others = (File(fact.path, trust=source.trust) for fact in found)
    located = FromFile(
        model=replace(first, sha256=source.sha256),
        projector=next(iter(others), None),
        hub=source,
    )
    return replace(model, source=located)


def to_download(source: FromHub, facts: HubFacts) -> tuple[HubFile, ...] | Unknown:
    """The files of a source that are in no cache; Unknown while one cannot be told."""
    unknown = next(_unknowns(source, facts), None)
    if unknown is not None:
        return unknown
    missing = tuple(file for file in source.files if isinstance(facts.get(file), SourceMissing))
    return missing or Unknown("SourceUnknown", f"{source.model} was there when nobody took it")


def _unknowns(source: FromHub, facts: HubFacts) -> Iterator[Unknown]:
    for file in source.files:
        fact = facts.get(file, Unknown("SourceUnknown", f"{file} was not looked for"))
        if isinstance(fact, Unknown):
            yield fact
