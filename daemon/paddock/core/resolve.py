"""Resolve: from a Spec to Desired.

Pure. Defaults are laid under each model, names and sources become nouns of ours; the same meaning
gives the same generation.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Set
from dataclasses import Field, replace
from datetime import UTC, tzinfo
from typing import assert_never

from paddock.core.access import Access
from paddock.core.desired import (
    Desired,
    DesiredModel,
    Discover,
    File,
    FromFile,
    FromHub,
    FromModel,
    FromRegistry,
    Message,
    Overrides,
    Prune,
    Residency,
    Source,
    State,
    Trust,
    Window,
)
from paddock.core.digest import digest_of, parse_digest
from paddock.core.discover_names import NameTemplate
from paddock.core.hub import HubFile
from paddock.core.keep_alive import FOREVER, KeepAlive
from paddock.core.layouts import NAMES
from paddock.core.names import Name
from paddock.core.spec import AccessSpec, Defaults, DiscoverSpec, ModelSpec, PruneSpec, Spec
from paddock.core.spec_merge import MergedModel, merge, with_defaults
from paddock.core.spec_publish import PublishSpec
from paddock.core.spec_residency import ResidencySpec, WindowSpec
from paddock.core.spec_sources import (
    FileSpec,
    GgufSource,
    HuggingfaceSource,
    ModelfileSource,
    ModelSource,
    RegistrySource,
)
from paddock.core.spec_sources import Source as SourceSpec
from paddock.core.tree_facts import Layout, Tree


def resolve(spec: Spec, file: str, zone: tzinfo = UTC, warnings: tuple[str, ...] = ()) -> Desired:
    """What a valid spec asks for; `file` is its path as people know it, `zone` the time zone that
    it names or the host's, `warnings` what it was found to say and hardly mean."""
    models = {}
    for text, merged in with_defaults(spec).items():
        model = _model(Name.parse(text), merged)
        models[model.name] = model
    publish = tuple(map(_tree, spec.publish))
    discover = tuple(_discover(entry, spec.defaults) for entry in spec.discover)
    prune = _prune(spec.prune)
    generation = _generation(models, publish, discover, prune, spec.residency)
    entries = [*models.values(), *(entry.model for entry in discover)]
    priorities = {model.residency.priority for model in entries}
    return Desired(
        {name: _in_turn(model, priorities) for name, model in models.items()},
        generation,
        file,
        discover=tuple(replace(e, model=_in_turn(e.model, priorities)) for e in discover),
        publish=publish,
        prune=prune,
        memory_limit_bytes=None if spec.residency is None else spec.residency.memory_limit,
        timezone=zone,
        warnings=warnings,
    )


def _prune(prune: PruneSpec | None) -> Prune:
    return Prune() if prune is None else Prune(on=True, most=prune.max)


def _discover(spec: DiscoverSpec, defaults: Defaults) -> Discover:
    """An entry, and what each model of it is made like: `defaults` lie under it as under any."""
    written = spec.model_fields_set & Defaults.model_fields.keys()
    settings = {key: getattr(spec, key) for key in written}
    like = ModelSpec.model_construct(set(written), **settings)
    return Discover(
        layout=spec.layout,
        path=spec.path,
        name=NameTemplate.parse(spec.name or NAMES[spec.layout]),
        model=_model(Name.parse("discovered"), merge(like, defaults)),
        include=spec.include,
        exclude=spec.exclude,
        trust=Trust(spec.trust or "verify"),
    )


def _tree(spec: PublishSpec) -> Tree:
    return Tree(spec.path, Layout(spec.layout), spec.include, spec.exclude)


def _model(name: Name, merged: MergedModel) -> DesiredModel:
    spec = merged.spec
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
        residency=_residency(merged),
        access=_access(spec.access),
        suspended=bool(spec.suspend),
    )


def _residency(merged: MergedModel) -> Residency:
    spec = merged.spec
    return Residency(
        preload=bool(spec.preload),
        keep_alive=spec.keep_alive,
        schedule=tuple(_window(window, merged) for window in spec.schedule or ()),
        priority=spec.priority or 0,
        clients=spec.client_keep_alive,
    )


