"""Shared: names that turn out to run one GGUF, and would have Ollama reload it in turns.

Pure. What a file says by itself is warned of when it is read (core/spec_residency_check.py); here
are the models of which only their digests tell that they are one.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import TypeAlias

from paddock.core.desired import Desired, DesiredModel, FromFile
from paddock.core.digest import Digest, short
from paddock.core.names import Name
from paddock.core.plan import Note
from paddock.core.spec_residency_check import RUNNER_OPTIONS

Files: TypeAlias = Mapping[Name, tuple[Digest, ...]]


def shared_runners(made_of: Mapping[Name, Digest], files: Files, desired: Desired) -> list[Note]:
    """A note for each name that asks another thing of a runner than the first one over its GGUF;
    `files` are what each is made of, as far as that is known."""
    if len(set(made_of.values())) == len(made_of):
        return []
    by_digest: defaultdict[Digest, list[DesiredModel]] = defaultdict(list)
    for name in sorted(made_of):
        by_digest[made_of[name]].append(desired.models[name])
    shared = {digest: models for digest, models in by_digest.items() if len(models) > 1}
    return [
        note for digest, models in shared.items() for note in _notes(digest, models, files, desired)
    ]


def _notes(
    digest: Digest, models: list[DesiredModel], files: Files, desired: Desired
) -> Iterator[Note]:
    first = models[0]
    for other in models[1:]:
        what = [key for key in RUNNER_OPTIONS if _option(first, key) != _option(other, key)]
        if len({files[model.name] for model in (first, other) if model.name in files}) > 1:
            what.append("projector, adapter or draft")
        if _policy(first) != _policy(other):
            what.append("keep_alive")
        if what and _origin(first, desired) != _origin(other, desired):
            message = (
                f"{other.name} holds the same GGUF as {first.name} ({short(digest)}), with another "
                f"{' and '.join(what)}: they share one runner, which Ollama reloads or resets "
                "whenever the two take turns; give both the same"
            )
            yield Note(other.name.display, "SharedRunner", message)


def _option(model: DesiredModel, key: str) -> object:
    return model.overrides.parameters.get(key)


def _policy(model: DesiredModel) -> object:
    return model.residency.preload, model.residency.keep_alive


def _origin(model: DesiredModel, desired: Desired) -> object:
    """Where the GGUF is from, as far as the file says it; a derived model has its base's."""
    for base in desired.bases(model.name):
        model = desired.models[base]
    source = model.source
    return source.model.path if isinstance(source, FromFile) else source