def _in_turn(model: DesiredModel, priorities: Set[int]) -> DesiredModel:
    """A model that is to stay for ever, with its turn among such."""
    residency = model.residency
    above = sum(priority > residency.priority for priority in priorities)
    if not above:
        return model
    windows = (replace(w, keep_alive=_below(w.keep_alive, above)) for w in residency.schedule)
    keep_alive = _below(residency.keep_alive, above)
    residency = replace(residency, keep_alive=keep_alive, schedule=tuple(windows))
    return replace(model, residency=residency)


def _below(keep_alive: KeepAlive | None, above: int) -> KeepAlive | None:
    return None if keep_alive is None else keep_alive.below(above)


def _window(window: WindowSpec, merged: MergedModel) -> Window:
    """What a window does not say holds as outside; a preload that it says alone means for ever, as
    it does on a model, unless the model itself says how long."""
    outside = merged.spec
    preload = bool(outside.preload if window.preload is None else window.preload)
    if window.keep_alive is not None:
        keep_alive: KeepAlive | None = window.keep_alive
    elif window.preload is None:
        keep_alive = outside.keep_alive
    elif window.preload:
        keep_alive = outside.keep_alive if merged.keep_alive_written else FOREVER
    else:
        keep_alive = merged.plain_keep_alive
    return Window(window.days, window.start, window.end, preload, keep_alive)


def _access(access: AccessSpec | None) -> Access | None:
    """The same rule in any order is one rule."""
    if access is None:
        return None
    return Access(tuple(sorted({*access.users})), tuple(sorted({*access.groups})))


def _source(source: SourceSpec | None) -> Source | None:
    match source:
        case GgufSource():
            return _from_file(source)
        case RegistrySource():
            digest = None if source.digest is None else parse_digest(source.digest)
            return FromRegistry(Name.parse(source.registry), digest, source.insecure)
        case ModelSource():
            return FromModel(Name.parse(source.model))
        case HuggingfaceSource():
            return _from_hub(source)
        case ModelfileSource():
            raise AssertionError("what a Modelfile asks for is in the spec once that is loaded")
        case None:
            return None
        case _:
            assert_never(source)


def _from_file(source: GgufSource) -> FromFile:
    return FromFile(
        model=_file(source.gguf, source.sha256, source.trust),
        projector=None if source.projector is None else _file(source.projector),
        adapters=tuple(map(_file, source.adapters)),
        draft=None if source.draft is None else _file(source.draft),
    )


def _from_hub(source: HuggingfaceSource) -> FromHub:
    repo, revision, projector = source.huggingface, source.revision, source.projector
    return FromHub(
        model=HubFile(repo, revision, source.file),
        projector=None if projector is None else HubFile(repo, revision, projector),
        sha256=None if source.sha256 is None else parse_digest(source.sha256),
        trust=Trust(source.trust or "verify"),
    )


def _file(file: FileSpec, sha256: str | None = None, trust: str | None = None) -> File:
    """What is said of a file; `sha256` and `trust` where it is said beside it."""
    given = file.sha256 or sha256
    digest = None if given is None else parse_digest(given)
    return File(file.path, digest, Trust(file.trust or trust or "verify"))


def _generation(
    models: Mapping[Name, DesiredModel],
    publish: tuple[Tree, ...],
    discover: tuple[Discover, ...],
    prune: Prune,
    residency: ResidencySpec | None,
) -> str:
    """A short hash of the meaning: comments, order and file names do not change it."""
    document: list[tuple[str, object]] = [
        (type(model.source).__name__, model) for _, model in sorted(models.items())
    ]
    document += [("publish", tree) for tree in publish]
    document += [("discover", entry) for entry in discover]
    document += [("prune", prune)]
    document += [] if residency is None else [("residency", residency.model_dump())]
    text = json.dumps(document, sort_keys=True, default=_plain)
    return digest_of(text.encode()).removeprefix("sha256:")[:12]


def _plain(value: object) -> object:
    """What JSON has no word for. (`asdict` would copy all of it first.)"""
    fields: Mapping[str, Field[object]] | None = getattr(type(value), "__dataclass_fields__", None)
    if fields is None:
        return str(value)
    return {name: getattr(value, name) for name, field in fields.items() if field.compare}
